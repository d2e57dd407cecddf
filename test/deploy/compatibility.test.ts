import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { knownResults, merged, PAGE, ROWS, resultsOf, tableOf, withTable } from '../../scripts/compatibility.ts'

t.test('the table of the page is what the results file says', async (t) => {
  const page = readFileSync(PAGE, 'utf8')
  t.equal(page, withTable(page, knownResults()), 'run `node scripts/compatibility.ts`')
})

t.test('every suite whose containerd is fetched is one that tests run on', async (t) => {
  const read = (path: string) => readFileSync(join(import.meta.dirname, '../..', path), 'utf8')
  const fetched = /^readonly suites=\((.*)\)$/m.exec(read('scripts/install-fixtures'))?.[1]?.split(' ')
  const tested = /^export const SUITES = \[(.*)\] as const$/m.exec(read('test/fixtures/node/generations.ts'))?.[1]
  t.ok((fetched?.length ?? 0) >= 3)
  t.same(tested?.replaceAll("'", '').split(', '), fetched)
})

t.test('every row names a test that is there and has such a title', async (t) => {
  for (const { id, test, title } of ROWS) {
    const text = readFileSync(join(import.meta.dirname, `../e2e/${test}.test.ts`), 'utf8')
    const titles = [...text.matchAll(/`(containerd \$\{generation\.version\}[^`]*)`/g)].map(([, name = '']) =>
      name.replace(/\$\{generation\.version\}/, '2.9.9').replace(/\$\{.*/, 'x'),
    )
    t.ok(
      titles.some((name) => title.test(name)),
      `${id}: ${titles.join(' | ')}`,
    )
  }
})

t.test('CRI-O has a column of its own, from its own test, and a test that was skipped makes no cell', async (t) => {
  const text = readFileSync(join(import.meta.dirname, '../e2e/crio.test.ts'), 'utf8')
  const titles = [...text.matchAll(/`\$\{name\}(: [^`]*)`/g)].map(([, rest = '']) => `CRI-O 1.36.3${rest}`)
  for (const { id, crio } of ROWS)
    if (crio !== undefined)
      t.ok(
        titles.some((title) => crio.test(title)),
        `${id}: ${titles.join(' | ')}`,
      )
  const [title = ''] = titles
  const found = resultsOf('crio', `ok 1 - ${title} # time=2ms\n`, '2026-01-02', true)
  t.match(found[0], { id: 'main-job', version: 'CRI-O 1.36.3', passed: true, byHand: true })
  t.match(tableOf(found), /\| CRI-O 1\.36 \|[\s\S]*\| CRI-O 1\.36\.3, 2026-01-02, by hand \|/)
  const skipped = `ok 1 - ${title.replace(' 1.36.3', '')} # SKIP no CRI-O was brought\n`
  t.same(resultsOf('crio', skipped, '2026-01-02', true), [])
})

t.test('a log becomes cells; what fails in one of several tests fails', async (t) => {
  const log = [
    'ok 1 - containerd v2.1.9: a bundle # time=12.5ms',
    'not ok 2 - containerd v2.1.9: DER # time=12ms',
    'ok 3 - containerd 1.6.20~ds1: a bundle',
    '    ok 1 - containerd 1.7.24: within another test',
  ].join('\n')
  const found = resultsOf('formats', log, '2026-01-02', true)
  t.strictSame(found, [
    { id: 'formats', version: '2.1.9', date: '2026-01-02', passed: false, byHand: true },
    { id: 'formats', version: '1.6.20', date: '2026-01-02', passed: true, byHand: true },
  ])
  const later = resultsOf('formats', 'ok 1 - containerd 2.1.10: DER', '2026-02-03', false)
  const all = merged(found, later)
  t.strictSame(
    all.map(({ version }) => version),
    ['1.6.20', '2.1.10'],
    'the newest of a version line stands for it',
  )
  t.match(tableOf(all), /\| 1\.6\.20, 2026-01-02, by hand \| 2\.1\.10, 2026-02-03 \|/)
  t.match(tableOf(found), /\*\*fails\*\* 2\.1\.9/)
})
