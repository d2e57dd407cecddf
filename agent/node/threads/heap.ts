// How eagerly V8 gives memory back in a process that stays.
import { createRequire } from 'node:module'
import { setFlagsFromString } from 'node:v8'

const [SMALL, USUAL] = ['--optimize-for-size', '--no-optimize-for-size']

let isSmall = false

/**
 * From here on V8 lets the heap grow by about half of what is in use before it collects garbage, where it would let it
 * grow to a multiple. Not from the start: while a process loads its code time is worth more. V8 takes compiled code from
 * the disk only under the flags that it was made with, so parts that are loaded later are loaded without.
 */
export function keepHeapSmall(): void {
  isSmall = true
  setFlagsFromString(SMALL)
  // The extensions are those of the whole process.
  const { extensions } = createRequire(process.execPath)
  const load = extensions['.cjs']
  if (load === undefined) return
  extensions['.cjs'] = (module, path) => {
    setFlagsFromString(USUAL)
    try {
      load(module, path)
    } finally {
      setFlagsFromString(SMALL)
    }
  }
}

/** After a thread has ended, which has loaded its code as at the start of a process: flags are those of all threads. */
export function keepHeapAsItWas(): void {
  if (isSmall) setFlagsFromString(SMALL)
}
