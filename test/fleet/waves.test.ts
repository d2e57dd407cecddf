import t from 'tap'
import type { FleetNode } from '../../agent/fleet/state/record.ts'
import { NEW_MEMORY, NEW_RECORD, type RolloutInput } from '../../agent/fleet/state/record.ts'
import { fleetState } from '../../agent/fleet/state/verdict.ts'
import { soaking } from '../../agent/fleet/state/waves.ts'
import { paceFor } from '../../agent/fleet/steps/polls.ts'
import { stepRollout } from '../../agent/fleet/steps/rollout.ts'
import type { RolloutSettings } from '../../agent/model/fleet.ts'
import type { NodeSummary } from '../../agent/model/summary.ts'

const config = 'c'.repeat(64)
const generation = '0123456789ab'
const settings: RolloutSettings = {
  canary: { kind: 'count', count: 1 },
  maxUnavailable: { kind: 'count', count: 3 },
  soakMs: 30_000,
  haltAfter: 1,
}

function summary(node: string, change: Partial<NodeSummary> = {}): NodeSummary {
  return {
    ...{ node, version: '1', containerd: '2.1', generation, config, state: 'restart-pending', registries: 1 },
    ...{ untrusted: [], untrustedMore: 0, drift: 0, problem: null, runtimeReady: true, uptimeSeconds: 1 },
    ...{ restart: { pending: true, awaitsGrant: true, reason: null, last: null }, grant: null },
    ...change,
  }
}

function node(name: string, change: Partial<FleetNode> = {}, said: Partial<NodeSummary> = {}): FleetNode {
  const flags = { zone: 'z', isControlPlane: false, labels: {}, isReady: true, isCordoned: false, hasAgent: true }
  return { name, ...flags, report: { summary: summary(name, said), askedAtMs: 0 }, ...change }
}

function converged(name: string, grant?: NodeSummary['grant']): FleetNode {
  const restart = { pending: false, awaitsGrant: false, reason: null, last: null }
  return node(name, {}, { state: 'converged', restart, grant: grant ?? null })
}

const proved = { id: 'aaaaaaaa', generation, phase: 'done', ok: true } as const

function step(nodes: readonly FleetNode[], change: Partial<RolloutInput> = {}) {
  let id = 0
  return stepRollout({
    ...{ config, resume: '', nodes, record: { ...NEW_RECORD, config }, memory: NEW_MEMORY, settings, nowMs: 0 },
    newId: () => `${++id}`.padStart(8, '0'),
    ...change,
  })
}
const granted = (result: ReturnType<typeof step>) => Object.keys(result.record.grants)

t.test('one canary goes first; the others follow when it has proved the generation and the soak is over', async (t) => {
  const all = ['a', 'b', 'c', 'd', 'e']
  const first = step(all.map((name) => node(name)))
  t.same(granted(first), ['a'])
  const again = step(
    all.map((name) => node(name)),
    first,
  )
  t.same(granted(again), ['a'], 'nobody else while it is under way')
  const after = [
    converged('a', { ...proved, id: first.record.grants['a']?.id ?? '' }),
    ...all.slice(1).map((name) => node(name)),
  ]
  const begun = step(after, { ...first, nowMs: 10_000 })
  t.same(granted(begun), [], 'soaking')
  t.same(granted(step(after, { ...begun, nowMs: 39_999 })), [])
  t.same(granted(step(after, { ...begun, nowMs: 40_000 })), ['b', 'c', 'd'], 'then as many as may be unavailable')
  const watched = (nowMs: number) => [...soaking({ nodes: after, settings, memory: begun.memory, nowMs })]
  t.same([watched(10_000), watched(39_999), watched(40_000)], [['a'], ['a'], []], 'the canary is watched as long')
})

t.test('a grant whose Pod has gone from a Ready node is a failure, and holds nobody up after resume', async (t) => {
  const one = { ...settings, maxUnavailable: { kind: 'count', count: 1 } } as const
  const first = step([node('a'), node('b')], { settings: one })
  t.same(granted(first), ['a'])
  const gone = node('a', { hasAgent: false })
  const early = step([gone, node('b')], { ...first, settings: one, nowMs: 299_000 })
  t.same(granted(early), ['a'], 'it may come back within five minutes')
  const late = step([gone, node('b')], { ...early, settings: one, nowMs: 301_000 })
  t.match(late, { halted: /one node failed \(a\)/, record: { grants: {} } })
  const asked = { summary: summary('b'), askedAtMs: 301_000 }
  const resumed = step([gone, node('b', { report: asked })], { ...late, settings: one, resume: 'now', nowMs: 302_000 })
  t.same(granted(resumed), ['b'])
  const notReady = node('a', { hasAgent: false, isReady: false })
  t.same(
    granted(step([notReady, node('b')], { ...early, settings: one, nowMs: 301_000 })),
    ['a'],
    'it may be restarting',
  )
})

t.test('nodes that are NotReady or cordoned count as unavailable and are not granted', async (t) => {
  const nodes = [
    converged('a', proved),
    node('b', { isReady: false }),
    node('c', { isCordoned: true }),
    node('d'),
    node('e'),
  ]
  const memory = { ...NEW_MEMORY, canaryOverMs: new Map([[generation, -60_000]]) }
  t.same(granted(step(nodes, { memory })), ['d'])
})

t.test('zones take turns, control-plane nodes come last and one at a time', async (t) => {
  const at = (name: string, zone: string, isControlPlane = false) => node(name, { zone, isControlPlane })
  const memory = { ...NEW_MEMORY, canaryOverMs: new Map([[generation, -60_000]]) }
  const workers = [at('a1', 'a'), at('a2', 'a'), at('a3', 'a'), at('b1', 'b'), at('c1', 'c')]
  const control = [at('m1', 'a', true), at('m2', 'b', true)]
  t.same(granted(step([converged('x', proved), ...control, ...workers], { memory })), ['a1', 'b1', 'c1'])
  const last = step([converged('x', proved), ...control], { memory })
  t.same(granted(last), ['m1'])
  t.same(granted(step([converged('x', proved), ...control], { ...last, memory })), ['m1'])
})

t.test('a canary by labels goes first, all of it; nobody else while one of it still waits', async (t) => {
  const chosen = { ...settings, canary: { kind: 'selector', labels: { canary: 'yes' } } } as const
  const marked = (name: string, change: Partial<FleetNode> = {}) => node(name, { labels: { canary: 'yes' }, ...change })
  t.same(granted(step([node('a'), marked('y'), marked('z')], { settings: chosen })), ['y', 'z'])
  t.same(granted(step([node('a'), marked('y', { isCordoned: true })], { settings: chosen })), [])
})

t.test('a canary by labels that has not taken the change up yet is waited for, unless its node is away', async (t) => {
  const chosen = { ...settings, canary: { kind: 'selector', labels: { canary: 'yes' } } } as const
  const memory = { ...NEW_MEMORY, canaryOverMs: new Map([[generation, -60_000]]) }
  const labels = { canary: 'yes' }
  const others = [node('a'), node('b')]
  const late = node('y', { labels }, { config: 'd'.repeat(64), generation: 'fedcba987654' })
  const silent = node('y', { labels, report: undefined })
  for (const canary of [late, silent]) {
    t.same(granted(step([...others, canary], { settings: chosen, memory })), [])
    const away = step([...others, { ...canary, isReady: false }], { settings: chosen, memory })
    t.same(granted(away), ['a', 'b'], 'a node that is NotReady holds nobody up')
  }
  t.same(granted(step(others, { settings: chosen, memory })), ['a', 'b'], 'labels that no node has')
})

t.test('a canary in percent is of all nodes that have an agent, not of the first that answer', async (t) => {
  const half = { ...settings, canary: { kind: 'percent', percent: 50 } } as const
  const memory = { ...NEW_MEMORY, canaryOverMs: new Map([[generation, -60_000]]) }
  const late = (name: string) => node(name, {}, { config: 'd'.repeat(64), generation: 'fedcba987654' })
  const nodes = [converged('a', proved), node('b'), late('c'), late('d'), late('e'), late('f')]
  t.same(granted(step([...nodes, node('g'), node('h')], { settings: half, memory })), ['b', 'g', 'h'])
  t.same(granted(step([converged('a', proved), node('b'), node('c')], { settings: half, memory })), ['b'])
})

t.test('nothing is granted where nothing may be unavailable, and everything at once where all may', async (t) => {
  const memory = { ...NEW_MEMORY, canaryOverMs: new Map([[generation, -60_000]]) }
  const nodes = [converged('x', proved), ...['a', 'b', 'c', 'd', 'e'].map((name) => node(name))]
  const allowing = (maxUnavailable: RolloutSettings['maxUnavailable']) =>
    granted(step(nodes, { memory, settings: { ...settings, maxUnavailable } }))
  t.same(allowing({ kind: 'count', count: 0 }), [])
  t.same(allowing({ kind: 'percent', percent: 0 }), [])
  t.same(allowing({ kind: 'percent', percent: 100 }), ['a', 'b', 'c', 'd', 'e'])
  t.same(allowing({ kind: 'count', count: 1 }), ['a'])
})

t.test('what is not known to be of this configuration, or is old, is not granted', async (t) => {
  t.same(granted(step([node('a', {}, { config: 'd'.repeat(64) })])), [])
  t.same(granted(step([node('a')], { nowMs: 75_000 })), [])
  t.same(granted(step([node('a')], { config: undefined })), [])
  t.same(granted(step([node('a', { report: undefined })])), [])
})

t.test('the fuse: one failed restart stops the roll-out; resume or a new configuration goes on', async (t) => {
  const first = step([node('a'), node('b')])
  const bad = { id: first.record.grants['a']?.id ?? '', generation, phase: 'done', ok: false } as const
  const restart = { pending: false, awaitsGrant: false, reason: null, last: null }
  const nodes = [node('a', {}, { state: 'rolled-back', restart, grant: bad }), node('b')]
  const halted = step(nodes, first)
  t.same(granted(halted), [])
  t.match(halted, { halted: /one node failed \(a\); fleet.rollout.haltAfter is 1/, newFailures: ['a'] })
  const still = step(nodes, halted)
  t.match(still, { halted: /one node failed/, newFailures: [] })
  t.same(granted(step(nodes, { ...still, resume: '2026-01-01' })), ['b'])
  const other = 'd'.repeat(64)
  const next = [
    node('a', {}, { config: other, generation: 'fedcba987654' }),
    node('b', {}, { config: other, generation: 'fedcba987654' }),
  ]
  t.match(step(next, { ...still, config: other }), { halted: undefined, record: { failed: {}, grants: { a: {} } } })
})

t.test('a node that does not come back blows the fuse once, and its grant stays used', async (t) => {
  const first = step([node('a'), node('b')])
  const silent = [node('a', { isReady: false }), node('b')]
  const later = step(silent, { ...first, nowMs: 300_001 })
  t.match(later, { halted: /one node failed/, record: { grants: { a: { isOverdue: true } } } })
  const resumed = step(
    silent.map((one) => ({ ...one, report: { summary: summary(one.name), askedAtMs: 400_000 } })),
    {
      ...later,
      ...{ resume: 'r', nowMs: 400_000 },
    },
  )
  t.equal(resumed.halted, undefined)
  t.ok(granted(resumed).includes('a'))
})

t.test(
  'a node that says in the middle of its restart that there is no containerd is asked again at once',
  async (t) => {
    const away = summary('a', { state: 'no-containerd', problem: 'CRI_UNREACHABLE', runtimeReady: false })
    const facts = { node: 'a', summary: away, isUnreachable: false, isCurrent: true, isGranted: true }
    t.equal(fleetState(facts), 'restarting')
    t.equal(fleetState({ ...facts, isGranted: false }), 'no-containerd')
    t.equal(fleetState({ ...facts, isOverdue: true }), 'no-containerd', 'it did not come back in time')
    const pace = (isGranted: boolean) =>
      paceFor({ facts: { isGranted, isCurrent: true }, state: 'no-containerd' }, () => false)
    t.equal(pace(true), 'fast', 'all others wait for it')
    t.equal(pace(false), 'slow')
  },
)

t.test('a node that should have taken a change up is asked every second, whatever the last one left', async (t) => {
  for (const state of ['rolled-back', 'rollback-failed', 'failed', 'no-containerd', 'audit', 'converged'] as const) {
    const facts = { node: 'a', summary: summary('a', { state }), isUnreachable: false, isGranted: false }
    const pace = (isCurrent: boolean, isExpected: boolean) => {
      const now = { ...facts, isCurrent }
      return paceFor({ facts: now, state: fleetState(now) }, () => isExpected)
    }
    t.equal(pace(false, true), 'fast', state)
    t.equal(pace(false, false), 'slow', `${state}, and its kubelet has not mounted the change yet`)
    t.equal(pace(true, true), 'slow', `${state}, and it has answered for it`)
  }
})
