// Reads what `explain` and `doctor` look at: the folder of host directories as containerd finds it. Reads only.
import type { HostDirectory } from '../../containerd/hosts/lookup.ts'
import type { NodeFiles } from '../../model/ports.ts'

const LEFT_OUT = /^\./

export async function readCertsTree(folder: string, files: NodeFiles): Promise<readonly HostDirectory[]> {
  const directories: HostDirectory[] = []
  for (const name of await files.list(folder)) {
    if (LEFT_OUT.test(name)) continue
    const path = `${folder}/${name}`
    if ((await files.readFollowing(path)).kind !== 'folder') continue
    const found = new Map<string, Buffer | undefined>()
    for (const file of await files.list(path)) {
      const state = await files.readFollowing(`${path}/${file}`)
      found.set(file, state.kind === 'file' ? state.bytes : undefined)
    }
    directories.push({ name, files: found })
  }
  return directories
}
