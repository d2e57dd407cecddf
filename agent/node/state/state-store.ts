// What the agent remembers on the node (port StateStore): state.json, backup/, journal/ and audit.jsonl below the state folder. The rules:
// readable by root only; every write is atomic and durable; what cannot be understood is an error, never an empty state.
import { createHash } from 'node:crypto'
import { constants, type FileHandle, open, rename } from 'node:fs/promises'
import { dirname } from 'node:path/posix'
import { AgentError } from '../../model/errors.ts'
import type { JournalEntry, NodeFiles, StateStore } from '../../model/ports.ts'
import { type AgentState, EMPTY_STATE } from '../../model/state.ts'
import { writeFailure } from '../files/file-failure.ts'
import { parseJournal, parseState } from './state-format.ts'

const MAX_AUDIT_BYTES = 5 * 1024 * 1024

/** `folder` is a path on the node, as for every call of `files`. */
export function stateStore({ files, folder }: { readonly files: NodeFiles; readonly folder: string }): StateStore {
  const statePath = `${folder}/state.json`
  const journalPath = `${folder}/journal/transaction.json`
  const backupPath = (sha256: string) => `${folder}/backup/${sha256}`

  const write = async (path: string, bytes: Buffer) => {
    await ensureFolder(files, dirname(path))
    await files.put(path, ownFile(bytes), { folder })
  }
  return {
    async load() {
      const text = await readText(files, statePath)
      return text === undefined ? EMPTY_STATE : parseState(text, statePath)
    },
    save: (state: AgentState) => write(statePath, json(state)),
    async keep(bytes) {
      const sha256 = hashOf(bytes)
      const kept = await files.read(backupPath(sha256))
      if (kept.kind !== 'file' || !kept.bytes.equals(bytes)) await write(backupPath(sha256), bytes)
      return sha256
    },
    async backup(sha256) {
      const path = backupPath(requireHash(sha256))
      const kept = await files.read(path)
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
      // First what names the rest: a crash from here on leaves files that nothing refers to, never a reference to nothing.
      await files.put(statePath, { kind: 'absent' }, { folder })
      for (const sub of ['backup', 'journal'])
        for (const name of await files.list(`${folder}/${sub}`))
          await files.put(`${folder}/${sub}/${name}`, { kind: 'absent' }, { folder })
      for (const name of await files.list(folder)) {
        // The lock is held by whoever calls this.
        if (name.startsWith('lock')) continue
        await files.put(`${folder}/${name}`, { kind: 'absent' }, { folder })
      }
    },
    journal: {
      write: (entry: JournalEntry) => write(journalPath, json(entry)),
      async read() {
        const text = await readText(files, journalPath)
        return text === undefined ? undefined : parseJournal(text, journalPath)
      },
      clear: () => files.put(journalPath, { kind: 'absent' }, { folder }),
    },
    async audit(line) {
      await ensureFolder(files, folder)
      await append(files.hostPath(`${folder}/audit.jsonl`), `${JSON.stringify(line)}\n`)
    },
  }
}

/** Makes the folder and its parents, root-only. A folder that exists keeps its mode. */
async function ensureFolder(files: NodeFiles, folder: string): Promise<void> {
  if (folder === '/') return
  const now = await files.readFollowing(folder)
  if (now.kind === 'folder') return
  await ensureFolder(files, dirname(folder))
  await files.put(folder, { kind: 'folder', mode: 0o700 }, { folder: dirname(folder) })
}

async function readText(files: NodeFiles, path: string): Promise<string | undefined> {
  const state = await files.read(path)
  if (state.kind === 'absent') return undefined
  if (state.kind === 'file') return state.bytes.toString('utf8')
  const why = state.kind === 'unreadable' ? state.reason : `it is a ${state.kind}`
  throw new AgentError('STATE_UNREADABLE', `cannot read ${path}: ${why}`)
}

async function append(path: string, line: string): Promise<void> {
  let handle: FileHandle | undefined
  try {
    handle = await open(path, constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
    const { size } = await handle.stat()
    if (size + line.length > MAX_AUDIT_BYTES) {
      await handle.close()
      await rename(path, `${path}.1`)
      return await append(path, line)
    }
    await handle.appendFile(`${await missingLineEnd(handle, size)}${line}`)
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

function ownFile(bytes: Buffer): { kind: 'file'; bytes: Buffer; mode: number; uid: number; gid: number } {
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
