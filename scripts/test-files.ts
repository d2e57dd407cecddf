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
  /^(test\/fixtures\/(node|deploy|cluster|monitoring|e2e|scratch|http\/chromium)|agent\/cluster\/|agent\/node\/(?!clock|watch\/coalesce|files\/(input-files|file-failure|rooted-folder|mounts)\.))/
/** What starts programs although no import tells. */
const SLOW = new Set(['test/pki/certificate/subject-hash.test.ts', 'test/deploy/supply-chain.test.ts'])
const FIXTURES = 'test/fixtures/node/'

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
  return !SLOW.has(file) && ![...reach(file)].some((path) => OUTSIDE.test(path))
}

/** Everything that a file imports, directly or not; types alone reach nothing. */
function reach(file: string, seen = new Set<string>()): ReadonlySet<string> {
  for (const [, from, lazily] of readFileSync(join(ROOT, file), 'utf8').matchAll(IMPORT)) {
    const path = posix.join(posix.dirname(file), from ?? lazily ?? '')
    if (seen.has(path) || !path.endsWith('.ts')) continue
    seen.add(path)
    reach(path, seen)
  }
  return seen
}

/** Remembers that the fixtures as they are have passed their own tests on this machine. */
export function rememberFixtures(): void {
  mkdirSync(dirname(stamp()), { recursive: true })
  writeFileSync(stamp(), '')
}

export function fixturesHavePassed(): boolean {
  return existsSync(stamp())
}

/** Where what is fetched for the tests lies, and what is remembered of them on this machine. */
export function cacheFolder(): string {
  return process.env['REGISTRY_TRUST_CACHE'] ?? '/var/cache/registry-trust-fixtures'
}

/** In the cache beside the programs that the fixtures run: another machine has another one. */
function stamp(): string {
  const digest = createHash('sha256')
  const fixtures = readdirSync(join(ROOT, FIXTURES)).map((name) => `${FIXTURES}${name}`)
  for (const file of [...fixtures.sort(), 'scripts/install-fixtures'])
    digest.update(`${file}\0`).update(readFileSync(join(ROOT, file)))
  return join(cacheFolder(), 'fixtures-passed', digest.digest('hex'))
}

export function isFixtureTest(file: string): boolean {
  return file.startsWith(FIXTURES)
}
