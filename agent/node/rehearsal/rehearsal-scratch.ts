// Scratch folders of rehearsals. The rules: short names, because a unix socket path must fit into 107 bytes; for root
// alone; removed with whatever is mounted below, and so are those that an agent which died left behind.
import {
  accessSync,
  constants,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statfsSync,
  writeFileSync,
} from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, normalize } from 'node:path/posix'
import { AgentError } from '../../model/errors.ts'
import type { RehearsalScratch } from '../../model/ports.ts'
import { reasonOf } from '../files/file-failure.ts'
import { mounts } from '../files/mounts.ts'
import { shortRun } from '../processes/short-run.ts'

/** Only the agent uses this prefix: folders with it are removed when they are old. */
const PREFIX = 'registry-trust-'
const OUR_NAME = /^registry-trust-\w{6}$/
/** containerd makes a second socket beside `c.sock`, with this name. */
const LONGEST_SOCKET = '/c.sock.ttrpc'
const MAX_SOCKET_PATH = 107
/** Holds the moment of its making, in milliseconds since the boot. */
const BEGAN = '.began'
const LEFTOVER_MS = 600_000
const UMOUNT_MS = 5_000
const MEMORY_FOLDER = '/dev/shm'
/** What statfs(2) says of a tmpfs. */
const TMPFS_MAGIC = 0x01021994
/** Many times what a rehearsal writes: containerd's empty databases. */
const ROOM_BYTES = 16 * 1024 * 1024

export function rehearsalScratches(baseFolder: string = fastestFolder()): { create(): Promise<RehearsalScratch> } {
  return {
    async create() {
      try {
        mkdirSync(baseFolder, { recursive: true })
        const base = realpathSync(baseFolder)
        await sweep(base)
        const folder = mkdtempSync(join(base, PREFIX))
        writeFileSync(join(folder, BEGAN), String(uptimeMs()), { mode: 0o600 })
        if (folder.length + LONGEST_SOCKET.length > MAX_SOCKET_PATH) {
          await remove(folder)
          throw new Error(`its path is too long for a unix socket (${MAX_SOCKET_PATH} bytes): choose a shorter folder`)
        }
        return scratchIn(folder)
      } catch (error) {
        const message = `no scratch folder for the rehearsal in ${baseFolder}: ${reasonOf(error).text}`
        throw new AgentError('REHEARSAL_UNAVAILABLE', message, {}, { cause: error })
      }
    },
  }
}

/**
 * containerd syncs its databases to the disk while it starts: a quarter of its start on a quiet disk, far more on a
 * busy one.
 */
function fastestFolder(): string {
  try {
    const { type, bavail, bsize } = statfsSync(MEMORY_FOLDER)
    accessSync(MEMORY_FOLDER, constants.W_OK | constants.X_OK)
    if (type === TMPFS_MAGIC && bavail * bsize >= ROOM_BYTES) return MEMORY_FOLDER
  } catch {
    // No such folder, or not for us: the usual one then.
  }
  return tmpdir()
}

function scratchIn(folder: string): RehearsalScratch {
  return {
    folder,
    async write(relativePath, bytes) {
      const path = normalize(join(folder, relativePath))
      if (!path.startsWith(`${folder}/`)) {
        throw new AgentError(
          'FILE_OUTSIDE_TARGET',
          `refused to write ${relativePath}: it leaves the rehearsal's folder`,
        )
      }
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
      const handle = await open(path, 'w', 0o600)
      try {
        await handle.writeFile(bytes)
      } finally {
        await handle.close()
      }
    },
    async dispose() {
      await remove(folder)
    },
  }
}

/**
 * What an agent that was killed left here. Told by age alone: a pid says nothing where several pid namespaces share the
 * folder, and no
 * rehearsal takes minutes.
 */
async function sweep(base: string): Promise<void> {
  for (const name of readdirSync(base)) {
    if (!OUR_NAME.test(name)) continue
    const folder = join(base, name)
    const stat = lstatSync(folder, { throwIfNoEntry: false })
    const isLeftover =
      stat?.isDirectory() &&
      stat.uid === process.geteuid?.() &&
      (stat.mode & 0o777) === 0o700 &&
      ageOf(folder, stat.mtimeMs) > LEFTOVER_MS
    if (isLeftover) await remove(folder)
  }
}

/** By the clock that is never set; by the folder's own time where it was made by an earlier version, or on a disk. */
function ageOf(folder: string, mtimeMs: number): number {
  const began = numberIn(join(folder, BEGAN))
  return began === undefined || began > uptimeMs() ? Date.now() - mtimeMs : uptimeMs() - began
}

function numberIn(path: string): number | undefined {
  try {
    const value = Number.parseFloat(readFileSync(path, 'utf8'))
    return Number.isNaN(value) ? undefined : value
  } catch {
    return undefined
  }
}

/** CLOCK_MONOTONIC: the same for every process of the node. */
function uptimeMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n)
}

async function remove(folder: string): Promise<void> {
  for (const mount of mountsBelow(folder)) await shortRun('umount', ['-l', mount], { timeoutMs: UMOUNT_MS })
  await rm(folder, { recursive: true, force: true, maxRetries: 3 })
}

/** Innermost first. containerd unmounts on its way out; after a SIGKILL something may be left. */
function mountsBelow(folder: string): readonly string[] {
  return mounts()()
    .flatMap(({ path }) => (path.startsWith(`${folder}/`) ? [path] : []))
    .reverse()
}
