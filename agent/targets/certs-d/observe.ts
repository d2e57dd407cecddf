// What lies in such a tree now, in the folders that concern the agent.
import { posix } from 'node:path'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import type { HostFolder } from '../files/files.ts'
import { filesIn } from '../files/observe.ts'
import { isOwnedFolder } from '../files/ownership.ts'
import { type CertsTree, hostsFolderOf, ownedBy, type TreeInput, wantedHosts } from './tree.ts'

type ObservedFolder = { readonly path: string; readonly state: FileState; readonly names: readonly string[] }

export type ObservedTree = {
  readonly base: ObservedFolder
  readonly certs: ObservedFolder
  /** False also where `base` is absent and could not be made. */
  readonly isWritable: boolean
  /** By absolute path. */
  readonly folders: ReadonlyMap<string, HostFolder>
  /** By host: names of files in the fallback folder, which a new folder here would hide. */
  readonly hidden: ReadonlyMap<string, readonly string[]>
}

export async function observeCertsTree(tree: CertsTree, input: TreeInput, files: NodeFiles): Promise<ObservedTree> {
  const certs = hostsFolderOf(tree)
  const hosts = wantedHosts(input.desired, tree).map(({ host }) => host)
  const owned = Object.keys(ownedBy(tree, input.owned)).map((path) =>
    isOwnedFolder(input.owned, path) ? path : posix.dirname(path),
  )
  const folders = new Map<string, HostFolder>()
  for (const folder of new Set([
    ...hosts.map((host) => `${certs}/${host}`),
    ...owned.filter((path) => path !== tree.base && path !== certs),
  ]))
    folders.set(folder, await observeFolder(folder, files))
  const hidden = new Map<string, readonly string[]>()
  for (const host of tree.fallback === undefined ? [] : hosts) {
    if (folders.get(`${certs}/${host}`)?.state.kind !== 'absent') continue
    const { names } = await observeTop(`${tree.fallback}/${host}`, files)
    const foreign = names.filter((name) => input.owned[`${tree.fallback}/${host}/${name}`] === undefined)
    if (foreign.length > 0) hidden.set(host, foreign)
  }
  const base = await observeTop(tree.base, files)
  return {
    base,
    certs: await observeTop(certs, files),
    isWritable: await files.isWritable(base.state.kind === 'absent' ? posix.dirname(tree.base) : tree.base),
    folders,
    hidden,
  }
}

async function observeTop(path: string, files: NodeFiles): Promise<ObservedFolder> {
  const state = await files.readFollowing(path)
  return { path, state, names: state.kind === 'folder' ? await files.list(path) : [] }
}

async function observeFolder(folder: string, files: NodeFiles): Promise<HostFolder> {
  const state = await files.read(folder)
  const isListed = state.kind === 'folder'
  return { state, files: isListed ? await filesIn(folder, files) : new Map() }
}
