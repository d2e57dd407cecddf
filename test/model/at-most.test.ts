// Bounded work: how many at once, in which order, and what a failure ends.
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { atMost } from '../../agent/model/at-most.ts'

t.test('works on a few things at a time and gives the results in order', async (t) => {
  let [running, most] = [0, 0]
  const results = await atMost(
    8,
    Array.from({ length: 1_000 }, (_, index) => index),
    async (index) => {
      running += 1
      most = Math.max(most, running)
      await turn()
      if (index % 7 === 0) await turn()
      running -= 1
      return index * 2
    },
  )
  t.equal(most, 8)
  t.strictSame(
    results,
    results.map((_, index) => index * 2),
  )
})

t.test('begins nothing more once something has failed, and waits for what was begun', async (t) => {
  const ended: number[] = []
  const work = atMost(2, [0, 1, 2, 3, 4], async (index) => {
    await turn()
    if (index === 0) throw new Error('the first one fails')
    await turn()
    ended.push(index)
  })
  await t.rejects(work, { message: 'the first one fails' })
  t.strictSame(ended, [1])
})
