// k0s makes config.toml itself, of the files in a folder, and restarts containerd when one of them changes: there
// config_path is set by a file of the agent's own, and no restart is asked for. Source: docs.k0sproject.io, Runtime, and
// github.com/k0sproject/k0s pkg/component/worker/containerd.
import { readContainerdConfig } from '../../containerd/config/read.ts'
import { type ConfigPathPlan, dropInWith } from '../../containerd/edit/config-path.ts'
import { type DropIns, layoutNamed } from '../../containerd/layouts.ts'
import { type Problem, problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { TargetPlan } from '../../model/target.ts'
import { difference, isFile, rootFile, sha256, whatIs } from '../files/files.ts'
import type { ObservedConfig } from './observe.ts'

/** What takes the place of the plan for config.toml. */
type Planned = TargetPlan & { readonly certsDirectory?: string; readonly candidate?: Buffer }

/** Undefined where the distribution takes no drop-ins: then config.toml itself is edited. */
export function planDropIn(
  plan: Extract<ConfigPathPlan, { kind: 'edit' | 'create' }>,
  observed: ObservedConfig,
): Planned | undefined {
  const { facts, dropIn } = observed
  const dropIns = layoutNamed(facts.layout)?.dropIns
  if (dropIns === undefined || dropIn === undefined) return undefined
  const obstacle = obstacleTo(plan, dropIns, observed)
  if (obstacle !== undefined) return { changes: [], problems: [obstacle] }
  const bytes = dropInWith(schemaOf(observed), plan.directory)
  const after = rootFile(bytes)
  const settled = {
    certsDirectory: plan.directory,
    // Rehearsed with this file alone: what the distribution makes of it and its own defaults is not there yet.
    candidate: bytes,
    problems: [],
    restart: { required: true, reason: `${dropIns.file} sets config_path, and containerd reads it when it starts` },
  }
  if (isFile(dropIn.state, after)) return { ...settled, changes: [] }
  const isAbsent = dropIn.state.kind === 'absent'
  const change: Change = {
    target: 'containerd-config',
    action: isAbsent ? 'create' : 'update',
    path: dropIns.file,
    ...(isAbsent
      ? { drift: 'missing' as const, reason: `set config_path = "${plan.directory}"` }
      : difference(dropIn.state, after)),
    subject: '',
    folder: dropIns.folder,
    after,
    owns: [{ path: dropIns.file, kind: 'whole', sha256: sha256(bytes) }],
    forgets: [],
    // It waits for no restart of the agent's: the distribution makes one.
    isInForce: true,
  }
  return { ...settled, changes: [change] }
}

function obstacleTo(
  plan: Extract<ConfigPathPlan, { kind: 'edit' | 'create' }>,
  { file, folder, mark }: DropIns,
  { facts, dropIn }: ObservedConfig,
): Problem | undefined {
  const { configFile, config, layout } = facts
  const isManaged = config.kind === 'file' && config.bytes.toString('utf8').startsWith(`${mark}\n`)
  if (config.kind === 'file' && !isManaged)
    return problem(
      'CONFIG_EDIT_UNSUPPORTED',
      `${configFile} does not begin with "${mark}", so ${layout} reads nothing of ${folder}: set config_path = "${plan.directory}" in it yourself and restart ${layout}`,
    )
  // containerd does not start with both.
  if (plan.kind === 'edit' && plan.migration !== undefined)
    return problem(
      'LEGACY_REGISTRY_CONFIG',
      `${configFile} says registry.mirrors or registry.configs, which exclude config_path: declare these hosts in trust.yaml and remove the sections from it`,
    )
  if (dropIn?.state.kind !== 'absent' && dropIn?.state.kind !== 'file')
    return problem('CONFIG_EDIT_UNSUPPORTED', `${file} is ${dropIn === undefined ? 'not seen' : whatIs(dropIn.state)}`)
  if (!dropIn.isWritable) return problem('TARGET_READ_ONLY', `${folder} cannot be written, but config_path is not set`)
  return undefined
}

/** That of the file which it is merged into: k0s makes both of one version. */
function schemaOf({ facts: { config, configFile, version } }: ObservedConfig): 2 | 3 {
  if (config.kind === 'file') {
    const { effectiveVersion } = readContainerdConfig(config.bytes, { path: configFile })
    if (effectiveVersion === 2 || effectiveVersion === 3) return effectiveVersion
  }
  return /^v?1\./.test(version) ? 2 : 3
}

/** It is not needed any more. It stays where host directories of others depend on it. */
export function withoutDropIn({ facts, dropIn, legacy }: ObservedConfig): Partial<Planned> {
  const dropIns = layoutNamed(facts.layout)?.dropIns
  const isOurs =
    dropIn?.state.kind === 'file' && ([2, 3] as const).some((schema) => isWritten(dropIn.state, schema, facts))
  if (dropIns === undefined || !isOurs) return {}
  if (legacy.existingFolders.length > 0) {
    const text = `${dropIns.file}: config_path stays, because host directories of others depend on it: ${legacy.existingFolders.join(', ')}`
    return { problems: [problem('CONFIG_PATH_IN_USE', text)] }
  }
  const change: Change = {
    target: 'containerd-config',
    action: 'delete',
    path: dropIns.file,
    reason: 'nothing is declared that needs config_path',
    subject: '',
    folder: dropIns.folder,
    after: { kind: 'absent' },
    owns: [],
    forgets: [dropIns.file],
    isInForce: true,
  }
  return { changes: [change] }
}

function isWritten(
  state: NonNullable<ObservedConfig['dropIn']>['state'],
  schema: 2 | 3,
  { defaultCertsDirectory }: ObservedConfig['facts'],
): boolean {
  return isFile(state, rootFile(dropInWith(schema, defaultCertsDirectory)))
}
