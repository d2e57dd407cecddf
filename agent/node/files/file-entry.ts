// One entry of an open folder as a value: what it is, and its bytes when it is a file. The last component is never
// followed.
import { closeSync, constants, fstatSync, lstatSync, openSync, readFileSync, readlinkSync, type Stats } from 'node:fs'
import { open } from 'node:fs/promises'
import type { FileState } from '../../model/ports.ts'
import { giveWay } from './give-way.ts'

const MAX_BYTES = 16 * 1024 * 1024
/** Read at once: five tasks for the threads of Node.js take ten times as long as the reading of so few bytes. */
const SMALL_BYTES = 64 * 1024

export async function readEntry(entry: string): Promise<FileState> {
  await giveWay()
  const stat = lstatSync(entry)
  if (stat.isSymbolicLink()) return { kind: 'link', to: readlinkSync(entry) }
  if (stat.isDirectory()) {
    const { mode, uid, gid, mtimeMs } = stat
    return { kind: 'folder', mode: mode & 0o7777, uid, gid, mtimeMs }
  }
  if (!stat.isFile()) return { kind: 'other', what: kindOf(stat), mtimeMs: stat.mtimeMs }
  return stat.size <= SMALL_BYTES ? readSmall(entry) : await readLarge(entry)
}

// O_NONBLOCK: a pipe that took the file's place meanwhile must not hold the agent.
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

function readSmall(entry: string): FileState {
  const descriptor = openSync(entry, READ)
  try {
    const stat = fstatSync(descriptor)
    return stat.size > MAX_BYTES ? TOO_LARGE : fileState(stat, readFileSync(descriptor))
  } finally {
    closeSync(descriptor)
  }
}

async function readLarge(entry: string): Promise<FileState> {
  const handle = await open(entry, READ)
  try {
    const stat = await handle.stat()
    return stat.size > MAX_BYTES ? TOO_LARGE : fileState(stat, await handle.readFile())
  } finally {
    await handle.close()
  }
}

const TOO_LARGE: FileState = { kind: 'unreadable', reason: `larger than ${MAX_BYTES / 1024 / 1024} MiB` }

function fileState({ mode, uid, gid, mtimeMs }: Stats, bytes: Buffer): FileState {
  return { kind: 'file', bytes, mode: mode & 0o7777, uid, gid, mtimeMs }
}

/** For messages about what is neither file, link nor folder. */
export function kindOf(stat: Stats): string {
  if (stat.isSocket()) return 'socket'
  if (stat.isFIFO()) return 'named pipe'
  return 'device'
}
