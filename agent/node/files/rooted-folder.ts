// Open folders below a root, and the walk that finds them. The rule: a path is resolved component by component on open
// descriptors, the way the kernel would in a chroot: an absolute link starts again at the root and `..` stops there, so
// neither a link nor a folder that is swapped meanwhile leads out of it.
import { closeSync, constants, fstatSync, fsync, lstatSync, openSync, readlinkSync, type Stats } from 'node:fs'
import { promisify } from 'node:util'

const synced = promisify(fsync)

/** Needs search permission alone, not read permission; not in fs.constants. The same number on x86 and arm. */
const O_PATH = 0o10000000
const OPEN_FOLDER = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW
/** The kernel's own limit (MAXSYMLINKS). */
const MAX_LINKS = 40

/** A folder held open: renaming or replacing its path no longer changes which folder is meant. */
export class Folder {
  readonly #descriptor: number

  constructor(path: string, flags: number = OPEN_FOLDER) {
    this.#descriptor = openSync(path, flags)
  }

  /** The path of one entry; the last component is never resolved before the call that uses it. */
  entry(name: string): string {
    return `/proc/self/fd/${this.#descriptor}/${name}`
  }

  child(name: string): Folder {
    return new Folder(this.entry(name))
  }

  stat(): Stats {
    return fstatSync(this.#descriptor)
  }

  /** Makes the names in the folder durable. */
  async sync(): Promise<void> {
    const descriptor = openSync(this.entry('.'), constants.O_RDONLY | constants.O_DIRECTORY)
    try {
      await synced(descriptor)
    } catch (error) {
      // Some network and FUSE file systems cannot sync a folder; there is no stronger promise to be had from them.
      if (!['EINVAL', 'ENOTSUP', 'ENOSYS'].includes(errnoOf(error))) throw error
    } finally {
      closeSync(descriptor)
    }
  }

  close(): void {
    closeSync(this.#descriptor)
  }
}

/** An entry of an open folder; `name` is `.` where the path is the root itself. The caller closes the folder. */
export type Place = { readonly folder: Folder; readonly name: string }

/**
 * Finds the folder that holds the last component of `path`, links resolved below `root`. Throws the errno errors of the
 * calls.
 */
export function locate(root: string, path: string, last: 'follow' | 'keep'): Place {
  const open: Folder[] = [new Folder(root, O_PATH | constants.O_DIRECTORY)]
  try {
    const name = walk(open, components(path), last)
    const folder = open.pop()
    if (folder === undefined) throw new Error(`no folder above ${path}`)
    return { folder, name }
  } finally {
    for (const folder of open) folder.close()
  }
}

/** Opens the folder at `path`, links resolved below `root`. */
export function locateFolder(root: string, path: string): Folder {
  const place = locate(root, path, 'follow')
  if (place.name === '.') return place.folder
  try {
    return place.folder.child(place.name)
  } finally {
    place.folder.close()
  }
}

export function errnoOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : ''
}

/** Leaves the holding folder on top of `open` and returns the name in it. */
function walk(open: Folder[], path: readonly string[], last: 'follow' | 'keep'): string {
  const pending = [...path]
  let links = 0
  for (let name = pending.shift(); name !== undefined; name = pending.shift()) {
    const folder = open.at(-1)
    if (folder === undefined) throw new Error('walked out of the root')
    if (name === '..') {
      if (open.length > 1) open.pop()?.close()
      continue
    }
    if (pending.length === 0 && last === 'keep') return name
    if (lstatSync(folder.entry(name)).isSymbolicLink()) {
      links += 1
      if (links > MAX_LINKS) throw Object.assign(new Error('too many levels of symbolic links'), { code: 'ELOOP' })
      const target = readlinkSync(folder.entry(name))
      if (target.startsWith('/')) for (const left of open.splice(1)) left.close()
      pending.unshift(...components(target))
      continue
    }
    if (pending.length === 0) return name
    open.push(folder.child(name))
  }
  return '.'
}

function components(path: string): readonly string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.')
}
