// containerd's own config.toml: one key, `config_path`, set once, so that host directories are read at all.
// This is the only target that asks for a restart; from then on no change of a registry needs one.
import { posix } from 'node:path'
import { type ConfigPathPlan, planConfigPath } from '../containerd/config-edit.ts'
import { trustOf } from '../model/desired-state.ts'
import { type Problem, problem } from '../model/errors.ts'
import type { ContainerdFacts } from '../model/observed-state.ts'
import type { FileState, NodeFiles } from '../model/ports.ts'
import { NOTHING_TO_DO, rootFile, sha256, type TargetInput, type TargetPlan } from './target.ts'

export type ObservedConfig = {
  readonly facts: ContainerdFacts
  /** The config file itself, links not followed. */
  readonly file: FileState
  readonly folder: FileState
}

export async function observeConfig(facts: ContainerdFacts, files: NodeFiles): Promise<ObservedConfig> {
  const file = await files.read(facts.configFile)
  const folder = await files.readFollowing(posix.dirname(facts.configFile))
  return { facts, file, folder }
}

export type ConfigTargetPlan = TargetPlan & {
  /** Folder of host directories once the plan is carried out; undefined when containerd will read none. */
  readonly certsDirectory: string | undefined
  /** The bytes of the config file once the plan is carried out; undefined: no file. */
  readonly candidate: Buffer | undefined
}

export async function planConfig(input: TargetInput, observed: ObservedConfig): Promise<ConfigTargetPlan> {
  const { facts } = observed
  const current = facts.config.kind === 'file' ? facts.config.bytes : undefined
  const unchanged = { ...NOTHING_TO_DO, candidate: current, certsDirectory: undefined }
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
  })
  if (plan.kind === 'already-set') return alreadySet(plan, unchanged, facts)
  // Without a CA to write nothing needs config_path, and a node that declares nothing is not touched.
  const needsHosts = input.desired.registries.some(
    (registry) => trustOf(registry, input.desired).certificates.length > 0,
  )
  if (!needsHosts) return unchanged
  if (plan.kind === 'refused') return { ...unchanged, problems: [plan.problem] }
  return edit(plan, observed, unchanged)
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
  return {
    candidate: plan.bytes,
    certsDirectory: plan.directory,
    problems: [],
    restart: {
      required: true,
      reason: `config_path is not set in ${facts.configFile}, and containerd reads that file only when it starts`,
    },
    changes: [
      {
        target: 'containerd-config',
        action: plan.kind,
        path: facts.configFile,
        drift: file.kind === 'absent' ? 'missing' : 'changed',
        reason: `set config_path = "${plan.directory}"`,
        subject: '',
        folder: posix.dirname(facts.configFile),
        after: { kind: 'file', bytes, mode, uid, gid },
        owns: [{ path: facts.configFile, kind: 'edited', sha256: sha256(bytes) }],
        forgets: [],
      },
    ],
  }
}
