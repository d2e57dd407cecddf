// A sample of the restart matrix, with the times of containerd divided by forty: scripts/restart-matrix runs all pairs
// in real time. A run takes a part of the sample (see partOf), with each kind of fault; all with REGISTRY_TRUST_FULL=1.
import t from 'tap'
import { RestartLab } from '../fixtures/e2e/restart-cell.ts'
import type { Cell } from '../fixtures/e2e/restart-cells.ts'
import { newestSystemdGeneration } from '../fixtures/node/node-tests.ts'
import { partOf } from '../fixtures/turn.ts'

t.setTimeout(process.env['REGISTRY_TRUST_FULL'] === '1' ? 900_000 : 180_000)

const SCALE = 40
const KILLED: readonly Cell[] = [
  { victim: 'agent', fault: 'kill-unread', phase: 'restarting', start: '40' },
  { victim: 'agent', fault: 'stop', phase: 'written', start: 'ends' },
  { victim: 'restarter', fault: 'kill', phase: 'restarting', start: 'no-cri' },
  { victim: 'both', fault: 'kill', phase: 'verifying', start: 'loops' },
  { victim: 'agent-first', fault: 'kill', phase: 'restarting', start: 'ends' },
]
const FULL_DISKS: readonly Cell[] = [
  { victim: 'agent', fault: 'full-state', phase: 'verifying', start: '0' },
  { victim: 'agent', fault: 'full-config', phase: 'restarting', start: 'ends' },
]
/** One start, which is waited for and stays. */
const HARMLESS: readonly Cell[] = [
  { victim: 'both', fault: 'clock-ahead', phase: 'restarting', start: '40' },
  { victim: 'both', fault: 'clock-back', phase: 'verifying', start: '40' },
]

newestSystemdGeneration(t, 'a sample of the restart matrix', async (t, generation) => {
  const lab = await RestartLab.open(generation, SCALE)
  t.teardown(() => lab.close())
  for (const cell of [...partOf(KILLED, 3), ...partOf(FULL_DISKS, 2)]) {
    const { downMs, commands, config, faults } = await lab.run(cell)
    const name = Object.values(cell).join(' ')
    t.same(faults, [], `${name}: down ${downMs} ms, ${commands} commands, ${config}`)
  }
  for (const cell of partOf(HARMLESS, 2)) {
    const { commands, config, faults } = await lab.run(cell)
    t.same({ commands, config, faults }, { commands: 1, config: 'new', faults: [] }, Object.values(cell).join(' '))
  }
})

if (process.env['REGISTRY_TRUST_FULL'] === '1')
  newestSystemdGeneration(t, 'a start of 40 s and one of 80 s are made once and waited for', async (t, generation) => {
    t.setTimeout(600_000)
    const lab = await RestartLab.open(generation, 1)
    t.teardown(() => lab.close())
    for (const start of ['40', '80'] as const) {
      const cell = { victim: 'agent', fault: 'none', phase: 'restarting', start } as const
      const { downMs, honestMs, commands, config, faults } = await lab.run(cell)
      t.same({ commands, config, faults }, { commands: 1, config: 'new', faults: [] }, `${start} s: down ${downMs} ms`)
      t.ok(downMs <= honestMs + 5_000, `${downMs} ms, an honest start takes ${honestMs} ms`)
    }
  })
