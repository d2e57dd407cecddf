// What the agent remembers on the node (port StateStore): state.json, backup/, journal/ and audit.jsonl below the state
// folder. The rules: readable by root only; every write is atomic and durable; what cannot be understood is an error,
// never an empty state.
// This room: what the agent remembers on the node: ownership, backups, the journal, restarts, and the lock.
// Begin here; then state-format.ts (what is accepted when it is read), restart-store.ts (a restart under way), lock.ts.
// May touch: the state folder alone.
import { createHash } from 'node:crypto'
import { constants, type FileHandle, open, rename } from 'node:fs/promises'
import { basename, dirname } from 'node:path/posix'
import { AgentError, asAgentError } from '../../model/errors.ts'
import type { JournalEntry, NodeFiles, StateStore } from '../../model/ports.ts'
import { type AgentState, EMPTY_STATE } from '../../model/state.ts'
import { writeFailure } from '../files/file-failure.ts'
import { identityOf, NOTHING, TOO_NEW_MS } from '../files/identity.ts'
import { readAgain } from './read-again.ts'
import { isSetAside, setAsideName } from './set-aside.ts'
import { parseJournal, parseState } from './state-format.ts'

const MAX_AUDIT_BYTES = 5 * 1024 * 1024
const AUDIT_FILE = 'audit.jsonl'
const MOST_COPIES = 20
/** Long enough for looks that follow each other, and short enough to see what a broken disk makes of the file. */
const BELIEVED_MS = 60_000
const COPY = /\.kept-\d{8}T\d{9}Z/

/** The state that was read last, and what its file is known again by; undefined: it is read again. */
type Last = {
  readonly sha256: string
  readonly state: AgentState
  /** Monotonic. */
  readonly readAt: number
  readonly identity: string | undefined
}

/** `folder` is a path on the node, as for every call of `files`. */
export function stateStore({ files, folder }: { readonly files: NodeFiles; readonly folder: string }): StateStore {
  const statePath = `${folder}/state.json`
  const journalPath = `${folder}/journal/transaction.json`
  const backupPath = (sha256: string) => `${folder}/backup/${sha256}`

  const write = async (path: string, bytes: Buffer) => {
    await ensureFolder(files, dirname(path))
    await files.put(path, ownFile(bytes), { folder })
  }
  const identityNow = async (): Promise<string | undefined> => {
    const until = Date.now() - TOO_NEW_MS
    const identity = await files
      .within(folder, async (entry) => identityOf(entry('state.json'), { until }))
      .catch(() => undefined)
    return identity === NOTHING ? undefined : identity
  }
  let last: Last | undefined
  // With a thousand registries it has megabytes, and each look asks for it: the same file is read once a minute, the same
  // bytes are parsed and checked once.
  const loadState = async () => {
    const identity = await identityNow()
    const isFresh = last !== undefined && performance.now() - last.readAt < BELIEVED_MS
    if (last !== undefined && isFresh && identity !== undefined && identity === last.identity) return last.state
    const readAt = performance.now()
    const bytes = await readBytes(files, statePath)
    if (bytes === undefined) return EMPTY_STATE
    const sha256 = hashOf(bytes)
    const state = last?.sha256 === sha256 ? last.state : parseState(bytes.toString('utf8'), statePath)
    // What was replaced while it was read is read again the next time.
    last = { sha256, state, readAt, identity: identity === (await identityNow()) ? identity : undefined }
    return state
  }
  const loadJournal = async () => {
    const bytes = await readBytes(files, journalPath)
    return bytes === undefined ? undefined : parseJournal(bytes.toString('utf8'), journalPath)
  }
  const asideUnless = async (load: () => Promise<unknown>, path: string) => {
    try {
      await load()
    } catch (thrown) {
      if (asAgentError(thrown).code !== 'STATE_UNREADABLE') throw thrown
      await moveAside(files, path, folder)
    }
  }
  // Where one of the folders is not a folder, what lies in the others is still listed.
  const damagedIn = async (where: string) =>
    (await files.list(where).catch(() => [])).filter(isSetAside).map((name) => `${where}/${name}`)

  return {
    load: () => loadState(),
    save: (state: AgentState) => write(statePath, json(state)),
    async keep(bytes) {
      const sha256 = hashOf(bytes)
      const kept = await files.read(backupPath(sha256))
      if (kept.kind === 'file' && kept.bytes.equals(bytes)) return sha256
      if (kept.kind !== 'file' && kept.kind !== 'absent') await moveAside(files, backupPath(sha256), folder)
      await write(backupPath(sha256), bytes)
      return sha256
    },
    async keepCopy(path, bytes) {
      const timeOf = (name: string) => COPY.exec(name)?.[0] ?? ''
      const copies = (await files.list(`${folder}/backup`)).filter((name) => COPY.test(name))
      const newestFirst = copies.sort((a, b) => timeOf(b).localeCompare(timeOf(a)))
      for (const name of newestFirst.slice(MOST_COPIES - 1))
        await files.put(backupPath(name), { kind: 'absent' }, { folder })
      const copy = backupPath(`${basename(path)}.kept-${stamp()}-${hashOf(bytes).slice(0, 8)}`)
      await write(copy, bytes)
      return copy
    },
    async setAside() {
      for (const sub of ['backup', 'journal']) {
        const { kind } = await files.read(`${folder}/${sub}`)
        if (kind !== 'folder' && kind !== 'absent') await moveAside(files, `${folder}/${sub}`, folder)
      }
      await asideUnless(() => loadState(), statePath)
      await asideUnless(() => loadJournal(), journalPath)
    },
    async damaged() {
      const folders = ['', '/backup', '/journal', '/restart'].map((each) => `${folder}${each}`)
      const all = await Promise.all(folders.map(damagedIn))
      return all.flat()
    },
    async backup(sha256) {
      const path = backupPath(requireHash(sha256))
      const kept = await readAgain(files, path)
      if (kept.kind === 'unreadable')
        throw new AgentError('NODE_FILE_UNREADABLE', `${path} cannot be read: ${kept.reason}`)
      if (kept.kind !== 'file') throw new AgentError('STATE_UNREADABLE', `the backup ${path} is ${kept.kind}`)
      if (hashOf(kept.bytes) !== sha256)
        throw new AgentError('STATE_UNREADABLE', `the backup ${path} no longer holds what was kept`)
      return kept.bytes
    },
    sweep: () => files.sweep(folder),
    async forget(referenced) {
      for (const name of await files.list(`${folder}/backup`)) {
        if (/^[0-9a-f]{64}$/.test(name) && !referenced.has(name)) {
          await files.put(backupPath(name), { kind: 'absent' }, { folder })
        }
      }
    },
    async destroy() {
      await files.sweep(folder)
      // First what names the rest: a crash from here on leaves files that nothing refers to, never a reference to
      // nothing.
      await files.put(statePath, { kind: 'absent' }, { folder })
      for (const name of await files.list(folder)) {
        // The lock is held by the caller, and removed when it is released.
        if (name === 'lock') continue
        const path = `${folder}/${name}`
        if ((await files.read(path)).kind === 'folder') await files.removeFolder(path, { folder })
        else await files.put(path, { kind: 'absent' }, { folder })
      }
    },
    journal: {
      write: (entry: JournalEntry) => write(journalPath, json(entry)),
      read: () => loadJournal(),
      clear: () => files.put(journalPath, { kind: 'absent' }, { folder }),
    },
    async audit(...lines) {
      const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('')
      await ensureFolder(files, folder)
      const path = `${folder}/${AUDIT_FILE}`
      const write = () => files.within(folder, (entry) => append(entry(AUDIT_FILE), text))
      try {
        await write()
      } catch (thrown) {
        // Where a link or a folder stands in the place of the log or of the older one, it is moved out of the way.
        let isMoved = false
        for (const each of [path, `${path}.1`]) {
          const { kind } = await files.read(each)
          if (kind === 'file' || kind === 'absent' || kind === 'unreadable') continue
          await moveAside(files, each, folder)
          isMoved = true
        }
        if (!isMoved) throw thrown
        await write()
      }
    },
  }
}

/** What is damaged stays for people to look at. */
async function moveAside(files: NodeFiles, path: string, folder: string): Promise<void> {
  await files.rename(path, setAsideName(basename(path), Date.now()), { folder })
}

function stamp(): string {
  return new Date().toISOString().replaceAll(/[-:.]/g, '')
}

/** Makes the folder and its parents, root-only. A folder that exists keeps its mode. */
export async function ensureFolder(files: NodeFiles, folder: string): Promise<void> {
  if (folder === '/') return
  const now = await files.readFollowing(folder)
  if (now.kind === 'folder') return
  await ensureFolder(files, dirname(folder))
  await files.put(folder, { kind: 'folder', mode: 0o700 }, { folder: dirname(folder) })
}

async function readBytes(files: NodeFiles, path: string): Promise<Buffer | undefined> {
  const state = await readAgain(files, path)
  if (state.kind === 'absent') return undefined
  if (state.kind === 'file') return state.bytes
  const why = state.kind === 'unreadable' ? state.reason : `it is a ${state.kind}`
  throw new AgentError('STATE_UNREADABLE', `cannot read ${path}: ${why}`)
}

async function append(path: string, lines: string): Promise<void> {
  let handle: FileHandle | undefined
  try {
    handle = await open(path, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
    const { size } = await handle.stat()
    if (size > 0 && size + lines.length > MAX_AUDIT_BYTES) {
      await handle.close()
      await rename(path, `${path}.1`)
      return await append(path, lines)
    }
    await handle.appendFile(`${await missingLineEnd(handle, size)}${lines}`)
    await handle.sync()
  } catch (error) {
    throw writeFailure(`append to ${path}`, error)
  } finally {
    await handle?.close()
  }
}

/** A crash may have left half a line: the next one must not be glued to it. */
async function missingLineEnd(handle: FileHandle, size: number): Promise<string> {
  if (size === 0) return ''
  const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, size - 1)
  return buffer.toString() === '\n' ? '' : '\n'
}

export function ownFile(bytes: Buffer): { kind: 'file'; bytes: Buffer; mode: number; uid: number; gid: number } {
  return { kind: 'file', bytes, mode: 0o600, uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 }
}

function requireHash(sha256: string): string {
  if (/^[0-9a-f]{64}$/.test(sha256)) return sha256
  throw new AgentError('STATE_UNREADABLE', `"${sha256}" names no backup: it is not a SHA-256`)
}

function json(value: object): Buffer {
  return Buffer.from(`${JSON.stringify(value, null, 1)}\n`)
}

function hashOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
