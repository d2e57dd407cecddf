// What a mount table says about a path that the agent reads. Pure.
import type { MountPoint } from '../../model/ports.ts'
import type { DriftStatus } from '../../model/status.ts'

const HOSTS_FILE = '/etc/hosts'

/**
 * Inputs whose changes never arrive: mounted as a single file (a subPath is never updated), or from what was deleted
 * since.
 */
export function staleSources(sources: readonly string[], mounts: readonly MountPoint[]): readonly DriftStatus[] {
  return sources.flatMap((path): DriftStatus[] => {
    const mount = mountOf(path, mounts)
    if (mount === undefined || (mount.path !== path && !mount.isSourceDeleted)) return []
    const reason = mount.isSourceDeleted
      ? `${mount.path} shows an old copy that was deleted or replaced since it was mounted: restart the Pod`
      : 'it is mounted as a single file (subPath), which is never updated: mount its folder instead'
    return [{ target: 'source', path, kind: 'source-stale', reason }]
  })
}

/**
 * The node's hosts file, mounted over the Pod's own: a file that takes its place on the node is not seen in the Pod.
 */
export function staleHostsFile(mounts: readonly MountPoint[]): readonly DriftStatus[] {
  if (!mounts.some(({ path, isSourceDeleted }) => path === HOSTS_FILE && isSourceDeleted)) return []
  const reason = 'it shows the file that the node had when the Pod started, which was replaced since: restart the Pod'
  return [{ target: 'source', path: HOSTS_FILE, kind: 'source-stale', reason }]
}

/** Folders that the agent sees through a mount whose source is gone: only a new process sees the node's. */
export function deletedFolders(folders: readonly string[], mounts: readonly MountPoint[]): readonly string[] {
  return folders.filter((folder) => mountOf(folder, mounts)?.isSourceDeleted === true)
}

/** The innermost mount; of two on one path the later covers the earlier. */
export function mountOf(path: string, mounts: readonly MountPoint[]): MountPoint | undefined {
  return mounts
    .filter((mount) => path === mount.path || path.startsWith(mount.path === '/' ? '/' : `${mount.path}/`))
    .reduce<MountPoint | undefined>(
      (inner, mount) => (inner === undefined || mount.path.length >= inner.path.length ? mount : inner),
      undefined,
    )
}
