// The node's file system below --root (port NodeFiles): reading, and the queue that changes go through. The rules: a
// link is resolved below the root or not at all; what cannot be read is a value with its reason; changes follow each
// other.
// This room: files of the node: the port NodeFiles. Each write is atomic, durable and below the folder of its target.
// Begin here; then file-changes.ts and staging.ts (how one path changes), rooted-folder.ts (why no link leads out),
// remembered-files.ts (what is not read twice), input-files.ts (the agent's own files: the port InputFiles).
// May touch: the node below --root, in the folders that a change names.
import { accessSync, constants, lstatSync, readdirSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { join } from 'node:path/posix'
import { AgentError } from '../../model/errors.ts'
import type { FileContent } from '../../model/plan.ts'
import type { FileState, MountPoint, Mounts, NodeFiles } from '../../model/ports.ts'
import { attributeCopier } from './attributes.ts'
import { put, putWhole, removeWhole, renameBeside, sweepStaging, type Target, withTarget } from './file-changes.ts'
import { readEntry } from './file-entry.ts'
import { reasonOf, writeFailure } from './file-failure.ts'
import { mounts as mountsOfThisProcess } from './mounts.ts'
import { errnoOf, type Folder, locate, locateFolder, type Place } from './rooted-folder.ts'
import { readSettled } from './settled-file.ts'

export function nodeFiles({
  root,
  mounts = mountsOfThisProcess(),
}: {
  readonly root: string
  readonly mounts?: Mounts
}): NodeFiles {
  const serially = oneAtATime()
  const copyAttributes = attributeCopier({ root })
  const change = (path: string, folder: string, doing: string, work: (target: Target | undefined) => Promise<void>) =>
    serially(async () => {
      try {
        await withTarget(root, path, folder, work)
      } catch (error) {
        throw writeFailure(`${doing} ${path}`, error)
      }
    })
  const read = (path: string) => readAt(() => locate(root, path, 'keep'))
  return {
    read,
    readFollowing: (path) => readAt(() => locate(root, path, 'follow')),
    readSettled: (path, isWhole) => readSettled(() => read(path), isWhole),
    list: async (folder) => listNames(root, folder),
    isWritable: async (folder) => isWritable(root, folder),
    isFileWritable: async (path) => isFileWritable(root, path),
    put: (path, content, { folder, ifAttributesLost }) =>
      change(path, folder, verbOf(content), (target) => {
        const attributes = ifAttributesLost && { copy: copyAttributes, orTell: ifAttributesLost }
        return put(target, path, content, attributes)
      }),
    putFolder: (path, files, { folder, mode }) =>
      change(path, folder, 'create', (target) => putWhole(target, path, files, mode)),
    removeFolder: (path, { folder }) => change(path, folder, 'remove', removeWhole),
    rename: (path, name, { folder }) => change(path, folder, 'rename', (target) => renameBeside(target, name)),
    sweep: (folder) => serially(() => sweepStaging(root, folder)),
    freeBytes: async (path) => freeBytes(root, path),
    within: (folder, work) => within(root, folder, work),
    isSeen: (path) => isSeen(join(root, path), join(root, '/'), mounts()),
    hostPath: (path) => join(root, path),
  }
}

/** Where nothing is mounted below the root, it is no Pod but a whole tree. `root` ends with a slash. */
function isSeen(path: string, root: string, mounts: readonly MountPoint[]): boolean {
  if (root === '/') return true
  const below = mounts.filter((mount) => mount.path.startsWith(root))
  return below.length === 0 || below.some((mount) => path === mount.path || path.startsWith(`${mount.path}/`))
}

/** Links on the way are those of the node, as for every other call. */
async function within<Result>(
  root: string,
  path: string,
  work: (entry: (name: string) => string) => Promise<Result>,
): Promise<Result> {
  const folder = locateFolder(root, path)
  try {
    return await work((name) => folder.entry(name))
  } finally {
    folder.close()
  }
}

async function freeBytes(root: string, path: string): Promise<number | undefined> {
  try {
    const { bfree, bsize } = await within(root, path, (entry) => statfs(entry('.')))
    return bfree * bsize
  } catch {
    // Not there, or not mounted into the Pod.
    return undefined
  }
}

async function readAt(find: () => Place): Promise<FileState> {
  let place: Place | undefined
  try {
    place = find()
    return await readEntry(place.folder.entry(place.name))
  } catch (error) {
    // A component that is a file, not a folder, means that the path does not exist, as for any program on the node.
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error))) return { kind: 'absent' }
    return { kind: 'unreadable', reason: reasonOf(error).text }
  } finally {
    place?.folder.close()
  }
}

function listNames(root: string, path: string): readonly string[] {
  let folder: Folder | undefined
  try {
    folder = locateFolder(root, path)
    return readdirSync(folder.entry('.')).sort()
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw new AgentError('NODE_FILE_UNREADABLE', `cannot list ${path}: ${reasonOf(error).text}`, {}, { cause: error })
  } finally {
    folder?.close()
  }
}

function isWritable(root: string, path: string): boolean {
  let folder: Folder | undefined
  try {
    folder = locateFolder(root, path)
    // A mounted folder that was deleted on the node still opens, with no link left to it; nothing can be created there.
    if (folder.stat().nlink === 0) return false
    // For root too the kernel answers EROFS here, and EPERM for an immutable folder.
    accessSync(folder.entry('.'), constants.W_OK | constants.X_OK)
    return true
  } catch {
    return false
  } finally {
    folder?.close()
  }
}

function isFileWritable(root: string, path: string): boolean {
  let place: Place | undefined
  try {
    place = locate(root, path, 'keep')
    if (!lstatSync(place.folder.entry(place.name)).isFile()) return false
    accessSync(place.folder.entry(place.name), constants.W_OK)
    return true
  } catch {
    return false
  } finally {
    place?.folder.close()
  }
}

function verbOf(content: FileContent): string {
  return content.kind === 'absent' ? 'remove' : 'write'
}

/** Changes follow each other: two at once would remove each other's staging folder. */
function oneAtATime(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve()
  return (work) => {
    const mine = last.then(work)
    last = mine.catch(() => undefined)
    return mine
  }
}
