// Files mounted into the agent (port InputFiles): plain reads in the agent's own view, links followed, because a
// ConfigMap's keys are links. The rule: what is wrong with a file is a value for the caller to explain, no more than
// `maxBytes` is ever held, and half a file that somebody is writing right now is not taken for the whole.
import { constants } from 'node:fs'
import { type FileHandle, open, readdir, readlink, realpath } from 'node:fs/promises'
import { posix } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { AgentError } from '../../model/errors.ts'
import type { InputFile, InputFiles, ReadOptions } from '../../model/ports.ts'
import { reasonOf } from './file-failure.ts'
import { giveWay } from './give-way.ts'
import { identityOf, NOTHING, TOO_NEW_MS } from './identity.ts'
import { errnoOf } from './rooted-folder.ts'

const OUTSIDE: InputFile = { kind: 'unreadable', reason: 'it is a link that leads out of its folder', isOutside: true }
const GREW: InputFile = { kind: 'unreadable', reason: 'it grew while it was read' }
const LINE_FEED = 0x0a
const LOOK_AGAIN_MS = 20
/** Many files have no line feed at their end, and each change of one waits this long. */
const FRESH_MS = 300
/** Somebody who writes for longer is met again at the next look. */
const PATIENCE_MS = 1_000

/** `freshMs`: how old a change must be before a file that ends in the middle of a line counts as whole. */
export function inputFiles({ freshMs = FRESH_MS }: { readonly freshMs?: number } = {}): InputFiles {
  return {
    async read(path, options) {
      const deadline = performance.now() + PATIENCE_MS
      for (;;) {
        const { input, isBeingWritten } = await readOnce(path, options, freshMs)
        if (!isBeingWritten || performance.now() > deadline) return input
        await sleep(LOOK_AGAIN_MS)
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
    async identity(path) {
      await giveWay()
      const identity = identityOf(path, { until: Date.now() - TOO_NEW_MS, follow: true })
      return identity === NOTHING ? undefined : identity
    },
  }
}

type Look = { readonly input: InputFile; readonly isBeingWritten: boolean }

async function readOnce(path: string, { maxBytes, within }: ReadOptions, freshMs: number): Promise<Look> {
  const settled = (input: InputFile): Look => ({ input, isBeingWritten: false })
  let handle: FileHandle | undefined
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    if (within !== undefined && !(await liesIn(handle, within))) return settled(OUTSIDE)
    const input = await readInput(handle, maxBytes)
    return { input, isBeingWritten: await isBeingWritten(handle, input, freshMs) }
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error))) return settled({ kind: 'absent' })
    return settled({ kind: 'unreadable', reason: reasonOf(error).text })
  } finally {
    await handle?.close()
  }
}

/**
 * It ends in the middle of a line, or grew while it was read, and was changed a moment ago. What the kubelet mounts is
 * whole from the start: it fills a folder of its own, whose name begins with two dots, and then swaps a link.
 */
async function isBeingWritten(handle: FileHandle, input: InputFile, freshMs: number): Promise<boolean> {
  const isCut = input === GREW || (input.kind === 'file' && input.bytes.at(-1) !== LINE_FEED)
  if (!isCut || Math.abs(Date.now() - (await handle.stat()).mtimeMs) >= freshMs) return false
  return !posix.basename(posix.dirname(await readlink(`/proc/self/fd/${handle.fd}`))).startsWith('..')
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
  if (length > stat.size) return GREW
  return { kind: 'file', bytes: buffer.subarray(0, length) }
}
