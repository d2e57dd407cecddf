// Changes of the node's files. The rules: what is right already is not touched; a reader sees the old or the new, never
// a part; when a call returns, the disk has it; below the folder of a target no link is followed; what belongs to
// another user is left alone.
import { chmodSync, lstatSync, readlinkSync, renameSync, rmdirSync, type Stats, unlinkSync } from 'node:fs'
import { type FileHandle, rm } from 'node:fs/promises'
import { normalize } from 'node:path/posix'
import { AgentError } from '../../model/errors.ts'
import type { FileContent } from '../../model/plan.ts'
import type { AttributeCopier } from './attributes.ts'
import { kindOf, readEntry } from './file-entry.ts'
import { writeFailure } from './file-failure.ts'
import { isWrittenInPlace, writeInPlace } from './in-place.ts'
import { errnoOf, type Folder, locateFolder } from './rooted-folder.ts'
import {
  closeStaging,
  discard,
  isOurs,
  moveInto,
  openStaging,
  requireOwnFolder,
  STAGING,
  stageFile,
  stageFolder,
  stageLink,
  temporaryName,
} from './staging.ts'

/** A path that may be written: `parent` lies below `base` (the folder of the target) and no link leads to it. */
export type Target = {
  readonly base: Folder
  readonly parent: Folder
  readonly name: string
  readonly path: string
  readonly folder: string
}

type File = Extract<FileContent, { kind: 'file' }>

/** Opens the folders down to the parent of `path`; `undefined` where one of them does not exist. */
export async function withTarget(
  root: string,
  path: string,
  folder: string,
  work: (target: Target | undefined) => Promise<void>,
): Promise<void> {
  const names = namesBelow(path, folder)
  const open: Folder[] = []
  try {
    await work(openTarget(root, path, folder, names, open))
  } finally {
    for (const each of open.reverse()) each.close()
  }
}

function openTarget(
  root: string,
  path: string,
  folder: string,
  names: readonly string[],
  open: Folder[],
): Target | undefined {
  try {
    const base = locateFolder(root, folder)
    open.push(base)
    let parent = base
    for (const step of names.slice(0, -1)) {
      if (lstatSync(parent.entry(step)).isSymbolicLink())
        throw outside(path, `${step} on the way to it is a symbolic link`)
      parent = parent.child(step)
      open.push(parent)
    }
    return { base, parent, name: names.at(-1) ?? '', path, folder }
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error))) return undefined
    throw error
  }
}

function namesBelow(path: string, folder: string): string[] {
  const top = normalize(`${folder}/`)
  const normal = normalize(path)
  const inside = path.startsWith('/') && normal.startsWith(top) && normal.length > top.length && !path.includes('\0')
  if (!inside || normal.endsWith('/')) throw outside(path, `it does not lie below ${folder}`)
  const names = normal.slice(top.length).split('/')
  if (names.includes(STAGING)) throw outside(path, `${STAGING} is for temporary files`)
  return names
}

/** No target: a parent folder is missing. Fine for what should be absent, an error for all else. */
export async function put(
  target: Target | undefined,
  path: string,
  content: FileContent,
  attributes?: KeptAttributes,
): Promise<void> {
  if (target === undefined && content.kind === 'absent') return
  const place = present(target, path)
  const now = lstatSync(place.parent.entry(place.name), { throwIfNoEntry: false })
  switch (content.kind) {
    case 'file':
      if (now?.isFile() && isWrittenInPlace(path)) return putInPlace(place, content, now)
      return putFile(place, content, now, attributes)
    case 'link':
      return putLink(place, content.to, now)
    case 'folder':
      return putEmptyFolder(place, content.mode, now)
    case 'absent':
      return remove(place, now)
    default:
      return content satisfies never
  }
}

/**
 * Access list, extended attributes and label of the file that is replaced stay; `orTell` is called where they did not.
 */
export type KeptAttributes = { readonly copy: AttributeCopier; readonly orTell: (reason: string) => void }

async function putFile(
  target: Target,
  file: File,
  now: Stats | undefined,
  attributes: KeptAttributes | undefined,
): Promise<void> {
  requireReplaceable(target.path, now)
  if (now?.isFile() && (await isSame(target, file, now))) return
  let lost: string | undefined
  const takeOver = async (staged: FileHandle) => {
    lost = await attributes?.copy(target.parent.entry(target.name), staged)
  }
  await throughStaging(target, (staging, temporary) =>
    stageFile(staging, temporary, file, target.path, now?.isFile() ? takeOver : undefined),
  )
  if (lost !== undefined) attributes?.orTell(lost)
}

async function putInPlace(target: Target, file: File, now: Stats): Promise<void> {
  requireOwner(target.path, now)
  if (await isSame(target, file, now)) return
  await writeInPlace(target.parent.entry(target.name), file, now)
}

async function putLink(target: Target, to: string, now: Stats | undefined): Promise<void> {
  requireReplaceable(target.path, now)
  if (now?.isSymbolicLink() && readlinkSync(target.parent.entry(target.name)) === to) return
  await throughStaging(target, (staging, temporary) => stageLink(staging, temporary, to))
}

async function putEmptyFolder(target: Target, mode: number, now: Stats | undefined): Promise<void> {
  if (now === undefined) {
    return throughStaging(target, async (staging, temporary) => {
      stageFolder(staging, temporary).close()
      chmodSync(staging.entry(temporary), mode & 0o7777)
    })
  }
  if (!now.isDirectory())
    throw new AgentError('WRITE_FAILED', `cannot create the folder ${target.path}: a ${nameOf(now)} is in its place`)
  if ((now.mode & 0o7777) === (mode & 0o7777)) return
  requireOwner(target.path, now)
  const folder = target.parent.child(target.name)
  try {
    chmodSync(folder.entry('.'), mode & 0o7777)
    await folder.sync()
  } finally {
    folder.close()
  }
}

async function remove(target: Target, now: Stats | undefined): Promise<void> {
  if (now === undefined) return
  requireOwner(target.path, now)
  const entry = target.parent.entry(target.name)
  if (now.isDirectory()) rmdirSync(entry)
  else if (now.isFile() || now.isSymbolicLink()) unlinkSync(entry)
  else throw new AgentError('WRITE_FAILED', `cannot remove ${target.path}: it is a ${kindOf(now)}`)
  await target.parent.sync()
}

export async function putWhole(
  missing: Target | undefined,
  path: string,
  files: readonly { readonly name: string; readonly content: FileContent }[],
  mode: number,
): Promise<void> {
  const target = present(missing, path)
  requireRoomForFolder(target)
  await throughStaging(target, async (staging, temporary) => {
    const folder = stageFolder(staging, temporary)
    try {
      // Nobody finds the folder before all of it is there; so the disk gets its files at once.
      await allEnded(files.map(({ name, content }) => stageMember(folder, target.path, name, content)))
      chmodSync(folder.entry('.'), mode & 0o7777)
      await folder.sync()
    } finally {
      folder.close()
    }
  })
}

/** Waits for each, also where one failed: the folder that they write in is closed and removed after it. */
async function allEnded(work: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(work)).find((end) => end.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

async function stageMember(folder: Folder, path: string, name: string, content: FileContent): Promise<void> {
  if (name === '' || name === '.' || name === '..' || /[/\0]/.test(name))
    throw outside(`${path}/${name}`, 'it is not a plain file name')
  if (content.kind === 'file') return stageFile(folder, name, content, `${path}/${name}`)
  if (content.kind === 'link') return stageLink(folder, name, content.to)
  throw new AgentError(
    'INTERNAL',
    `a new folder can hold files and links, not what is asked for ${path}/${name}: ${content.kind}`,
  )
}

export async function removeWhole(target: Target | undefined): Promise<void> {
  const now = target && lstatSync(target.parent.entry(target.name), { throwIfNoEntry: false })
  if (target === undefined || now === undefined) return
  if (now.isSymbolicLink()) throw outside(target.path, 'it is a symbolic link, not a folder')
  if (!now.isDirectory())
    throw new AgentError('WRITE_FAILED', `cannot remove the folder ${target.path}: it is a ${nameOf(now)}`)
  requireOwner(target.path, now)
  const staging = openStaging(target.base, target.folder)
  const temporary = temporaryName()
  try {
    renameSync(target.parent.entry(target.name), staging.entry(temporary))
    await target.parent.sync()
    await discard(staging, temporary)
  } finally {
    closeStaging(target.base, staging)
  }
}

export async function renameBeside(target: Target | undefined, name: string): Promise<void> {
  if (target === undefined) return
  const from = target.parent.entry(target.name)
  if (lstatSync(from, { throwIfNoEntry: false }) === undefined) return
  renameSync(from, target.parent.entry(name))
  await target.parent.sync()
}

export async function sweepStaging(root: string, path: string): Promise<void> {
  let folder: Folder | undefined
  try {
    folder = locateFolder(root, path)
    if (lstatSync(folder.entry(STAGING), { throwIfNoEntry: false }) === undefined) return
    requireOwnFolder(folder, path)
    await rm(folder.entry(STAGING), { recursive: true, force: true })
    await folder.sync()
  } catch (error) {
    if (!['ENOENT', 'ENOTDIR'].includes(errnoOf(error))) throw writeFailure(`sweep ${path}/${STAGING}`, error)
  } finally {
    folder?.close()
  }
}

async function throughStaging(
  target: Target,
  stage: (staging: Folder, temporary: string) => Promise<void> | void,
): Promise<void> {
  const staging = openStaging(target.base, target.folder)
  const temporary = temporaryName()
  try {
    await stage(staging, temporary)
    await moveInto(staging, temporary, target.parent, target.name)
  } catch (error) {
    // The first error is the one to tell; what cannot be removed now is removed by `sweep`.
    await discard(staging, temporary).catch(() => undefined)
    throw error
  } finally {
    closeStaging(target.base, staging)
  }
}

function requireReplaceable(path: string, now: Stats | undefined): void {
  if (now === undefined) return
  if (!now.isFile() && !now.isSymbolicLink())
    throw new AgentError('WRITE_FAILED', `cannot write ${path}: a ${nameOf(now)} is in its place`)
  requireOwner(path, now)
}

/**
 * Renaming over a foreign file would silently make it ours, and without CAP_CHOWN its owner could not be given back.
 */
function requireOwner(path: string, now: Stats): void {
  if (isOurs(now.uid)) return
  throw new AgentError('FILE_FOREIGN_OWNER', `${path} belongs to uid ${now.uid}, not to root: it is left alone`, {
    uid: now.uid,
  })
}

function requireRoomForFolder(target: Target): void {
  const entry = target.parent.entry(target.name)
  const now = lstatSync(entry, { throwIfNoEntry: false })
  if (now === undefined) return
  if (now.isSymbolicLink()) throw outside(target.path, 'it is a symbolic link, not a folder')
  if (!now.isDirectory())
    throw new AgentError('WRITE_FAILED', `cannot create the folder ${target.path}: a ${nameOf(now)} is in its place`)
  requireOwner(target.path, now)
}

async function isSame(target: Target, file: File, now: Stats): Promise<boolean> {
  const attributes = (now.mode & 0o7777) === (file.mode & 0o7777) && now.uid === file.uid && now.gid === file.gid
  if (!attributes || now.size !== file.bytes.length) return false
  const state = await readEntry(target.parent.entry(target.name))
  return state.kind === 'file' && state.bytes.equals(file.bytes)
}

function present(target: Target | undefined, path: string): Target {
  if (target !== undefined) return target
  throw new AgentError('WRITE_FAILED', `cannot write ${path}: there is no such parent folder`)
}

function outside(path: string, why: string): AgentError {
  return new AgentError('FILE_OUTSIDE_TARGET', `refused to write ${path}: ${why}`)
}

function nameOf(stat: Stats): string {
  if (stat.isDirectory()) return 'folder'
  if (stat.isSymbolicLink()) return 'symbolic link'
  return stat.isFile() ? 'file' : kindOf(stat)
}
