// Which test files there are, by speed. Nobody keeps a list: a test that reaches nothing outside its own process, by
// what it imports, is a unit test; every other one needs root, real programs or both.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'

const ROOT = join(import.meta.dirname, '..')
const IMPORT = /^(?:import|export)(?! type)\b[^'"]*?from '(\.[^']+)'|\bimport\('(\.[^']+)'\)/gm
/**
 * Machines and programs that tests start, and of the agent's rim all but what reads its inputs: owners of files,
 * sockets, processes.
 */
const OUTSIDE =
  /^(test\/fixtures\/(node|deploy|cluster|monitoring|e2e|scratch|http\/chromium)|agent\/cluster\/|agent\/node\/(?!clock|watch\/coalesce|files\/(input-files|file-failure|rooted-folder|mounts|give-way|identity)\.))/
/** Machines and programs alone: what takes long, and is worth a process of its own. */
const MACHINES = /^test\/fixtures\/(node|deploy|cluster|monitoring|e2e|http\/chromium)/
/** Those that judge the process they run in: its memory, its event loop, its standard streams. */
const ALONE = new Set([
  'test/config/decoders.test.ts',
  'test/http/limits.test.ts',
  'test/telemetry/line-output.test.ts',
])
/** What is set for all tests of a process, or changes it. */
const FOR_ALL =
  /^t\.(jobs|setTimeout|plan)\b|\bprocess\.(chdir|on|umask)\(|\bprocess\.env\[[^\]]+\] = |\bdelete process\.env/m
/** A folder of tap for all tests of a file: a second file in the same process would empty it. */
const OWN_FOLDER = /^(?:const|let) .*\bt\.testdir\(/m
/** What starts programs although no import tells. */
const SLOW = new Set(['test/pki/certificate/subject-hash.test.ts'])
/** A program that root alone may start, called by the test itself. */
const AS_ROOT = /'(?:unshare|nsenter|chroot|mount)', \[/
const FIXTURES = 'test/fixtures/node/'
/** The digest of the fixtures that passed their own tests last. */
const PASSED = join(ROOT, 'test/fixtures/node-passed.txt')

const imports = new Map<string, readonly string[]>()
const units = new Map<string, boolean>()

export type Speed = 'unit' | 'node' | 'all'

/**
 * Paths from the root of the repository, in order. `all` leaves the fixtures' own tests out where these fixtures have
 * passed them.
 */
export function testFiles(speed: Speed): readonly string[] {
  const files = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => `test/${file}`)
    .sort()
  const wanted = speed === 'all' ? files : files.filter((file) => isUnit(file) === (speed === 'unit'))
  return fixturesHavePassed() ? wanted.filter((file) => !file.startsWith(FIXTURES)) : wanted
}

export function isUnit(file: string): boolean {
  const known = units.get(file) ?? (!SLOW.has(file) && !needsRoot(file) && !reachesOutside(file))
  units.set(file, known)
  return known
}

function reachesOutside(file: string): boolean {
  return [...reach(file)].some((path) => OUTSIDE.test(path))
}

function needsRoot(file: string): boolean {
  return AS_ROOT.test(textOf(file))
}

/**
 * The same files, those together that one process can run one after the other: of one folder below test/ the unit tests,
 * and what else starts no machine. To start Node with tap and what a test imports takes longer than most of them.
 */
export function together(files: readonly string[]): readonly (readonly string[])[] {
  const groups = Map.groupBy(files, (file) => {
    if (!canShare(file)) return file
    return `${dirname(file).split('/').slice(0, 2).join('/')} ${isUnit(file) ? 'unit' : 'node'}`
  })
  return [...groups.values()]
}

function canShare(file: string): boolean {
  if (ALONE.has(file) || startsMachine(file)) return false
  const text = textOf(file)
  return !OWN_FOLDER.test(text) && (isUnit(file) || !FOR_ALL.test(text))
}

export function startsMachine(file: string): boolean {
  return SLOW.has(file) || [...reach(file)].some((path) => MACHINES.test(path))
}

/** Everything that a file imports, directly or not; types alone reach nothing. */
function reach(file: string, seen = new Set<string>()): ReadonlySet<string> {
  for (const path of importsOf(file)) {
    if (seen.has(path) || !path.endsWith('.ts')) continue
    seen.add(path)
    reach(path, seen)
  }
  return seen
}

/** Empty for a file that is not there: it fails where it is run. */
function textOf(file: string): string {
  const path = join(ROOT, file)
  return existsSync(path) ? readFileSync(path, 'utf8') : ''
}

function importsOf(file: string): readonly string[] {
  const found = imports.get(file)
  if (found !== undefined) return found
  const matches = [...textOf(file).matchAll(IMPORT)]
  const paths = matches.map(([, from, lazily]) => posix.join(posix.dirname(file), from ?? lazily ?? ''))
  imports.set(file, paths)
  return paths
}

/**
 * Remembers that the fixtures as they are have passed their own tests: on this machine, and in the repository, so that
 * a fresh clone knows it once that is committed. Continuous integration changes no file of the repository.
 */
export function rememberFixtures(): void {
  const digest = fixturesDigest()
  mkdirSync(dirname(stamp(digest)), { recursive: true })
  writeFileSync(stamp(digest), '')
  if (process.env['CI'] === undefined) writeFileSync(PASSED, `${digest}\n`)
}

/** With REGISTRY_TRUST_FULL=1 they are tested whatever was seen before. */
export function fixturesHavePassed(): boolean {
  if (process.env['REGISTRY_TRUST_FULL'] === '1') return false
  const digest = fixturesDigest()
  return existsSync(stamp(digest)) || (existsSync(PASSED) && readFileSync(PASSED, 'utf8').trim() === digest)
}

/** Where what is fetched for the tests lies, and what is remembered of them on this machine. */
export function cacheFolder(): string {
  return process.env['REGISTRY_TRUST_CACHE'] ?? '/var/cache/registry-trust-fixtures'
}

/** In the cache beside the programs that the fixtures run. */
function stamp(digest: string): string {
  return join(cacheFolder(), 'fixtures-passed', digest)
}

/** Of the fixtures, their tests and what installs the programs that they run. */
export function fixturesDigest(): string {
  const digest = createHash('sha256')
  const fixtures = readdirSync(join(ROOT, FIXTURES)).map((name) => `${FIXTURES}${name}`)
  for (const file of [...fixtures.sort(), 'scripts/install-fixtures'])
    digest.update(`${file}\0`).update(readFileSync(join(ROOT, file)))
  return digest.digest('hex')
}

/** The fixtures' own tests, whether or not they are to run. */
export function fixtureTests(): readonly string[] {
  return readdirSync(join(ROOT, FIXTURES))
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => `${FIXTURES}${name}`)
}

/** Also of the name of several that ran in one process. */
export function isFixtureTest(file: string): boolean {
  return file.startsWith('test/fixtures')
}
