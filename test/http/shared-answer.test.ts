import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { SharedAnswer } from '../../agent/http/shared-answer.ts'

/** Making takes as long as `costs` says, and is counted. */
function subject(costs: { ms: number }) {
  const clock = { at: 0, now: () => clock.at }
  const made = { times: 0 }
  const shared = new SharedAnswer(async () => {
    made.times += 1
    const answer = made.times
    await turn()
    clock.at += costs.ms
    return answer
  }, clock)
  return { shared, made }
}

t.test('what is made fast is made for each who asks', async (t) => {
  const { shared, made } = subject({ ms: 49 })
  t.equal(await shared.get(), 1)
  t.equal(await shared.get(), 2)
  t.equal(made.times, 2)
})

t.test('all who ask while it is being made get the same', async (t) => {
  const { shared, made } = subject({ ms: 1 })
  t.same(await Promise.all([shared.get(), shared.get(), shared.get()]), [1, 1, 1])
  t.equal(made.times, 1)
})

t.test('what takes long is kept nine times as long as it took, ten seconds at most', async (t) => {
  for (const { ms, keptMs } of [
    { ms: 50, keptMs: 450 },
    { ms: 400, keptMs: 3_600 },
    { ms: 5_000, keptMs: 10_000 },
  ]) {
    const timers = t.capture(globalThis, 'setTimeout', () => ({ unref: () => undefined }))
    const { shared, made } = subject({ ms })
    await shared.get()
    const [call] = timers()
    t.equal(call?.args[1], keptMs, `made in ${ms} ms`)
    t.equal(await shared.get(), 1)
    const [lapse] = (call?.args ?? []) as unknown as [() => void]
    lapse()
    t.equal(await shared.get(), 2)
    t.equal(made.times, 2)
    timers.restore()
  }
})

t.test('after a command nobody gets what was made before it, or is being made', async (t) => {
  const { shared } = subject({ ms: 400 })
  await shared.get()
  shared.forget()
  const coming = shared.get()
  shared.forget()
  t.equal(await shared.get(), 3)
  t.equal(await coming, 2)
  t.equal(await shared.get(), 3, 'the one that came later is kept')
  shared.forget()
})

t.test('a failure is told to all who wait for it, and the next who asks tries again', async (t) => {
  let fails = true
  const shared = new SharedAnswer(async () => {
    if (fails) throw new Error('not now')
    return 'fine'
  })
  const asked = [shared.get(), shared.get()]
  for (const one of asked) await t.rejects(one, { message: 'not now' })
  fails = false
  t.equal(await shared.get(), 'fine')
})
