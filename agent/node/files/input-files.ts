// Files mounted into the agent (port InputFiles): plain reads in the agent's own view, links followed, because a
// ConfigMap's keys are links. The rule: what is wrong with a file is a value for the caller to explain, and no more
// than `maxBytes` is ever held.
import { constants } from 'node:fs'
import { type FileHandle, open, readdir, readlink, realpath } from 'node:fs/promises'
import { AgentError } from '../../model/errors.ts'
import type { InputFile, InputFiles } from '../../model/ports.ts'
import { reasonOf } from './file-failure.ts'
import { errnoOf } from './rooted-folder.ts'

const OUTSIDE: InputFile = { kind: 'unreadable', reason: 'it is a link that leads out of its folder', isOutside: true }

export function inputFiles(): InputFiles {
  return {
    async read(path, { maxBytes, within }) {
      let handle: FileHandle | undefined
      try {
        handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
        if (within !== undefined && !(await liesIn(handle, within))) return OUTSIDE
        return await readInput(handle, maxBytes)
      } catch (error) {
        if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error))) return { kind: 'absent' }
        return { kind: 'unreadable', reason: reasonOf(error).text }
      } finally {
        await handle?.close()
      }
    },
    async list(folder) {
      try {
        // `..data` and `..2026_…` are how kubelet swaps a volume, not keys of the ConfigMap.
        return (await readdir(folder)).filter((name) => !name.startsWith('..')).sort()
      } catch (error) {
        if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error))) return []
        throw new AgentError(
          'ANCHOR_UNREADABLE',
          `cannot list ${folder}: ${reasonOf(error).text}`,
          {},
          { cause: error },
        )
      }
    },
  }
}

/** Of the file that was opened, so that nothing can be put in its place between the look and the reading. */
async function liesIn(handle: FileHandle, folder: string): Promise<boolean> {
  const [file, root] = await Promise.all([readlink(`/proc/self/fd/${handle.fd}`), realpath(folder)])
  return file.startsWith(root === '/' ? root : `${root}/`)
}

async function readInput(handle: FileHandle, maxBytes: number): Promise<InputFile> {
  const stat = await handle.stat()
  if (stat.isDirectory()) return { kind: 'folder' }
  if (!stat.isFile()) return { kind: 'unreadable', reason: 'not a regular file' }
  if (stat.size > maxBytes) return { kind: 'too-large', bytes: stat.size }
  // One byte more than the stat said tells a file that grows meanwhile; it is never read further than that.
  const buffer = Buffer.alloc(Math.min(maxBytes, stat.size) + 1)
  let length = 0
  for (;;) {
    const { bytesRead } = await handle.read(buffer, length, buffer.length - length, length)
    length += bytesRead
    if (bytesRead === 0 || length === buffer.length) break
  }
  if (length > maxBytes) return { kind: 'too-large', bytes: length }
  if (length > stat.size) return { kind: 'unreadable', reason: 'it grew while it was read' }
  return { kind: 'file', bytes: buffer.subarray(0, length) }
}
