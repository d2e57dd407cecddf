// Simulates roll-outs of a fleet on virtual time, prints a table (docs/fleet.md), and draws charts.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Line, renderChart, thinned } from './fleet-simulation/chart.ts'
import { scenarios } from './fleet-simulation/scenarios.ts'
import { type Outcome, simulate } from './fleet-simulation/simulate.ts'

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '5000' },
    only: { type: 'string', default: '' },
    seed: { type: 'string', default: '1' },
    charts: { type: 'string' },
  },
})

const CHARTED = ['rotation', 'rotation, 1 % slow', 'rotation, the component dies twice']
const outcomes: Outcome[] = []
const write = (text: string) => process.stdout.write(text)
write(
  '| scenario | nodes | proved | p50 | p95 | last | registry, most/s | API requests, most/s | agents asked, most/s | restarts at once | end |\n',
)
write('| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n')
for (const scenario of scenarios(Number(values.nodes))) {
  if (!scenario.title.includes(values.only)) continue
  const outcome = await simulate(scenario, Number(values.seed))
  outcomes.push(outcome)
  write(`${row(outcome)}\n`)
}
if (values.charts !== undefined) draw(values.charts)

function row(outcome: Outcome): string {
  const { scenario, provedAfter, registry, api, polls, restarting, halted, rolledBack, knownAfter } = outcome
  const end =
    halted === undefined
      ? knownAfter === undefined
        ? 'not all are known to be as wanted'
        : `known after ${seconds(knownAfter)}`
      : `halted, ${rolledBack} rolled back, ${scenario.nodes - rolledBack} untouched`
  const times = [0.5, 0.95, 1].map((share) => seconds(at(provedAfter, share)))
  const cells = [
    ...[scenario.title, scenario.nodes, provedAfter.length, ...times],
    ...[most(registry), most(api), most(polls), most(restarting), end],
  ]
  return `| ${cells.join(' | ')} |`
}

function at(sorted: readonly number[], share: number): number | undefined {
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)]
}

function seconds(value: number | undefined): string {
  return value === undefined ? '-' : `${value < 10 ? value.toFixed(1) : Math.round(value)} s`
}

function most(perSecond: readonly number[]): number {
  return perSecond.reduce((left, right) => Math.max(left, right), 0)
}

function draw(folder: string): void {
  mkdirSync(folder, { recursive: true })
  const chosen = outcomes.filter(({ scenario }) => CHARTED.includes(scenario.title))
  const proved = chosen.map(({ scenario, provedAfter }): Line => {
    const points = provedAfter.map((second, index) => [second, index + 1] as const)
    return { name: scenario.title.replace('rotation, ', ''), points: thinned(points) }
  })
  const save = (name: string, text: string) => writeFileSync(join(folder, name), text)
  save('fleet-proved.svg', renderChart({ title: 'Nodes that have proved a rotation', yTitle: 'nodes', lines: proved }))
  const [first] = chosen
  if (first !== undefined) {
    const lines = [line('registry', first.registry), line('API server', first.api)]
    const title = `Requests during a rotation on ${first.scenario.nodes} nodes`
    save('fleet-requests.svg', renderChart({ title, yTitle: 'requests a second', lines, limit: 50 }))
  }
  const waves = outcomes.filter(({ scenario }) => scenario.title.startsWith('restarts')).slice(0, 2)
  const restarts = waves.map(({ scenario, restarting }) => line(scenario.title.slice(0, 24), restarting))
  const title = 'Restarts of containerd under way'
  if (restarts.length > 0) save('fleet-restarts.svg', renderChart({ title, yTitle: 'nodes', lines: restarts }))
}

function line(name: string, perSecond: readonly number[]): Line {
  return { name, points: thinned(perSecond.map((count, second) => [second, count] as const)) }
}
