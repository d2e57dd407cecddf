// One verdict for the command line, the page and the metrics: what no two of them may tell differently.
import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { finding } from '../../agent/model/finding.ts'
import { DRIFT_KINDS, type DriftKind } from '../../agent/model/plan.ts'
import { NODE_STATES, type NodeStatus, REGISTRY_STATES, type RegistryState } from '../../agent/model/status.ts'
import { isTrustedLive, verdictOf } from '../../agent/model/verdict.ts'
import { SAMPLE } from '../fixtures/http/sample-status.ts'

function status(changes: Partial<NodeStatus>): NodeStatus {
  return { ...SAMPLE, state: 'converged', registries: [], drift: [], problems: [], ...changes }
}

function registry(state: RegistryState): NodeStatus['registries'][number] {
  return {
    host: 'reg.example.net',
    state,
    since: null,
    finding: finding('trusted', 'as it should be'),
    lastProof: null,
  }
}

function drift(kind: DriftKind): NodeStatus['drift'] {
  return [{ target: 'containerd-hosts', path: '/etc/containerd/certs.d/x', kind, reason: 'its content differs' }]
}

const well = { registries: [registry('trusted')] }

t.test('audit mode that is otherwise well is healthy, and a difference in it is not', async (t) => {
  t.match(verdictOf(status({ ...well, state: 'audit' })), { isHealthy: true, exitCode: 0, tone: 'ok' })
  t.match(verdictOf(status({ ...well, state: 'audit', drift: drift('changed') })), { isHealthy: false, exitCode: 3 })
  t.match(verdictOf(status({ ...well, state: 'audit', drift: drift('os-bundle-newer') })), {
    isHealthy: true,
    tone: 'warn',
  })
  t.match(verdictOf(status({ registries: [registry('unproved')], state: 'audit' })), { isHealthy: false, tone: 'warn' })
})

t.test('in every state the colour and the exit code agree', async (t) => {
  const problems = [[], [{ code: 'FILE_FOREIGN', message: 'x', remedy: 'y' } as const]]
  const seen = { ok: 0, warn: 0, bad: 0 }
  for (const state of NODE_STATES)
    for (const one of REGISTRY_STATES)
      for (const found of problems)
        for (const kind of [undefined, ...DRIFT_KINDS]) {
          const given = { state, registries: [registry(one)], problems: found, drift: kind ? drift(kind) : [] }
          const verdict = verdictOf(status(given))
          const name = JSON.stringify([state, one, found.length, kind])
          seen[verdict.tone] += 1
          if (verdict.tone === 'ok') t.ok(verdict.isHealthy, `green and not healthy: ${name}`)
          if (verdict.tone === 'bad') t.notOk(verdict.isHealthy, `red and healthy: ${name}`)
          if (verdict.exitCode !== (verdict.isHealthy ? 0 : 3)) t.fail(`exit code: ${name}`)
        }
  t.ok(seen.ok > 0 && seen.warn > 0 && seen.bad > 0, 'each colour was seen')
})

t.test('a refused login is untrusted for a person, and trusted TLS for the metrics', async (t) => {
  const lastProof = { level: 'manifest', by: 'live', at: '2030-01-01T00:00:00Z', durationMs: 1 } as const
  const refused = { ...registry('untrusted'), finding: finding('login-refused', 'refused'), lastProof }
  t.ok(isTrustedLive(refused))
  t.notOk(isTrustedLive({ ...refused, lastProof: { ...lastProof, by: 'rehearsal' } }))
  t.notOk(isTrustedLive({ ...refused, finding: finding('unknown-authority', 'unknown') }))
})

t.test('no other file gives states a colour or an order', async (t) => {
  const root = new URL('../../agent/', import.meta.url).pathname
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
  const colours = files.filter((file) =>
    /'?(converged|rehearsed)'?: '(ok|green|warn|yellow)'/.test(readFileSync(`${root}${file}`, 'utf8')),
  )
  t.same(colours, ['model/verdict.ts'])
  const orders = files.filter((file) => /\['untrusted', 'unproved'/.test(readFileSync(`${root}${file}`, 'utf8')))
  t.same(orders, ['model/verdict.ts'])
})
