// What the drop-in with the mirrors is now, and the folder that holds it.
import type { FileState, NodeFiles } from '../../model/ports.ts'

export const BASE = '/etc/containers'
export const FOLDER = `${BASE}/registries.conf.d`
export const MIRRORS_FILE = `${FOLDER}/50-registry-trust.conf`

export type ObservedMirrors = {
  readonly isWritable: boolean
  readonly folder: FileState
  readonly file: FileState
}

export async function observeMirrors(files: NodeFiles): Promise<ObservedMirrors> {
  const folder = await files.readFollowing(FOLDER)
  const isWritable = await files.isWritable(folder.kind === 'folder' ? FOLDER : BASE)
  return { isWritable, folder, file: await files.read(MIRRORS_FILE) }
}
