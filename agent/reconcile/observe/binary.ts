// Where containerd's own binary lies when nothing tells.
import type { NodeFiles } from '../../model/ports.ts'

/** Where packages put it; a copy of another version is told by its answer and not believed. */
export const USUAL_BINARIES = ['/usr/bin/containerd', '/usr/local/bin/containerd']

/** In a Pod without D-Bus neither the process nor the unit can be seen. */
export async function usualBinary(files: NodeFiles): Promise<string | undefined> {
  for (const path of USUAL_BINARIES) if ((await files.readFollowing(path)).kind !== 'absent') return path
  return undefined
}
