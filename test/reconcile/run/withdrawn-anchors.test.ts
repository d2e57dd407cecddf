// What a commit takes out of the system store is remembered as long as a containerd may trust it; the real thing is in
// test/e2e/advisories.test.ts.
import t from 'tap'
import type { DesiredState } from '../../../agent/model/desired-state.ts'
import type { ContainerdFacts } from '../../../agent/model/observed-state.ts'
import { type AgentState, EMPTY_STATE } from '../../../agent/model/state.ts'
import { rememberSystemAnchors, stillTrusted } from '../../../agent/reconcile/run/judgements/withdrawn-anchors.ts'

const NOW = Date.parse('2026-11-21T10:00:00Z')
const owner = (subject: string) =>
  ({ kind: 'whole', target: 'system-trust', subject, sha256: '', before: { kind: 'absent' } }) as const

function committed(before: AgentState, anchors: { readonly [name: string]: readonly string[] }, at = NOW): AgentState {
  const owned = Object.fromEntries(Object.keys(anchors).map((name) => [`/etc/ssl/certs/${name}.pem`, owner(name)]))
  const desired = {
    anchors: Object.entries(anchors).map(([name, fingerprints]) => ({
      name,
      certificates: fingerprints.map((fingerprint) => ({ fingerprint })),
    })),
  } as unknown as DesiredState
  return rememberSystemAnchors({ ...before, owned }, before, desired, at)
}

t.test('a rotation withdraws the certificate that went, not the one that stayed under the same name', async (t) => {
  const first = committed(EMPTY_STATE, { corp: ['a'] })
  t.same(first.withdrawn, undefined)
  const overlap = committed(first, { corp: ['a', 'b'] })
  t.same(overlap.withdrawn, undefined)
  const done = committed(overlap, { corp: ['b'] })
  t.same(done.withdrawn, [{ anchor: 'corp', fingerprint: 'a', at: '2026-11-21T10:00:00.000Z' }])
  t.same(committed(done, { corp: ['b', 'a'] }).withdrawn, undefined, 'and it may come back')
})

t.test('an anchor that cannot be read for a while withdraws nothing', async (t) => {
  const broken = committed(committed(EMPTY_STATE, { corp: ['a'] }), { corp: [] })
  t.same([broken.withdrawn, broken.systemAnchors], [undefined, [{ anchor: 'corp', fingerprint: 'a' }]])
})

t.test('only a containerd that started before goes on trusting it', async (t) => {
  const state = committed(committed(EMPTY_STATE, { corp: ['a'] }), {})
  const facts = (startedAt?: number) => ({ startedAt }) as ContainerdFacts
  t.equal(stillTrusted(state, facts(NOW - 1)).length, 1)
  t.equal(stillTrusted(state, facts(NOW + 1)).length, 0)
  t.equal(stillTrusted(state, facts()).length, 0, 'nothing is claimed where the start is not known')
})

t.test('what is remembered is bounded', async (t) => {
  let state: AgentState = EMPTY_STATE
  for (let round = 0; round < 120; round += 1) state = committed(state, { corp: [String(round)] }, NOW + round)
  t.equal(state.withdrawn?.length, 50)
  t.equal(state.withdrawn?.at(-1)?.fingerprint, '118')
})
