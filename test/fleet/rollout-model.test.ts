// Sequences of everything that can go wrong, with the real decision code on both sides (test/fixtures/fleet/world.ts).
// More of them: REGISTRY_TRUST_SEQUENCES=10000 node test/fleet/rollout-model.test.ts
import fc from 'fast-check'
import t from 'tap'
import type { RolloutSettings } from '../../agent/model/fleet.ts'
import { type Machine, World } from '../fixtures/fleet/world.ts'

const RUNS = Number(process.env['REGISTRY_TRUST_SEQUENCES'] ?? 1000)
t.setTimeout(3_600_000)

type Step = (world: World, pick: number) => void
const onMachine =
  (act: (machine: Machine, world: World) => void): Step =>
  (world, pick) => {
    const machine = world.machine(pick)
    if (machine !== undefined) act(machine, world)
  }
const componentOf = (world: World, pick: number) => world.components[pick % 3] ?? world.components[0]

/**
 * What usually happens within a second or two: everything for one component and all nodes, but for the end of restarts.
 */
function usual(world: World, pick: number): void {
  const holder = world.components.find(({ name }) => name === world.lease?.holder) ?? componentOf(world, pick)
  for (const machine of world.machines.values()) {
    machine.readConfig(world.config)
    world.ask(holder, machine)
  }
  while (world.answers.length > 0) world.answer(0)
  world.turn(holder)
  world.writeLease(world.leaseWrites.length - 1)
  if (pick % 2 === 0) return
  while (world.patches.length > 0) world.patch(0)
  for (const machine of world.machines.values()) {
    machine.syncFile(world.nowMs)
    machine.run(world.nowMs)
  }
}

const STEPS: { readonly [name: string]: Step } = {
  usual,
  turn: (world, pick) => world.turn(componentOf(world, pick)),
  turnAndWrite: (world, pick) => {
    world.turn(componentOf(world, pick))
    world.writeLease(world.leaseWrites.length - 1)
  },
  writeLease: (world, pick) => world.writeLease(pick % Math.max(1, world.leaseWrites.length)),
  loseLeaseWrite: (world, pick) => void world.leaseWrites.splice(pick % Math.max(1, world.leaseWrites.length), 1),
  patch: (world, pick) => world.patch(pick % Math.max(1, world.patches.length)),
  patchAll: (world) => {
    while (world.patches.length > 0) world.patch(0)
  },
  patchTwice: (world, pick) => world.patch(pick % Math.max(1, world.patches.length), true),
  losePatch: (world, pick) => void world.patches.splice(pick % Math.max(1, world.patches.length), 1),
  ask: (world, pick) => {
    const machine = world.machine(pick >> 2)
    if (machine !== undefined) world.ask(componentOf(world, pick), machine)
  },
  askAll: (world, pick) => {
    for (const machine of world.machines.values()) world.ask(componentOf(world, pick), machine)
    while (world.answers.length > 0) world.answer(0)
  },
  answer: (world, pick) => world.answer(pick % Math.max(1, world.answers.length)),
  answerTwice: (world, pick) => world.answer(pick % Math.max(1, world.answers.length), true),
  crashComponent: (world, pick) => componentOf(world, pick).crash(),
  syncFile: onMachine((machine, world) => machine.syncFile(world.nowMs)),
  syncAll: (world) => {
    for (const machine of world.machines.values()) machine.syncFile(world.nowMs)
  },
  readConfig: onMachine((machine, world) => machine.readConfig(world.config)),
  readAll: (world) => {
    for (const machine of world.machines.values()) machine.readConfig(world.config)
  },
  run: onMachine((machine, world) => machine.run(world.nowMs)),
  runAll: (world) => {
    for (const machine of world.machines.values()) machine.run(world.nowMs)
  },
  finish: onMachine((machine) => machine.finish()),
  crashAgent: onMachine((machine, world) => machine.crash(world.nowMs)),
  notReady: onMachine((machine) => machine.condition({ isReady: false })),
  ready: onMachine((machine) => machine.condition({ isReady: true })),
  cordon: onMachine((machine) => machine.condition({ isCordoned: true })),
  uncordon: onMachine((machine) => machine.condition({ isCordoned: false })),
  addNode: (world) => world.addMachine(),
  removeNode: onMachine((machine, world) => void world.machines.delete(machine.name)),
  secondsPass: (world, pick) => world.pass(1000 * (1 + (pick % 20))),
  minutesPass: (world, pick) => world.pass(60_000 * (1 + (pick % 6))),
  newConfig: (world) => world.newConfig(),
  resume: (world, pick) => world.answerHalt(`r${pick}`),
  loseLease: (world) => world.releaseLease(),
}

/** What carries a roll-out on comes more often than what disturbs it, or no sequence would get anywhere. */
const WEIGHTS: { readonly [name: string]: number } = {
  ...{
    usual: 30,
    turnAndWrite: 6,
    turn: 4,
    writeLease: 6,
    patchAll: 8,
    patch: 4,
    askAll: 10,
    syncAll: 6,
    runAll: 8,
    run: 6,
  },
  ...{ readAll: 3, finish: 16, secondsPass: 8, ask: 4, answer: 4, syncFile: 4 },
}

const steps = fc.array(
  fc.record({
    name: fc.oneof(...Object.keys(STEPS).map((name) => ({ arbitrary: fc.constant(name), weight: WEIGHTS[name] ?? 1 }))),
    pick: fc.nat(1000),
  }),
  { minLength: 20, maxLength: 160, size: 'max' },
)

const settings = fc.record({
  canary: fc.oneof(
    fc.record({ kind: fc.constant('count' as const), count: fc.nat(3) }),
    fc.record({ kind: fc.constant('percent' as const), percent: fc.constantFrom(1, 30, 100) }),
  ),
  maxUnavailable: fc.record({ kind: fc.constant('count' as const), count: fc.integer({ min: 1, max: 3 }) }),
  soakMs: fc.constantFrom(0, 30_000),
  haltAfter: fc.integer({ min: 1, max: 3 }),
}) satisfies fc.Arbitrary<RolloutSettings>

t.test(
  'whatever crashes, is late, doubled or lost: never more restarts than allowed, no grant twice, and it ends',
  async (t) => {
    let restarts = 0
    const property = fc.property(fc.integer({ min: 1, max: 9 }), settings, steps, (machines, chosen, sequence) => {
      const world = new World(machines, chosen)
      for (const { name, pick } of sequence) {
        STEPS[name]?.(world, pick)
        world.check()
      }
      restarts += [...world.machines.values()].reduce((sum, machine) => sum + machine.restarts.length, 0)
      world.calm(200)
      const unfinished = world.unfinished()
      if (unfinished.length > 0) throw new Error(`no progress: ${unfinished.join(', ')}`)
    })
    fc.assert(property, { numRuns: RUNS })
    t.ok(restarts > RUNS / 2, `the sequences got somewhere: ${restarts} restarts in ${RUNS} of them`)
  },
)
