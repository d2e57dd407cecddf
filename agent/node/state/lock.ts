// Only one agent works on a node (port NodeLock). The rule: the kernel holds the lock and drops it when the process
// dies, however it dies; no stale lock can ever be left. Node has no flock, but its SQLite locks files with fcntl,
// across containers and pid namespaces too.
import {
  chmodSync,
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmdirSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path/posix'
import type { DatabaseSync } from 'node:sqlite'
import { AgentError } from '../../model/errors.ts'
import type { NodeLock } from '../../model/ports.ts'
import { writeFailure } from '../files/file-failure.ts'
import { setAsideName } from './set-aside.ts'

const MOST_TRIES = 5
const OVERWRITE_NO_LINK = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW

/** What SQLite calls it when another process holds the lock, and when the file is none of its own. */
const SQLITE_BUSY = 5
const SQLITE_NOTADB = 26

/**
 * `folder` is the state folder in the agent's own view; `lock` in it stays behind, empty, until it is released for
 * good. A lock that
 * nobody can hold, because it is no file or not one of SQLite's, is set aside.
 */
export function nodeLock({ folder: place }: { readonly folder: string | (() => Promise<string>) }): NodeLock {
  return {
    async acquire() {
      const { DatabaseSync } = await import('node:sqlite')
      const folder = typeof place === 'string' ? place : await place()
      const path = join(folder, 'lock')
      const holder = join(folder, 'lock-holder.json')
      let database: DatabaseSync | undefined
      try {
        mkdirSync(folder, { recursive: true, mode: 0o700 })
        requireNoLink(folder)
        requirePrivate(folder)
        for (let tries = 1; database === undefined; tries += 1) {
          if (tries > MOST_TRIES) throw locked(path, holder)
          database = lockFile(DatabaseSync, path)
        }
        tellHolder(holder)
      } catch (error) {
        database?.close()
        throw isCode(error, SQLITE_BUSY) ? locked(path, holder) : writeFailure(`lock ${path}`, error)
      }
      return release(database, { folder, path, holder })
    },
  }
}

/** Undefined: the file was another one by the time that it was locked, or was set aside; try again. */
function lockFile(Database: typeof DatabaseSync, path: string): DatabaseSync | undefined {
  const inode = inodeOf(path)
  const database = new Database(path, { timeout: 0 })
  try {
    chmodSync(path, 0o600)
    database.exec('BEGIN EXCLUSIVE')
    // An uninstallation may have removed the file after it was opened: nobody else would see a lock on it.
    if (lstatSync(path, { throwIfNoEntry: false })?.ino === inode) return database
    database.close()
  } catch (error) {
    database.close()
    // A holder of its lock would have been found before its content was looked at.
    if (!isCode(error, SQLITE_NOTADB)) throw error
    setAside(path)
  }
  return undefined
}

/**
 * Made where there is none. A file that is there is never opened here: closing it would drop a lock that this process
 * has on it.
 */
function inodeOf(path: string): number {
  const there = lstatSync(path, { throwIfNoEntry: false })
  if (there?.isFile()) return there.ino
  if (there !== undefined) setAside(path)
  closeSync(openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600))
  return lstatSync(path).ino
}

function setAside(path: string): void {
  renameSync(path, setAsideName(path, Date.now()))
}

/** For people alone: who holds it is decided by the kernel. */
function tellHolder(holder: string): void {
  const me = { pid: process.pid, host: hostname(), since: new Date().toISOString() }
  try {
    overwrite(holder, `${JSON.stringify(me)}\n`)
  } catch {
    // A full disk, or a link or a folder in its place: the lock holds all the same.
  }
}

type Paths = { readonly folder: string; readonly path: string; readonly holder: string }

/** The names are removed while the lock is still held: they can only be our own. */
function release(database: DatabaseSync, { folder, path, holder }: Paths): Awaited<ReturnType<NodeLock['acquire']>> {
  let held = true
  return {
    async release({ forget } = { forget: false }) {
      if (!held) return
      held = false
      removeIfAny(() => unlinkSync(holder))
      if (forget) removeIfAny(() => unlinkSync(path))
      database.exec('ROLLBACK')
      database.close()
      // Not empty, or the mount of a Pod: it stays.
      if (forget) removeIfAny(() => rmdirSync(folder))
    },
  }
}

function removeIfAny(remove: () => void): void {
  try {
    remove()
  } catch {
    // What stays behind is empty and does no harm.
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
    `${path} is a symbolic link: the agent keeps its state only in a real folder`,
    { path },
  )
}

/**
 * Anyone who can write there decides what the agent takes for its own, and so what it removes and what it puts back.
 */
function requirePrivate(path: string): void {
  const { uid, gid, mode } = lstatSync(path)
  const isOurs = uid === 0 || uid === process.geteuid?.()
  const isOpen = (mode & 0o002) !== 0 || ((mode & 0o020) !== 0 && gid !== 0 && gid !== process.getegid?.())
  if (isOurs && !isOpen) return
  const what = isOurs ? `can be written by others (mode ${(mode & 0o7777).toString(8)})` : `belongs to user ${uid}`
  const text = `${path} ${what}: the state of the agent cannot be relied on; check it, then chown root and chmod 700`
  throw new AgentError('STATE_UNREADABLE', text, { path })
}

function isCode(error: unknown, code: number): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === code
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
