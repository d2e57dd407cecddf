// The restart matrix: which failure, of whom, in which phase, with which containerd, and how long the node was without
// containerd. Prints a line for each cell, a table, and ends with 1 where a promise was broken. See
// docs/reliability.md.
import { createHash } from 'node:crypto'
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { type CellResult, RestartLab } from '../test/fixtures/e2e/restart-cell.ts'
import {
  allCells,
  allPairs,
  type Cell,
  DISKS,
  diskCells,
  FAULTS,
  PHASES,
  STARTS,
  VICTIMS,
} from '../test/fixtures/e2e/restart-cells.ts'
import { findGenerations } from '../test/fixtures/node/generations.ts'

const { values } = parseArgs({
  options: {
    all: { type: 'boolean', default: false },
    scale: { type: 'string', default: '1' },
    nodes: { type: 'string', default: '4' },
    only: { type: 'string', default: '' },
    output: { type: 'string', default: '' },
    generation: { type: 'string', default: '' },
    skip: { type: 'string', default: '' },
    for: { type: 'string', default: 'Infinity' },
    table: { type: 'boolean', default: false },
    disk: { type: 'boolean', default: false },
  },
})
const scale = Number(values.scale)
const generation = findGenerations().found.findLast(({ label }) => ['', label].includes(values.generation))
if (generation === undefined)
  throw new Error(`no containerd ${values.generation} was fetched: run scripts/install-fixtures`)
const wanted = values.only.split(',').filter((word) => word !== '')
const isWanted = (cell: Cell) => wanted.every((word) => Object.values<string>(cell).includes(word))
const done = new Set(values.skip === '' ? [] : linesOf(values.skip).map(({ cell }) => Object.values(cell).join(' ')))
const chosen = values.disk ? diskCells() : values.all ? spread(allCells()) : allPairs(allCells())
const cells = chosen.filter(isWanted).filter((cell) => !done.has(Object.values(cell).join(' ')))
process.stdout.write(
  `${cells.length} cells on containerd ${generation.label}, ${values.nodes} nodes, times divided by ${scale}\n`,
)

const queue = values.table ? [] : [...cells]
/** With --table those of the file, else those of this run. */
const results: CellResult[] = values.table ? [...linesOf(values.skip)] : []
const began = performance.now()
const hasTime = () => performance.now() - began < 1_000 * Number(values.for)

/** A node that broke is replaced: its faults must not count for the cells after it. */
async function work(): Promise<void> {
  if (generation === undefined) return
  let lab: RestartLab | undefined
  for (let cell = queue.shift(); cell !== undefined; cell = hasTime() ? queue.shift() : undefined) {
    try {
      lab ??= await RestartLab.open(generation, scale)
      const result = await lab.run(cell)
      tell(result)
      if (result.faults.length > 0) {
        await lab.close()
        lab = undefined
      }
    } catch (error) {
      process.stdout.write(
        `NOT RUN ${Object.values(cell).join(' ')}: ${error instanceof Error ? error.message : error}\n`,
      )
      await lab?.close()
      lab = undefined
    }
  }
  await lab?.close()
}

function tell(result: CellResult): void {
  results.push(result)
  const { cell, isHit, downMs, slowestMs, honestMs, commands, config, reason, faults } = result
  const verdict = faults.length === 0 ? 'ok' : `BROKEN: ${faults.join('; ')}`
  const line = `${Object.values(cell).join(' ')}${isHit ? '' : ' (late)'}: down ${downMs} of ${honestMs} ms, slowest answer ${slowestMs} ms, ${commands} commands, ${config}${reason === '' ? '' : ` (${reason})`}: ${verdict}\n`
  process.stdout.write(line)
  if (values.output !== '') appendFileSync(values.output, `${JSON.stringify(result)}\n`)
}

function linesOf(path: string): readonly CellResult[] {
  const text = existsSync(path) ? readFileSync(path, 'utf8') : ''
  return text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line)]))
}

/** In an order that is always the same, and in which a run that is cut short has met every value of every dimension. */
function spread(all: readonly Cell[]): readonly Cell[] {
  const place = (cell: Cell) => createHash('sha256').update(Object.values(cell).join(' ')).digest('hex')
  return all.toSorted((a, b) => (place(a) < place(b) ? -1 : 1))
}

function rowOf(name: string, rows: readonly CellResult[]): string {
  const over = rows.map(({ downMs, honestMs }) => downMs - honestMs).toSorted((a, b) => a - b)
  const median = over[Math.floor(over.length / 2)] ?? 0
  const extra = Math.max(0, ...rows.map(({ commands, cell }) => commands - (/^\d/.test(cell.start) ? 1 : 2)))
  const broken = rows.filter(({ faults }) => faults.length > 0).length
  return `| ${name} | ${rows.length} | ${seconds(median)} | ${seconds(over.at(-1) ?? 0)} | ${extra} | ${broken} |\n`
}

function seconds(ms: number): string {
  return (ms / 1_000).toFixed(1)
}

await Promise.all(Array.from({ length: Number(values.nodes) }, work))
process.stdout.write(
  '\n| | cells | median s beyond an honest start | worst | extra restarts, most | broken |\n| --- | --- | --- | --- | --- | --- |\n',
)
for (const value of [...VICTIMS, ...FAULTS, ...DISKS, ...PHASES, ...STARTS]) {
  const rows = results.filter(({ cell }) => Object.values(cell).includes(value))
  if (rows.length > 0) process.stdout.write(rowOf(value, rows))
}
process.stdout.write(rowOf('all', results))
const minutes = ((performance.now() - began) / 60_000).toFixed(1)
const late = results.filter(({ isHit }) => !isHit).length
process.stdout.write(
  `\n${results.length} of ${cells.length} cells ran, in ${minutes} minutes; in ${late} the fault came late\n`,
)
process.exitCode =
  (values.table || results.length === cells.length) && results.every(({ faults }) => faults.length === 0) ? 0 : 1
