// The agent's verification against the one that counts: each chain of the corpus is served by a real TLS server, and
// containerd's words about it must name the same fault that verifyChain finds. REGISTRY_TRUST_FULL=1 takes the whole
// corpus on every generation.
import t, { type Test } from 'tap'
import { readChainCertificate } from '../../../agent/pki/certificate/chain-certificate.ts'
import { verifyChain } from '../../../agent/pki/chain/verify.ts'
import type { Generation } from '../../fixtures/node/generations.ts'
import { eachGeneration, newestGeneration, sandboxNode } from '../../fixtures/node/node-tests.ts'
import { defaultConfig, withConfigPath } from '../../fixtures/node/sandbox-node.ts'
import { type CorpusChain, chainCorpus } from '../../fixtures/pki/chain-corpus.ts'
import { startSniServer } from '../../fixtures/probe/sni-servers.ts'

const IS_FULL = process.env['REGISTRY_TRUST_FULL'] === '1'
const SEED = Number(process.env['REGISTRY_TRUST_SEED'] ?? '20261121')
const corpus = chainCorpus(IS_FULL ? 600 : 150, SEED)
const AT_ONCE = 12

const title = `${corpus.length} chains are judged as containerd judges them`
if (IS_FULL) eachGeneration(t, title, compareAll)
else newestGeneration(t, title, compareAll)

async function compareAll(t: Test, generation: Generation): Promise<void> {
  const node = await sandboxNode(t, {
    generation,
    config: withConfigPath(defaultConfig(generation)),
    startContainerd: false,
  })
  await startSniServer(
    node,
    corpus.map(({ host, chainPem, keyPem }) => ({ name: host, chain: chainPem, key: keyPem })),
  )
  await node.run([process.execPath, '-e', WRITE_HOSTS], {
    input: JSON.stringify(corpus.map(({ host, rootsPem }) => ({ host, rootsPem }))),
  })
  await node.startContainerd()
  const waiting = [...corpus]
  const verdicts = new Map<string, number>()
  const worker = async () => {
    for (let chain = waiting.shift(); chain !== undefined; chain = waiting.shift()) {
      const pulled = await node.pull(`${chain.host}/corpus/probe:does-not-exist`)
      const said = pulled.ok ? 'pulled' : pulled.message
      const theirs = kindOf(said)
      const ours = ourKind(chain)
      const known = isKnownDifference(ours, theirs)
      if (known) t.comment(`${chain.host}: name constraints come last there: ${theirs} (${chain.story.join('; ')})`)
      else
        t.equal(ours, theirs, `${chain.host}: ${chain.story.join('; ') || 'nothing wrong'}`, {
          said,
          story: chain.story,
        })
      verdicts.set(theirs, (verdicts.get(theirs) ?? 0) + 1)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
  t.ok(verdicts.size >= 8, `the corpus shows many kinds of faults: ${JSON.stringify(Object.fromEntries(verdicts))}`)
  t.ok((verdicts.get('trusted') ?? 0) > corpus.length / 10, 'and enough chains that are fine')
}

/**
 * The one disagreement: newer Go (containerd 2.1 as tested) looks at name constraints after everything else, so of two
 * faults it names the
 * other one. Both refuse the chain.
 */
function isKnownDifference(ours: string, theirs: string): boolean {
  return ours !== theirs && [ours, theirs].includes('name-constraint') && ![ours, theirs].includes('trusted')
}

/** Written by one process on the node: a thousand files, one program each, would take longer than the test. */
const WRITE_HOSTS = `
const { mkdirSync, writeFileSync, readFileSync } = require('node:fs')
for (const { host, rootsPem } of JSON.parse(readFileSync(0, 'utf8'))) {
  const folder = '/etc/containerd/certs.d/' + host
  mkdirSync(folder, { recursive: true })
  writeFileSync(folder + '/ca.crt', rootsPem)
  writeFileSync(folder + '/hosts.toml', 'server = "https://' + host + '"\\nca = "ca.crt"\\n[host]\\n')
}`

function ourKind({ served, roots, host }: CorpusChain): string {
  const [leaf, ...intermediates] = served.map(readChainCertificate)
  const parsed = [leaf, ...intermediates].flatMap((one) => (one?.ok ? [one.certificate] : []))
  const [first, ...rest] = parsed
  if (first === undefined || parsed.length !== served.length) return 'unreadable'
  const trusted = roots.map(readChainCertificate).flatMap((one) => (one.ok ? [one.certificate] : []))
  const verdict = verifyChain({ leaf: first, intermediates: rest, roots: trusted, host, now: Date.now() })
  return verdict.ok ? 'trusted' : verdict.failure.kind
}

const KINDS: readonly (readonly [RegExp, string])[] = [
  [/: not found$/, 'trusted'],
  [/failed to parse certificate/, 'unreadable'],
  [/expired or is not yet valid: .* is after/, 'expired'],
  [/expired or is not yet valid: .* is before/, 'not-yet-valid'],
  [/certificate is valid for|not valid for any names|legacy Common Name|any IP SANs/, 'host'],
  [/unhandled critical extension/, 'unhandled-critical'],
  [/not authorized to sign other certificates/, 'not-a-ca'],
  [/too many intermediates/, 'path-too-long'],
  [/not authorized to sign for this name/, 'name-constraint'],
  [/incompatible key usage/, 'key-usage'],
  [/signed by unknown authority/, 'unknown-authority'],
  [/signature check attempts limit/, 'too-much-work'],
]

function kindOf(said: string): string {
  return KINDS.find(([pattern]) => pattern.test(said))?.[1] ?? said
}
