// How large the heap of a process grows while it makes garbage: measured in a process of its own, for the flag is one of
// the whole process.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { codeOf, compilePart } from '../../../scripts/bundled/parts.ts'

const MODULE = join(import.meta.dirname, '../../../agent/node/threads/heap.ts')
const PARTS = join(import.meta.dirname, '../../../scripts/bundled/parts.ts')

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

t.test('takes compiled code of a part that is loaded later, and goes on as before', async (t) => {
  const folder = t.testdir()
  const part = join(folder, 'part.cjs')
  writeFileSync(part, `exports.answer = () => 42${'\n'.repeat(10)}`)
  writeFileSync(codeOf(part), compilePart(part, {}).createCachedData())
  const program = `
    import { createRequire } from 'node:module'
    import { codeOf, compilePart, takeParts } from ${JSON.stringify(PARTS)}
    import { keepHeapSmall } from ${JSON.stringify(MODULE)}
    import { readFileSync } from 'node:fs'
    const seen = []
    takeParts((path) => {
      const script = compilePart(path, { code: readFileSync(codeOf(path)) })
      seen.push(script.cachedDataRejected)
      return script
    })
    keepHeapSmall()
    const { answer } = createRequire(${JSON.stringify(part)})('./part.cjs')
    console.log(JSON.stringify([...seen, answer()]))`
  const argv = ['--max-semi-space-size=1', '--input-type=module', '--eval', program]
  t.same(JSON.parse(execFileSync(process.execPath, argv, { encoding: 'utf8' })), [false, 42])
})

t.test('keeps the heap of a process near what is in use', async (t) => {
  const [small, usual] = [largestHeap('keepHeapSmall()'), largestHeap('')]
  t.ok(small < usual * 0.75, `${small.toFixed(1)} MiB; without it ${usual.toFixed(1)} MiB`)
})
