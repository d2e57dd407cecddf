// containerd's registry tables as input beside what its pulls ask: for generated files, either the agent declares the
// same addresses in the same order with the same certificates, or each thing that it does not do is refused by its name
// and place. What containerd asks is told by the reading that `migrate` has of the same tables, which
// test/containerd/edit/migrate-legacy-real.test.ts compares with pulls of containerd itself.
// 5,000 files: REGISTRY_TRUST_FULL=1.
import t from 'tap'
import { readContainerdConfig } from '../../agent/containerd/config/read.ts'
import { endpointsOf, readLegacyRegistry } from '../../agent/containerd/edit/legacy-sections.ts'
import { renderEndpoint } from '../../agent/containerd/hosts/endpoint.ts'
import type { DesiredState, Registry } from '../../agent/model/desired-state.ts'
import { containerdConfigs, type WrittenConfig } from '../fixtures/config/containerd-corpus.ts'
import { desiredOf, loadFiles, told } from '../fixtures/config/fixture.ts'
import { clientPair } from '../fixtures/pki/client-pair.ts'
import { makeCa } from '../fixtures/scratch/sample.ts'

const COUNT = process.env['REGISTRY_TRUST_FULL'] === '1' ? 5_000 : 150
const SEED = Number(process.env['REGISTRY_TRUST_SEED'] ?? 7)
t.setTimeout(60_000 + COUNT * 50)

const [caA, caB] = [makeCa('A'), makeCa('B')]
const AUTHORITIES: ReadonlyMap<string, string> = new Map([
  [caA.fingerprint, '/a.pem'],
  [caB.fingerprint, '/b.pem'],
])
const POLICY = 'registries: []\npolicy: { allowSkipVerify: true, allowPlainHttp: true, allowWildcard: true }\n'

/** One address with all that is said of it, the same for both sides; plain HTTP knows no certificates. */
function describe(url: string, ca: string, isUnverified: boolean, hasClient: boolean): string {
  const tls = url.startsWith('http:') ? '' : ` ${ca}${isUnverified ? ' unverified' : ''}${hasClient ? ' client' : ''}`
  return `${url.replace(/\/+$/, '')}${tls}`
}

function theirs(host: string, { toml, version }: WrittenConfig): readonly string[] {
  const text = Buffer.from(/^version/.test(toml) ? toml : `version = ${version}\n${toml}`)
  const major = version === 3 ? 2 : 1
  const legacy = readLegacyRegistry(readContainerdConfig(text, { path: '/c' }), { major, minor: 7, patch: 0 })
  const endpoints = host === '*' ? (legacy.mirrors.get('*') ?? []) : endpointsOf(host, legacy)
  const asked = endpoints.map((endpoint) => {
    const tls = legacy.tls.get(endpoint.host)
    return describe(
      renderEndpoint({ ...endpoint, path: endpoint.path || '/v2' }),
      tls?.caFile ?? '',
      tls?.skipVerify === true,
      tls?.client !== undefined,
    )
  })
  return [...new Set(asked)]
}

function ours(registry: Registry, { anchors: all }: DesiredState): readonly string[] {
  const caOf = (names: readonly string[]) =>
    names
      .flatMap((name) => all.find((one) => one.name === name)?.certificates ?? [])
      .map(({ fingerprint }) => AUTHORITIES.get(fingerprint))
      .join()
  const { host, anchors, mirrors = [], noFallback, skipVerify, plainHttp, clientCertificate } = registry
  const asked = mirrors.map(({ url, anchors: names, overridePath }) =>
    describe(overridePath ? url : `${url}/v2`, caOf(names), false, false),
  )
  if (noFallback === true || host === '*') return asked
  const own = `${plainHttp === true ? 'http' : 'https'}://${host === 'docker.io' ? 'registry-1.docker.io' : host}/v2`
  return [...asked, describe(own, caOf(anchors), skipVerify === true, clientCertificate !== undefined)]
}

/** What is wrong with a refusal: it names nothing of the file, or another place. */
function misplaced(message: string, toml: string): string | undefined {
  if (/declares no registry/.test(message)) return undefined
  const match = /config\.toml:(\d+):(\d+): registry((?:\.(?:[\w-]+|"(?:[^"\\]|\\.)*")|\[\d+\])*) /.exec(message)
  if (match === null) return `no place and key: ${message}`
  const there = toml.split('\n')[Number(match[1]) - 1]?.slice(Number(match[2]) - 1) ?? ''
  if (match[3]?.endsWith(']') === true) return undefined
  // The key itself, its last part in quotes or not, or the header that it is in.
  const last = /"(?:[^"\\]|\\.)*"$|[\w-]+$/.exec(match[3] ?? '')?.[0] ?? ''
  const bare = last.replaceAll('"', '')
  const isThere = ['', '"', 'mirrors.', 'configs.'].some((before) => there.startsWith(`${before}${bare}`))
  return isThere || /^(\[|mirrors|configs)/.test(there) ? undefined : `not at its place: ${message}`
}

t.test('what containerd would ask is declared, or refused by name and place', async (t) => {
  const folder = t.testdir()
  const pair = clientPair(folder)
  const cas = { 'a.pem': caA.pem, 'b.pem': caB.pem, 'c.pem': pair.certificate, 'c.key': pair.key }
  const differences: string[] = []
  let used = 0
  const configs = containerdConfigs(COUNT, SEED)
  for (const config of configs) {
    const { toml } = config
    const differ = (what: string) => differences.push(`${what}\n${toml}`)
    const files = { ...cas, 'trust.yaml': POLICY, 'config.toml': toml }
    const result = await loadFiles(folder, files, ['trust.yaml', 'config.toml'])
    const problems = result.ok ? result.refused : result.problems
    for (const message of told(problems, folder)) {
      const wrong = misplaced(message, toml)
      if (wrong !== undefined) differ(wrong)
      if (message.includes('hunter2')) differ('a password in a message')
    }
    if (!result.ok || problems.length > 0) continue
    used += 1
    const desired = desiredOf(result)
    const declared = [...desired.registries, ...(desired.wildcard === undefined ? [] : [desired.wildcard])]
    for (const registry of declared) {
      const [mine, asked] = [ours(registry, desired).join('; '), theirs(registry.host, config).join('; ')]
      if (mine !== asked) differ(`${registry.host}: ${mine}, containerd: ${asked}`)
    }
    for (const [, host] of toml.matchAll(/mirrors\."([^"]+)"/g))
      if (!declared.some((one) => one.host === host)) differ(`not declared: ${host}`)
  }
  t.same(differences.slice(0, 5), [])
  t.ok(used > configs.length / 4 && used < (configs.length * 7) / 8, `${used} of ${configs.length} are used`)
  t.comment(`${used} of ${configs.length} files are used (seed ${SEED})`)
})
