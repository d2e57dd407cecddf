// Each test has one speed, told by what it imports: see scripts/test-files.ts.
import t from 'tap'
import { testFiles, together } from '../scripts/test-files.ts'

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

t.test('unit tests of one folder share a process, every file is run once, and what needs its own has it', async (t) => {
  const files = testFiles('all')
  const groups = together(files)
  t.same(groups.flat().sort(), files)
  const shared = groups.filter(({ length }) => length > 1)
  t.ok(shared.length > 10)
  const unit = testFiles('unit')
  t.same(
    shared.flat().filter((file) => !unit.includes(file)),
    [],
  )
  t.notOk(shared.flat().includes('test/config/decoders.test.ts'), 'it judges the memory of its process')
  t.notOk(shared.flat().includes('test/text/unified-diff.test.ts'), 'it has a folder for all its tests')
})
