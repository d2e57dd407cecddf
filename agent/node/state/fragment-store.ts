// The fragments of the configuration as they were when last good (port FragmentStore), so that a fragment that is
// refused while the agent starts takes nothing off the node that it declared before. Below the state folder, for root
// alone.
import type { FragmentStore, NodeFiles } from '../../model/ports.ts'
import { ensureFolder } from './state-store.ts'

/** `folder` is the state folder, a path on the node. */
export function fragmentStore({
  files,
  folder,
}: {
  readonly files: NodeFiles
  readonly folder: string
}): FragmentStore {
  const path = `${folder}/fragments.json`
  let saved = ''
  return {
    async load() {
      const state = await files.read(path)
      if (state.kind !== 'file') return new Map()
      try {
        const entries = Object.entries(JSON.parse(state.bytes.toString('utf8')) as { readonly [path: string]: unknown })
        return new Map(entries.map(([name, text]) => [name, Buffer.from(String(text), 'utf8')]))
      } catch {
        return new Map()
      }
    },
    async save(fragments) {
      const texts = [...fragments].map(([name, bytes]) => [name, Buffer.from(bytes).toString('utf8')] as const)
      const text = `${JSON.stringify(Object.fromEntries(texts))}\n`
      if (text === saved) return
      const kept = await files.read(path)
      const isKept = kept.kind === 'file' && kept.bytes.toString('utf8') === text
      // Without fragments nothing is kept, and the state folder is left as it is.
      if (!isKept && (fragments.size > 0 || kept.kind === 'file')) {
        await ensureFolder(files, folder)
        await files.put(path, ownFile(Buffer.from(text)), { folder })
      }
      saved = text
    },
  }
}

function ownFile(bytes: Buffer) {
  return { kind: 'file', bytes, mode: 0o600, uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 } as const
}
