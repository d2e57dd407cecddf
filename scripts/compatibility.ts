// The table of behaviours by containerd version in docs/compatibility.md, from docs/compatibility-results.json.
// `node scripts/compatibility.ts` writes the table; with TAP logs of tests (`TEST.test.log`, `TEST.brought.log`) their
// results are taken into the file first, with today's date. A log whose name has `.brought.` is of programs that a person
// brought (`scripts/test --containerd DIR`): such cells say "by hand".
import { readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'

export type Result = {
  /** Of ROWS. */
  readonly id: string
  /** As the test names it, e.g. 2.2.7. */
  readonly version: string
  /** YYYY-MM-DD. */
  readonly date: string
  readonly passed: boolean
  readonly byHand?: true
}

type Row = {
  readonly id: string
  readonly behaviour: string
  readonly test: string
  readonly title: RegExp
  /** The title in test/e2e/crio.test.ts that shows the same with CRI-O; absent: CRI-O has nothing of the kind. */
  readonly crio?: RegExp
}

const VERSION = String.raw`containerd v?(\d+\.\d+\.\d+)\S*?`
const alone = new RegExp(`^${VERSION}$`)
const titled = (rest: string) => new RegExp(`^${VERSION}${rest}`)
const CRIO_TEST = 'crio'
const withCrio = (rest: string) => new RegExp(String.raw`^(CRI-O \d+\.\d+\.\d+): ${rest}`)
const WHOLE = withCrio('pulls after apply')

export const ROWS: readonly Row[] = [
  row(
    'main-job',
    'main job: x509 before, pulls after `apply`, one restart',
    'main-job',
    titled(', from its default'),
    WHOLE,
  ),
  row('no-restart', 'no restart where `config_path` is set', 'main-job', titled(', config_path already set'), WHOLE),
  row('no-file', 'no config.toml at all', 'main-job', titled(', without a config file')),
  row('own-host', 'each CA is trusted for its own host only', 'main-job', titled(', without a config file: each CA')),
  row('formats', 'every form of CA file', 'formats', titled(': ')),
  row('mirrors', 'mirrors', 'mirrors', alone, WHOLE),
  row('endpoints', 'headers, client certificates, insecure endpoints', 'endpoints', alone),
  row('credentials', 'logins', 'credentials', alone, withCrio('logs in')),
  row('imports', '`imports`', 'imports', alone),
  row('migration', 'legacy sections move to hosts.toml', 'migrate', titled(': the Harbor example')),
  row('legacy-refused', '`layout: legacy` is refused', 'layout-legacy', titled(' does not read these sections')),
  row('rollback', 'rehearsal and rollback of what containerd does not load', 'rollback', alone),
  row('sandbox', 'sandbox image: no Pod before, Pods afterwards', 'sandbox-image', titled(': no Pod before')),
  row('doctor', '`doctor` and `explain`', 'doctor', alone, WHOLE),
  row('audit', 'audit mode', 'audit', alone),
  row('drift', 'damage by others is healed, without a restart', 'drift', titled(': every kind of damage')),
  row('uninstall', '`uninstall` gives every byte back', 'leaving', titled(': uninstall leaves'), WHOLE),
]

function row(id: string, behaviour: string, test: string, title: RegExp, crio?: RegExp): Row {
  return { id, behaviour, test, title, ...(crio === undefined ? {} : { crio }) }
}

const BEGIN = '<!-- written by scripts/compatibility.ts from docs/compatibility-results.json -->'
const END = '<!-- end of the table -->'

/** Results of one log; a row that several tests show has passed where all of them have. */
export function resultsOf(test: string, log: string, date: string, byHand: boolean): readonly Result[] {
  const found = new Map<string, Result>()
  for (const [, not, title = ''] of log.matchAll(/^(not )?ok \d+ - (.*?)(?: # time=.*)?$/gm))
    for (const { id, test: of, title: pattern, crio } of ROWS) {
      const version = (of === test ? pattern : test === CRIO_TEST ? crio : undefined)?.exec(title)?.[1]
      if (version === undefined) continue
      const passed = not === undefined && (found.get(`${id} ${version}`)?.passed ?? true)
      found.set(`${id} ${version}`, { id, version, date, passed, ...(byHand ? { byHand } : {}) })
    }
  return [...found.values()]
}

/** The newest result of each row and version line. */
export function merged(known: readonly Result[], found: readonly Result[]): readonly Result[] {
  const isNewer = ({ id, version }: Result) => found.some((one) => one.id === id && lineOf(one) === lineOf({ version }))
  return [...known.filter((one) => !isNewer(one)), ...found].toSorted(
    (a, b) => order(a) - order(b) || a.version.localeCompare(b.version, 'en', { numeric: true }),
  )
}

function order({ id }: Pick<Result, 'id'>): number {
  return ROWS.findIndex((one) => one.id === id)
}

function lineOf({ version }: Pick<Result, 'version'>): string {
  return version.split('.').slice(0, 2).join('.')
}

export function tableOf(results: readonly Result[]): string {
  const lines = [...new Set(results.map(lineOf))].toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }))
  const cell = (id: string, line: string) => {
    const result = results.find((one) => one.id === id && lineOf(one) === line)
    if (result === undefined) return ''
    const { version, date, passed, byHand } = result
    return `${passed ? '' : '**fails** '}${version}, ${date}${byHand === true ? ', by hand' : ''}`
  }
  return [
    `| behaviour | test | ${lines.join(' | ')} |`,
    `| --- | --- |${' --- |'.repeat(lines.length)}`,
    ...ROWS.map(
      ({ id, behaviour, test }) =>
        `| ${behaviour} | \`test/e2e/${test}.test.ts\` | ${lines.map((line) => cell(id, line)).join(' | ')} |`,
    ),
  ].join('\n')
}

/** The page with the table between its marks. Throws Error where the page has none. */
export function withTable(page: string, results: readonly Result[]): string {
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)]
  if (from < 0 || to < from) throw new Error('docs/compatibility.md has no place for the table')
  return `${page.slice(0, from)}${BEGIN}\n\n${tableOf(results)}\n\n${page.slice(to)}`
}

const DOCS = join(import.meta.dirname, '../docs')
const RESULTS = join(DOCS, 'compatibility-results.json')
export const PAGE = join(DOCS, 'compatibility.md')

export function knownResults(): readonly Result[] {
  return JSON.parse(readFileSync(RESULTS, 'utf8')) as readonly Result[]
}

if (import.meta.main) {
  const date = new Date().toISOString().slice(0, 10)
  const found = process.argv.slice(2).flatMap((file) => {
    const [test = '', kind] = basename(file).split('.')
    return resultsOf(test, readFileSync(file, 'utf8'), date, kind === 'brought')
  })
  const results = merged(knownResults(), found)
  writeFileSync(RESULTS, `[\n${results.map((one) => `  ${JSON.stringify(one)}`).join(',\n')}\n]\n`)
  writeFileSync(PAGE, withTable(readFileSync(PAGE, 'utf8'), results))
}
