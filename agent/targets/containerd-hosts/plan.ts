// One host directory for each registry below containerd's config_path: CA file and hosts.toml. CA first, hosts.toml
// last, reverse on removal; a new host directory appears complete or not at all. A hosts.toml of someone else gets our
// CA file added and keeps every other byte. Source: containerd docs/hosts.md; shape A is the one that 1.6, 1.7 and 2.x
// read alike.
// This room: host directories as a part of the containerd target.
// Begin here; then observe.ts, files.ts (what one should hold), removal.ts.
// May touch: the folder that config_path names.
import { posix } from 'node:path'
import type { MovedFolder } from '../../containerd/edit/migrate-legacy.ts'
import { hostDirectoryName, isManaged } from '../../containerd/hosts/hosts-toml.ts'
import { isWrittenByK3s } from '../../containerd/hosts/k3s.ts'
import { type MergeHostsOptions, mergeHostsFile, namesCa } from '../../containerd/hosts/merge-foreign.ts'
import {
  asksForMoreThanTrust,
  type Certificate,
  needsHostFolder,
  type Registry,
  trustOf,
  withWildcard,
} from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import type { Change, OwnedPath, RegularFile } from '../../model/plan.ts'
import type { FileState } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'
import type { TargetInput, TargetPlan } from '../../model/target.ts'
import { decodeCertificates } from '../../pki/decode/decode.ts'
import {
  difference,
  type HostFolder,
  isFile,
  NOTHING_TO_DO,
  pathsIn,
  rootFile,
  sha256,
  unreadableFolders,
  whatIs,
} from '../files/files.ts'
import { ownedFile, ownedFolder } from '../files/ownership.ts'
import { withReadableExtra } from './extra.ts'
import { CA_FILE, hostFolderFiles } from './files.ts'
import { CA_BESIDE_FOREIGN, type ChangeBase, HOSTS_FILE, ownedPaths, rewritten, TARGET } from './names.ts'
import type { ObservedHosts } from './observe.ts'
import { planRemoval } from './removal.ts'

/**
 * Spegel moves what it finds in certs.d here, and takes over nothing but [host."…"] tables when it writes a file anew.
 */
const SPEGEL_BACKUP = '_backup'

export type HostsInput = TargetInput & {
  /** By host: the CA file that the registries.yaml of k3s or RKE2 names, and so every hosts.toml that they write. */
  readonly namedByDistribution?: ReadonlyMap<string, string>
}

export type HostsPlan = TargetPlan & {
  /** What a person should know although nothing is kept back for it; absent when there is nothing. */
  readonly warnings?: readonly Problem[]
}

export async function planHosts(input: HostsInput, observed: ObservedHosts): Promise<HostsPlan> {
  const { desired } = input
  const owned = ownedPaths(input.owned)
  if (desired.targets.containerd.enabled === 'off' && owned.length === 0) return NOTHING_TO_DO
  const unreadable = unreadableFolders(observed.folders)
  const problems = [...unreadable.values()]
  const warnings: Problem[] = []
  const changes: Change[] = []
  const keep = new Set(
    pathsIn(
      unreadable,
      owned.map(([path]) => path),
    ),
  )
  // Once for all registries: going through all owned paths for each of them is the square of their number.
  const bySubject = Map.groupBy(owned, ([, { subject }]) => subject)
  const byFolder = Map.groupBy(Object.keys(input.owned), (path) => posix.dirname(path))
  for (const declared of desired.targets.containerd.enabled === 'off' ? [] : withWildcard(desired)) {
    const { registry, ...extra } = withReadableExtra(declared, observed.version)
    problems.push(...extra.problems)
    warnings.push(...extra.warnings)
    const folder = `${observed.certsDirectory}/${hostDirectoryName(registry.host, observed.names)}`
    const trust = trustOf(registry, desired)
    if (trust.held) {
      for (const [path] of bySubject.get(registry.host) ?? []) keep.add(path)
      continue
    }
    if (!needsHostFolder(registry, desired) || unreadable.has(folder)) continue
    const plan = await planHost(registry, folder, { ...input, byFolder }, observed)
    for (const path of plan.keep) keep.add(path)
    changes.push(...plan.changes)
    problems.push(...plan.problems)
    warnings.push(...(plan.warnings ?? []))
  }
  const creations = changes.length > 0 ? foldersToCreate(observed) : []
  const kept = new Set(keep)
  if (keep.size > 0) keep.add(observed.certsDirectory)
  const removal = await planRemoval(input.owned, keep, observed)
  // In a folder that stays hosts.toml names a file until it is written anew.
  const isNamedStill = ({ path }: Change) => kept.has(posix.dirname(path))
  return {
    changes: [
      ...removal.changes.filter((change) => !isNamedStill(change)),
      ...creations,
      ...changes,
      ...removal.changes.filter(isNamedStill),
    ],
    problems: [...problems, ...removal.problems],
    ...(warnings.length === 0 ? {} : { warnings }),
  }
}

type HostInput = HostsInput & {
  /** Owned paths by the folder that they lie in. */
  readonly byFolder: ReadonlyMap<string, readonly string[]>
}

type HostPlan = {
  readonly changes: readonly Change[]
  readonly problems: readonly Problem[]
  readonly warnings?: readonly Problem[]
  readonly keep: readonly string[]
}

async function planHost(
  registry: Registry,
  folder: string,
  { desired, owned, unverified, namedByDistribution, byFolder }: HostInput,
  observed: ObservedHosts,
): Promise<HostPlan> {
  const { host } = registry
  const found = observed.folders.get(folder) ?? { state: { kind: 'absent' }, files: new Map() }
  const { certificates } = trustOf(registry, desired)
  const overlap = unverified.has(host) ? certificatesInUse(found) : []
  const isForSpegel = observed.names.has(SPEGEL_BACKUP)
  const wanted = hostFolderFiles({ registry, desired, overlap, isForSpegel })
  const hostsPath = `${folder}/${HOSTS_FILE}`
  const keep = [folder, ...wanted.map(({ name }) => `${folder}/${name}`)]
  const base = { target: TARGET, subject: host, folder: observed.certsDirectory, forgets: [] } as const

  const isEmptyFolder = found.state.kind === 'folder' && found.files.size === 0
  if (found.state.kind === 'absent' || isEmptyFolder)
    return { changes: [newHostFolder(base, folder, wanted)], problems: [], keep }
  if (found.state.kind !== 'folder')
    return foreign(host, folder, `there is ${whatIs(found.state)} in place of the folder`)

  const hostsState = found.files.get(HOSTS_FILE) ?? { kind: 'absent' }
  const namedCa = asksForMoreThanTrust(registry) ? undefined : namedByDistribution?.get(host)
  if (owned[hostsPath] !== undefined && isRenderedFor(host, namedCa, hostsState, hostsPath))
    return { changes: [], problems: [], keep: [folder, ...(byFolder.get(folder) ?? [])] }
  const ours = isOurs(hostsPath, hostsState, owned)
  if (!ours && asksForMoreThanTrust(registry)) {
    return foreign(
      host,
      hostsPath,
      'it was written by others, and mirrors, headers, extra keys and client certificates cannot be added to it',
    )
  }
  const ca = rootFile([...new Set([...certificates, ...overlap].map(({ pem }) => pem))].join(''))
  const besidePath = `${folder}/${CA_BESIDE_FOREIGN}`
  const beside = fileChange({ ...base, path: besidePath, wanted: ca, state: found.files.get(CA_BESIDE_FOREIGN) })
  if (isDockerStyle(hostsState) && !ours && owned[folder] === undefined)
    return { changes: beside, problems: [], keep: [besidePath] }
  if (!ours) {
    const merged = await mergeForeign({ ...base, path: hostsPath }, hostsState, {
      isInStep: namedCa !== undefined,
      version: observed.version,
    })
    // What is there already stays also where nothing more can be added.
    return {
      ...merged,
      changes: merged.problems.length > 0 ? [] : [...beside, ...merged.changes],
      keep: [hostsPath, besidePath],
    }
  }
  return {
    changes: wanted.flatMap(({ name, content }) =>
      fileChange({ ...base, path: `${folder}/${name}`, wanted: content, state: found.files.get(name) }),
    ),
    problems: [],
    keep,
  }
}

function newHostFolder(
  base: Omit<ChangeBase, 'path'>,
  path: string,
  files: ReturnType<typeof hostFolderFiles>,
): Change {
  return {
    ...base,
    action: 'create',
    path,
    reason: `${base.subject} has no host directory`,
    after: { kind: 'tree', mode: 0o755, files },
    owns: [ownedFolder(path), ...files.map(({ name, content }) => ownedFile(`${path}/${name}`, content))],
  }
}

/** k3s has started since and wrote the file from a registries.yaml that names our CA: it says what is wanted. */
function isRenderedFor(host: string, ca: string | undefined, state: FileState, path: string): boolean {
  if (ca === undefined || state.kind !== 'file') return false
  const text = state.bytes.toString('utf8')
  return isWrittenByK3s(text) && namesCa(text, { host, ca, path })
}

/** The old anchors stay beside the new ones until the new ones verify what the registry serves. */
function certificatesInUse({ files }: HostFolder): readonly Pick<Certificate, 'pem'>[] {
  return [CA_FILE, CA_BESIDE_FOREIGN].flatMap((name) => {
    const state = files.get(name)
    return state?.kind === 'file' ? decodeCertificates(state.bytes).certificates : []
  })
}

/** containerd takes an empty hosts.toml for none. */
function isDockerStyle(hosts: FileState): boolean {
  return hosts.kind === 'absent' || (hosts.kind === 'file' && hosts.bytes.length === 0)
}

/** Our CA file named in a hosts.toml that stays someone else's. */
async function mergeForeign(
  base: ChangeBase,
  state: FileState,
  reading: Pick<MergeHostsOptions, 'isInStep' | 'version'>,
): Promise<Omit<HostPlan, 'keep'>> {
  const { path, subject: host } = base
  if (state.kind !== 'file') return foreign(host, path, `there is ${whatIs(state)} in its place`)
  const text = state.bytes.toString('utf8')
  const merged = await mergeHostsFile(text, { host, path, ca: CA_BESIDE_FOREIGN, ...reading })
  if (!merged.ok) return foreign(host, path, merged.problem.message.replace(`${path}: `, ''))
  const plan = { problems: [], ...(merged.warning === undefined ? {} : { warnings: [merged.warning] }) }
  if (merged.text === text) return { ...plan, changes: [] }
  const after = rewritten(state, merged.text)
  const reason = `it was written by others and does not name the trust anchors of ${host}`
  const owns: readonly OwnedPath[] = [{ path, kind: 'edited', sha256: sha256(after.bytes) }]
  return { ...plan, changes: [{ ...base, action: 'edit', drift: 'changed', reason, after, owns }] }
}

function isOurs(path: string, state: FileState, owned: AgentState['owned']): boolean {
  const owner = owned[path]
  const isMarked = state.kind === 'file' && isManaged(state.bytes.toString('utf8'))
  if (owner === undefined) return isMarked
  if (owner.kind !== 'whole') return false
  // Ours stands in for theirs, which was there first and had gone: what comes in its place is theirs again.
  const isBack = owner.before.kind === 'file' && state.kind === 'file' && !isMarked
  return !isBack
}

function foreign(host: string, path: string, why: string): HostPlan {
  const text = `${path}: ${why}; the trust anchors of ${host} were not written`
  return { changes: [], problems: [problem('HOSTS_FILE_FOREIGN', text)], keep: [] }
}

type FileChangeInput = {
  readonly target: typeof TARGET
  readonly subject: string
  readonly folder: string
  readonly forgets: readonly string[]
  readonly path: string
  readonly wanted: RegularFile
  readonly state: FileState | undefined
}

function fileChange({ wanted, state = { kind: 'absent' }, ...base }: FileChangeInput): readonly Change[] {
  if (isFile(state, wanted)) return []
  const action = state.kind === 'absent' ? 'create' : 'update'
  return [{ ...base, ...difference(state, wanted), action, after: wanted, owns: [ownedFile(base.path, wanted)] }]
}

function foldersToCreate(observed: ObservedHosts): readonly Change[] {
  if (observed.certsDirectoryState.kind !== 'absent') return []
  const below = posix.relative(observed.existingParent, observed.certsDirectory).split('/')
  return below.map((_, index) => {
    const path = `${observed.existingParent === '/' ? '' : observed.existingParent}/${below.slice(0, index + 1).join('/')}`
    return {
      target: TARGET,
      action: 'create',
      path,
      reason: 'containerd reads host directories here',
      subject: '',
      folder: posix.dirname(path),
      after: { kind: 'folder', mode: 0o755 },
      owns: [ownedFolder(path)],
      forgets: [],
    }
  })
}

/** What tells later whether the folder still says what config.toml said. */
function movedDigest(files: MovedFolder['files']): string {
  return sha256(files.find(({ name }) => name === HOSTS_FILE)?.bytes ?? '')
}

/**
 * Folders with what was config.toml's so far: made once, then their user's. `observed` is the node as it is with them
 * in place.
 */
export function planMovedFolders(
  moved: readonly MovedFolder[],
  observed: ObservedHosts,
): { readonly changes: readonly Change[]; readonly observed: ObservedHosts } {
  if (moved.length === 0) return { changes: [], observed }
  const folders = new Map(observed.folders)
  const changes = moved.map(({ name, files }): Change => {
    const path = `${observed.certsDirectory}/${name}`
    const content = files.map((file) => ({ name: file.name, content: rootFile(file.bytes, file.mode) }))
    folders.set(path, {
      state: { kind: 'folder', mode: 0o755, uid: 0, gid: 0 },
      files: new Map(content.map((file) => [file.name, { ...file.content, mtimeMs: 0 }])),
    })
    return {
      target: TARGET,
      action: 'create',
      path,
      reason: "it says what containerd's own configuration said so far",
      subject: name,
      folder: observed.certsDirectory,
      after: { kind: 'tree', mode: 0o755, files: content },
      // Remembered with the file they come from: they leave when it is put back, and belong to their user until then.
      owns: [{ path, kind: 'whole', sha256: movedDigest(files), target: 'containerd-config' }],
      forgets: [],
    }
  })
  return {
    changes: [...foldersToCreate(observed), ...changes],
    observed: {
      ...observed,
      certsDirectoryState: { kind: 'folder', mode: 0o755, uid: 0, gid: 0 },
      names: new Set([...observed.names, ...moved.map(({ name }) => name)]),
      folders,
    },
  }
}
