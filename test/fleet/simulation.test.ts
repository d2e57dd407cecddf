import t, { type Test } from 'tap'
import { scenarios } from '../../scripts/fleet-simulation/scenarios.ts'
import { type Outcome, simulate } from '../../scripts/fleet-simulation/simulate.ts'
import { draws, Timeline } from '../../scripts/fleet-simulation/timeline.ts'

// docs/fleet.md has the numbers of 5,000 nodes (scripts/fleet).
const SIZE = 60

t.test('events come in the order of their time, and in the order of asking at the same instant', async (t) => {
  const timeline = new Timeline()
  const draw = draws(7)
  const seen: (readonly [number, number])[] = []
  for (let order = 0; order < 500; order++) {
    const atMs = Math.floor(draw() * 40)
    timeline.after(atMs, () => seen.push([atMs, order]))
  }
  await timeline.run(1_000, () => false)
  t.equal(seen.length, 500)
  const sorted = seen.toSorted(([left, one], [right, other]) => left - right || one - other)
  t.same(seen, sorted)
})

const most = (perSecond: readonly number[]) => perSecond.reduce((left, right) => Math.max(left, right), 0)

function check(t: Test, outcome: Outcome): void {
  const { scenario, provedAfter, registry, restarting, halted, knownAfter, rolledBack } = outcome
  if (scenario.isBad === true) {
    t.match(halted, /one node failed/)
    t.equal(rolledBack, 1, 'the canary alone')
    t.equal(provedAfter.length, 0)
    return
  }
  t.ok(provedAfter.length >= scenario.nodes * 0.9, `${provedAfter.length} of ${scenario.nodes} proved it`)
  t.not(knownAfter, undefined, 'the component knows it')
  t.equal(halted, undefined)
  if (!scenario.needsRestart && scenario.registryDownMs === undefined)
    t.ok(most(registry) <= 50, `${most(registry)} requests a second`)
  t.ok(most(restarting) <= Math.ceil(scenario.nodes / 10), `${most(restarting)} restarted at the same time`)
}

for (const scenario of scenarios(SIZE)) t.test(scenario.title, async (t) => check(t, await simulate(scenario)))
