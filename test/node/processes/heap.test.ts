// How large the heap of a process grows while it makes garbage: measured in a process of its own, for the flag is one of
// the whole process.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'

const MODULE = join(import.meta.dirname, '../../../agent/node/processes/heap.ts')

/** Of the largest heap to what is in use all the time. */
function growth(before: string): number {
  const program = `
    import { getHeapStatistics } from 'node:v8'
    import { keepHeapSmall } from ${JSON.stringify(MODULE)}
    ${before}
    const kept = Array.from({ length: 60_000 }, (_, index) => ({ name: 'x' + index, list: [index, index] }))
    const ring = new Array(20_000)
    let [least, most] = [Infinity, 0]
    for (let index = 0; index < 700_000; index += 1) {
      ring[index % ring.length] = { name: 'y' + index, list: [index, index] }
      if (index % 10_000 !== 0) continue
      const { total_heap_size } = getHeapStatistics()
      if (index > 60_000) [least, most] = [Math.min(least, total_heap_size), Math.max(most, total_heap_size)]
    }
    console.log(kept.length === 0 ? 0 : most / least)`
  const argv = ['--max-semi-space-size=1', '--input-type=module', '--eval', program]
  return Number(execFileSync(process.execPath, argv, { encoding: 'utf8' }))
}

t.test('keeps the heap of a process near what is in use', async (t) => {
  const [small, usual] = [growth('keepHeapSmall()'), growth('')]
  t.ok(small < usual * 0.75, `grew to ${small.toFixed(2)} times its least size; without: ${usual.toFixed(2)}`)
})
