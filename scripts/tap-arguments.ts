// What a run of the tests is asked for on its command line. As a program it says what is wrong with one, before anything
// is built: exit code 64.
// usage: node scripts/tap-arguments.ts ARGUMENT...
import { existsSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import type { Speed } from './test-files.ts'

const ROOT = join(import.meta.dirname, '..')
const USAGE = 'usage: scripts/test [unit | node] [--jobs=N] [--grep=TITLE]... [FILE.test.ts]...'
const EXIT_CODE = 64

export type Asked = {
  /** Undefined: as many as fit the speed. */
  readonly jobs: number | undefined
  readonly grep: readonly string[] | undefined
  /** A file descriptor. */
  readonly installed: number | undefined
  /** Undefined: nothing was said of it. */
  readonly speed: Speed | undefined
  /** Paths from the root of the repository; none: all that have the speed. */
  readonly named: readonly string[]
}

/** Ends the process where the words cannot be meant. */
export function askedFor(words: readonly string[]): Asked {
  const { values, positionals } = parsed(words)
  const { jobs, grep, installed } = values
  if (jobs !== undefined && !/^[1-9]\d?$/.test(jobs)) refuse(`--jobs: "${jobs}" is not a number from 1 to 99`)
  const [first, ...rest] = positionals
  const speed = first === 'unit' || first === 'node' || first === 'all' ? first : undefined
  const named = (speed === undefined ? positionals : rest).map((file) => relative(ROOT, resolve(file)))
  for (const file of named) {
    if (!existsSync(join(ROOT, file))) refuse(`${file}: there is no such file`)
    if (!file.endsWith('.test.ts')) refuse(`${file} is not a test file`)
  }
  return {
    jobs: jobs === undefined ? undefined : Number(jobs),
    grep,
    installed: installed === undefined ? undefined : Number(installed),
    speed,
    named,
  }
}

function parsed(words: readonly string[]) {
  try {
    return parseArgs({
      args: [...words],
      allowPositionals: true,
      options: {
        jobs: { type: 'string' },
        grep: { type: 'string', multiple: true, short: 'g' },
        installed: { type: 'string' },
      },
    })
  } catch (error) {
    // The rest of what Node says is about files whose name begins with a dash.
    return refuse(String(error instanceof Error ? error.message : error).replace(/\. To specify.*/s, ''))
  }
}

function refuse(why: string): never {
  console.error(`scripts/test: ${why}\n${USAGE}`)
  process.exit(EXIT_CODE)
}

if (import.meta.main) askedFor(process.argv.slice(2))
