import { mock } from 'node:test'
import t from 'tap'
import { coalesce } from '../../../agent/node/watch/coalesce.ts'

/** Pokes, and the milliseconds after which a call was told. */
function arrange(test: { teardown(work: () => unknown): unknown }) {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 0 })
  test.teardown(() => mock.timers.reset())
  const calls: number[] = []
  const { poke, cancel } = coalesce(() => calls.push(Date.now()))
  const pass = (ms: number) => {
    for (let each = 0; each < ms; each++) mock.timers.tick(1)
  }
  return { calls, poke, cancel, pass }
}

t.test('one event is one call, once it has been quiet', async (t) => {
  const { calls, poke, pass } = arrange(t)
  poke()
  pass(19)
  t.same(calls, [])
  pass(1_000)
  t.same(calls, [20])
})

t.test('a burst is one call', async (t) => {
  const { calls, poke, pass } = arrange(t)
  for (let event = 0; event < 15; event++) {
    poke()
    pass(4)
  }
  pass(1_000)
  t.same(calls, [14 * 4 + 20])
})

t.test('a writer that never rests is told all the time, and its last write too', async (t) => {
  const { calls, poke, pass } = arrange(t)
  for (let event = 0; event < 100; event++) {
    poke()
    pass(5)
  }
  t.same(calls, [100, 200, 300, 400, 500])
  poke()
  pass(1_000)
  t.same(calls.slice(5), [520])
})

t.test('the next event after a call starts anew', async (t) => {
  const { calls, poke, pass } = arrange(t)
  poke()
  pass(90)
  poke()
  pass(90)
  t.same(calls, [20, 110], 'the long wait of the first is over with its call')
})

t.test('what has not been told when the watch ends is never told', async (t) => {
  const { calls, poke, cancel, pass } = arrange(t)
  poke()
  cancel()
  pass(1_000)
  t.same(calls, [])
})
