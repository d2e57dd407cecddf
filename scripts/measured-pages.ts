// Brings the values of docs/measured.json to the pages that quote them. A page names a value in a comment,
// `<!-- measured: ID -->…<!-- /measured -->` (or `ID@VERSION` of containerd, or `ID p95`), and `tables` stands for all.
// `ID?` may be missing until a run has measured it.
// usage: node scripts/measured-pages.ts (a test says when it has to be run)
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Measured, MeasuredValue } from './benchmark/measured.ts'

const ROOT = join(import.meta.dirname, '..')
const SOURCE = 'docs/measured.json'
const PAGES = ['README.md', 'docs/quick-start.md', 'docs/performance.md', 'docs/security.md', 'docs/deployment.md']
/** Before the first run that is kept: no page may quote anything. */
const NOTHING: Measured = { machine: { cores: 0, memoryGiB: 0, system: '' }, values: [] }
const QUOTE = /<!-- measured: ([^>]*?) -->.*?<!-- \/measured -->/gs

/** The pages by their path in the repository. @throws Error for a quote of a value that was not measured. */
export function measuredPages(): ReadonlyMap<string, string> {
  const measured = existsSync(join(ROOT, SOURCE))
    ? (JSON.parse(readFileSync(join(ROOT, SOURCE), 'utf8')) as Measured)
    : NOTHING
  return new Map(PAGES.map((path) => [path, quoting(readFileSync(join(ROOT, path), 'utf8'), measured)]))
}

/** The page with every quote as the file has it. */
export function quoting(page: string, measured: Measured): string {
  return page.replace(QUOTE, (_, asked: string) => {
    const text = asked === 'tables' ? `\n${tables(measured)}\n` : quote(asked, measured)
    return `<!-- measured: ${asked} -->${text}<!-- /measured -->`
  })
}

function quote(asked: string, { values }: Measured): string {
  const [named = '', field = 'median'] = asked.split(' ')
  const key = named.replace(/\?$/, '')
  const [id, on] = key.split('@')
  const found = values.filter((value) => value.id === id && (on === undefined || value.on === on))
  const [value] = found
  if (value === undefined && key !== named) return 'not measured'
  if (value === undefined || found.length > 1 || (field !== 'median' && field !== 'p95'))
    throw new Error(`${asked} names ${found.length} values of ${SOURCE}`)
  return withUnit(value[field], value.unit)
}

function tables({ machine, values }: Measured): string {
  const byId = Map.groupBy(values, ({ id }) => id)
  const rows = [...byId.values()]
  const versions = [...new Set(values.flatMap(({ on }) => on ?? []))].sort((a, b) =>
    a.localeCompare(b, 'en', { numeric: true }),
  )
  const several = rows.filter((of) => of.length > 1)
  const single = rows.filter((of) => of.length === 1)
  return `${measuredOn(values)}
on ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.system}, by

\`\`\`sh
${[...new Set(values.map(({ command }) => command))].join('\n')}
\`\`\`
${table(['each containerd', ...versions, 'n'], several, (of) => [
  ...versions.map((version) => cell(of.find(({ on }) => on === version))),
  `${Math.min(...of.map(({ n }) => n))}`,
])}${table(['newest containerd', 'measured', 'n'], single, ([value]) => [cell(value), `${value?.n}`])}`
}

function table(
  heads: readonly string[],
  rows: readonly (readonly MeasuredValue[])[],
  cells: (of: readonly MeasuredValue[]) => readonly string[],
): string {
  if (rows.length === 0) return ''
  const lines = rows.map((of) => `| ${[of[0]?.name, ...cells(of), of[0]?.others ?? ''].join(' | ')} |`)
  return `\n| ${[...heads, 'others'].join(' | ')} |\n|${' --- |'.repeat(heads.length + 1)}\n${lines.join('\n')}\n`
}

function cell(value: MeasuredValue | undefined): string {
  if (value === undefined) return ''
  const { median, min, p95, n, unit } = value
  return n === 1 ? withUnit(median, unit) : `${withUnit(median, unit)} [${min}, ${p95}]`
}

function measuredOn(values: readonly MeasuredValue[]): string {
  const alone = values.map(({ yardstickMs }) => yardstickMs)
  const [dates, nodes] = [values.map(({ date }) => date), values.map(({ node }) => node)].map((all) =>
    [...new Set(all)].sort().join(' and '),
  )
  return `Measured on ${dates} with Node.js ${nodes} (which alone started in ${Math.min(...alone)} to ${Math.max(...alone)} ms meanwhile)`
}

function withUnit(value: number, unit: string): string {
  return unit === '' ? `${value}` : `${value} ${unit}`
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  for (const [path, page] of measuredPages()) writeFileSync(join(ROOT, path), page)
