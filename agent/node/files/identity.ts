// What a file or folder is known again by without being read: device, inode, size, mode, owner, and the times of the last
// change of content and of attributes. A program can set the first of these times back, but not the second.
import { lstatSync, type Stats, statSync } from 'node:fs'

/** Within one tick of the kernel's clock a second change leaves no trace: what is as new as this is read again. */
export const TOO_NEW_MS = 100

/** Of a path at which nothing is. */
export const NOTHING = 'nothing'

/** Numbers in an identity. */
export const FIELDS = 8

/**
 * Undefined where it was changed after `until`, milliseconds since the epoch, or is not known. `follow`: of what a link
 * leads to.
 */
export function identityOf(
  path: string,
  { until = Number.POSITIVE_INFINITY, follow = false }: { readonly until?: number; readonly follow?: boolean } = {},
): string | undefined {
  try {
    const stat = follow ? statSync(path, { throwIfNoEntry: false }) : lstatSync(path, { throwIfNoEntry: false })
    if (stat === undefined) return NOTHING
    return stat.ctimeMs > until ? undefined : fieldsOf(stat).join(' ')
  } catch {
    return undefined
  }
}

/** The same as numbers, NaN for what is nowhere. */
export function numbersOf(identity: string): readonly number[] {
  return identity === NOTHING ? Array<number>(FIELDS).fill(Number.NaN) : identity.split(' ').map(Number)
}

/** Whether the path, no link followed, has the identity whose numbers begin at `from`. */
export function isIdentity(path: string, numbers: Float64Array, from: number): boolean {
  try {
    const stat = lstatSync(path, { throwIfNoEntry: false })
    return stat !== undefined && isOf(stat, numbers, from)
  } catch {
    return false
  }
}

/** One by one: a list of them for each of thousands of paths would be work for the garbage collector. */
function isOf(
  { dev, ino, size, mode, uid, gid, mtimeMs, ctimeMs }: Stats,
  numbers: Float64Array,
  from: number,
): boolean {
  return (
    ctimeMs === numbers[from + 7] &&
    mtimeMs === numbers[from + 6] &&
    ino === numbers[from + 1] &&
    size === numbers[from + 2] &&
    mode === numbers[from + 3] &&
    dev === numbers[from] &&
    uid === numbers[from + 4] &&
    gid === numbers[from + 5]
  )
}

function fieldsOf({ dev, ino, size, mode, uid, gid, mtimeMs, ctimeMs }: Stats): readonly number[] {
  return [dev, ino, size, mode, uid, gid, mtimeMs, ctimeMs]
}
