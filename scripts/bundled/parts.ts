// The first lines of each program of the bundle. Where V8's code of the parts lies beside them, which
// scripts/code-cache.ts makes for the image and the packages, they are not compiled again at each start. Node.js has a
// compile cache of its own, but its folder is named after the processor of the machine that made it: another one would
// not find it.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { Script } from 'node:vm'

/** Where V8's code of a part lies. */
export function codeOf(part: string): string {
  return `${part}.code`
}

/** The first line of a part whose functions mostly run at each start: they are compiled before they are called. */
export const RUNS_AT_START = '// runs at start'

/** A part as V8 has it. `shown` is the path that stack traces tell. */
export function compilePart(
  path: string,
  { code, shown = path }: { code?: Buffer | undefined; shown?: string },
): Script {
  // The bundler writes ASCII alone, which takes a byte a character.
  const source = readFileSync(path, 'latin1').replace(/^#!.*/, '')
  const wrapped = `(function (exports, require, module, __filename, __dirname) { ${source}\n})`
  return new Script(wrapped, { filename: shown, ...(code === undefined ? {} : { cachedData: code }) })
}

/**
 * From here on `require` takes the parts of the bundle by `compile`, as CommonJS
 * (https://nodejs.org/api/modules.html#the-module-wrapper).
 */
export function takeParts(compile: (path: string) => Script): void {
  // V8 takes the code only under the flags that it was made with. The first two have done their work when the process
  // started: the heap stays as it is. The third one the daemon sets for itself, also for its threads
  // (node/threads/heap.ts).
  for (const flag of ['--max-semi-space-size=0', '--max-old-space-size=0', '--no-optimize-for-size'])
    setFlagsFromString(flag)
  const { extensions } = createRequire(import.meta.filename)
  extensions['.cjs'] = (module, path) => {
    const run = compile(path).runInThisContext() as (...given: readonly unknown[]) => void
    run.call(module.exports, module.exports, createRequire(path), module, path, dirname(path))
  }
}

/** For a program of the bundle, by the path of its main part. What V8 refuses, as that of another version, it compiles. */
export function takePartsOf(program: string): void {
  if (codeBeside(program) !== undefined) takeParts((path) => compilePart(path, { code: codeBeside(path) }))
}

function codeBeside(path: string): Buffer | undefined {
  try {
    return readFileSync(codeOf(path))
  } catch {
    return undefined
  }
}
