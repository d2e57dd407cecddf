// Where containerd's own binary lies when nothing tells.
import { posix } from 'node:path'
import type { NodeLayout } from '../../containerd/layouts.ts'
import type { NodeFiles } from '../../model/ports.ts'

/** Where packages put it; a copy of another version is recognised by its answer and not believed. */
export const USUAL_BINARIES = ['/usr/bin/containerd', '/usr/local/bin/containerd']

/** In a Pod without D-Bus neither the process nor the unit can be seen. */
export async function usualBinary(files: NodeFiles): Promise<string | undefined> {
  for (const path of USUAL_BINARIES) if ((await files.readFollowing(path)).kind !== 'absent') return path
  return undefined
}

/** The containerd that a distribution brings. k3s, RKE2, k0s and MicroK8s start it from a program of their own. */
export async function ownBinary({ binaries = [] }: NodeLayout, files: NodeFiles): Promise<string | undefined> {
  for (const pattern of binaries)
    for (const path of await withFolders(pattern, files))
      if ((await files.readFollowing(path)).kind !== 'absent') return path
  return undefined
}

/** Newest name first: RKE2 keeps a folder for each version, and the answer of a wrong one is not believed. */
async function withFolders(pattern: string, files: NodeFiles): Promise<readonly string[]> {
  const [folder = '', rest] = pattern.split('/*/')
  if (rest === undefined) return [pattern]
  return (await files.list(folder))
    .toSorted()
    .reverse()
    .map((name) => posix.join(folder, name, rest))
}
