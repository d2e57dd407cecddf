// Watches folders of the node with one watch per folder: a watch for each file, as chokidar has it, takes 20 MiB for a
// thousand registries. The kernel tells of files by their folder. Links are not followed.
import { type FSWatcher, lstatSync, readdirSync, watch } from 'node:fs'
import { basename, dirname, join } from 'node:path/posix'
import { STAGING } from '../files/staging.ts'

export type FolderWatch = {
  /** Folders that are watched now. */
  size(): number
  close(): void
}

type Told = { readonly onChange: () => void; readonly onFailure: (error: unknown) => void }

/**
 * `depth`: how many levels of folders below `path` are watched too. The folder itself may come and go. A file is watched
 * itself: where it is mounted alone its folder tells nothing of it.
 */
export function watchFolder(path: string, depth: number, { onChange, onFailure }: Told): FolderWatch {
  const watches = new Map<string, FSWatcher>()
  const inodes = new Map<string, number | undefined>()
  let isClosed = false

  const open = (folder: string, onEvent: (name: string) => void): boolean => {
    if (isClosed || watches.has(folder)) return false
    try {
      const watcher = watch(folder, { persistent: false }, (_event, name) => onEvent(name ?? ''))
      watcher.on('error', onFailure)
      watches.set(folder, watcher)
      return true
    } catch (error) {
      if (!isGone(error)) onFailure(error)
      return false
    }
  }
  const close = (folder: string) => {
    for (const [each, watcher] of watches) {
      if (each !== folder && !each.startsWith(`${folder}/`)) continue
      watcher.close()
      watches.delete(each)
    }
  }
  /** True where a folder is watched that was not: what was made in it before is to be looked at. */
  const openTree = (folder: string, left: number): boolean => {
    let isNew = open(folder, (name) => {
      if (name.startsWith(STAGING)) return
      const child = join(folder, name)
      if (left > 0 && name !== '') {
        if (watches.has(child) && !isSameFolder(child, inodes.get(child))) close(child)
        if (isFolder(child)) openTree(child, left - 1)
      }
      onChange()
    })
    if (isNew) inodes.set(folder, inodeOf(folder))
    if (left > 0) for (const name of foldersIn(folder)) isNew = openTree(join(folder, name), left - 1) || isNew
    return isNew
  }
  /** The folders above tell when it comes, goes, or is another one. */
  const openAbove = () => {
    let [above, next] = [dirname(path), basename(path)]
    while (above !== '/' && !isFolder(above)) [above, next] = [dirname(above), basename(above)]
    open(above, (name) => {
      if (name !== next && name !== basename(above)) return
      const isAsBefore = above === dirname(path) && watches.has(path) && isSameFolder(path, inodes.get(path))
      if (!isAsBefore) {
        for (const folder of [path, above]) close(folder)
        start()
      }
      if (!isAsBefore || name === next) onChange()
    })
    // Made after it was looked for and before the watch stood.
    if (above === dirname(path) || !isFolder(join(above, next))) return
    close(above)
    openAbove()
  }
  const start = () => {
    openAbove()
    if (isFolder(path)) openTree(path, depth)
    else if (isFile(path)) open(path, onChange)
  }
  start()
  return {
    size: () => watches.size,
    close() {
      isClosed = true
      for (const watcher of watches.values()) watcher.close()
      watches.clear()
    },
  }
}

function foldersIn(folder: string): readonly string[] {
  try {
    const entries = readdirSync(folder, { withFileTypes: true })
    return entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith(STAGING)).map(({ name }) => name)
  } catch {
    return []
  }
}

function isFolder(path: string): boolean {
  return inodeOf(path) !== undefined
}

function isSameFolder(path: string, inode: number | undefined): boolean {
  return inode !== undefined && inodeOf(path) === inode
}

function isFile(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isFile() === true
}

function inodeOf(path: string): number | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  return stat?.isDirectory() === true ? stat.ino : undefined
}

function isGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
}
