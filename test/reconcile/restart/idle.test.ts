// The quiet window: what counts as in flight, and how long is waited for it. The real pull is in
// test/e2e/quiet.test.ts.
import t from 'tap'
import { AgentError } from '../../../agent/model/errors.ts'
import type { Clock, CriClient, RuntimeActivity } from '../../../agent/model/ports.ts'
import { awaitQuiet, inFlight } from '../../../agent/reconcile/restart/idle.ts'

const NOW = Date.parse('2026-11-21T10:00:00Z')
const ago = (seconds: number) => new Date(NOW - seconds * 1000).toISOString()
const download = (startedAgo: number, updatedAgo: number) => ({
  startedAt: ago(startedAgo),
  updatedAt: ago(updatedAgo),
})
const created = (seconds: number) => ({ id: 'c', state: 'CREATED', createdAt: ago(seconds) })

t.test('what is in flight', async (t) => {
  const cases: readonly [string, RuntimeActivity, string | undefined][] = [
    ['nothing', { downloads: [], created: [] }, undefined],
    ['a download that moves', { downloads: [download(60, 3)], created: [] }, 'image pulls are in flight (1 download)'],
    ['two', { downloads: [download(1, 1), download(2, 2)], created: [] }, 'image pulls are in flight (2 downloads)'],
    ['what a killed pull left behind', { downloads: [download(60, 31)], created: [] }, undefined],
    ['a download without end', { downloads: [download(601, 0)], created: [] }, undefined],
    [
      'a container between two calls',
      { downloads: [], created: [created(5)] },
      '1 container created and not started yet',
    ],
    ['a container that was forgotten', { downloads: [], created: [created(121)] }, undefined],
    [
      'both',
      { downloads: [download(1, 1)], created: [created(1)] },
      'image pulls are in flight (1 download), 1 container created and not started yet',
    ],
  ]
  for (const [name, activity, expected] of cases) {
    const seen = new Map<string, number>()
    inFlight(activity, { wall: NOW, monotonic: 0 }, seen)
    t.equal(inFlight(activity, { wall: NOW, monotonic: 5_000 }, seen), expected, name)
  }
})

t.test('a wall clock that was set makes neither a moving pull rest nor a resting one move', async (t) => {
  const HOURS = 3_600_000
  for (const step of [-8_766 * HOURS, -2 * HOURS, 2 * HOURS, 8_766 * HOURS]) {
    const pull = (updatedAt: number) => ({
      downloads: [{ startedAt: ago(60), updatedAt: new Date(updatedAt).toISOString() }],
      created: [],
    })
    const moves = scene((ms) => pull(NOW + step + ms), step)
    t.match(
      await awaitQuiet(moves.cri, { clock: moves.clock, patienceMs: step > 0 ? 4_900 : 10_000 }),
      /^image pulls are in flight/,
      `${step / HOURS} h: a pull that moves is not interrupted at once`,
    )
    const rests = scene(() => pull(NOW), step)
    t.equal(await awaitQuiet(rests.cri, { clock: rests.clock, patienceMs: 30_000 }), undefined, `${step / HOURS} h`)
    t.ok(rests.elapsed() < 6_000, `${step / HOURS} h: one that was left behind is not waited for`)
    const making = scene(() => ({ downloads: [], created: [created(1)] }), step)
    t.equal(await awaitQuiet(making.cri, { clock: making.clock, patienceMs: 30_000 }), undefined, `${step / HOURS} h`)
    t.ok(making.elapsed() >= 5_000, `${step / HOURS} h: a container in the making is waited for`)
  }
})

/** A clock that moves when it is slept on, and a runtime that answers by what time it is. */
function scene(answer: (elapsedMs: number) => RuntimeActivity, step = 0) {
  let now = NOW
  let asked = 0
  const clock: Clock = {
    now: () => now + step,
    monotonic: () => now - NOW,
    async sleep(ms, options = {}) {
      options.signal?.throwIfAborted()
      now += ms
    },
  }
  const fail = async () => {
    throw new Error('not asked for')
  }
  const cri: CriClient = {
    version: fail,
    status: fail,
    pullImage: fail,
    imageDigests: fail,
    imageExists: fail,
    imageArchitecture: fail,
    runningContainers: fail,
    containerStart: fail,
    close() {},
    async activity() {
      asked += 1
      return answer(now - NOW)
    },
  }
  return { clock, cri, elapsed: () => now - NOW, asked: () => asked }
}

const BUSY: RuntimeActivity = { downloads: [download(1, 0)], created: [] }
const IDLE: RuntimeActivity = { downloads: [], created: [] }

t.test('a quiet runtime is asked once and not waited for', async (t) => {
  const { clock, cri, elapsed, asked } = scene(() => IDLE)
  t.equal(await awaitQuiet(cri, { clock, patienceMs: 30_000 }), undefined)
  t.equal(elapsed(), 0)
  t.equal(asked(), 1)
})

t.test('a pull that ends within the wait is waited for, over the moments between its layers', async (t) => {
  const { clock, cri, elapsed } = scene((ms) => (ms < 1_000 || ms === 1_200 ? BUSY : IDLE))
  t.equal(await awaitQuiet(cri, { clock, patienceMs: 30_000 }), undefined)
  t.equal(elapsed(), 1_600, 'the moment at 1.0 s was not taken for the end')
})

t.test('a pull that goes on is told, after the whole wait and not much more', async (t) => {
  const { clock, cri, elapsed } = scene((ms) => ({
    downloads: [{ startedAt: ago(5), updatedAt: new Date(NOW + ms).toISOString() }],
    created: [],
  }))
  const reason = await awaitQuiet(cri, { clock, patienceMs: 10_000 })
  t.equal(reason, 'image pulls are in flight (1 download); waited 10 s for it to end')
  t.ok(elapsed() <= 10_000 && elapsed() > 9_500, String(elapsed()))
})

t.test('a download that stops moving meanwhile holds up nothing any more', async (t) => {
  const { clock, cri, elapsed } = scene(() => ({ downloads: [download(25, 20)], created: [] }))
  t.equal(await awaitQuiet(cri, { clock, patienceMs: 30_000 }), undefined)
  t.ok(elapsed() >= 10_000 && elapsed() < 11_000, String(elapsed()))
})

t.test('a runtime that cannot be asked is not restarted', async (t) => {
  const { clock, cri } = scene(() => {
    throw new AgentError('CRI_CALL_FAILED', 'ListStatuses failed')
  })
  t.match(await awaitQuiet(cri, { clock, patienceMs: 1_000 }), /cannot be asked what it is doing: ListStatuses failed/)
})

t.test('a wait that is aborted ends at once', async (t) => {
  const { clock, cri } = scene(() => BUSY)
  await t.rejects(awaitQuiet(cri, { clock, patienceMs: 30_000, signal: AbortSignal.abort(new Error('stop')) }), {
    message: 'stop',
  })
})
