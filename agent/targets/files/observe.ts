// Reads what lies in a folder.
import type { FileState, NodeFiles } from '../../model/ports.ts'

/** By name, without what lies deeper. */
export async function filesIn(folder: string, files: NodeFiles): Promise<ReadonlyMap<string, FileState>> {
  const found = new Map<string, FileState>()
  for (const name of await files.list(folder)) found.set(name, await files.read(`${folder}/${name}`))
  return found
}
