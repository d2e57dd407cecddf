// Somebody who never stops writing: ten thousand file events in ten seconds, by the benchmark's own storm, and real
// damage as the last.
import t from 'tap'
import { runStorm } from '../../scripts/benchmark/storm.ts'
import { BUNDLE, newestToTest } from '../fixtures/e2e/agent-on-node.ts'

t.setTimeout(480_000)

t.test('a storm of file events costs little, and nothing is missed at its end', async (t) => {
  const generation = newestToTest()
  const { runs, cpuMs, healedMs, before, after } = await runStorm(generation, BUNDLE)
  const [was, is] = [before, after].map(({ anonMiB }) => Math.round(anonMiB))
  t.comment(`${runs} runs, ${cpuMs} ms of CPU, ${was} → ${is} MiB of its own, peak ${Math.round(after.peakRssMiB)} MiB`)
  // a pause of 200 ms follows each look: as many fit into the ten seconds, and a few at either end
  t.ok(runs >= 1 && runs <= 120, `${runs} runs for ten thousand events`)
  t.ok(cpuMs < 10_000, 'less than the whole of one core')
  t.ok(after.peakRssMiB < 256, 'of the 320 MiB that the container may have')
  t.ok(healedMs < 5_000, `what was deleted is back after ${Math.round(healedMs)} ms`)
})
