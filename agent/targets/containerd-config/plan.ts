// containerd's own config.toml: one key, `config_path`, set once, so that host directories are read at all. This is the
// only target that asks for a restart; from then on no change of a registry needs one. With `layout: legacy` it carries
// the sections of that layout instead (containerd-legacy.ts); what is left of them goes when the layout is another one.
// This room: config.toml as a part of the containerd target: config_path, or the sections of `layout: legacy`.
// Begin here; then observe.ts, then legacy.ts.
// May touch: config.toml, and registry-trust/ beside it.

import { posix } from 'node:path'
import { type ConfigPathPlan, planConfigPath } from '../../containerd/edit/config-path.ts'
import { withoutOwnLegacy } from '../../containerd/edit/legacy-layout.ts'
import type { MovedFolder } from '../../containerd/edit/migrate-legacy.ts'
import { layoutNamed } from '../../containerd/layouts.ts'
import { needsHostFolder, trustOf, withWildcard } from '../../model/desired-state.ts'
import { asAgentError, type Problem, problem } from '../../model/errors.ts'
import { registryOf } from '../../model/lookup.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { Change } from '../../model/plan.ts'
import type { TargetInput, TargetPlan } from '../../model/target.ts'
import { NOTHING_TO_DO, rootFile, sha256, whatIs } from '../files/files.ts'
import { planDropIn, withoutDropIn } from './drop-in.ts'
import { heldInLegacy, isLoaded, type LegacyTargetPlan, planLegacyLayout } from './legacy.ts'
import { planLegacyRemovals } from './legacy-files.ts'
import type { ObservedLegacy } from './legacy-observe.ts'
import type { ObservedConfig } from './observe.ts'

export type ConfigTargetPlan = TargetPlan & {
  /** Folder of host directories once the plan is carried out; undefined when containerd will read none. */
  readonly certsDirectory: string | undefined
  /** The bytes of the config file once the plan is carried out; undefined: no file. */
  readonly candidate: Buffer | undefined
  /** Host folders that take over what the config file said so far. */
  readonly moved: readonly MovedFolder[]
  /** Present with `layout: legacy`: the files that the config file names then. */
  readonly legacyFiles?: LegacyTargetPlan['staged']
}

export async function planConfig(input: TargetInput, observed: ObservedConfig): Promise<ConfigTargetPlan> {
  const { facts, ownLegacy } = observed
  const { enabled, layout } = input.desired.targets.containerd
  const current = facts.config.kind === 'file' ? facts.config.bytes : undefined
  const unchanged = { ...NOTHING_TO_DO, candidate: current, certsDirectory: undefined, moved: [] }
  if (enabled === 'off' && ownLegacy === undefined) return unchanged
  if (facts.config.kind !== 'file' && facts.config.kind !== 'absent') {
    const text = `${facts.configFile} cannot be read: ${facts.config.kind === 'unreadable' ? facts.config.reason : `it is a ${facts.config.kind}`}`
    return asLoaded({ ...unchanged, problems: [problem('CONTAINERD_CONFIG_UNREADABLE', text)] }, facts)
  }
  if (ownLegacy?.unreadable !== undefined) {
    const text = `${ownLegacy.unreadable}; ${facts.configFile} and the files that it names were left unchanged`
    return { ...unchanged, problems: [problem('NODE_FILE_UNREADABLE', text)] }
  }
  if (ownLegacy === undefined) return planHostsLayout(input, observed, current)
  if (layout === 'legacy' || enabled === 'off') return inLegacy(input, observed, ownLegacy, unchanged)
  const held = heldInLegacy(input, ownLegacy)
  if (held.length === 0) return leaveLegacy(input, observed, ownLegacy, unchanged)
  const text = `${facts.configFile}: the sections of layout: legacy stay until the anchors of ${held.join(', ')} can be read again`
  const plan = await inLegacy(input, observed, ownLegacy, unchanged)
  return { ...plan, warnings: [...(plan.warnings ?? []), problem('MIGRATION_NOTE', text)] }
}

async function inLegacy(
  input: TargetInput,
  observed: ObservedConfig,
  ownLegacy: ObservedLegacy,
  unchanged: ConfigTargetPlan,
): Promise<ConfigTargetPlan> {
  const { facts } = observed
  if (input.migrateAll) {
    const text = `${facts.configFile}: nothing was moved to host directories, because trust.yaml asks for layout: legacy`
    return { ...unchanged, problems: [problem('LAYOUT_LEGACY_UNUSABLE', text)] }
  }
  const plan = await planLegacyLayout(input, facts, ownLegacy)
  if ('refused' in plan) return { ...unchanged, problems: [plan.refused] }
  const { changes, removals, problems, bytes, staged } = plan
  const isChanged =
    bytes === undefined ? unchanged.candidate !== undefined : unchanged.candidate?.equals(bytes) !== true
  const obstacle = isChanged ? editObstacle(observed) : undefined
  if (obstacle !== undefined) return { ...unchanged, problems: [...problems, obstacle] }
  // A key is read with its certificate, and containerd tells the latter.
  const named = staged
    .map(({ path }) => path)
    .filter((path) => !path.endsWith('.key') && bytes?.includes(path) === true)
  const notLoaded = named.filter((path) => isLoaded(path, facts.status) === false)
  const stillRead = removals.filter(({ forgets }) => forgets.some((path) => isLoaded(path, facts.status) !== false))
  const reason = isChanged
    ? `registry.configs changes in ${facts.configFile}, and containerd reads that file only when it starts`
    : stillRead.length > 0
      ? `the running containerd may still read ${stillRead.map(({ path }) => path).join(', ')}`
      : `the running containerd has not loaded the sections of ${facts.configFile} that name ${notLoaded.join(', ')}`
  const edit = isChanged ? [configChange(bytes, staged.length > 0, input, observed)] : []
  return {
    ...unchanged,
    candidate: bytes,
    legacyFiles: staged,
    problems,
    changes: [...changes, ...edit, ...removals],
    restart: { required: isChanged || stillRead.length > 0 || notLoaded.length > 0, reason },
  }
}

/** The layout is another one now: the agent's own sections go, and what others say of registries is moved as usual. */
async function leaveLegacy(
  input: TargetInput,
  observed: ObservedConfig,
  ownLegacy: ObservedLegacy,
  unchanged: ConfigTargetPlan,
): Promise<ConfigTargetPlan> {
  const { facts } = observed
  const { folder } = ownLegacy.files
  const { configFile } = facts
  const rest = await restOf({ configFile, bytes: unchanged.candidate, folder, original: ownLegacy.original })
  if ('code' in rest) return { ...unchanged, problems: [rest] }
  const plan = await planHostsLayout(input, observed, rest.bytes)
  const removal = planLegacyRemovals(input.owned, new Set(), ownLegacy.files)
  if (rest.bytes === unchanged.candidate) {
    const stillRead = removal.changes.some(({ forgets }) =>
      forgets.some((path) => isLoaded(path, facts.status) !== false),
    )
    const restart = { required: true, reason: `the running containerd may still read files of ${folder}` }
    return {
      ...plan,
      changes: [...plan.changes, ...removal.changes],
      problems: [...plan.problems, ...removal.problems],
      ...(stillRead && plan.restart?.required !== true ? { restart } : {}),
    }
  }
  // What cannot be had the other way stays as it is.
  if (plan.problems.length > 0) return { ...unchanged, problems: plan.problems }
  const obstacle = editObstacle(observed)
  if (obstacle !== undefined) return { ...unchanged, problems: [obstacle] }
  const isEdited = plan.changes.length > 0
  const edit = isEdited ? plan.changes : [configChange(rest.bytes, false, input, observed)]
  const reason = `the sections of layout: legacy go from ${configFile}, and containerd reads that file only when it starts`
  return {
    ...plan,
    candidate: isEdited ? plan.candidate : rest.bytes,
    changes: [...edit, ...removal.changes],
    problems: removal.problems,
    restart: { required: true, reason },
  }
}

async function restOf(
  own: Parameters<typeof withoutOwnLegacy>[0],
): Promise<{ readonly bytes: Buffer | undefined } | Problem> {
  try {
    return { bytes: await withoutOwnLegacy(own) }
  } catch (thrown) {
    const { code, message } = asAgentError(thrown)
    return problem(code, message)
  }
}

/** config.toml, whole: `isOurs` while something of the agent's is left in it. */
function configChange(
  bytes: Buffer | undefined,
  isOurs: boolean,
  { owned }: TargetInput,
  { facts: { configFile }, file }: ObservedConfig,
): Change {
  const { mode, uid, gid, ...now } = file.kind === 'file' ? file : rootFile('')
  const isAsWritten = file.kind === 'file' && sha256(now.bytes) === owned[configFile]?.sha256
  return {
    target: 'containerd-config',
    action: bytes === undefined ? 'delete' : file.kind === 'absent' ? 'create' : 'edit',
    path: configFile,
    ...(isAsWritten ? {} : { drift: file.kind === 'absent' ? 'missing' : 'changed' }),
    reason: `registry.configs of ${isOurs ? 'the declared registries is set' : 'the agent is taken out'}`,
    subject: '',
    folder: posix.dirname(configFile),
    after: bytes === undefined ? { kind: 'absent' } : { kind: 'file', bytes, mode, uid, gid },
    owns: isOurs && bytes !== undefined ? [{ path: configFile, kind: 'edited', sha256: sha256(bytes) }] : [],
    forgets: isOurs ? [] : [configFile],
  }
}

/** `current`: config.toml without what `layout: legacy` wrote into it. */
async function planHostsLayout(
  input: TargetInput,
  observed: ObservedConfig,
  current: Buffer | undefined,
): Promise<ConfigTargetPlan> {
  const { facts } = observed
  const unchanged = { ...NOTHING_TO_DO, candidate: current, certsDirectory: undefined, moved: [] }
  const plan = await planConfigPath({
    configFile: facts.configFile,
    bytes: current,
    imports: facts.imports,
    areImportsMerged: layoutNamed(facts.layout)?.dropIns !== undefined,
    containerdVersion: facts.version,
    directory: facts.defaultCertsDirectory,
    directoriesWithHosts: observed.directoriesWithHosts,
    migrate: { ...observed.legacy, isVerifiedByAnchors: (host) => isVerifiedByAnchors(host, input) },
  })
  // Without a CA to write nothing needs config_path, and a node that declares nothing is not touched.
  const needsHosts = withWildcard(input.desired).some((registry) => needsHostFolder(registry, input.desired))
  if (plan.kind === 'already-set') {
    const set = alreadySet(plan, unchanged, facts)
    return needsHosts ? set : { ...set, ...withoutDropIn(observed) }
  }
  const isMigration = plan.kind === 'edit' && plan.migration !== undefined
  if (!needsHosts && !(input.migrateAll && isMigration)) return { ...unchanged, ...withoutDropIn(observed) }
  if (plan.kind === 'refused') {
    const refused = { ...unchanged, problems: [plan.problem] }
    return plan.problem.code === 'CONTAINERD_CONFIG_UNREADABLE' ? asLoaded(refused, facts) : refused
  }
  return edit(plan, observed, unchanged, input)
}

/**
 * What the file says is not known; where the running containerd reads host directories it says itself, and they are
 * written there. They are rehearsed with a file that names that folder and nothing else.
 */
async function asLoaded(
  refused: ConfigTargetPlan,
  { status, configFile, version }: ContainerdFacts,
): Promise<ConfigTargetPlan> {
  const loaded = (status.loadedConfigPath ?? '').split(':').filter((one) => posix.isAbsolute(one))
  const [directory, ...others] = loaded.map((one) => posix.resolve(one))
  if (directory === undefined || others.length > 0) return refused
  const request = { configFile, bytes: undefined, imports: [], containerdVersion: version, directory }
  const minimal = await planConfigPath(request)
  return minimal.kind === 'create' ? { ...refused, certsDirectory: directory, candidate: minimal.bytes } : refused
}

/** The rehearsal has the last word: what it does not verify is re-planned as unverified. */
function isVerifiedByAnchors(host: string, { desired, unverified }: TargetInput): boolean {
  const registry = registryOf(desired.registries, host)
  return registry !== undefined && !unverified.has(host) && trustOf(registry, desired).certificates.length > 0
}

function alreadySet(
  { directory }: Extract<ConfigPathPlan, { kind: 'already-set' }>,
  unchanged: ConfigTargetPlan,
  { status, configFile, unloadableImports = [], unseenImport }: ContainerdFacts,
): ConfigTargetPlan {
  const loaded = status.loadedConfigPath
  const isBroken = unloadableImports.length > 0 && unseenImport !== undefined
  const isLoaded =
    loaded === undefined || loaded.split(':').some((one) => one !== '' && posix.resolve(one) === directory)
  const warnings = isBroken ? [unseenImport] : []
  if (isLoaded) return { ...unchanged, certsDirectory: directory, warnings }
  // A containerd that is stopped now does not come back.
  if (isBroken) return { ...unchanged, certsDirectory: directory, problems: [unseenImport] }
  const reason = `${configFile} sets config_path to ${directory}, but the running containerd has loaded ${loaded === '' ? 'none' : loaded}`
  return { ...unchanged, certsDirectory: directory, restart: { required: true, reason } }
}

/** Why config.toml cannot be changed on this node. */
export function editObstacle({ facts, file, folder, isFolderWritable }: ObservedConfig): Problem | undefined {
  const because = (text: string) => problem('CONFIG_EDIT_UNSUPPORTED', text)
  if (facts.unseenImport !== undefined) return facts.unseenImport
  if (facts.isConfigGenerated)
    return because(
      `${facts.configFile} is written anew by ${facts.layout} at each start, so an edit would be lost; for config_path ${layoutNamed(facts.layout)?.setting ?? 'see its documentation'}`,
    )
  if (file.kind !== 'file' && file.kind !== 'absent')
    return because(`${facts.configFile} is ${whatIs(file)}; the agent edits regular files only`)
  if (folder.kind !== 'folder')
    return because(`${posix.dirname(facts.configFile)} does not exist, so containerd reads no file there`)
  // In /etc it is somebody's decision, which the write or `doctor` tells; elsewhere the system ships the file so.
  if (!isFolderWritable && !facts.configFile.startsWith('/etc/'))
    return because(
      `${posix.dirname(facts.configFile)} cannot be written; a writable copy of the file can take its place (a drop-in of the unit that names it), or one that it imports can set config_path`,
    )
  return undefined
}

function edit(
  plan: Extract<ConfigPathPlan, { kind: 'edit' | 'create' }>,
  observed: ObservedConfig,
  unchanged: ConfigTargetPlan,
  { owned }: TargetInput,
): ConfigTargetPlan | Promise<ConfigTargetPlan> {
  const { facts, file } = observed
  const dropIn = planDropIn(plan, observed)
  if (dropIn !== undefined) return { ...unchanged, ...dropIn }
  const obstacle = editObstacle(observed)
  if (obstacle !== undefined) return asLoaded({ ...unchanged, problems: [obstacle] }, facts)
  const isInForce =
    plan.kind === 'edit' && plan.migration === undefined && isProbablyLoaded(plan.directory, facts, owned)
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
      required: !isInForce,
      reason: `${migration === undefined ? 'config_path is not set in' : 'legacy registry sections move out of'} ${facts.configFile}, and containerd reads that file only when it starts`,
    },
    changes: [
      {
        target: 'containerd-config',
        action: file.kind === 'absent' ? 'create' : 'edit',
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
        ...(isInForce ? { isInForce } : {}),
      },
    ],
  }
}

/**
 * The running containerd has loaded config_path, and only the file has lost it. From 2.0 on Status does not tell: then
 * what the agent wrote
 * and restarted containerd for counts as loaded, and the proofs that follow say when it is not, which makes the restart
 * after all.
 */
function isProbablyLoaded(
  directory: string,
  { status, configFile }: ContainerdFacts,
  owned: TargetInput['owned'],
): boolean {
  const { loadedConfigPath } = status
  if (loadedConfigPath === undefined) return owned[configFile]?.kind === 'edited'
  return loadedConfigPath.split(':').some((one) => one !== '' && posix.resolve(one) === directory)
}
