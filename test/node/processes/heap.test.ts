// How large the heap of a process grows while it makes garbage: measured in a process of its own, for the flag is one of
// the whole process.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'

const MODULE = join(import.meta.dirname, '../../../agent/node/processes/heap.ts')

/** The largest heap of a process that keeps 60,000 small objects and drops many more, in MiB. */
function largestHeap(before: string): number {
  const program = `
    import { getHeapStatistics } from 'node:v8'
    import { keepHeapSmall } from ${JSON.stringify(MODULE)}
    ${before}
    const kept = Array.from({ length: 60_000 }, (_, index) => ({ name: 'x' + index, list: [index, index] }))
    const ring = new Array(20_000)
    let most = 0
    for (let index = 0; index < 1_000_000; index += 1) {
      ring[index % ring.length] = { name: 'y' + index, list: [index, index] }
      if (index % 10_000 === 0) most = Math.max(most, getHeapStatistics().total_heap_size)
    }
    console.log(kept.length === 0 ? 0 : most / 2 ** 20)`
  const argv = ['--max-semi-space-size=1', '--input-type=module', '--eval', program]
  return Number(execFileSync(process.execPath, argv, { encoding: 'utf8' }))
}

t.test('keeps the heap of a process near what is in use', async (t) => {
  const [small, usual] = [largestHeap('keepHeapSmall()'), largestHeap('')]
  t.ok(small < usual * 0.75, `${small.toFixed(1)} MiB; without it ${usual.toFixed(1)} MiB`)
})
