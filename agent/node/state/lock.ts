// Only one agent works on a node (port NodeLock). The rule: the kernel holds the lock and drops it when the process dies, however it dies; no
// stale lock can ever be left. Node has no flock, but its SQLite locks files with fcntl, across containers and pid namespaces too.
import {
  chmodSync,
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path/posix'
import type { DatabaseSync } from 'node:sqlite'
import { AgentError } from '../../model/errors.ts'
import type { NodeLock } from '../../model/ports.ts'
import { writeFailure } from '../files/file-failure.ts'

const OVERWRITE_NO_LINK = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW

/** What SQLite calls it when another process holds the lock. */
const SQLITE_BUSY = 5

/** `folder` is the state folder in the agent's own view; `lock` in it stays behind, empty. */
export function nodeLock({ folder }: { readonly folder: string }): NodeLock {
  const path = join(folder, 'lock')
  const holder = join(folder, 'lock-holder.json')
  return {
    async acquire() {
      const { DatabaseSync } = await import('node:sqlite')
      let database: DatabaseSync | undefined
      try {
        mkdirSync(folder, { recursive: true, mode: 0o700 })
        // SQLite would follow a link, and create and lock what it leads to.
        for (const each of [folder, path]) requireNoLink(each)
        database = new DatabaseSync(path, { timeout: 0 })
        chmodSync(path, 0o600)
        database.exec('BEGIN EXCLUSIVE')
        // For people alone: who holds it is decided by the kernel.
        const me = { pid: process.pid, host: hostname(), since: new Date().toISOString() }
        overwrite(holder, `${JSON.stringify(me)}\n`)
      } catch (error) {
        database?.close()
        throw isBusy(error) ? locked(path, holder) : writeFailure(`lock ${path}`, error)
      }
      return release(database, holder)
    },
  }
}

/** The name is removed while the lock is still held: it can only be our own. */
function release(database: DatabaseSync, holder: string): { release(): Promise<void> } {
  let held = true
  return {
    async release() {
      if (!held) return
      held = false
      rmSync(holder, { force: true })
      database.exec('ROLLBACK')
      database.close()
    },
  }
}

function overwrite(path: string, text: string): void {
  const descriptor = openSync(path, OVERWRITE_NO_LINK, 0o600)
  try {
    writeFileSync(descriptor, text)
  } finally {
    closeSync(descriptor)
  }
}

function requireNoLink(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return
  throw new AgentError(
    'FILE_OUTSIDE_TARGET',
    `${path} is a symbolic link: the agent keeps its state in a real folder alone`,
    { path },
  )
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY
}

function locked(path: string, holder: string): AgentError {
  const { pid, host, since } = readHolder(holder)
  const who =
    pid === undefined
      ? 'another agent'
      : `another agent (pid ${pid} on ${host ?? 'this node'}, since ${since ?? 'unknown'})`
  const detail = { path, ...(pid === undefined ? {} : { pid }) }
  return new AgentError('LOCKED', `${who} works on this node and holds ${path}`, detail)
}

function readHolder(path: string): { readonly pid?: number; readonly host?: string; readonly since?: string } {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'))
    if (typeof value !== 'object' || value === null) return {}
    return {
      ...('pid' in value && typeof value.pid === 'number' ? { pid: value.pid } : {}),
      ...('host' in value && typeof value.host === 'string' ? { host: value.host } : {}),
      ...('since' in value && typeof value.since === 'string' ? { since: value.since } : {}),
    }
  } catch {
    // The other agent has only just got the lock, or is from a version that writes no such file.
    return {}
  }
}
