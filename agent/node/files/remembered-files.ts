// Files that were read before and have the same identity now are not read again: device, inode, size, mode, owner, and
// the times of the last change of content and of attributes. It is for looking at the node alone: what is about to be
// written is always read anew (reconcile/transaction).
import { lstatSync, readlinkSync } from 'node:fs'
import { dirname, relative, resolve } from 'node:path/posix'
import { isDeepStrictEqual } from 'node:util'
import type { FileState, NodeFiles, RememberedFiles } from '../../model/ports.ts'
import { giveWay } from './give-way.ts'
import { identityOf, NOTHING, TOO_NEW_MS } from './identity.ts'
import { locateFolder } from './rooted-folder.ts'
import { type Answered, type Mark, Witness } from './witness.ts'

const MAX_LINKS = 10

/** What was read, and by what it is known again: the identity of `at`, which is the path or the folder it is missing in. */
type Known<T> = Mark & Answered<T>

export function rememberedFiles(
  files: NodeFiles,
  { root, now = Date.now }: { readonly root: string; readonly now?: () => number },
): RememberedFiles {
  const states = new Map<string, Known<FileState>>()
  const lists = new Map<string, Known<readonly string[]>>()
  let epoch = 0

  const remember = async <T>(
    known: Map<string, Known<T>>,
    path: string,
    read: () => Promise<T>,
  ): Promise<Answered<T>> => {
    // What is remembered is answered without waiting for anything: thousands of answers would hold up everybody else.
    await giveWay()
    const before = known.get(path)
    if (before !== undefined && before.identity === identityOf(before.at)) return before
    known.delete(path)
    const direct = directPath(root, path)
    const first = direct === undefined ? undefined : identityOf(direct)
    const answer = await read()
    const unknown = { answer, marks: undefined }
    if (direct === undefined || first === undefined || !isCertain(answer)) return unknown
    const at = first === NOTHING ? existingAbove(direct) : direct
    const identity = identityOf(at, { until: now() - TOO_NEW_MS })
    // Written while it was read, or so lately that the next change may look the same.
    if (identity === undefined || identityOf(direct) !== first) return unknown
    const learned = { answer, at, identity, marks: [{ at, identity }] }
    known.set(path, learned)
    return learned
  }
  const read = (path: string) => remember(states, path, () => files.read(path))
  const list = (folder: string) => remember(lists, folder, () => files.list(folder))
  const readFollowing = async (path: string): Promise<Answered<FileState>> => {
    const marks: Mark[] = []
    let at = path
    for (let links = 0; links < MAX_LINKS; links += 1) {
      const { answer: state, marks: more } = await read(at)
      // Of a path that is not remembered it is not known whether a link is on the way to it.
      if (more === undefined) break
      marks.push(...more)
      if (state.kind !== 'link') return { answer: state, marks }
      at = resolve(dirname(at), state.to)
    }
    return { answer: await files.readFollowing(path), marks: undefined }
  }
  const readSettled = async (path: string, isWhole: (bytes: Buffer) => boolean): Promise<Answered<FileState>> => {
    const state = await read(path)
    if (state.answer.kind !== 'file' || isWhole(state.answer.bytes)) return state
    return { answer: await files.readSettled(path, isWhole), marks: undefined }
  }
  const unmarked = async <T>(asked: Promise<T>): Promise<Answered<T>> => ({ answer: await asked, marks: undefined })
  // Every way in which a target looks at the node; the rest of the port changes it or tells nothing of it.
  const questions = {
    read: { ask: read, isSame: isSameState },
    readFollowing: { ask: readFollowing, isSame: isSameState },
    readSettled: { ask: readSettled, isSame: isSameState },
    list: { ask: list, isSame: isDeepStrictEqual },
    isFileWritable: { ask: (path: string) => unmarked(files.isFileWritable(path)), isSame: Object.is },
    isWritable: { ask: (folder: string) => unmarked(files.isWritable(folder)), isSame: Object.is },
  }
  return {
    ...files,
    read: async (path) => (await read(path)).answer,
    readFollowing: async (path) => (await readFollowing(path)).answer,
    readSettled: async (path, isWhole) => (await readSettled(path, isWhole)).answer,
    list: async (folder) => (await list(folder)).answer,
    async witnessed(work) {
      const witness = new Witness(() => epoch)
      const result = await work({
        ...files,
        read: (path) => witness.note(questions.read, path, undefined),
        readFollowing: (path) => witness.note(questions.readFollowing, path, undefined),
        readSettled: (path, isWhole) => witness.note(questions.readSettled, path, isWhole),
        list: (folder) => witness.note(questions.list, folder, undefined),
        isFileWritable: (path) => witness.note(questions.isFileWritable, path, undefined),
        isWritable: (folder) => witness.note(questions.isWritable, folder, undefined),
      })
      return { result, isSame: () => witness.isSame() }
    },
    forget() {
      epoch += 1
      states.clear()
      lists.clear()
    },
  }
}

function isSameState(one: FileState, other: FileState): boolean {
  return one === other || isDeepStrictEqual(one, other)
}

/** What could not be read once may be readable the next time, without a change of its own. */
function isCertain(answer: unknown): boolean {
  return (answer as { readonly kind?: string }).kind !== 'unreadable'
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
