// What the daemon watches: the folders that trust.yaml and its CA files lie in, and the node's folders that it depends
// on.
// This room: what tells the daemon between two looks that one is due: folders, mounts, containerd's beat, served chains.
// Begin here; then watched-folders.ts (which folders), pulse.ts (a containerd that hangs), served-chains.ts.
// May touch: ports that it is handed; it reads, and changes nothing.
import { posix } from 'node:path'
import type { InputFiles, NodeFiles, Watcher, Watching } from '../../model/ports.ts'
import type { WatchedFolder } from '../../model/target.ts'

export type NodeWatch = {
  /** These from now on, and no others. */
  follow(folders: readonly WatchedFolder[]): void
  close(): Promise<void>
}

/** The folder of a file is watched, never the file: editors and the kubelet replace it. */
export async function foldersOfSources(
  paths: readonly string[],
  inputs: InputFiles,
): Promise<readonly WatchedFolder[]> {
  const folders = await Promise.all(
    paths.map(async (path) => {
      const found = await inputs.read(path, { maxBytes: 0 })
      const isFile = found.kind === 'file' || found.kind === 'too-large'
      return isFile || /\.ya?ml$/.test(path) ? posix.dirname(path) : path
    }),
  )
  return [...new Set(folders)].map((path) => ({ path, depth: 1 }))
}

/** Watches the node's folders that the agent depends on; which ones is known after the first run, and may change. */
export function watchNode(watcher: Watcher, files: NodeFiles, onChange: () => void): NodeWatch {
  let followed = ''
  let watching: Watching | undefined
  return {
    follow(folders: readonly WatchedFolder[]) {
      const wanted = JSON.stringify(folders)
      if (wanted === followed) return
      followed = wanted
      void watching?.close()
      watching = watcher.watch(
        folders.map(({ path, depth }) => ({ path: files.hostPath(path), depth })),
        onChange,
      )
      void watching.ready.then(onChange)
    },
    async close() {
      await watching?.close()
    },
  }
}
