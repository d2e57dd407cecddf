// Copies of the agent's anchors that the distribution's own tool makes beside the bundle: SUSE's /etc/ssl/certs is a
// folder of them, and RHEL's directory-hash another. Go and OpenSSL read such a folder besides the bundle, so an anchor
// that is withdrawn would stay trusted by its copy until somebody runs that tool again.
import { posix } from 'node:path'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import { fingerprintOf } from './bundle.ts'

export type ExtractedCopy = {
  readonly path: string
  readonly state: Extract<FileState, { kind: 'file' | 'link' }>
  readonly isRemovable: boolean
}

/** `withdrawn`: fingerprints as of `fingerprintOf`. Links that lead to a copy are copies too. */
export async function observeCopies(
  folders: readonly string[],
  withdrawn: ReadonlySet<string>,
  files: NodeFiles,
): Promise<readonly ExtractedCopy[]> {
  if (withdrawn.size === 0) return []
  const copies: ExtractedCopy[] = []
  for (const folder of folders) {
    if ((await files.read(folder)).kind !== 'folder') continue
    const isRemovable = await files.isWritable(folder)
    const links: (readonly [path: string, state: Extract<FileState, { kind: 'link' }>])[] = []
    const found = new Set<string>()
    for (const name of await files.list(folder)) {
      const path = `${folder}/${name}`
      const state = await files.read(path)
      if (state.kind === 'link') links.push([path, state])
      if (state.kind !== 'file' || !withdrawn.has(fingerprintOf(state.bytes) ?? '')) continue
      found.add(path)
      copies.push({ path, state, isRemovable })
    }
    for (const [path, state] of links)
      if (found.has(posix.resolve(folder, state.to))) copies.push({ path, state, isRemovable })
  }
  return copies
}
