// New files, links and folders are made in a sub-folder of the folder they go to, and renamed into place when they are
// complete and on disk. A sub-folder, because containerd and Go read every file of /etc/ssl/certs whatever its name,
// but no sub-folder; below the same folder, because a rename from another mount fails even on the same file system.
import { randomBytes } from 'node:crypto'
import { chmodSync, lstatSync, mkdirSync, renameSync, rmdirSync, symlinkSync } from 'node:fs'
import { constants, type FileHandle, open, rm } from 'node:fs/promises'
import { AgentError } from '../../model/errors.ts'
import { errnoOf, type Folder } from './rooted-folder.ts'

export const STAGING = '.registry-trust.tmp'

/** What a staged file takes over from the file that it replaces, beside what is asked for. */
export type Takeover = (staged: FileHandle) => Promise<void>

export type StagedFile = { readonly bytes: Buffer; readonly mode: number; readonly uid: number; readonly gid: number }

/** Opens (makes) the staging folder of `base`; `where` is its path on the node, for messages. */
export function openStaging(base: Folder, where: string): Folder {
  try {
    mkdirSync(base.entry(STAGING), 0o700)
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw error
  }
  requireOwnFolder(base, where)
  const staging = base.child(STAGING)
  const mode = staging.stat().mode & 0o7777
  if (mode !== 0o700) chmodSync(base.entry(STAGING), 0o700)
  return staging
}

/** Throws where the staging folder of `base` is not a folder of ours: somebody put it there to lead us elsewhere. */
export function requireOwnFolder(base: Folder, where: string): void {
  const stat = lstatSync(base.entry(STAGING))
  if (stat.isDirectory() && isOurs(stat.uid)) return
  throw new AgentError(
    'FILE_OUTSIDE_TARGET',
    `${where}/${STAGING} is not a folder of the agent's user: nothing is written through it`,
  )
}

/** Removes the staging folder when nothing is left in it, so that a run that changed nothing leaves no trace. */
export function closeStaging(base: Folder, staging: Folder): void {
  staging.close()
  try {
    rmdirSync(base.entry(STAGING))
  } catch {
    // Not empty after a crash of an earlier run, or gone already: `sweep` removes it.
  }
}

export function isOurs(uid: number): boolean {
  return uid === 0 || uid === process.geteuid?.()
}

export function temporaryName(): string {
  return randomBytes(8).toString('hex')
}

/**
 * Writes a complete file with its final owner and mode and waits until the disk has it. The mode is set last: it is
 * part of an access list that was taken over. Throws AgentError FILE_FOREIGN_OWNER where the agent may not give the file
 * away, else the errno errors of the calls.
 */
export async function stageFile(
  folder: Folder,
  name: string,
  file: StagedFile,
  path: string,
  takeOver?: Takeover,
): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
  const handle = await open(folder.entry(name), flags, 0o600)
  try {
    await handle.writeFile(file.bytes)
    const { uid, gid } = await handle.stat()
    if (uid !== file.uid || gid !== file.gid) {
      await handle.chown(file.uid, file.gid).catch((error: unknown) => {
        throw foreignOwner(path, file.uid, file.gid, error)
      })
    }
    await takeOver?.(handle)
    await handle.chmod(file.mode & 0o7777)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

export function stageLink(folder: Folder, name: string, to: string): void {
  symlinkSync(to, folder.entry(name))
}

/** Makes an empty folder; its mode is set last, when it is filled. */
export function stageFolder(folder: Folder, name: string): Folder {
  mkdirSync(folder.entry(name), 0o700)
  return folder.child(name)
}

/** After the rename both folders are synced, so that neither a torn nor a doubled name survives a crash. */
export async function moveInto(staging: Folder, temporary: string, parent: Folder, name: string): Promise<void> {
  renameSync(staging.entry(temporary), parent.entry(name))
  await Promise.all([parent.sync(), staging.sync()])
}

export async function discard(staging: Folder, temporary: string): Promise<void> {
  await rm(staging.entry(temporary), { recursive: true, force: true })
}

function foreignOwner(path: string, uid: number, gid: number, cause: unknown): unknown {
  if (errnoOf(cause) !== 'EPERM') return cause
  const message = `cannot give ${path} to ${uid}:${gid}: the agent may not change owners (operation not permitted)`
  return new AgentError('FILE_FOREIGN_OWNER', message, { uid, gid }, { cause })
}
