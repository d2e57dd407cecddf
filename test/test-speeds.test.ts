// Each test has one speed, told by what it imports: see scripts/test-files.ts.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { fixturesDigest, fixtureTests, startsMachine, testFiles, together } from '../scripts/test-files.ts'

t.test('every test file is a unit test or a node test, and none is both', async (t) => {
  const unit = testFiles('unit')
  const node = testFiles('node')
  t.same([...unit, ...node].sort(), testFiles('all'))
  t.same(
    unit.filter((file) => node.includes(file)),
    [],
  )
})

t.test('what reads text is a unit test, what starts a machine or writes as root is not', async (t) => {
  const unit = testFiles('unit')
  for (const file of ['test/text/toml.test.ts', 'test/config/load.test.ts', 'test/test-speeds.test.ts'])
    t.ok(unit.includes(file), file)
  for (const file of [
    'test/e2e/main-job.test.ts',
    'test/node/files/files.test.ts',
    'test/http/page/page-browser.test.ts',
  ])
    t.notOk(unit.includes(file), file)
})

t.test(
  'what starts no machine shares a process with its folder, every file is run once, and what needs its own has it',
  async (t) => {
    const files = testFiles('all')
    const groups = together(files)
    t.same(groups.flat().sort(), files)
    const shared = groups.filter(({ length }) => length > 1)
    t.ok(shared.length > 10)
    t.same(shared.flat().filter(startsMachine), [])
    t.notOk(shared.flat().includes('test/config/decoders.test.ts'), 'it judges the memory of its process')
    t.notOk(shared.flat().includes('test/text/unified-diff.test.ts'), 'it has a folder for all its tests')
  },
)

t.test(
  "the fixtures' own tests run where the fixtures changed since they passed, and always with all tests",
  async (t) => {
    const own = fixtureTests()
    t.ok(own.length > 2)
    const cache = mkdtempSync(join(tmpdir(), 'rt-fixtures-passed-'))
    t.teardown(() => rmSync(cache, { recursive: true }))
    const passed = join(import.meta.dirname, 'fixtures/node-passed.txt')
    const listed = (env: { readonly [name: string]: string }) => {
      const script = "import { testFiles } from './scripts/test-files.ts'; console.log(testFiles('all').join('\\n'))"
      const options = {
        cwd: join(import.meta.dirname, '..'),
        env: { ...process.env, REGISTRY_TRUST_CACHE: cache, ...env },
      }
      const files = execFileSync(process.execPath, ['--input-type=module', '-e', script], options)
        .toString()
        .split('\n')
      return files.filter((file) => own.includes(file))
    }
    const digest = fixturesDigest()
    t.same(listed({}), readFileSync(passed, 'utf8').trim() === digest ? [] : own, 'as the repository tells')
    mkdirSync(join(cache, 'fixtures-passed'))
    writeFileSync(join(cache, 'fixtures-passed', digest), '')
    t.same(listed({}), [], 'as this machine has seen')
    t.same(listed({ REGISTRY_TRUST_FULL: '1' }), own)
  },
)
