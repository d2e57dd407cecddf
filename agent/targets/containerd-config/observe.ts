// What the node's config.toml is, and what a change of it has to know of the node.
import { posix } from 'node:path'
import { readContainerdConfig } from '../../containerd/config/read.ts'
import { legacyCaFiles, type MigrationFacts } from '../../containerd/edit/migrate-legacy.ts'
import { layoutNamed } from '../../containerd/layouts.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { FileState, NodeFiles } from '../../model/ports.ts'
import type { Ownership } from '../../model/state.ts'
import type { TargetInput, TargetPorts } from '../../model/target.ts'
import { decodeCertificates } from '../../pki/decode/decode.ts'
import { readSettledText } from '../files/observe.ts'
import { type ObservedLegacy, observeLegacy } from './legacy-observe.ts'

export type ObservedConfig = {
  readonly facts: ContainerdFacts
  /** What a migration of legacy sections has to know of the node. */
  readonly legacy: Pick<MigrationFacts, 'existingFolders' | 'uselessCaFiles'>
  /** Folders of a config_path that is a list, and the default one, that hold host folders. */
  readonly directoriesWithHosts: readonly string[]
  /** The config file itself, links not followed. */
  readonly file: FileState
  readonly folder: FileState
  /** Whether a file can be put beside it. */
  readonly isFolderWritable: boolean
  /** The agent's drop-in where the distribution takes some; undefined: it takes none. */
  readonly dropIn?: { readonly state: FileState; readonly isWritable: boolean }
  /** What `layout: legacy` needs or has left; undefined: nothing. */
  readonly ownLegacy: ObservedLegacy | undefined
  /** What stood in config.toml before the agent set a sandbox image there; undefined: no file, or no longer known. */
  readonly beforeSandboxImage: Buffer | undefined
}

export async function observeConfig(
  facts: ContainerdFacts,
  input: Pick<TargetInput, 'desired' | 'owned'>,
  ports: TargetPorts,
): Promise<ObservedConfig> {
  const { files } = ports
  const { owned } = input
  const file = await readSettledText(facts.configFile, files)
  const folder = await files.readFollowing(posix.dirname(facts.configFile))
  const directories = configPathOf(facts)
  const target = directories[0] ?? facts.defaultCertsDirectory
  const withHosts: string[] = []
  for (const directory of directories) if ((await files.list(directory)).length > 0) withHosts.push(directory)
  const names = await files.list(target)
  const existingFolders = names.filter((name) => !name.startsWith('.') && owned[`${target}/${name}`] === undefined)
  const uselessCaFiles = await uselessCas(facts, files)
  const dropIns = layoutNamed(facts.layout)?.dropIns
  const isFolderWritable = folder.kind !== 'folder' || (await files.isWritable(posix.dirname(facts.configFile)))
  return {
    facts,
    file,
    folder,
    isFolderWritable,
    ...(dropIns && {
      dropIn: { state: await files.read(dropIns.file), isWritable: await files.isWritable(dropIns.folder) },
    }),
    legacy: { existingFolders, uselessCaFiles },
    directoriesWithHosts: withHosts,
    ownLegacy: await observeLegacy(facts, input, ports),
    beforeSandboxImage: await beforeSandboxImage(owned[facts.configFile], ports),
  }
}

async function beforeSandboxImage(owner: Ownership | undefined, { store }: TargetPorts): Promise<Buffer | undefined> {
  if (owner?.sandboxImage === undefined || owner.before.kind !== 'file') return undefined
  // Where the backup is lost the key is taken out.
  return await store.backup(owner.before.sha256).catch(() => undefined)
}

function configPathOf({ config, configFile }: ContainerdFacts): readonly string[] {
  if (config.kind !== 'file') return []
  try {
    return readContainerdConfig(config.bytes, { path: configFile }).configPathDirectories
  } catch {
    // The plan reports the file with its position.
    return []
  }
}

async function uselessCas(
  { config, configFile, version }: ContainerdFacts,
  files: NodeFiles,
): Promise<readonly string[]> {
  if (config.kind !== 'file') return []
  const useless: string[] = []
  for (const path of legacyCaFiles(config.bytes, { path: configFile, containerdVersion: version })) {
    const state = await files.readFollowing(path)
    if (state.kind === 'file' && decodeCertificates(state.bytes).certificates.length === 0) useless.push(path)
  }
  return useless
}
