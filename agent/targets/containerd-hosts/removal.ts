// What of ours leaves the host directories when a registry is no longer declared: hosts.toml before the CA it names, a
// folder that held nothing else as a whole, and out of other people's hosts.toml only what was added to it.
import { posix } from 'node:path'
import { distributionCaFiles, isWrittenByK3s } from '../../containerd/hosts/k3s.ts'
import { unmergeHostsFile } from '../../containerd/hosts/merge-foreign.ts'
import { asAgentError, type Problem, problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { FileState } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'
import type { TargetPlan } from '../../model/target.ts'
import { type HostFolder, sha256 } from '../files/files.ts'
import { isOwnedFolder } from '../files/ownership.ts'
import { CA_BESIDE_FOREIGN, type ChangeBase, HOSTS_FILE, ownedPaths, rewritten, TARGET } from './names.ts'
import type { ObservedHosts } from './observe.ts'

export async function planRemoval(
  owned: AgentState['owned'],
  keep: ReadonlySet<string>,
  observed: ObservedHosts,
): Promise<TargetPlan> {
  const changes: Change[] = []
  const problems: Problem[] = []
  const gone = ownedPaths(owned).filter(([path]) => !keep.has(path))
  const isFolder = ([path]: (typeof gone)[number]) => isOwnedFolder(owned, path)
  const files = gone.filter((entry) => !isFolder(entry))
  const folders = gone.filter(isFolder).sort(([a], [b]) => b.length - a.length)
  const byFolder = Map.groupBy(files, ([path]) => posix.dirname(path))

  for (const [folder, all] of byFolder) {
    const found = observed.folders.get(folder)
    const subject = all[0]?.[1].subject ?? ''
    const base = { target: TARGET, action: 'delete', subject, folder: posix.dirname(folder), owns: [] } as const
    const reason = `${subject} is no longer declared`
    const rendered = renderedByK3s(found?.files.get(HOSTS_FILE), subject)
    const isWhole = ([path, owner]: (typeof all)[number]) =>
      owner.kind === 'whole' && !(rendered === 'with-others' && path.endsWith(`/${HOSTS_FILE}`))
    const entries = all.filter(isWhole)
    for (const [path] of all.filter((entry) => !entries.includes(entry))) {
      const plan = await planUnmerge({ ...base, folder, path, forgets: [path] }, found, reason)
      changes.push(...plan.changes)
      problems.push(...plan.problems)
    }
    const present = entries.filter(
      ([path]) => (found?.files.get(posix.basename(path)) ?? { kind: 'absent' }).kind !== 'absent',
    )
    const changed = present.filter(([path, owner]) => {
      const state = found?.files.get(posix.basename(path))
      if (rendered === 'alone' && path.endsWith(`/${HOSTS_FILE}`)) return false
      return state?.kind !== 'file' || sha256(state.bytes) !== owner.sha256
    })
    for (const [path] of changed)
      problems.push(
        problem(
          'FILE_CHANGED_BY_OTHERS',
          `${path}: changed since the agent wrote it; left unchanged although ${reason}`,
        ),
      )
    const removable = present.filter((entry) => !changed.includes(entry))
    const forgets = entries.map(([path]) => path)
    const whole = owned[folder]?.before.kind === 'absent' && found?.files.size === removable.length
    if (whole && changed.length === 0 && removable.length > 0) {
      const names = removable.map(([path]) => posix.basename(path))
      changes.push({
        ...base,
        path: folder,
        reason,
        after: { kind: 'absent-tree', names },
        forgets: [...forgets, folder],
      })
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

/**
 * What k3s made of the registries.yaml that names our CA file. alone: it says nothing else of weight, and the next
 * start, which does not find
 * the CA named any more, makes the same of the rest; with-others: it asks other hosts too.
 */
function renderedByK3s(state: FileState | undefined, host: string): 'no' | 'alone' | 'with-others' {
  const text = state?.kind === 'file' ? state.bytes.toString('utf8') : ''
  if (!isWrittenByK3s(text) || !distributionCaFiles(host).some((path) => text.includes(`"${path}"`))) return 'no'
  return /^\s*\[host\./m.test(text) ? 'with-others' : 'alone'
}

/** Takes our CA file out of a hosts.toml of someone else; whatever they changed since stays. */
async function planUnmerge(base: ChangeBase, found: HostFolder | undefined, reason: string): Promise<TargetPlan> {
  const { path, subject, folder } = base
  const nothing = { changes: forget([path], subject, folder, found), problems: [] }
  const state = found?.files.get(posix.basename(path))
  if (state?.kind !== 'file') return nothing
  const text = state.bytes.toString('utf8')
  try {
    let without = text
    for (const ca of [CA_BESIDE_FOREIGN, ...distributionCaFiles(subject)])
      without = await unmergeHostsFile(without, { path, ca })
    // k3s writes a list in any case; without our CA it writes none.
    if (isWrittenByK3s(text)) without = without.replace(/^[ \t]*ca = \[\]\n/gm, '')
    if (without === text) return nothing
    return { changes: [{ ...base, action: 'edit', reason, after: rewritten(state, without), owns: [] }], problems: [] }
  } catch (thrown) {
    const why = `${asAgentError(thrown).message}; left unchanged although ${reason}`
    return { ...nothing, problems: [problem('FILE_CHANGED_BY_OTHERS', why)] }
  }
}

/** Nothing to do on the node: the paths are gone already or someone else's now. */
function forget(
  paths: readonly string[],
  subject: string,
  folder: string,
  found: HostFolder | undefined,
): readonly Change[] {
  return paths.map((path) => {
    const state = found?.files.get(posix.basename(path)) ?? { kind: 'absent' as const }
    const after = state.kind === 'file' ? state : ({ kind: 'absent' } as const)
    return {
      target: TARGET,
      action: 'delete',
      path,
      reason: state.kind === 'absent' ? 'it is gone already' : 'it is no longer managed by the agent',
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
      reason:
        wasThere !== undefined
          ? 'it was there before the agent'
          : 'the agent made this folder and nothing is left in it',
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
  return path === observed.certsDirectory ? [...observed.names] : [...(observed.folders.get(path)?.files.keys() ?? [])]
}
