// One entry of an open folder as a value: what it is, and its bytes when it is a file. The last component is never
// followed.
import { constants, lstatSync, readlinkSync, type Stats } from 'node:fs'
import { open } from 'node:fs/promises'
import type { FileState } from '../../model/ports.ts'

const MAX_BYTES = 16 * 1024 * 1024

export async function readEntry(entry: string): Promise<FileState> {
  const stat = lstatSync(entry)
  if (stat.isSymbolicLink()) return { kind: 'link', to: readlinkSync(entry) }
  if (stat.isDirectory()) {
    const { mode, uid, gid, mtimeMs } = stat
    return { kind: 'folder', mode: mode & 0o7777, uid, gid, mtimeMs }
  }
  if (!stat.isFile()) return { kind: 'other', what: kindOf(stat), mtimeMs: stat.mtimeMs }
  // O_NONBLOCK: a pipe that took the file's place meanwhile must not hold the agent.
  const handle = await open(entry, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const { size, mode, uid, gid, mtimeMs } = await handle.stat()
    if (size > MAX_BYTES) return { kind: 'unreadable', reason: `larger than ${MAX_BYTES / 1024 / 1024} MiB` }
    return { kind: 'file', bytes: await handle.readFile(), mode: mode & 0o7777, uid, gid, mtimeMs }
  } finally {
    await handle.close()
  }
}

/** For messages about what is neither file, link nor folder. */
export function kindOf(stat: Stats): string {
  if (stat.isSocket()) return 'socket'
  if (stat.isFIFO()) return 'named pipe'
  return 'device'
}
