// A sample of the restart matrix, with the times of containerd divided by forty: scripts/restart-matrix runs all pairs
// in real time.
import t from 'tap'
import { type Cell, RestartLab } from '../fixtures/e2e/restart-cell.ts'
import { newestSystemdGeneration } from '../fixtures/node/node-tests.ts'

t.setTimeout(180_000)

const SCALE = 40
const SAMPLE: readonly Cell[] = [
  { victim: 'agent', fault: 'kill-unread', phase: 'restarting', start: '40' },
  { victim: 'agent', fault: 'stop', phase: 'written', start: 'ends' },
  { victim: 'restarter', fault: 'kill', phase: 'restarting', start: 'no-cri' },
  { victim: 'both', fault: 'kill', phase: 'verifying', start: 'loops' },
]

newestSystemdGeneration(t, 'a sample of the restart matrix', async (t, generation) => {
  const lab = await RestartLab.open(generation, SCALE)
  t.teardown(() => lab.close())
  for (const cell of SAMPLE) {
    const { downMs, commands, config, faults } = await lab.run(cell)
    const name = Object.values(cell).join(' ')
    t.same(faults, [], `${name}: down ${downMs} ms, ${commands} commands, ${config}`)
  }
})
