// REGISTRY_TRUST_FULL=1: with starts of up to 80 s, and at every wait instead of each 25th one.
// The driver over whole restarts, in virtual time: every failure of the agent, of the restarter and of both in every
// phase with every containerd, and a wall clock that is set at every single wait.
import t from 'tap'
import { simulateApart } from '../fixtures/restart/simulate-apart.ts'
import type { SimulatedCell, SimulatedEnd } from '../fixtures/restart/simulated-cell.ts'

t.setTimeout(900_000)

const BEHAVIOURS = ['starts', 'ends', 'loops', 'no-cri'] as const
const PHASES = ['armed', 'written', 'restarting', 'verifying', 'reverting'] as const
const IS_FULL = process.env['REGISTRY_TRUST_FULL'] === '1'
/** Of a start, in milliseconds. */
const STARTS = IS_FULL ? [0, 20_000, 40_000, 80_000] : [1_000]
/** How long systemd takes to act on a command: nothing, and longer than the driver waits for one that was never given. */
const BUSY = IS_FULL ? [0, 5_000] : [0]
const HOUR = 3_600_000
const STEPS = [-8_766 * HOUR, -2 * HOUR, 2 * HOUR, 8_766 * HOUR]

/** Of the waits of a restart these are tried. */
const EVERY = IS_FULL ? 1 : 25

async function endsOf(cells: readonly SimulatedCell[]) {
  const ends = await simulateApart(cells.map((cell) => ({ cell })))
  return ends.map((end, index) => ({ cell: cells[index] as SimulatedCell, end }))
}

function nameOf(cell: SimulatedCell): string {
  return Object.values(cell).join(' ')
}

t.test('without a failure one restart is commanded, or two where the new file does not start', async (t) => {
  const cells = STARTS.flatMap((startMs) => BEHAVIOURS.map((behaviour) => ({ behaviour, startMs })))
  for (const { cell, end } of await endsOf(cells)) {
    const isGood = cell.behaviour === 'starts'
    t.same(end.faults, [], nameOf(cell))
    t.equal(end.commands.length, isGood ? 1 : 2)
    t.equal(end.config, isGood ? 'new' : 'old')
  }
})

t.test('whoever fails in whatever phase, containerd comes back with a whole file', async (t) => {
  const cells: SimulatedCell[] = []
  for (const victim of ['agent', 'restarter', 'both', 'agent-first'] as const)
    for (const fault of ['kill', 'stop', 'block'] as const)
      for (const phase of PHASES)
        for (const startMs of STARTS)
          for (const behaviour of BEHAVIOURS)
            for (const busyMs of BUSY) cells.push({ victim, fault, phase, behaviour, startMs, busyMs })
  for (const { cell, end } of await endsOf(cells)) t.same(end.faults, [], nameOf(cell))
  t.equal(cells.length, 240 * STARTS.length * BUSY.length)
})

t.test('of two restarters one drives, and neither takes the restart from the other again and again', async (t) => {
  const cells: SimulatedCell[] = []
  for (const second of ['armed', 'restarting', 'restarter', 'reverting'])
    for (const phase of PHASES)
      for (const behaviour of IS_FULL ? BEHAVIOURS : (['ends'] as const))
        cells.push({ victim: 'agent', fault: 'kill', phase, second, behaviour, startMs: 8_000 })
  for (const { cell, end } of await endsOf(cells)) {
    t.same(end.faults, [], nameOf(cell))
    t.ok(end.takeOvers <= 2, `${end.takeOvers} times taken over: ${nameOf(cell)}`)
  }
})

t.test('a driver that waits for the disk for longer than its lease is still taken for alive', async (t) => {
  const disks = [500, 1_500, 4_000, 8_000]
  const cells: SimulatedCell[] = disks.flatMap((diskMs) =>
    BEHAVIOURS.map((behaviour) => ({ behaviour, startMs: 1_000, diskMs })),
  )
  for (const { cell, end } of await endsOf(cells)) {
    t.same(end.faults, [], nameOf(cell))
    t.equal(end.takeOvers, 0, `nobody takes it over: ${nameOf(cell)}`)
    t.equal(end.config, cell.behaviour === 'starts' ? 'new' : 'old', nameOf(cell))
  }
  const struck: SimulatedCell[] = []
  for (const victim of ['agent', 'both'] as const)
    for (const fault of ['kill', 'stop', 'block'] as const)
      for (const phase of PHASES)
        for (const diskMs of disks.slice(1, 3))
          struck.push({ victim, fault, phase, behaviour: 'ends', startMs: 1_000, diskMs })
  for (const { cell, end } of await endsOf(struck)) {
    t.same(end.faults, [], nameOf(cell))
    t.ok(end.takeOvers <= 2, `${end.takeOvers} times taken over: ${nameOf(cell)}`)
  }
})

t.test('a driver whose record the disk never takes loses the restart to the other one', async (t) => {
  const cells = (['written', 'restarting', 'verifying'] as const).map((hangsAt) => ({
    behaviour: 'starts' as const,
    startMs: 1_000,
    hangsAt,
  }))
  for (const { cell, end } of await endsOf(cells)) {
    t.same(end.faults, [], nameOf(cell))
    t.equal(end.takeOvers, 1, nameOf(cell))
  }
})

/** What is decided and when; the records' wall times are for people. */
function decisions({ phases, commands, config, downMs }: SimulatedEnd) {
  return { phases, commands, config, downMs }
}

t.test('a wall clock that is set by two hours or a year at any wait changes no decision', async (t) => {
  const cells: readonly SimulatedCell[] = [
    ...BEHAVIOURS.map((behaviour) => ({ behaviour, startMs: 3_000 })),
    ...PHASES.map((phase) => ({ victim: 'agent', fault: 'kill', phase, behaviour: 'loops', startMs: 1_000 }) as const),
    { victim: 'both', fault: 'kill', phase: 'restarting', behaviour: 'starts', startMs: 3_000 },
    { victim: 'agent', fault: 'stop', phase: 'verifying', behaviour: 'no-cri', startMs: 1_000 },
  ]
  const jobs = (await endsOf(cells)).flatMap(({ cell, end: expected }) =>
    Array.from({ length: Math.ceil(expected.waits / EVERY) }, (_, index) => ({
      cell,
      expected,
      atWait: 1 + index * EVERY,
    })),
  )
  const clocks = jobs.map(({ atWait }, run) => ({ atWait, byMs: STEPS[run % STEPS.length] ?? 0 }))
  const ends = await simulateApart(
    jobs.map(({ cell }, run) => ({ cell, clock: clocks[run] ?? { atWait: 0, byMs: 0 } })),
  )
  for (const [run, end] of ends.entries()) {
    const { cell, expected, atWait } = jobs[run] ?? {}
    if (cell === undefined || expected === undefined) throw new Error('an end without a simulation')
    if (JSON.stringify(decisions(end)) !== JSON.stringify(decisions(expected)))
      t.same(
        decisions(end),
        decisions(expected),
        `${nameOf(cell)}, ${(clocks[run]?.byMs ?? 0) / HOUR} h at wait ${atWait}`,
      )
  }
  t.ok(ends.length > 100, `${ends.length} waits`)
})
