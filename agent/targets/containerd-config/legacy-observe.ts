// What `layout: legacy` has written, or has to know before it writes.
import { posix } from 'node:path'
import type { OriginalConfig } from '../../containerd/edit/legacy-layout.ts'
import { legacyCaFiles } from '../../containerd/edit/migrate-legacy.ts'
import { asAgentError } from '../../model/errors.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { NodeFiles } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'
import type { TargetInput, TargetPorts } from '../../model/target.ts'
import { decodeCertificates } from '../../pki/decode/decode.ts'
import type { HostFolder } from '../files/files.ts'
import { filesIn } from '../files/observe.ts'
import { legacyFolder, type ObservedLegacyFiles, ownedLegacyPaths, unreadableLegacy } from './legacy-files.ts'

export type ObservedLegacy = {
  readonly files: ObservedLegacyFiles
  readonly original: OriginalConfig | undefined
  /** Fingerprints of what a CA file of someone else holds, by path. */
  readonly foreignCas: ReadonlyMap<string, ReadonlySet<string>>
  /** What of all this cannot be read. */
  readonly unreadable: string | undefined
}

/** Undefined: the layout is another one, and nothing of this one is left. */
export async function observeLegacy(
  facts: ContainerdFacts,
  { desired, owned }: Pick<TargetInput, 'desired' | 'owned'>,
  { files, store }: TargetPorts,
): Promise<ObservedLegacy | undefined> {
  const { config, configFile, version } = facts
  const folder = legacyFolder(configFile)
  const isNamed = config.kind === 'file' && config.bytes.includes(`${folder}/`)
  const isWanted = desired.targets.containerd.layout === 'legacy'
  if (!isNamed && !isWanted && ownedLegacyPaths(folder, owned).length === 0) return undefined
  const foreignCas = new Map<string, ReadonlySet<string>>()
  for (const path of config.kind === 'file'
    ? legacyCaFiles(config.bytes, { path: configFile, containerdVersion: version })
    : []) {
    const state = await files.readFollowing(path)
    const certificates = state.kind === 'file' ? decodeCertificates(state.bytes).certificates : []
    foreignCas.set(path, new Set(certificates.map(({ fingerprint }) => fingerprint)))
  }
  const declared = desired.registries.map(({ host }) => host)
  const observed = await observeLegacyFiles(folder, declared, files)
  const original = await originalOf(owned[configFile], store)
  const unreadable = unreadableLegacy(observed)
  if (typeof original === 'string')
    return { files: observed, original: undefined, foreignCas, unreadable: unreadable ?? original }
  return { files: observed, original, foreignCas, unreadable }
}

/** A text says why it cannot be read now. */
async function originalOf(
  owner: AgentState['owned'][string] | undefined,
  store: TargetPorts['store'],
): Promise<OriginalConfig | string | undefined> {
  if (owner?.before.kind === 'absent') return { bytes: undefined }
  if (owner?.before.kind !== 'file') return undefined
  try {
    return { bytes: await store.backup(owner.before.sha256) }
  } catch (thrown) {
    const { code, message } = asAgentError(thrown)
    if (code === 'NODE_FILE_UNREADABLE') return message
    // The sections are then taken out one by one, which keeps whatever else is there.
    return undefined
  }
}

async function observeLegacyFiles(
  folder: string,
  declared: readonly string[],
  files: NodeFiles,
): Promise<ObservedLegacyFiles> {
  const state = await files.read(folder)
  const names = state.kind === 'folder' ? await files.list(folder) : []
  const hosts = new Map<string, HostFolder>()
  for (const host of new Set([...declared, ...names])) {
    const at = await files.read(`${folder}/${host}`)
    const found = at.kind === 'folder' ? await filesIn(`${folder}/${host}`, files) : new Map()
    hosts.set(host, { state: at, files: found })
  }
  const isWritable = await files.isWritable(state.kind === 'folder' ? folder : posix.dirname(folder))
  return { folder, state, isWritable, names, hosts }
}
