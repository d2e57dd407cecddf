// One host directory for each registry below containerd's config_path: CA file and hosts.toml.
// CA first, hosts.toml last, reverse on removal; a new host directory appears complete or not at all.
// Source: containerd docs/hosts.md; shape A is the one that 1.6, 1.7 and 2.x read alike.
import { posix } from 'node:path'
import { defaultServer, hostDirectoryName, isManaged, renderHostsFile } from '../containerd/hosts-toml.ts'
import { type DesiredState, type Registry, trustOf } from '../model/desired-state.ts'
import { type Problem, problem } from '../model/errors.ts'
import type { Change, OwnedPath, RegularFile } from '../model/plan.ts'
import type { FileState, NodeFiles } from '../model/ports.ts'
import type { AgentState } from '../model/state.ts'
import { difference, isFile, NOTHING_TO_DO, rootFile, sha256, type TargetInput, type TargetPlan } from './target.ts'

const TARGET = 'containerd-hosts'
const CA_FILE = 'ca.crt'
const HOSTS_FILE = 'hosts.toml'
/** Our CA in a folder that someone else keeps in docker's style (`*.crt`, no hosts.toml): all `*.crt` are read. */
const CA_BESIDE_FOREIGN = 'registry-trust.crt'

/** The folder and, by name, the files in it. */
export type HostFolder = {
  readonly state: FileState
  readonly files: ReadonlyMap<string, FileState>
}

export type ObservedHosts = {
  readonly certsDirectory: string
  readonly certsDirectoryState: FileState
  /** The nearest folder above that exists. */
  readonly existingParent: string
  readonly names: readonly string[]
  /** By absolute path: every folder of a declared host (each spelling) and every folder we own something in. */
  readonly folders: ReadonlyMap<string, HostFolder>
}

export async function observeHosts(
  input: TargetInput,
  certsDirectory: string,
  files: NodeFiles,
): Promise<ObservedHosts> {
  const names = await files.list(certsDirectory)
  const wanted = input.desired.registries.map((registry) => `${certsDirectory}/${hostDirectoryName(registry.host, names)}`)
  const owned = ownedPaths(input.owned).map(([path, { kind, sha256: digest }]) =>
    kind === 'whole' && digest === '' ? path : posix.dirname(path),
  )
  const folders = new Map<string, HostFolder>()
  for (const folder of new Set([...wanted, ...owned])) folders.set(folder, await observeFolder(folder, files))
  return {
    certsDirectory,
    certsDirectoryState: await files.readFollowing(certsDirectory),
    existingParent: await existingParent(certsDirectory, files),
    names,
    folders,
  }
}

async function observeFolder(folder: string, files: NodeFiles): Promise<HostFolder> {
  const state = await files.read(folder)
  const found = new Map<string, FileState>()
  if (state.kind === 'folder' || state.kind === 'link')
    for (const name of await files.list(folder)) found.set(name, await files.read(`${folder}/${name}`))
  return { state, files: found }
}

async function existingParent(path: string, files: NodeFiles): Promise<string> {
  let parent = posix.dirname(path)
  while (parent !== '/' && (await files.readFollowing(parent)).kind === 'absent') parent = posix.dirname(parent)
  return parent
}

export function planHosts(input: TargetInput, observed: ObservedHosts): TargetPlan {
  const { desired } = input
  if (desired.targets.containerd.enabled === 'off' && ownedPaths(input.owned).length === 0) return NOTHING_TO_DO
  const problems: Problem[] = []
  const changes: Change[] = []
  const keep = new Set<string>()
  for (const registry of desired.targets.containerd.enabled === 'off' ? [] : desired.registries) {
    const folder = `${observed.certsDirectory}/${hostDirectoryName(registry.host, observed.names)}`
    const trust = trustOf(registry, desired)
    if (trust.held) {
      for (const [path, owner] of ownedPaths(input.owned)) if (owner.subject === registry.host) keep.add(path)
      continue
    }
    if (trust.certificates.length === 0) continue
    const plan = planHost(registry, folder, desired, input.owned, observed)
    for (const path of plan.keep) keep.add(path)
    changes.push(...plan.changes)
    problems.push(...plan.problems)
  }
  const creations = changes.length > 0 ? foldersToCreate(observed) : []
  if (keep.size > 0) keep.add(observed.certsDirectory)
  const removal = planRemoval(input.owned, keep, observed)
  return {
    changes: [...removal.changes, ...creations, ...changes],
    problems: [...problems, ...removal.problems],
  }
}

type HostPlan = { readonly changes: readonly Change[]; readonly problems: readonly Problem[]; readonly keep: readonly string[] }

function planHost(
  registry: Registry,
  folder: string,
  desired: DesiredState,
  owned: AgentState['owned'],
  observed: ObservedHosts,
): HostPlan {
  const { host } = registry
  const found = observed.folders.get(folder) ?? { state: { kind: 'absent' }, files: new Map() }
  const ca = rootFile(trustOf(registry, desired).certificates.map((certificate) => certificate.pem).join(''))
  const hosts = rootFile(renderHostsFile({ server: defaultServer(host), ca: CA_FILE }))
  const caPath = `${folder}/${CA_FILE}`
  const hostsPath = `${folder}/${HOSTS_FILE}`
  const base = { target: TARGET, subject: host, folder: observed.certsDirectory, forgets: [] } as const

  const isEmptyFolder = found.state.kind === 'folder' && found.files.size === 0
  if (found.state.kind === 'absent' || isEmptyFolder)
    return {
      changes: [
        {
          ...base,
          action: 'create',
          path: folder,
          reason: `${host} has no host directory`,
          after: {
            kind: 'tree',
            mode: 0o755,
            files: [
              { name: CA_FILE, content: ca },
              { name: HOSTS_FILE, content: hosts },
            ],
          },
          owns: [ownedFolder(folder), ownedFile(caPath, ca), ownedFile(hostsPath, hosts)],
        },
      ],
      problems: [],
      keep: [folder, caPath, hostsPath],
    }
  if (found.state.kind !== 'folder') return foreign(host, folder, `there is a ${found.state.kind} in place of the folder`)

  const hostsState = found.files.get(HOSTS_FILE) ?? { kind: 'absent' }
  const ours = isOurs(hostsPath, hostsState, owned)
  if (hostsState.kind === 'absent' && !ours && owned[folder] === undefined) {
    const beside = `${folder}/${CA_BESIDE_FOREIGN}`
    const changed = fileChange({ ...base, path: beside, wanted: ca, state: found.files.get(CA_BESIDE_FOREIGN) })
    return { changes: changed, problems: [], keep: [beside] }
  }
  if (!ours) return foreign(host, hostsPath, 'it was not written by this agent')
  const caState = found.files.get(CA_FILE)
  return {
    changes: [
      ...fileChange({ ...base, path: caPath, wanted: ca, state: caState }),
      ...fileChange({ ...base, path: hostsPath, wanted: hosts, state: hostsState }),
    ],
    problems: [],
    keep: [folder, caPath, hostsPath],
  }
}

function isOurs(path: string, state: FileState, owned: AgentState['owned']): boolean {
  if (owned[path] !== undefined) return true
  return state.kind === 'file' && isManaged(state.bytes.toString('utf8'))
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
  return [{ ...base, action, reason: difference(state, wanted), after: wanted, owns: [ownedFile(base.path, wanted)] }]
}

function ownedFile(path: string, file: RegularFile): OwnedPath {
  return { path, kind: 'whole', sha256: sha256(file.bytes) }
}

function ownedFolder(path: string): OwnedPath {
  return { path, kind: 'whole', sha256: '' }
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

function ownedPaths(owned: AgentState['owned']) {
  return Object.entries(owned).filter(([, owner]) => owner.target === TARGET)
}

/** hosts.toml goes before the CA it names; a folder that held nothing else goes as a whole. */
function planRemoval(owned: AgentState['owned'], keep: ReadonlySet<string>, observed: ObservedHosts): TargetPlan {
  const changes: Change[] = []
  const problems: Problem[] = []
  const gone = ownedPaths(owned).filter(([path]) => !keep.has(path))
  const isFolder = ([, owner]: (typeof gone)[number]) => owner.kind === 'whole' && owner.sha256 === ''
  const files = gone.filter((entry) => !isFolder(entry))
  const folders = gone.filter(isFolder).sort(([a], [b]) => b.length - a.length)
  const byFolder = Map.groupBy(files, ([path]) => posix.dirname(path))

  for (const [folder, entries] of byFolder) {
    const found = observed.folders.get(folder)
    const subject = entries[0]?.[1].subject ?? ''
    const base = { target: TARGET, action: 'delete', subject, folder: posix.dirname(folder), owns: [] } as const
    const reason = `${subject} is not declared any more`
    const present = entries.filter(([path]) => (found?.files.get(posix.basename(path)) ?? { kind: 'absent' }).kind !== 'absent')
    const changed = present.filter(([path, owner]) => {
      const state = found?.files.get(posix.basename(path))
      return state?.kind !== 'file' || sha256(state.bytes) !== owner.sha256
    })
    for (const [path] of changed)
      problems.push(problem('FILE_CHANGED_BY_OTHERS', `${path}: changed since the agent wrote it; left as it is although ${reason}`))
    const removable = present.filter((entry) => !changed.includes(entry))
    const forgets = entries.map(([path]) => path)
    const whole = owned[folder]?.before.kind === 'absent' && found?.files.size === removable.length
    if (whole && changed.length === 0 && removable.length > 0) {
      const names = removable.map(([path]) => posix.basename(path))
      changes.push({ ...base, path: folder, reason, after: { kind: 'absent-tree', names }, forgets: [...forgets, folder] })
      continue
    }
    const hostsLast = removable.toSorted(([a], [b]) => Number(b.endsWith(HOSTS_FILE)) - Number(a.endsWith(HOSTS_FILE)))
    for (const [path] of hostsLast)
      changes.push({ ...base, path, reason, folder, after: { kind: 'absent' }, forgets: [path] })
    const unseen = forgets.filter((path) => !removable.some(([removed]) => removed === path))
    if (unseen.length > 0) changes.push(...forget(unseen, subject, folder, found))
  }
  changes.push(...planFolderRemoval(folders, changes, observed))
  return { changes, problems }
}

/** Nothing to do on the node: the paths are gone already or someone else's now. */
function forget(paths: readonly string[], subject: string, folder: string, found: HostFolder | undefined): readonly Change[] {
  return paths.map((path) => {
    const state = found?.files.get(posix.basename(path)) ?? { kind: 'absent' as const }
    const after = state.kind === 'file' ? state : ({ kind: 'absent' } as const)
    return {
      target: TARGET,
      action: 'delete',
      path,
      reason: state.kind === 'absent' ? 'it is gone already' : 'it is not ours any more',
      subject,
      folder,
      after,
      owns: [],
      forgets: [path],
    }
  })
}

function planFolderRemoval(
  folders: readonly (readonly [string, AgentState['owned'][string]])[],
  planned: readonly Change[],
  observed: ObservedHosts,
): readonly Change[] {
  const forgotten = new Set(planned.flatMap((change) => change.forgets))
  const removed = new Set(planned.filter(({ after }) => after.kind.startsWith('absent')).map(({ path }) => path))
  const changes: Change[] = []
  for (const [path, owner] of folders) {
    if (forgotten.has(path)) continue
    const left = contentsOf(path, observed).filter((name) => !removed.has(`${path}/${name}`))
    const state = path === observed.certsDirectory ? observed.certsDirectoryState : observed.folders.get(path)?.state
    const isGone = state === undefined || state.kind === 'absent'
    if (!isGone && left.length > 0) continue
    removed.add(path)
    const wasThere = owner.before.kind === 'folder' ? owner.before : undefined
    changes.push({
      target: TARGET,
      action: 'delete',
      path,
      reason: wasThere !== undefined ? 'it was there before the agent' : 'the agent made this folder and nothing is left in it',
      subject: owner.subject,
      folder: posix.dirname(path),
      after: wasThere ?? { kind: 'absent' },
      owns: [],
      forgets: [path],
    })
  }
  return changes
}

function contentsOf(path: string, observed: ObservedHosts): readonly string[] {
  return path === observed.certsDirectory ? observed.names : [...(observed.folders.get(path)?.files.keys() ?? [])]
}
