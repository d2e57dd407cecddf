// Writes a file where it stands, for the one that is held by mounts: container engines and Pods mount the hosts file
// alone, so that a new file in its place would not be seen there, and where it is a mount point it cannot be replaced at
// all (rename(2) answers EBUSY). The rules: the bytes before the first difference are not touched, no reader finds an
// empty file, and what cannot be written whole is put back.
import { constants, type Stats } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import type { StagedFile } from './staging.ts'

const HELD_BY_MOUNTS: ReadonlySet<string> = new Set(['/etc/hosts'])

export function isWrittenInPlace(path: string): boolean {
  return HELD_BY_MOUNTS.has(path)
}

/** `entry` is a file that belongs to root; `now`: its attributes. Throws the errno errors of the calls. */
export async function writeInPlace(entry: string, file: StagedFile, now: Stats): Promise<void> {
  const handle = await open(entry, constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const before = await handle.readFile()
    try {
      await overwrite(handle, before, file.bytes)
    } catch (error) {
      // The first error is the one to tell.
      await overwrite(handle, file.bytes, before).catch(() => undefined)
      throw error
    }
    if (now.uid !== file.uid || now.gid !== file.gid) await handle.chown(file.uid, file.gid)
    if ((now.mode & 0o7777) !== (file.mode & 0o7777)) await handle.chmod(file.mode & 0o7777)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function overwrite(handle: FileHandle, before: Buffer, after: Buffer): Promise<void> {
  let same = 0
  while (same < before.length && same < after.length && before[same] === after[same]) same += 1
  for (let at = same; at < after.length; ) {
    const { bytesWritten } = await handle.write(after, at, after.length - at, at)
    at += bytesWritten
  }
  await handle.truncate(after.length)
}
