// Test files: runs one, or several that can share a process, as a program of its own, reads its TAP with tap's own parser
// and counts its tests.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Parser, type Result } from 'tap-parser'

const ROOT = join(import.meta.dirname, '..')
const SHARED = join(ROOT, 'scripts/tap-shared.ts')
/** For a file that does not set its own, and for one that says nothing for so long. */
const TIMEOUT_S = Number(process.env['TAP_TIMEOUT'] ?? 480)

export type Sum = {
  passed: number
  failed: number
  checks: number
  readonly skipped: string[]
  tests: number
}

export type FileRun = {
  readonly file: string
  readonly sum: Sum
  readonly failed: boolean
  readonly seconds: number
  /** All that it said, on stdout and stderr. */
  readonly output: string
}

export type HowToRun = {
  /** Only tests with such titles. */
  readonly grep?: readonly string[] | undefined
  /** What Node.js loads before the test file. */
  readonly preload?: string | undefined
}

/** Never throws: what cannot be run, is killed or tests nothing has failed. Several files: in one process. */
export async function runFiles(files: readonly string[], { grep = [], preload }: HowToRun = {}): Promise<FileRun> {
  const [first = ''] = files
  const [file, program] = files.length === 1 ? [first, first] : [nameOf(files), SHARED]
  const started = performance.now()
  const parser = new Parser()
  const sum = follow(parser, '')
  const lines: string[] = []
  const verdict = new Promise<{ readonly ok: boolean; readonly bailout: boolean | string }>((resolve) => {
    parser.once('complete', resolve)
  })
  const env = {
    // Without it every file compiles all that it imports anew.
    NODE_COMPILE_CACHE: join(ROOT, '.tap/compile-cache'),
    ...process.env,
    TAP: '1',
    TAP_TIMEOUT: String(TIMEOUT_S),
    ...(grep.length === 0 ? {} : { TAP_GREP: grep.join('\n') }),
    REGISTRY_TRUST_TEST_FILES: files.join('\n'),
  }
  const before = preload === undefined ? [] : ['--import', preload]
  const child = spawn(process.execPath, [...before, program], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'], env })
  const silence = setTimeout(() => child.kill('SIGKILL'), (TIMEOUT_S + 60) * 1000)
  const read = async (stream: typeof child.stdout, take: (line: string) => void) => {
    for await (const line of createInterface({ input: stream })) {
      silence.refresh()
      lines.push(line)
      take(line)
    }
  }
  const ended = new Promise<string | undefined>((resolve) => {
    child.once('error', (error) => resolve(`cannot be run: ${error.message}`))
    child.once('close', (code, signal) => resolve(code === 0 ? undefined : `ended with ${signal ?? `code ${code}`}`))
  })
  await Promise.all([
    read(child.stdout, (line) => parser.write(`${line}\n`)),
    // What a crash says, and what a test says aloud.
    read(child.stderr, () => undefined),
  ])
  const why = await ended
  clearTimeout(silence)
  parser.end()
  const { ok, bailout } = await verdict
  if (why !== undefined) lines.push(`# ${file} ${why}`)
  if (bailout !== false) lines.push(`# ${file} gave up: ${bailout}`)
  const isEmpty = sum.tests === 0 && sum.checks === 0 && sum.skipped.length === 0
  if (isEmpty) lines.push(`# ${file} tested nothing`)
  const failed = why !== undefined || !ok || isEmpty || sum.failed > 0
  const seconds = (performance.now() - started) / 1000
  return { file, sum: ofFile(sum, failed), failed, seconds, output: lines.join('\n') }
}

/** Each "test/text/toml.test.ts" of "test/text (8 files)". */
export function nameOf(files: readonly string[]): string {
  const [first = ''] = files
  return files.length === 1 ? first : `${first.split('/').slice(0, 2).join('/')} (${files.length} files)`
}

/** A file without tests is one test, and a file that failed has one that failed at least. */
function ofFile(sum: Sum, failed: boolean): Sum {
  if (failed) return { ...sum, failed: Math.max(1, sum.tests === 0 ? 1 : sum.failed) }
  return sum.tests === 0 && sum.checks > 0 ? { ...sum, passed: 1 } : sum
}

/**
 * Adds up what a file or a test says. A test that holds others is no test of its own, but a failure of its own counts.
 */
function follow(parser: Parser, name: string): Sum {
  const sum: Sum = { passed: 0, failed: 0, checks: 0, skipped: [], tests: 0 }
  let inner: Sum | undefined
  parser.on('child', (child: Parser) => {
    inner = follow(child, `${name} > ${child.name}`)
  })
  parser.on('assert', (result: Result) => {
    const full = `${name} > ${result.name}`
    if (inner !== undefined) addTest(sum, inner, result, full)
    else if (result.skip || result.todo) sum.skipped.push(withReason(full, result))
    else {
      sum.checks += 1
      if (!result.ok) sum.failed += 1
    }
    inner = undefined
  })
  return sum
}

function addTest(sum: Sum, inner: Sum, result: Result, name: string): void {
  sum.checks += inner.checks
  sum.skipped.push(...inner.skipped)
  const isLeaf = inner.tests === 0
  sum.tests += Math.max(1, inner.tests)
  if (isLeaf) {
    if (result.skip || result.todo) sum.skipped.push(withReason(name, result))
    else if (result.ok) sum.passed += 1
    else sum.failed += 1
    return
  }
  sum.passed += inner.passed
  // A time-out or a plan that was not kept fails the test that holds the others, and none of these.
  sum.failed += !result.ok && inner.failed === 0 ? 1 : inner.failed
}

function withReason(name: string, { skip, todo }: Result): string {
  const reason = skip || todo
  return typeof reason === 'string' ? `${name}: ${reason}` : name
}
