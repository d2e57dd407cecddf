// Keeps V8's code of the bundle's parts beside them, so that no start compiles them again. The parts are not run for it:
// what V8 has of a program that ran depends on when it collected garbage, and the same sources are to give the same bytes.
// Nor is garbage collected while they are compiled, hence the second flag: V8 drops code that it sees unused.
// usage: node --random-seed=1 --initial-old-space-size=2000 code-cache.ts FOLDER SHOWN: the folder with the bundle, and
// where it will lie; by the very Node.js that will take it
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { codeOf, compilePart, RUNS_AT_START } from './bundled/parts.ts'

/** Bytes. What is larger is the client of the API server, which no node starts with. */
const LARGEST_PART = 1_000_000

const [folder = 'dist', shown = folder] = process.argv.slice(2)
const FLAGS = ['--random-seed=1', '--initial-old-space-size=2000']
if (!FLAGS.every((flag) => process.execArgv.includes(flag)))
  throw new Error(`usage: node ${FLAGS.join(' ')} code-cache.ts FOLDER SHOWN`)
// The heap stays as it is; no program has the flag when it takes the code.
setFlagsFromString('--initial-old-space-size=0')
const names = readdirSync(folder).filter((name) => /^registry-trust-([A-Z0-9]{8}|(\w+-)?program)\.cjs$/.test(name))
for (const name of names.toSorted()) {
  const path = join(folder, name)
  if (statSync(path).size > LARGEST_PART) continue
  // V8 compiles a function when it is first called, unless it is told not to wait; the flag back, for it takes the code
  // only under the flags that it was made with.
  const isEager = readFileSync(path, 'latin1').startsWith(RUNS_AT_START)
  if (isEager) setFlagsFromString('--no-lazy')
  const script = compilePart(path, { shown: join(shown, name) })
  if (isEager) setFlagsFromString('--lazy')
  writeFileSync(codeOf(path), script.createCachedData())
}
