// Each test has one speed, told by what it imports: see scripts/test-files.ts.
import { execFileSync, spawnSync } from 'node:child_process'
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
    'test/text/hosts-file-glibc.test.ts',
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

t.test('while the programs of the node tests are being installed unit tests run, and no others before', async (t) => {
  const folder = join(import.meta.dirname, '../.tap/installing')
  mkdirSync(folder, { recursive: true })
  t.teardown(() => rmSync(folder, { recursive: true }))
  const said = join(folder, 'said')
  const write = (name: string, imports: string) => {
    const test = `import t from 'tap'
import { appendFileSync } from 'node:fs'
${imports}
appendFileSync(${JSON.stringify(said)}, '${name} ')
t.test('${name}', async (t) => { t.ok(true) })`
    writeFileSync(join(folder, `${name}.test.ts`), test)
    return join(folder, `${name}.test.ts`)
  }
  const files = [
    write(
      'node',
      "import { tellListening } from '../../test/fixtures/node/listening.ts'\nt.type(tellListening, 'function')",
    ),
    write('unit', ''),
  ]
  const run = (installing: string) => {
    const command = `exec 7< <(${installing}); exec "$0" scripts/tap-run.ts --installed=7 "$@"`
    const { stdout, status } = spawnSync('bash', ['-c', command, process.execPath, ...files], {
      cwd: join(import.meta.dirname, '..'),
      encoding: 'utf8',
      env: { ...process.env, REGISTRY_TRUST_CACHE: folder, TAP: '' },
    })
    const ran = readFileSync(said, 'utf8')
    rmSync(said)
    return { stdout, status, ran }
  }
  const untilBothAreDone = `until [ -e '${said}' ]; do sleep 0.1; done; printf 'installed ' >>'${said}'; echo 0`
  t.match(run(untilBothAreDone), { status: 0, ran: 'unit installed node ', stdout: /\n2 passed, 0 failed\n$/ })
  t.match(run('echo 69'), {
    status: 1,
    ran: 'unit ',
    stdout: /ended with 69.*node\.test\.ts\n.*\n1 passed, 1 failed\n$/s,
  })
  t.match(run('true'), { status: 1, ran: 'unit ', stdout: /was killed.*node\.test\.ts\n/ })
})

t.test('what a run is asked for in vain is told in two lines, before anything is run', async (t) => {
  const folder = join(import.meta.dirname, '../.tap/asked')
  mkdirSync(folder, { recursive: true })
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'two.test.ts')
  const text = `import t from 'tap'
t.test('the first', async (t) => { t.ok(true) })
t.test('the second', { skip: 'no reason' }, async (t) => { t.ok(true) })`
  writeFileSync(file, text)
  const run = (...words: readonly string[]) => {
    const { stdout, stderr, status } = spawnSync(process.execPath, ['scripts/tap-run.ts', ...words], {
      cwd: join(import.meta.dirname, '..'),
      encoding: 'utf8',
      env: { ...process.env, REGISTRY_TRUST_CACHE: folder, TAP: '' },
    })
    return { stdout, stderr, status }
  }
  const refused: readonly (readonly [words: readonly string[], why: string])[] = [
    [['--bogus'], "Unknown option '--bogus'"],
    [['--grep'], "Option '-g, --grep <value>' argument missing"],
    [['--jobs=0', file], '--jobs: "0" is not a number from 1 to 99'],
    [['unit', 'test/gone.test.ts'], 'test/gone.test.ts: there is no such file'],
    [['test/text'], 'test/text is not a test file'],
  ]
  for (const [words, why] of refused) {
    const { stdout, stderr, status } = run(...words)
    t.same([status, stdout], [64, ''], why)
    t.match(stderr, `scripts/test: ${why}\nusage: scripts/test [unit | node]`)
  }
  t.match(run(file), { status: 0, stdout: /\nskipped: .*the second: no reason\n.*\n1 passed, 0 failed\n$/ })
  t.match(run('--grep=first', file), { status: 0, stdout: /^ok .*\n1 tests, 1 checks, 0 skipped;.*\n1 passed, 0/ })
  t.match(run('--grep=fourth', file), {
    status: 1,
    stdout: /^0 tests, 0 checks, 0 skipped;.*\nno test has a title with fourth\n0 passed, 0 failed\n$/,
  })
})
