// How a test file is judged that says something else than its tests do.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import t from 'tap'
import { bundleTap } from '../scripts/tap-bundle.ts'
import { runFiles } from '../scripts/tap-file.ts'

const say = (...lines: readonly string[]) => `console.log(${JSON.stringify(['TAP version 14', ...lines].join('\n'))})\n`
const GOOD = ['# Subtest: good', '    ok 1 - a', '    ok 2 - b', '    1..2', 'ok 1 - good', '1..1']

t.test('a file is judged by its tests and by how it ends', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rt-tap-file-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const cases = {
    'a good test': [say(...GOOD), false, 1, 0, 2],
    'checks without a test': [say('ok 1 - a', 'ok 2 - b', '1..2'), false, 1, 0, 2],
    'a failed check': [
      say('# Subtest: bad', '    ok 1 - a', '    not ok 2 - b', '    1..2', 'not ok 1 - bad', '1..1'),
      true,
      0,
      1,
      2,
    ],
    'a crash after good tests': [`${say(...GOOD)}throw new Error('late')`, true, 1, 1, 2],
    'a kill after good tests': [`${say(...GOOD)}process.kill(process.pid, 'SIGKILL')`, true, 1, 1, 2],
    'fewer tests than planned': [say(...GOOD.slice(0, -1), '1..2'), true, 1, 1, 2],
    'no test at all': ['', true, 0, 1, 0],
    'a bailout': [say(...GOOD.slice(0, -1), 'Bail out! no containerd'), true, 1, 1, 2],
  } as const
  const names = Object.keys(cases) as (keyof typeof cases)[]
  await Promise.all(
    names.map(async (name, index) => {
      const [text, failed, ...counts] = cases[name]
      const file = join(folder, `${index}.test.ts`)
      writeFileSync(file, text)
      const run = await runFiles([file])
      t.equal(run.failed, failed, `${name}: ${run.output}`)
      t.same([run.sum.passed, run.sum.failed, run.sum.checks], counts, name)
    }),
  )
})

t.test('skipped tests are named with their reason, and count as neither passed nor failed', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rt-tap-file-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'skipped.test.ts')
  writeFileSync(file, say(...GOOD.slice(0, -1), 'ok 2 - other # SKIP no helm', '1..2'))
  const { sum, failed } = await runFiles([file])
  t.equal(failed, false)
  t.same(sum.skipped, [' > other: no helm'])
  t.equal(sum.passed, 1)
})

t.test('files that share a process are judged together, and one of them that tests nothing is told', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'rt-tap-file-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const tap = JSON.stringify(import.meta.resolve('tap'))
  const write = (name: string, text: string) => {
    const file = join(folder, `${name}.test.ts`)
    writeFileSync(file, `import t from ${tap}\n${text}`)
    return relative(join(import.meta.dirname, '..'), file)
  }
  const good = write('good', `t.test('good', async (t) => { t.ok(true); t.ok(true) })`)
  const other = write('other', `t.test('other', async (t) => { t.ok(true) })`)
  const bad = write('bad', `t.test('bad', async (t) => { t.ok(false) })`)
  const empty = write('empty', '')
  const run = async (...files: readonly string[]) => {
    const { failed, sum, output } = await runFiles(files)
    return { failed, passed: sum.passed, bad: sum.failed, checks: sum.checks, output }
  }
  t.match(await run(good, other), { failed: false, passed: 2, bad: 0, checks: 3 })
  t.match(await run(good, bad, other), { failed: true, passed: 2, bad: 1, checks: 4 })
  t.match(await run(good, empty), { failed: true, output: /empty\.test\.ts tested nothing/ })
  t.match(await run(good, 'test/is-not-there.test.ts'), { failed: true, output: /is-not-there/ })
})

t.test('tap says the same of failed tests where it is loaded as one file', async (t) => {
  const folder = join(import.meta.dirname, '../.tap/same')
  mkdirSync(folder, { recursive: true })
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'failing.test.ts')
  writeFileSync(
    file,
    `import t from 'tap'
t.test('values', async (t) => { t.same({ a: [1], b: new Map([[1, 2]]) }, { a: [2] }); t.match({ a: 'b' }, { a: /c/ }) })
t.test('an error', async () => { throw new TypeError('x') })
t.test('a folder', async (t) => { t.equal(t.testdir({ a: 'x' }), 'y'); t.throws(() => { throw new Error('u') }) })`,
  )
  const said = async (preload: string | undefined) =>
    (await runFiles([file], { preload })).output.replace(/# time=.*/g, '')
  const preload = await bundleTap()
  t.type(preload, 'string')
  const plain = await said(undefined)
  t.match(plain, /failing\.test\.ts:3/, 'where it failed')
  t.equal(await said(preload), plain)
})
