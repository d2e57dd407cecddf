// The files that `layout: legacy` makes config.toml name: FOLDER/HOST/ca.crt and a client certificate, read anew at
// each pull. The folder is the agent's by its name. What is written is there before config.toml names it; what goes,
// goes when containerd is restarted without it, because a file that is named and missing fails every pull.
import { posix } from 'node:path'
import { type Problem, problem } from '../../model/errors.ts'
import type { Change, OwnedPath } from '../../model/plan.ts'
import type { FileState } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'
import type { NamedFile } from '../containerd-hosts/files.ts'
import {
  difference,
  firstUnreadable,
  firstUnreadableIn,
  type HostFolder,
  isFile,
  sha256,
  whatIs,
} from '../files/files.ts'
import { ownedFile, ownedFolder } from '../files/ownership.ts'

/** Owned by what names them, so that they are not taken for host directories. */
const OWNER = 'containerd-config'
const ABSENT: FileState = { kind: 'absent' }

export type ObservedLegacyFiles = {
  readonly folder: string
  readonly state: FileState
  readonly isWritable: boolean
  readonly names: readonly string[]
  /** By the name of the host folder. */
  readonly hosts: ReadonlyMap<string, HostFolder>
}

/** Beside config.toml: a folder that the agent may write already. */
export function legacyFolder(configFile: string): string {
  return `${posix.dirname(configFile)}/registry-trust`
}

/** Of the changes of a plan: a file that a running containerd may still read. */
export function isLegacyRemoval({ path, after }: Change, configFile: string): boolean {
  const folder = legacyFolder(configFile)
  return after.kind.startsWith('absent') && (path === folder || path.startsWith(`${folder}/`))
}

export function ownedLegacyPaths(folder: string, owned: AgentState['owned']): readonly string[] {
  return Object.entries(owned).flatMap(([path, { target }]) =>
    target === OWNER && (path === folder || path.startsWith(`${folder}/`)) ? [path] : [],
  )
}

export function unreadableLegacy({ folder, state, hosts }: ObservedLegacyFiles): string | undefined {
  const inHosts = [...hosts].map(([host, found]) => firstUnreadableIn(`${folder}/${host}`, found))
  return firstUnreadable([[folder, state]]) ?? inHosts.find((what) => what !== undefined)
}

/** Why the files of this host cannot be written. */
export function obstacleTo(
  host: string,
  wanted: readonly NamedFile[],
  { folder, state, isWritable, hosts }: ObservedLegacyFiles,
): Problem | undefined {
  const end = `; the trust anchors of ${host} were not written`
  const found = hosts.get(host)
  const places: readonly (readonly [string, FileState, 'folder' | 'file'])[] = [
    [folder, state, 'folder'],
    [`${folder}/${host}`, found?.state ?? ABSENT, 'folder'],
    ...wanted.map(({ name }) => [`${folder}/${host}/${name}`, found?.files.get(name) ?? ABSENT, 'file'] as const),
  ]
  for (const [path, there, expected] of places)
    if (there.kind !== 'absent' && there.kind !== expected)
      return problem('FILE_FOREIGN', `${path}: there is ${whatIs(there)} in place of a ${expected}${end}`)
  const isThere = wanted.every(({ name, content }) => isFile(found?.files.get(name) ?? ABSENT, content))
  if (isThere || isWritable) return undefined
  return problem('TARGET_READ_ONLY', `${folder} cannot be written${end}`)
}

/** The hosts have no obstacle. */
export function planLegacyPuts(
  wanted: ReadonlyMap<string, readonly NamedFile[]>,
  { folder, state, hosts }: ObservedLegacyFiles,
): readonly Change[] {
  const changes = [...wanted].flatMap(([host, files]): readonly Change[] => {
    const path = `${folder}/${host}`
    const found = hosts.get(host) ?? { state: ABSENT, files: new Map<string, FileState>() }
    const base = { target: 'containerd-hosts', subject: host, folder, forgets: [] } as const
    if (files.length === 0) return []
    if (found.state.kind === 'absent' || found.files.size === 0) {
      const owns = [ownedFolder(path), ...files.map(({ name, content }) => ownedFile(`${path}/${name}`, content))].map(
        ofConfig,
      )
      const after = { kind: 'tree', mode: 0o755, files } as const
      return [{ ...base, action: 'create', path, reason: 'config.toml names these files', after, owns }]
    }
    return files.flatMap((file): readonly Change[] => {
      const now = found.files.get(file.name) ?? ABSENT
      if (isFile(now, file.content)) return []
      const action = now.kind === 'absent' ? 'create' : 'update'
      const at = `${path}/${file.name}`
      return [
        {
          ...base,
          ...difference(now, file.content),
          action,
          path: at,
          after: file.content,
          owns: [ofConfig(ownedFile(at, file.content))],
        },
      ]
    })
  })
  if (changes.length === 0 || state.kind === 'folder') return changes
  const made: Change = {
    target: 'containerd-hosts',
    action: 'create',
    path: folder,
    reason: 'config.toml names files here',
    subject: '',
    folder: posix.dirname(folder),
    after: { kind: 'folder', mode: 0o755 },
    owns: [ofConfig(ownedFolder(folder))],
    forgets: [],
  }
  return [made, ...changes]
}

/** config.toml names these files: they are recorded with it. */
function ofConfig(owned: OwnedPath): OwnedPath {
  return { ...owned, target: OWNER }
}

/** What config.toml does not name any more; a file that someone changed stays and is reported. */
export function planLegacyRemovals(
  owned: AgentState['owned'],
  keep: ReadonlySet<string>,
  { folder, hosts, names }: ObservedLegacyFiles,
): { readonly changes: readonly Change[]; readonly problems: readonly Problem[] } {
  const gone = ownedLegacyPaths(folder, owned).filter((path) => !keep.has(path))
  const changes: Change[] = []
  const problems: Problem[] = []
  const emptied = new Set<string>()
  const inHosts = gone.filter((path) => path !== folder)
  const hostOf = (path: string) => posix.relative(folder, path).split('/')[0] ?? ''
  for (const [host, paths] of Map.groupBy(inHosts, hostOf)) {
    const root = `${folder}/${host}`
    const found = hosts.get(host)?.files ?? new Map<string, FileState>()
    const isChanged = (path: string) => {
      const state = found.get(posix.basename(path)) ?? ABSENT
      return state.kind !== 'absent' && (state.kind !== 'file' || sha256(state.bytes) !== owned[path]?.sha256)
    }
    const files = paths.filter((path) => path !== root)
    const base = { target: OWNER, action: 'delete', subject: host, folder, owns: [] } as const
    const reason = 'config.toml no longer names it'
    for (const path of files.filter(isChanged)) {
      problems.push(problem('FILE_CHANGED_BY_OTHERS', `${path}: changed since the agent wrote it; left unchanged`))
      const state = found.get(posix.basename(path)) ?? ABSENT
      if (state.kind === 'file')
        changes.push({ ...base, path, reason: 'it is no longer managed by the agent', after: state, forgets: [path] })
    }
    const removable = files.filter((path) => !isChanged(path))
    const there = removable.filter((path) => found.has(posix.basename(path)))
    const isWhole = paths.includes(root) && there.length > 0 && there.length === found.size
    if (isWhole) {
      const after = { kind: 'absent-tree', names: there.map((path) => posix.basename(path)) } as const
      changes.push({ ...base, path: root, reason, after, forgets: [...removable, root] })
    } else
      for (const path of removable) changes.push({ ...base, path, reason, after: { kind: 'absent' }, forgets: [path] })
    const isGone = isWhole || found.size === there.length
    if (isGone) emptied.add(host)
    if (isGone && !isWhole && paths.includes(root))
      changes.push({ ...base, path: root, reason, after: { kind: 'absent' }, forgets: [root] })
  }
  if (gone.includes(folder) && names.every((name) => emptied.has(name)))
    changes.push({
      target: OWNER,
      action: 'delete',
      path: folder,
      reason: 'the agent made this folder and nothing is left in it',
      subject: '',
      folder: posix.dirname(folder),
      after: { kind: 'absent' },
      owns: [],
      forgets: [folder],
    })
  return { changes, problems }
}
