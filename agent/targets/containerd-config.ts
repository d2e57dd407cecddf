// containerd's own config.toml: one key, `config_path`, set once, so that host directories are read at all.
// This is the only target that asks for a restart; from then on no change of a registry needs one.
import { posix } from 'node:path'
import { type ConfigPathPlan, planConfigPath } from '../containerd/config-edit.ts'
import { readContainerdConfig } from '../containerd/config-file.ts'
import { legacyCaFiles, type MigrationFacts, type MovedFolder } from '../containerd/migrate.ts'
import { needsHostFolder, trustOf, withWildcard } from '../model/desired-state.ts'
import { type Problem, problem } from '../model/errors.ts'
import type { ContainerdFacts } from '../model/observed-state.ts'
import type { FileState, NodeFiles } from '../model/ports.ts'
import type { AgentState } from '../model/state.ts'
import { decodeCertificates } from '../pki/decode.ts'
import { NOTHING_TO_DO, rootFile, sha256, type TargetInput, type TargetPlan } from './target.ts'

export type ObservedConfig = {
  readonly facts: ContainerdFacts
  /** What a migration of legacy sections has to know of the node. */
  readonly legacy: Pick<MigrationFacts, 'existingFolders' | 'uselessCaFiles'>
  /** Folders of a config_path that is a list, and the default one, that hold host folders. */
  readonly directoriesWithHosts: readonly string[]
  /** The config file itself, links not followed. */
  readonly file: FileState
  readonly folder: FileState
}

export async function observeConfig(
  facts: ContainerdFacts,
  owned: AgentState['owned'],
  files: NodeFiles,
): Promise<ObservedConfig> {
  const file = await files.read(facts.configFile)
  const folder = await files.readFollowing(posix.dirname(facts.configFile))
  const directories = configPathOf(facts)
  const target = directories[0] ?? facts.defaultCertsDirectory
  const withHosts: string[] = []
  for (const directory of directories) if ((await files.list(directory)).length > 0) withHosts.push(directory)
  const names = await files.list(target)
  const existingFolders = names.filter((name) => !name.startsWith('.') && owned[`${target}/${name}`] === undefined)
  const uselessCaFiles = await uselessCas(facts, files)
  return { facts, file, folder, legacy: { existingFolders, uselessCaFiles }, directoriesWithHosts: withHosts }
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

export type ConfigTargetPlan = TargetPlan & {
  /** Folder of host directories once the plan is carried out; undefined when containerd will read none. */
  readonly certsDirectory: string | undefined
  /** The bytes of the config file once the plan is carried out; undefined: no file. */
  readonly candidate: Buffer | undefined
  /** Host folders that take over what the config file said so far. */
  readonly moved: readonly MovedFolder[]
}

export async function planConfig(input: TargetInput, observed: ObservedConfig): Promise<ConfigTargetPlan> {
  const { facts } = observed
  const current = facts.config.kind === 'file' ? facts.config.bytes : undefined
  const unchanged = { ...NOTHING_TO_DO, candidate: current, certsDirectory: undefined, moved: [] }
  if (input.desired.targets.containerd.enabled === 'off') return unchanged
  if (facts.config.kind !== 'file' && facts.config.kind !== 'absent') {
    const text = `${facts.configFile} can not be read: ${facts.config.kind === 'unreadable' ? facts.config.reason : `it is a ${facts.config.kind}`}`
    return { ...unchanged, problems: [problem('CONTAINERD_CONFIG_UNREADABLE', text)] }
  }
  const plan = await planConfigPath({
    configFile: facts.configFile,
    bytes: current,
    imports: facts.imports,
    containerdVersion: facts.version,
    directory: facts.defaultCertsDirectory,
    directoriesWithHosts: observed.directoriesWithHosts,
    migrate: { ...observed.legacy, isVerifiedByAnchors: (host) => isVerifiedByAnchors(host, input) },
  })
  if (plan.kind === 'already-set') return alreadySet(plan, unchanged, facts)
  // Without a CA to write nothing needs config_path, and a node that declares nothing is not touched.
  const needsHosts = withWildcard(input.desired).some((registry) => needsHostFolder(registry, input.desired))
  const isMigration = plan.kind === 'edit' && plan.migration !== undefined
  if (!needsHosts && !(input.migrateAll && isMigration)) return unchanged
  if (plan.kind === 'refused') return { ...unchanged, problems: [plan.problem] }
  return edit(plan, observed, unchanged)
}

/** The rehearsal has the last word: what it does not verify is re-planned as unverified. */
function isVerifiedByAnchors(host: string, { desired, unverified }: TargetInput): boolean {
  const registry = desired.registries.find((one) => one.host === host)
  return registry !== undefined && !unverified.has(host) && trustOf(registry, desired).certificates.length > 0
}

function alreadySet(
  { directory }: Extract<ConfigPathPlan, { kind: 'already-set' }>,
  unchanged: ConfigTargetPlan,
  { status, configFile }: ContainerdFacts,
): ConfigTargetPlan {
  const loaded = status.loadedConfigPath
  const isLoaded =
    loaded === undefined || loaded.split(':').some((one) => one !== '' && posix.resolve(one) === directory)
  if (isLoaded) return { ...unchanged, certsDirectory: directory }
  const reason = `${configFile} sets config_path to ${directory}, but the running containerd has loaded ${loaded === '' ? 'none' : loaded}`
  return { ...unchanged, certsDirectory: directory, restart: { required: true, reason } }
}

function edit(
  plan: Extract<ConfigPathPlan, { kind: 'edit' | 'create' }>,
  { facts, file, folder }: ObservedConfig,
  unchanged: ConfigTargetPlan,
): ConfigTargetPlan {
  const refuse = (text: string): ConfigTargetPlan => {
    const problems: Problem[] = [problem('CONFIG_EDIT_UNSUPPORTED', text)]
    return { ...unchanged, problems }
  }
  if (facts.isConfigGenerated)
    return refuse(`${facts.configFile} is written anew by ${facts.layout} at each start, so an edit would be lost`)
  if (file.kind !== 'file' && file.kind !== 'absent')
    return refuse(`${facts.configFile} is a ${file.kind}; the agent edits regular files only`)
  if (folder.kind !== 'folder')
    return refuse(`${posix.dirname(facts.configFile)} does not exist, so containerd reads no file there`)
  const after = file.kind === 'file' ? { ...file, bytes: plan.bytes } : rootFile(plan.bytes)
  const { mode, uid, gid, bytes } = after
  const migration = plan.kind === 'edit' ? plan.migration : undefined
  return {
    candidate: plan.bytes,
    certsDirectory: plan.directory,
    moved: migration?.hostFolders ?? [],
    ...(migration === undefined ? {} : { warnings: migration.notes }),
    problems: [],
    restart: {
      required: true,
      reason: `${migration === undefined ? 'config_path is not set in' : 'legacy registry sections move out of'} ${facts.configFile}, and containerd reads that file only when it starts`,
    },
    changes: [
      {
        target: 'containerd-config',
        action: plan.kind,
        path: facts.configFile,
        drift: file.kind === 'absent' ? 'missing' : 'changed',
        reason:
          migration === undefined
            ? `set config_path = "${plan.directory}"`
            : 'registry sections move to hosts.toml files that behave the same',
        subject: '',
        folder: posix.dirname(facts.configFile),
        after: { kind: 'file', bytes, mode, uid, gid },
        owns: [{ path: facts.configFile, kind: 'edited', sha256: sha256(bytes) }],
        forgets: [],
      },
    ],
  }
}
