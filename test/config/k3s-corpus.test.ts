// registries.yaml as input beside k3s itself: for generated files, either the agent declares what k3s would ask, in its
// order and with its certificates, or each thing that it does not do is refused by its name and place in the file. The
// answers of k3s are recorded in golden/k3s-hosts.jsonl. A program with the functions of k3s, which reads a JSON list of
// files and prints their answers, can be asked about more: REGISTRY_TRUST_K3S_ORACLE=PROGRAM REGISTRY_TRUST_K3S_FILES=5000.
// 5,000 files were compared once, without a difference.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { DesiredState, Mirror, Registry } from '../../agent/model/desired-state.ts'
import { desiredOf, loadFiles, told } from '../fixtures/config/fixture.ts'
import { type AskedByK3s, type K3sAnswer, k3sFiles } from '../fixtures/config/k3s-corpus.ts'
import { clientPair } from '../fixtures/pki/client-pair.ts'
import { makeCa } from '../fixtures/scratch/sample.ts'

const PROGRAM = process.env['REGISTRY_TRUST_K3S_ORACLE']
const COUNT = Number(process.env['REGISTRY_TRUST_K3S_FILES'] ?? 5_000)
const SEED = Number(process.env['REGISTRY_TRUST_SEED'] ?? 7)
t.setTimeout(60_000 + COUNT * 50)

const [caA, caB] = [makeCa('A'), makeCa('B')]
const AUTHORITIES: ReadonlyMap<string, string> = new Map([
  [caA.fingerprint, 'a.pem'],
  [caB.fingerprint, 'b.pem'],
])

function answers(): readonly K3sAnswer[] {
  if (PROGRAM === undefined) {
    const lines = readFileSync(join(import.meta.dirname, 'golden/k3s-hosts.jsonl'), 'utf8')
      .trim()
      .split('\n')
    return lines.map((line) => JSON.parse(line) as K3sAnswer)
  }
  const input = JSON.stringify(k3sFiles(COUNT, SEED))
  return JSON.parse(execFileSync(PROGRAM, { input, encoding: 'utf8', maxBuffer: 2 ** 28 })) as readonly K3sAnswer[]
}

/** One address with all that is said of it, the same for both sides. */
type Asked = string

function describe(url: string, ca: string, isUnverified: boolean, hasClient: boolean): Asked {
  return [url, ca, ...(isUnverified ? ['unverified'] : []), ...(hasClient ? ['client'] : [])].join(' ')
}

/** Our word for what k3s does: a rewrite that puts a path before every name is a path of the address. */
function ofK3s({ url, override = false, tls, rewrite = {} }: AskedByK3s): Asked {
  const base = override ? url.replace(/\/+$/, '') : url
  const [, replacement] = Object.entries(rewrite)[0] ?? []
  const full = replacement === undefined ? base : `${base}/${replacement.replace(/\/\$(1|\{1\})$/, '')}`
  return describe(full, tls?.CAFile ?? '', tls?.InsecureSkipVerify ?? false, (tls?.CertFile ?? '') !== '')
}

function ours(registry: Registry, { anchors: all }: DesiredState): readonly Asked[] {
  const caOf = (names: readonly string[]) =>
    names
      .flatMap((name) => all.find((one) => one.name === name)?.certificates ?? [])
      .map(({ fingerprint }) => AUTHORITIES.get(fingerprint))
      .join()
  const { host, anchors, mirrors = [], noFallback, skipVerify, clientCertificate } = registry
  const asked = mirrors.map(({ url, anchors: names, overridePath }: Mirror) =>
    describe(overridePath ? url : `${url}/v2`, caOf(names), false, false),
  )
  if (noFallback === true) return asked
  const own = host === '*' ? '' : `https://${host === 'docker.io' ? 'registry-1.docker.io' : host}/v2`
  return [...asked, describe(own, caOf(anchors), skipVerify === true, clientCertificate !== undefined)]
}

/** What is wrong with a refusal: it names nothing of the file, or another place. */
function misplaced(message: string, yaml: string): string | undefined {
  if (message.includes('appears twice in the same map')) return undefined
  const match = /registries\.yaml:(\d+):(\d+): ([a-z]+)((?:\["(?:[^"\\]|\\.)*"\]|\[\d+\]|\.[^ .]+)*) /.exec(message)
  if (match === null) return `no place and key: ${message}`
  const [, line = '', column = '', section = '', path = ''] = match
  const last = /(?:\["((?:[^"\\]|\\.)*)"\]|\[\d+\]|\.([^ .[]+))$/.exec(path)
  const there = yaml.split('\n')[Number(line) - 1]?.slice(Number(column) - 1) ?? ''
  if (/\[\d+\]$/.test(path)) return undefined
  const key = last === null ? section : (last[1] ?? last[2] ?? '')
  return there.startsWith(key) || there.startsWith(`"${key}"`) ? undefined : `not at its place: ${message}`
}

const answered = answers()

t.test('what k3s would ask is declared, or refused by name and place', async (t) => {
  const folder = t.testdir()
  const pair = clientPair(folder)
  const files = { 'a.pem': caA.pem, 'b.pem': caB.pem, 'c.pem': pair.certificate, 'c.key': pair.key }
  const differences: string[] = []
  let used = 0
  for (const { yaml, error, asked = {} } of answered) {
    const differ = (what: string) => differences.push(`${what}\n${yaml}`)
    const result = await loadFiles(folder, { ...files, 'registries.yaml': yaml }, ['registries.yaml'])
    if (!result.ok) {
      for (const message of told(result.problems, folder)) {
        const wrong = misplaced(message, yaml)
        if (wrong !== undefined) differ(wrong)
      }
      continue
    }
    used += 1
    if (error === true) differ('used, although k3s does not start with it')
    const desired = desiredOf(result)
    for (const registry of desired.registries) {
      const { server, hosts = [] } = asked[registry.host === '*' ? '_default' : registry.host] ?? {}
      const theirs = [...hosts, ...(server === undefined ? [] : [server])].map(ofK3s)
      const mine = ours(registry, desired)
      if (mine.join('; ') !== theirs.join('; '))
        differ(`${registry.host}: ${mine.join('; ')}, k3s: ${theirs.join('; ')}`)
    }
    const missing = Object.keys(asked).filter(
      (host) => !desired.registries.some((one) => one.host === (host === '_default' ? '*' : host)),
    )
    if (missing.length > 0) differ(`not declared: ${missing.join()}`)
  }
  t.same(differences.slice(0, 5), [])
  t.ok(used > answered.length / 4 && used < (answered.length * 7) / 8, `${used} of ${answered.length} are used`)
})
