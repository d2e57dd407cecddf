// Puts config.toml back to what it was before the agent came: the original where nobody edited it since, otherwise
// without the agent's part.
import { dirname } from 'node:path/posix'
import { restoreConfig } from '../../../containerd/config/restore.ts'
import { asAgentError, type Problem, problem } from '../../../model/errors.ts'
import type { ContainerdFacts } from '../../../model/observed-state.ts'
import type { Change } from '../../../model/plan.ts'
import type { Context } from '../../../model/run.ts'
import type { RunPorts } from '../../../model/run-ports.ts'
import type { AgentState, Ownership } from '../../../model/state.ts'
import { sha256 } from '../../../targets/files/files.ts'

type ConfigRemoval = {
  readonly changes: readonly Change[]
  readonly problems: readonly Problem[]
  readonly candidate: Buffer | undefined
}

/** Writes nothing. `planned`: what goes in the same transaction. */
export async function planConfigRemoval(
  { state, facts, ports }: Context,
  certsDirectory: string | undefined,
  planned: readonly Change[],
): Promise<ConfigRemoval> {
  const nothing = { changes: [], problems: [], candidate: undefined }
  const owner = state.owned[facts.configFile]
  if (owner === undefined || facts.config.kind !== 'file' || certsDirectory === undefined) return nothing
  if (planned.some(({ path }) => path === facts.configFile)) return nothing
  const moved = await planMovedRemoval(state, planned, facts, certsDirectory, ports)
  const others = await othersIn(certsDirectory, state, planned, ports)
  if (others.length > 0) {
    const text = `${facts.configFile}: config_path stays, because host directories of others depend on it: ${others.join(', ')}`
    return { ...nothing, problems: [problem('CONFIG_PATH_IN_USE', text)] }
  }
  const { bytes: current, ...attributes } = facts.config
  const { before, isLost } = await originalOf(owner, ports)
  // Without the original the agent's key is taken out, as where others edited the file since.
  const isAsWritten = sha256(current) === owner.sha256 && owner.hasOthers !== true && !isLost
  if (!isAsWritten && moved.folders > 0) {
    const text = `${facts.configFile}: changed since the agent moved its registry sections to hosts.toml files; both stay as they are`
    return { ...nothing, problems: [problem('CONFIG_PATH_IN_USE', text)] }
  }
  const restored = await restoreConfig({
    path: facts.configFile,
    current,
    before,
    isAsWritten,
    directory: certsDirectory,
    ...(owner.sandboxImage === undefined ? {} : { sandboxImage: owner.sandboxImage }),
  })
  switch (restored.kind) {
    case 'unchanged':
      return nothing
    case 'kept':
      return { ...nothing, problems: [restored.problem] }
    case 'edited':
      return removal(facts, { ...attributes, bytes: restored.bytes }, restored.bytes, 'the later edits of others stay')
    case 'original': {
      if (restored.bytes === undefined) return removal(facts, undefined, undefined, 'there was none before', moved)
      const was = owner.before.kind === 'file' ? owner.before : attributes
      const file = { kind: 'file' as const, bytes: restored.bytes, mode: was.mode, uid: was.uid, gid: was.gid }
      return removal(facts, file, restored.bytes, 'it is as before the agent', moved)
    }
    default:
      throw restored satisfies never
  }
}

async function originalOf(
  { before }: Ownership,
  { store, log }: RunPorts,
): Promise<{ readonly before?: Buffer; readonly isLost: boolean }> {
  if (before.kind !== 'file') return { isLost: false }
  try {
    return { before: await store.backup(before.sha256), isLost: false }
  } catch (thrown) {
    log.warn('backup-lost', { error: asAgentError(thrown).message })
    return { isLost: true }
  }
}

type FileAttributes = { readonly bytes: Buffer; readonly mode: number; readonly uid: number; readonly gid: number }

function removal(
  { configFile }: ContainerdFacts,
  file: FileAttributes | undefined,
  candidate: Buffer | undefined,
  reason: string,
  moved: MovedRemoval = NO_MOVED_FOLDERS,
): ConfigRemoval {
  const after =
    file === undefined
      ? ({ kind: 'absent' } as const)
      : ({ kind: 'file', bytes: file.bytes, mode: file.mode, uid: file.uid, gid: file.gid } as const)
  const change: Change = {
    target: 'containerd-config',
    action: file === undefined ? 'delete' : 'edit',
    path: configFile,
    drift: 'changed',
    reason,
    subject: '',
    folder: dirname(configFile),
    after,
    owns: [],
    forgets: [configFile],
  }
  return { changes: [...moved.changes, change], problems: moved.problems, candidate }
}

type MovedRemoval = {
  readonly folders: number
  readonly changes: readonly Change[]
  readonly problems: readonly Problem[]
}

const NO_MOVED_FOLDERS: MovedRemoval = { folders: 0, changes: [], problems: [] }

/**
 * Folders that took over what config.toml said: they go when it is put back, unless someone made them theirs meanwhile.
 */
async function planMovedRemoval(
  { owned }: AgentState,
  planned: readonly Change[],
  { configFile }: ContainerdFacts,
  certsDirectory: string,
  { files }: RunPorts,
): Promise<MovedRemoval> {
  const entries = Object.entries(owned).filter(
    ([path, { target }]) => target === 'containerd-config' && path !== configFile && dirname(path) === certsDirectory,
  )
  const changes: Change[] = []
  const problems: Problem[] = []
  for (const [path, owner] of entries) {
    const rewritten = planned.find((change) => change.path === `${path}/hosts.toml`)?.after
    const now = rewritten?.kind === 'file' ? rewritten : await files.read(`${path}/hosts.toml`)
    const removed = new Set(planned.filter(({ after }) => after.kind === 'absent').map((change) => change.path))
    const names = (await files.list(path)).filter((name) => !removed.has(`${path}/${name}`))
    const isUntouched = now.kind === 'file' && sha256(now.bytes) === owner.sha256 && names.join() === 'hosts.toml'
    const base = {
      target: 'containerd-config',
      action: 'delete',
      path,
      subject: '',
      folder: dirname(path),
      owns: [],
      forgets: [path],
    } as const
    if (isUntouched)
      changes.push({
        ...base,
        reason: 'its content is in config.toml again',
        after: { kind: 'absent-tree', names },
      })
    else
      problems.push(
        problem('FILE_CHANGED_BY_OTHERS', `${path}: changed since the agent moved it there; left unchanged`),
      )
  }
  const gone = new Set(
    [...planned, ...changes].filter(({ after }) => after.kind.startsWith('absent')).map(({ path }) => path),
  )
  const isEmptied = (await files.list(certsDirectory)).every((name) => gone.has(`${certsDirectory}/${name}`))
  if (changes.length > 0 && isEmptied && owned[certsDirectory]?.before.kind === 'absent')
    changes.push({
      target: 'containerd-config',
      action: 'delete',
      path: certsDirectory,
      reason: 'the agent made this folder and nothing is left in it',
      subject: '',
      folder: dirname(certsDirectory),
      after: { kind: 'absent' },
      owns: [],
      forgets: [certsDirectory],
    })
  return { folders: entries.length, changes, problems }
}

/** Host directories that neither are ours nor go with this transaction. */
async function othersIn(
  folder: string,
  state: AgentState,
  planned: readonly Change[],
  { files }: RunPorts,
): Promise<readonly string[]> {
  const gone = new Set(planned.filter(({ after }) => after.kind.startsWith('absent')).map(({ path }) => path))
  const names = await files.list(folder)
  return names.filter((name) => !gone.has(`${folder}/${name}`) && state.owned[`${folder}/${name}`] === undefined)
}
