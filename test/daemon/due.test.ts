// When what is due, from what is remembered and a time: the rules that a fast clock can show without a node.
import t from 'tap'
import {
  AT_ONCE,
  freshProofs,
  isNewInput,
  isProofDue,
  proofDueAt,
  resyncAfter,
  waitMs,
} from '../../agent/daemon/due.ts'
import { type Memory, NOTHING_REMEMBERED, type RegistryMemory, statusOf } from '../../agent/daemon/history.ts'
import { type FindingCode, finding } from '../../agent/model/finding.ts'
import type { Run } from '../../agent/model/run.ts'
import { EMPTY_STATE } from '../../agent/model/state.ts'
import { desired, registry } from '../fixtures/scratch/sample.ts'

const HOST = 'harbor.example.net'
const EVERY_MS = 600_000
const wanted = desired({ registries: [registry(HOST)] })
const RUN = { outcome: 'unchanged', state: EMPTY_STATE, problems: [], proofs: [], applied: [], restarts: [] } as const
const LOOKED = { ...RUN, facts: { socket: '/run/containerd/containerd.sock' } } as unknown as Run

function known(code: FindingCode, failures: number, provedAt = 1_000): RegistryMemory {
  const lastProof = { level: 'manifest', by: 'live', at: '2030-01-01T00:00:00Z', durationMs: 1 } as const
  return { state: 'trusted', since: lastProof.at, finding: finding(code, code), lastProof, provedAt, failures }
}

function memory(one: RegistryMemory | undefined, changes: Partial<Memory> = {}): Memory {
  const registries = new Map(one === undefined ? [] : [[HOST, one]])
  return { ...NOTHING_REMEMBERED, desired: wanted, run: LOOKED, registries, ...changes }
}

t.test('a trusted registry is proved as often as declared, one that is not sooner and ever later', async (t) => {
  t.equal(proofDueAt(memory(known('trusted', 0)), wanted, HOST), 1_000 + EVERY_MS)
  const waits = [1, 2, 3, 4, 20].map((failures) =>
    proofDueAt(memory(known('unknown-authority', failures)), wanted, HOST),
  )
  t.same(
    waits.map((at) => at - 1_000),
    [5_000, 10_000, 20_000, 40_000, EVERY_MS],
  )
})

t.test('a registry that was never proved is due at once, and not before there is a containerd to ask', async (t) => {
  t.equal(proofDueAt(memory(undefined), wanted, HOST), 0)
  t.equal(proofDueAt(memory(undefined, { run: undefined }), wanted, HOST), Number.POSITIVE_INFINITY)
})

t.test('a run proves what is due, what was asked for, and a login that may have changed', async (t) => {
  const at = (now: number, one: RegistryMemory, asked: readonly string[] = [], changes: Partial<Memory> = {}) =>
    isProofDue(HOST, memory(one, changes), { desired: wanted, asked: new Set(asked), now })
  t.notOk(at(2_000, known('trusted', 0)))
  t.ok(at(1_000 + EVERY_MS, known('trusted', 0)))
  t.ok(at(2_000, known('trusted', 0), [HOST]))
  t.ok(at(2_000, known('trusted', 0), [], { run: { ...LOOKED, restartPending: 'it waits' } }))
  t.notOk(at(2_999, known('login-refused', 20)))
  t.ok(at(3_000, known('login-refused', 20)))
})

t.test(
  'containerd that does not answer is asked again soon, each time later, and as declared once it does',
  async (t) => {
    const pauses: number[] = []
    let resync = AT_ONCE
    for (let now = 0; pauses.length < 7; now = resync.at) {
      resync = resyncAfter({ outcome: 'no-containerd' }, EVERY_MS, now, resync)
      pauses.push(resync.at - now)
    }
    t.same(pauses, [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000])
    t.same(resyncAfter({ outcome: 'applied' }, EVERY_MS, 10, resync), { at: 10 + EVERY_MS, retryMs: 250 })
    t.same(resyncAfter({ outcome: 'failed' }, EVERY_MS, 10, resync), { at: 5_010, retryMs: 250 })
  },
)

t.test('a restart that has to wait a known time is tried again when that is over', async (t) => {
  const after = (restartWaitMs: number) => resyncAfter({ outcome: 'deferred', restartWaitMs }, EVERY_MS, 10, AT_ONCE).at
  t.equal(after(60_000), 60_010)
  t.equal(after(2 * EVERY_MS), 10 + EVERY_MS)
})

t.test('the loop sleeps until the first thing that is due, and never a negative or endless time', async (t) => {
  t.equal(waitMs(memory(known('trusted', 0)), 5_000, 2_000), 3_000)
  t.equal(waitMs(memory(known('trusted', 0)), 10 ** 12, 2_000), EVERY_MS - 1_000)
  t.equal(waitMs(memory(known('trusted', 0)), 1_000, 2_000), 0)
  t.equal(waitMs(memory(undefined, { run: undefined }), Number.POSITIVE_INFINITY, 0), 2 ** 31 - 1)
  t.equal(waitMs(memory(undefined, { desired: undefined }), 0, 0), 5_000)
})

t.test('a proof of the running containerd stands for what was before as long as it is fresh', async (t) => {
  const fresh = (one: RegistryMemory, now: number) => [...freshProofs(memory(one), wanted, now).keys()]
  t.same(fresh(known('trusted', 0), 1_000 + EVERY_MS), [HOST])
  t.same(fresh(known('trusted', 0), 1_001 + EVERY_MS), [])
  const rehearsed = known('trusted', 0)
  t.same(fresh({ ...rehearsed, lastProof: { ...rehearsed.lastProof, by: 'rehearsal' } }, 2_000), [])
})

t.test('the input is new until a run has planned for its generation', async (t) => {
  const planned = (generation: string) => ({ ...LOOKED, planned: { plan: { generation } } }) as unknown as Run
  t.ok(isNewInput(memory(undefined, { run: undefined })))
  t.ok(isNewInput(memory(undefined, { run: planned('older') })))
  t.notOk(isNewInput(memory(undefined, { run: planned(wanted.generation) })))
  t.notOk(isNewInput(memory(undefined, { desired: undefined, run: undefined })))
})

t.test('a node that nobody looks at when a look is due is told, with what the look waits for', async (t) => {
  const waiting = { ...RUN, restartPending: 'less than a minute ago', restartWaitMs: 60_000 }
  const at = (seconds: number, run: Run | undefined) =>
    statusOf(
      memory(undefined, { run, seenAt: run === undefined ? undefined : 0 }),
      EMPTY_STATE,
      { node: 'n', version: '0' },
      [],
      seconds * 1000,
      { since: 0, waits: ['store.save for 50 s'] },
    )
  t.match(at(119, waiting), { state: 'restart-pending', problems: [] })
  const message = 'the node was last looked at 121 s ago; the look under way waits for store.save for 50 s'
  t.match(at(121, waiting), { state: 'restart-pending', problems: [{ code: 'RECONCILE_OVERDUE', message }] })
  t.match(at(59, undefined), { problems: [] })
  t.match(at(61, undefined), { problems: [{ message: /^the first look at the node began 61 s ago; .* store\.save/ }] })
  const resync = wanted.drift.resyncMs / 1000
  t.match(at(resync + 59, RUN), { problems: [] })
  t.match(at(resync + 61, RUN), { state: 'failed', problems: [{ code: 'RECONCILE_OVERDUE' }] })
})
