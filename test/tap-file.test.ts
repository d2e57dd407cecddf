// How a test file is judged that says something else than its tests do.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { runFile } from '../scripts/tap-file.ts'

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
      const run = await runFile(file)
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
  const { sum, failed } = await runFile(file)
  t.equal(failed, false)
  t.same(sum.skipped, [' > other: no helm'])
  t.equal(sum.passed, 1)
})
