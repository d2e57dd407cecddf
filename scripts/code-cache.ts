// Keeps V8's code of the bundle's parts beside them, so that no start compiles them again. The parts are not run for it:
// what V8 has of a program that ran depends on when it collected garbage, and the same sources are to give the same bytes.
// usage: node --random-seed=1 code-cache.ts FOLDER SHOWN: the folder with the bundle, and where it will lie; by the very
// Node.js that will take it
import { readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { codeOf, compilePart } from './bundled/parts.ts'

/** Bytes. What is larger is the client of the API server, which no node starts with. */
const LARGEST_PART = 1_000_000

const [folder = 'dist', shown = folder] = process.argv.slice(2)
if (!process.execArgv.includes('--random-seed=1'))
  throw new Error('usage: node --random-seed=1 code-cache.ts FOLDER SHOWN')
const names = readdirSync(folder).filter((name) => /^registry-trust-([A-Z0-9]{8}|(\w+-)?program)\.cjs$/.test(name))
for (const name of names.toSorted()) {
  const path = join(folder, name)
  if (statSync(path).size > LARGEST_PART) continue
  const script = compilePart(path, { shown: join(shown, name) })
  writeFileSync(codeOf(path), script.createCachedData())
}
