// What of ours leaves a docker-style tree when a host is no longer declared: a folder that holds nothing else goes as a
// whole, a file that someone changed stays and is reported, the folders above go when nothing is left in them.
import { posix } from 'node:path'
import { type Problem, problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { FileState } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'
import type { TargetPlan } from '../../model/target.ts'
import { sha256 } from '../files/files.ts'
import { isOwnedFolder } from '../files/ownership.ts'
import type { ObservedTree } from './observe.ts'
import { type CertsTree, ownedBy } from './tree.ts'

const ABSENT: FileState = { kind: 'absent' }

export function planTreeRemoval(
  tree: CertsTree,
  allOwned: AgentState['owned'],
  keep: ReadonlySet<string>,
  observed: ObservedTree,
): TargetPlan {
  const owned = ownedBy(tree, allOwned)
  const gone = Object.keys(owned).filter((path) => !keep.has(path))
  const folders = gone.filter((path) => isOwnedFolder(owned, path)).sort((a, b) => b.length - a.length)
  const files = gone.filter((path) => !folders.includes(path))
  const changes: Change[] = []
  const problems: Problem[] = []
  const emptied = new Map<string, ReadonlySet<string>>()
  for (const [folder, paths] of Map.groupBy(files, (path) => posix.dirname(path))) {
    const found = observed.folders.get(folder)?.files ?? new Map<string, FileState>()
    const stateOf = (path: string) => found.get(posix.basename(path)) ?? ABSENT
    const isChanged = (path: string) => {
      const state = stateOf(path)
      return state.kind !== 'absent' && (state.kind !== 'file' || sha256(state.bytes) !== owned[path]?.sha256)
    }
    const subject = owned[paths[0] ?? '']?.subject ?? ''
    const base = { target: tree.target, action: 'delete', subject, folder: observed.certs.path, owns: [] } as const
    const reason = `${subject} is no longer wanted here`
    const removable = paths.filter((path) => !isChanged(path))
    for (const path of paths.filter(isChanged)) {
      const state = stateOf(path)
      const text = `${path}: changed since the agent wrote it; left unchanged although ${reason}`
      problems.push(problem('FILE_CHANGED_BY_OTHERS', text))
      if (state.kind === 'file')
        changes.push({ ...base, path, reason: 'it is no longer managed by the agent', after: state, forgets: [path] })
    }
    const names = removable.filter((path) => stateOf(path).kind !== 'absent').map((path) => posix.basename(path))
    if (folders.includes(folder) && names.length > 0 && names.length === found.size) {
      changes.push({
        ...base,
        path: folder,
        reason,
        after: { kind: 'absent-tree', names },
        forgets: [...removable, folder],
      })
      emptied.set(folder, new Set(names))
      continue
    }
    for (const path of removable) changes.push({ ...base, path, reason, after: { kind: 'absent' }, forgets: [path] })
    emptied.set(folder, new Set(names))
  }
  return { changes: [...changes, ...planFolders(tree, folders, changes, emptied, observed)], problems }
}

/** Deepest first; one that still holds something stays. */
function planFolders(
  { target }: CertsTree,
  folders: readonly string[],
  planned: readonly Change[],
  emptied: ReadonlyMap<string, ReadonlySet<string>>,
  observed: ObservedTree,
): readonly Change[] {
  const forgotten = new Set(planned.flatMap(({ forgets }) => forgets))
  const removed = new Set(planned.filter(({ after }) => after.kind.startsWith('absent')).map(({ path }) => path))
  const changes: Change[] = []
  for (const path of folders.filter((one) => !forgotten.has(one))) {
    const left = namesIn(path, observed).filter(
      (name) => !removed.has(`${path}/${name}`) && emptied.get(path)?.has(name) !== true,
    )
    if (left.length > 0) continue
    removed.add(path)
    const reason = 'the agent made this folder and nothing is left in it'
    changes.push({
      target,
      action: 'delete',
      path,
      reason,
      subject: '',
      folder: posix.dirname(path),
      after: { kind: 'absent' },
      owns: [],
      forgets: [path],
    })
  }
  return changes
}

function namesIn(path: string, { base, certs, folders }: ObservedTree): readonly string[] {
  if (path === base.path) return base.names
  return path === certs.path ? certs.names : [...(folders.get(path)?.files.keys() ?? [])]
}
