// What lies below containerd's config_path now, in the folders that concern the agent.

import { posix } from 'node:path'
import { type ContainerdVersion, parseContainerdVersion } from '../../containerd/config/schema-version.ts'
import { hostDirectoryName } from '../../containerd/hosts/hosts-toml.ts'
import { withWildcard } from '../../model/desired-state.ts'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import type { TargetInput } from '../../model/target.ts'
import type { HostFolder } from '../files/files.ts'
import { settledTextsIn } from '../files/observe.ts'
import { isOwnedFolder } from '../files/ownership.ts'
import { HOSTS_FILE, ownedPaths } from './names.ts'

export type ObservedHosts = {
  readonly certsDirectory: string
  /** Of the containerd that reads them. */
  readonly version?: ContainerdVersion
  readonly certsDirectoryState: FileState
  /** The nearest folder above that exists. */
  readonly existingParent: string
  readonly names: ReadonlySet<string>
  /** By absolute path: every folder of a declared host (each spelling) and every folder we own something in. */
  readonly folders: ReadonlyMap<string, HostFolder>
}

export async function observeHosts(
  input: Pick<TargetInput, 'desired' | 'owned'>,
  certsDirectory: string,
  version: string,
  files: NodeFiles,
): Promise<ObservedHosts> {
  const parsed = parseContainerdVersion(version)
  const names = new Set(await files.list(certsDirectory))
  const wanted = withWildcard(input.desired).map(
    (registry) => `${certsDirectory}/${hostDirectoryName(registry.host, names)}`,
  )
  const owned = ownedPaths(input.owned).map(([path]) => (isOwnedFolder(input.owned, path) ? path : posix.dirname(path)))
  const folders = new Map<string, HostFolder>()
  for (const folder of new Set([...wanted, ...owned])) folders.set(folder, await observeFolder(folder, files))
  return {
    certsDirectory,
    ...(parsed !== undefined && { version: parsed }),
    certsDirectoryState: await files.readFollowing(certsDirectory),
    existingParent: await existingParent(certsDirectory, files),
    names,
    folders,
  }
}

async function existingParent(path: string, files: NodeFiles): Promise<string> {
  let parent = posix.dirname(path)
  while (parent !== '/' && (await files.readFollowing(parent)).kind === 'absent') parent = posix.dirname(parent)
  return parent
}

/** containerd follows a link in place of a host directory, so what lies behind it counts for the rehearsal. */
async function observeFolder(folder: string, files: NodeFiles): Promise<HostFolder> {
  const state = await files.read(folder)
  const isListed = state.kind === 'folder' || state.kind === 'link'
  return { state, files: isListed ? await settledTextsIn(folder, files, isHostsToml) : new Map() }
}

function isHostsToml(name: string): boolean {
  return name === HOSTS_FILE
}
