// Files that were read before and have the same identity now are not read again: device, inode, size, mode, owner, and
// the times of the last change of content and of attributes. It is for looking at the node alone: what is about to be
// written is always read anew (reconcile/transaction).
import { lstatSync, readlinkSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path/posix'
import type { FileState, NodeFiles, RememberedFiles } from '../../model/ports.ts'
import { giveWay } from './give-way.ts'
import { locateFolder } from './rooted-folder.ts'

/** Within one tick of the kernel's clock a second change leaves no trace: what is as new as this is read again. */
const TOO_NEW_MS = 100
const MAX_LINKS = 10

/** What was read, and by what it is known again: the identity of `at`, which is the path or the folder it is missing in. */
type Known<T> = { readonly answer: T; readonly at: string; readonly identity: string }

export function rememberedFiles(
  files: NodeFiles,
  { root, now = Date.now }: { readonly root: string; readonly now?: () => number },
): RememberedFiles {
  const states = new Map<string, Known<FileState>>()
  const lists = new Map<string, Known<readonly string[]>>()

  const remember = async <T>(known: Map<string, Known<T>>, path: string, read: () => Promise<T>): Promise<T> => {
    // What is remembered is answered without waiting for anything: thousands of answers would hold up everybody else.
    await giveWay()
    const before = known.get(path)
    if (before !== undefined && before.identity === identityOf(before.at)) return before.answer
    known.delete(path)
    const direct = directPath(root, path)
    const first = direct === undefined ? undefined : identityOf(direct)
    const answer = await read()
    if (direct === undefined || first === undefined || !isCertain(answer)) return answer
    const at = first === NOTHING ? existingAbove(direct) : direct
    const identity = identityOf(at, now() - TOO_NEW_MS)
    // Written while it was read, or so lately that the next change may look the same.
    if (identity === undefined || identityOf(direct) !== first) return answer
    known.set(path, { answer, at, identity })
    return answer
  }
  const read = (path: string) => remember(states, path, () => files.read(path))
  const readFollowing = async (path: string): Promise<FileState> => {
    let at = path
    for (let links = 0; links < MAX_LINKS; links += 1) {
      const state = await read(at)
      // Of what is not remembered nobody knows whether a link is on the way to it.
      if (!states.has(at)) break
      if (state.kind !== 'link') return state
      at = resolve(dirname(at), state.to)
    }
    return files.readFollowing(path)
  }
  return {
    ...files,
    read,
    readFollowing,
    async readSettled(path, isWhole) {
      const state = await read(path)
      return state.kind === 'file' && !isWhole(state.bytes) ? files.readSettled(path, isWhole) : state
    },
    list: (folder) => remember(lists, folder, () => files.list(folder)),
    forget() {
      states.clear()
      lists.clear()
    },
  }
}

/** What could not be read once may be readable the next time, without a change of its own. */
function isCertain(answer: unknown): boolean {
  return (answer as { readonly kind?: string }).kind !== 'unreadable'
}

const NOTHING = 'nothing'

/** Undefined where it was changed after `until`, or cannot be told. */
function identityOf(path: string, until = Number.POSITIVE_INFINITY): string | undefined {
  try {
    const stat = lstatSync(path, { throwIfNoEntry: false })
    if (stat === undefined) return NOTHING
    const { dev, ino, size, mode, uid, gid, mtimeMs, ctimeMs } = stat
    return ctimeMs > until ? undefined : `${dev} ${ino} ${size} ${mode} ${uid} ${gid} ${mtimeMs} ${ctimeMs}`
  } catch {
    return undefined
  }
}

/**
 * The path as this process sees it, where no link is on the way to it: a link of the node leads elsewhere for this
 * process.
 */
function directPath(root: string, path: string): string | undefined {
  const base = resolve(root)
  const whole = resolve(base, `.${path}`)
  for (let above = dirname(whole); ; above = dirname(above)) {
    try {
      const folder = locateFolder(base, `/${relative(base, above)}`)
      try {
        return readlinkSync(folder.entry('.').slice(0, -2)) === above ? whole : undefined
      } finally {
        folder.close()
      }
    } catch {
      if (above === base || above === '/') return undefined
    }
  }
}

/** In the nearest folder that exists nothing can be made without a change of its times. */
function existingAbove(path: string): string {
  let above = dirname(path)
  while (above !== '/' && lstatSync(above, { throwIfNoEntry: false }) === undefined) above = dirname(above)
  return above
}
