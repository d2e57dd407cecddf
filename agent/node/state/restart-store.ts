// The machine's records, the kept original of config.toml and the ledger of restarts (port RestartStore). The rules: a
// record is a new file whose name is its number, so that of two drivers that write the same number one fails; a record
// counts when it is whole; what is damaged is set aside and never blocks; going back is one rename.
import { linkSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { posix } from 'node:path'
import type { Clock, FileState, Log, NodeFiles } from '../../model/ports.ts'
import type { RestartDriver, RestartEntry, RestartRecord, RestartStore } from '../../model/restart.ts'
import { writeFailure } from '../files/file-failure.ts'
import { errnoOf, type Folder, locate, locateFolder } from '../files/rooted-folder.ts'
import { stageFile, temporaryName } from '../files/staging.ts'
import { readAgain } from './read-again.ts'
import { DRIVERS, isPossibleLease, isPossibleRecord, isRestartEntry, isRestartRecord } from './restart-format.ts'
import { setAsideName } from './set-aside.ts'

/** Beside config.toml, with an ending that no `imports = ["*.toml"]` takes. */
export const KEPT = '.registry-trust-before'
const THEIRS = '.registry-trust-other'
/** Records before they get their name, and what a restart that is over has kept here. */
const LEFTOVER = /^(\.[0-9a-f]{16}|after|[a-z]+\.alive)$/
const LEDGER = 'ledger.jsonl'
const RECORD = /^(\d{8})\.json$/
const WEEK_MS = 7 * 24 * 3_600_000
/** More than any hour may have. */
const LEAST_KEPT = 50

export function restartStore(options: {
  readonly files: NodeFiles
  /** The state folder, as a path on the node. */
  readonly folder: string
  /** The node's file system in the agent's view. */
  readonly root: string
  readonly clock: Pick<Clock, 'now' | 'monotonic'>
  readonly log: Pick<Log, 'warn'>
  /** Appends a line to audit.jsonl. */
  readonly audit: (line: object) => Promise<void>
}): RestartStore {
  const { files, root, clock, log, audit } = options
  const folder = `${options.folder}/restart`
  const ledgerPath = `${folder}/${LEDGER}`
  const afterPath = `${folder}/after`
  const aliveName = (driver: RestartDriver) => `${driver}.alive`
  const bootId = readBootId()

  const openFolder = async <T>(path: string, work: (open: Folder) => Promise<T> | T): Promise<T> => {
    const open = locateFolder(root, path)
    try {
      return await work(open)
    } finally {
      open.close()
    }
  }
  const inFolder = <T>(work: (open: Folder) => Promise<T> | T): Promise<T> => openFolder(folder, work)
  /** What is damaged stays for people to look at; where it cannot be moved it is found, and left out, each time. */
  const setAside = async (path: string, why: string) => {
    const now = clock.now()
    const [where, name, keptAs] = [posix.dirname(path), posix.basename(path), setAsideName(path, now)]
    try {
      await openFolder(where, (open) => renameSync(open.entry(name), open.entry(posix.basename(keptAs))))
    } catch {
      return
    }
    const told = { path, keptAs, reason: why }
    log.warn('restart-record-set-aside', told)
    await audit({ at: new Date(now).toISOString(), event: 'set-aside', ...told }).catch(() => undefined)
  }
  const clear = async (path: string, wanted: 'file' | 'folder') => {
    const there = await files.read(path)
    if (there.kind !== 'absent' && there.kind !== wanted) await setAside(path, whatItIs(there))
  }
  /** Nothing is read or recorded where something else stands in the place of the folder. */
  const clearFolder = async () => {
    if ((await files.readFollowing(folder)).kind !== 'folder') await clear(folder, 'folder')
  }
  const ensure = async () => {
    await clearFolder()
    for (const path of [options.folder, folder])
      if ((await files.readFollowing(path)).kind !== 'folder')
        await files.put(path, { kind: 'folder', mode: 0o700 }, { folder: posix.dirname(path) })
  }

  const numbers = async (): Promise<readonly number[]> =>
    (await files.list(folder)).flatMap((name) => RECORD.exec(name)?.[1] ?? []).map(Number)
  const readLedger = async (): Promise<readonly RestartEntry[]> => {
    const state = await readAgain(files, ledgerPath)
    if (state.kind !== 'file') return []
    return linesOf(state.bytes).flatMap(parseEntry)
  }
  /** The newest stay whatever the clock says: a clock that was set forward by mistake must not remove them. */
  const lately = (entries: readonly RestartEntry[]) =>
    entries.filter((entry, index) => {
      const ageMs = entry.bootId === bootId ? clock.monotonic() - entry.uptimeMs : clock.now() - Date.parse(entry.at)
      return entries.length - index <= LEAST_KEPT || ageMs < WEEK_MS
    })
  const writeLedger = async (entries: readonly RestartEntry[]) => {
    await ensure()
    const there = await files.read(ledgerPath)
    const why = there.kind === 'absent' ? undefined : whatIsWrongWithLedger(there)
    if (why !== undefined) await setAside(ledgerPath, why)
    const text = entries.map((entry) => `${JSON.stringify(entry)}\n`).join('')
    await files.put(ledgerPath, ownFile(Buffer.from(text)), { folder })
  }

  return {
    bootId,
    async read() {
      await clearFolder()
      for (const name of (await files.list(folder)).filter((each) => RECORD.test(each)).reverse()) {
        const state = await readAgain(files, `${folder}/${name}`)
        const record = state.kind === 'file' ? parseRecord(state.bytes) : undefined
        const here = { number: Number.parseInt(name, 10), now: clock.monotonic(), bootId }
        if (record !== undefined && isPossibleRecord(record, here)) return record
        // Gone meanwhile: its writer wrote the next one and cleared up.
        if (state.kind === 'absent') continue
        await setAside(`${folder}/${name}`, whatIsWrongWithRecord(state, record))
      }
      return undefined
    },
    async append(record, { durable }) {
      const name = `${String(record.sequence).padStart(8, '0')}.json`
      try {
        await ensure()
        return await inFolder(async (open) => {
          const temporary = `.${temporaryName()}`
          try {
            await stageFile(open, temporary, ownFile(Buffer.from(`${JSON.stringify(record)}\n`)), name)
            linkSync(open.entry(temporary), open.entry(name))
          } catch (error) {
            if (errnoOf(error) === 'EEXIST') return false
            throw error
          } finally {
            removeIfPossible(open, temporary)
          }
          try {
            if (durable) await open.sync()
            // Old numbers are free again: who was away for long would write one of them and take itself for the driver.
            if ((await numbers()).some((number) => number > record.sequence)) {
              removeIfPossible(open, name)
              return false
            }
          } catch (error) {
            // Not recorded, so its number is free again: the writer would take its own record for another driver's.
            removeIfPossible(open, name)
            throw error
          }
          // The one before it stays, for the case that this one is found damaged.
          removeIfPossible(open, `${String(record.sequence - 2).padStart(8, '0')}.json`)
          return true
        })
      } catch (error) {
        throw writeFailure(`record the restart in ${folder}/${name}`, error)
      }
    },
    async renew(driver, { id, leaseUntil }) {
      const name = aliveName(driver)
      const temporary = `.${temporaryName()}`
      const text = `${JSON.stringify({ id, bootId, leaseUntil })}\n`
      try {
        await inFolder((open) => {
          try {
            writeFileSync(open.entry(temporary), text, { flag: 'wx', mode: 0o600 })
            renameSync(open.entry(temporary), open.entry(name))
          } catch (error) {
            removeIfPossible(open, temporary)
            throw error
          }
        })
      } catch (error) {
        throw writeFailure(`renew ${folder}/${name}`, error)
      }
    },
    async release(driver) {
      try {
        await inFolder((open) => remove(open, aliveName(driver)))
      } catch (error) {
        throw writeFailure(`remove ${folder}/${aliveName(driver)}`, error)
      }
    },
    async leaseOf(driver) {
      const state = await files.read(`${folder}/${aliveName(driver)}`)
      const lease = state.kind === 'file' ? parse(state.bytes.toString('utf8')) : undefined
      return isPossibleLease(lease, clock.monotonic()) ? lease : undefined
    },
    async keep(configFile, after) {
      await ensure()
      await clear(afterPath, 'file')
      if (after !== undefined) await files.put(afterPath, ownFile(after), { folder })
      await beside(root, configFile, `keep ${configFile}`, async (open, name) => {
        remove(open, `${name}${KEPT}`)
        linkSync(open.entry(name), open.entry(`${name}${KEPT}`))
        await open.sync()
      })
    },
    isKept: async (configFile) => (await files.read(`${configFile}${KEPT}`)).kind !== 'absent',
    putBack: (configFile) =>
      beside(root, configFile, `put ${configFile} back`, async (open, name) => {
        try {
          renameSync(open.entry(`${name}${KEPT}`), open.entry(name))
        } catch (error) {
          if (errnoOf(error) === 'ENOENT') return false
          throw error
        }
        // Where both names were the same file the rename did nothing.
        remove(open, `${name}${KEPT}`)
        await open.sync()
        return true
      }),
    remove: (configFile) =>
      beside(root, configFile, `remove ${configFile}`, async (open, name) => {
        remove(open, name)
        await open.sync()
      }),
    setAside: (configFile) =>
      beside(root, configFile, `keep what others wrote to ${configFile}`, async (open, name) => {
        const other = `${name}${THEIRS}-${stamp(clock.now())}`
        try {
          linkSync(open.entry(name), open.entry(other))
        } catch (error) {
          const code = errnoOf(error)
          // A folder has no second name: it is moved, as the original could not take its place.
          if (code === 'EPERM' || code === 'EISDIR') renameSync(open.entry(name), open.entry(other))
          else if (code !== 'EEXIST') throw error
        }
        await open.sync()
        return posix.join(posix.dirname(configFile), other)
      }),
    async forget(configFile) {
      await beside(root, configFile, `remove ${configFile}${KEPT}`, async (open, name) => {
        remove(open, `${name}${KEPT}`)
        await open.sync()
      })
      await inFolder((open) => remove(open, 'after')).catch(() => undefined)
    },
    async sweep() {
      await files.sweep(folder)
      for (const path of [afterPath, ...DRIVERS.map((driver) => `${folder}/${aliveName(driver)}`)])
        await clear(path, 'file')
      const names = (await files.list(folder)).filter((name) => LEFTOVER.test(name))
      if (names.length === 0) return
      try {
        await inFolder(async (open) => {
          for (const name of names) remove(open, name)
          await open.sync()
        })
      } catch (error) {
        throw writeFailure(`sweep ${folder}`, error)
      }
    },
    async versions(configFile) {
      const [before, after] = await Promise.all([files.read(`${configFile}${KEPT}`), files.read(afterPath)])
      return { before, after: after.kind === 'file' ? after.bytes : undefined }
    },
    ledger: {
      read: readLedger,
      add: async (entry) => writeLedger(lately([...(await readLedger()), entry])),
      async settle(id, result) {
        const entries = await readLedger()
        if (entries.some((entry) => entry.id === id && entry.result !== result))
          await writeLedger(entries.map((entry) => (entry.id === id ? { ...entry, result } : entry)))
      },
    },
  }
}

/** Opens the folder of config.toml; a link in the last component is not followed: it is the link that was replaced. */
async function beside<T>(
  root: string,
  path: string,
  doing: string,
  work: (open: Folder, name: string) => Promise<T>,
): Promise<T> {
  let folder: Folder | undefined
  try {
    const place = locate(root, path, 'keep')
    folder = place.folder
    return await work(place.folder, place.name)
  } catch (error) {
    throw writeFailure(doing, error)
  } finally {
    folder?.close()
  }
}

function remove(open: Folder, name: string): void {
  try {
    unlinkSync(open.entry(name))
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
}

/** For what does no harm where it is: `sweep` removes it later. */
function removeIfPossible(open: Folder, name: string): void {
  try {
    remove(open, name)
  } catch {
    // It does no harm, and `sweep` removes it later.
  }
}

function stamp(now: number): string {
  return new Date(now).toISOString().replaceAll(/[-:.]/g, '').slice(0, 15)
}

function parseRecord(bytes: Buffer): RestartRecord | undefined {
  const value = parse(bytes.toString('utf8'))
  return isRestartRecord(value) ? value : undefined
}

function whatIsWrongWithRecord(state: FileState, record: RestartRecord | undefined): string {
  if (state.kind !== 'file') return whatItIs(state)
  return record === undefined
    ? 'it is not a restart record of this version'
    : 'its number or its times are impossible, so no driver has written it'
}

function whatItIs(state: FileState): string {
  return state.kind === 'unreadable' ? `it cannot be read: ${state.reason}` : `it is a ${state.kind}`
}

/** Undefined: nothing is lost where it is written again. */
function whatIsWrongWithLedger(state: FileState): string | undefined {
  if (state.kind !== 'file') return whatItIs(state)
  const damaged = linesOf(state.bytes).filter((line) => parseEntry(line).length === 0).length
  return damaged === 0 ? undefined : `lines in it that are not entries: ${damaged}`
}

function linesOf(bytes: Buffer): readonly string[] {
  return bytes
    .toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
}

/** A line that is not an entry is left out. */
function parseEntry(line: string): readonly RestartEntry[] {
  const value = parse(line)
  return isRestartEntry(value) ? [value] : []
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function ownFile(bytes: Buffer): Extract<FileState, { kind: 'file' }> {
  const [uid, gid] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0]
  return { kind: 'file', bytes, mode: 0o600, uid, gid, mtimeMs: 0 }
}

/** Random for each boot of the kernel; containers and their host have the same. */
function readBootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch {
    return ''
  }
}
