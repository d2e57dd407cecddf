// What is there before a change, as journal steps: enough to put it back, also after a crash.
import { AgentError } from '../../model/errors.ts'
import type { Change, FileContent } from '../../model/plan.ts'
import type { FileState, JournalStep, NodeFiles, StateStore } from '../../model/ports.ts'
import type { ReadSet } from '../../model/run-ports.ts'
import type { Before } from '../../model/state.ts'
import { sha256 } from '../../targets/files/files.ts'
import { differs } from './read-set.ts'
import { editsOf, encodingOf, isMergeable } from './take-out.ts'

/** A tree is one change and several steps: the folder, then its files. */
export async function captureSteps(
  change: Change,
  files: NodeFiles,
  store: StateStore,
): Promise<readonly JournalStep[]> {
  const { path, folder, after } = change
  const at = async (where: string, becomes: FileContent): Promise<JournalStep> => {
    const state = await files.read(where)
    const before = await recordOf(where, state, store)
    return { path: where, folder, before, after: { ...afterOf(becomes), ...editsBetween(where, state, becomes) } }
  }
  switch (after.kind) {
    case 'tree':
      return [
        await at(path, { kind: 'folder', mode: after.mode }),
        ...(await Promise.all(after.files.map(({ name, content }) => at(`${path}/${name}`, content)))),
      ]
    case 'absent-tree':
      return [
        await at(path, { kind: 'absent' }),
        ...(await Promise.all(after.names.map((name) => at(`${path}/${name}`, { kind: 'absent' })))),
      ]
    default:
      return [await at(path, after)]
  }
}

export async function captureBefore(path: string, files: NodeFiles, store: StateStore): Promise<Before> {
  return recordOf(path, await files.read(path), store)
}

async function recordOf(path: string, state: FileState, store: StateStore): Promise<Before> {
  switch (state.kind) {
    case 'absent':
    case 'link':
      return state
    case 'folder':
      return { kind: 'folder', mode: state.mode }
    case 'file':
      return { kind: 'file', sha256: await store.keep(state.bytes), mode: state.mode, uid: state.uid, gid: state.gid }
    case 'other':
      throw new AgentError(
        'WRITE_FAILED',
        `${path} is a ${state.what}; the agent replaces only files, links and folders`,
      )
    case 'unreadable':
      throw new AgentError('WRITE_FAILED', `${path} cannot be read before it is changed: ${state.reason}`)
    default:
      throw state satisfies never
  }
}

/** Before anything is written: what the plan was made from is still there. Throws FILE_CHANGED_MEANWHILE. */
export function requireUnchanged(captured: readonly JournalStep[], reads: ReadSet): void {
  const changed = captured.find(({ path, before }) => reads.hasChanged(path, before))
  if (changed !== undefined) throw changedMeanwhile(changed.path)
}

/** Right before one change: the changes before it took their time. Throws FILE_CHANGED_MEANWHILE. */
export async function requireAsCaptured(steps: readonly JournalStep[], files: NodeFiles): Promise<void> {
  for (const { path, before } of steps) if (differs(await files.read(path), before)) throw changedMeanwhile(path)
}

function changedMeanwhile(path: string): AgentError {
  const text = `${path} was changed by another writer after the plan was made; nothing was changed`
  return new AgentError('FILE_CHANGED_MEANWHILE', text, { path })
}

/** For a file that others write in too: so that an undo can tell the agent's lines from theirs. */
function editsBetween(path: string, state: FileState, becomes: FileContent): Pick<JournalStep['after'], 'edits'> {
  if (!isMergeable(path) || becomes.kind !== 'file') return {}
  if (state.kind !== 'file' && state.kind !== 'absent') return {}
  const encoding = encodingOf(path)
  const was = state.kind === 'file' ? state.bytes.toString(encoding) : ''
  const edits = editsOf(was, becomes.bytes.toString(encoding))
  return edits === undefined ? {} : { edits }
}

function afterOf(content: FileContent): JournalStep['after'] {
  switch (content.kind) {
    case 'file':
      return { kind: 'file', sha256: sha256(content.bytes), mode: content.mode }
    case 'link':
      return { kind: 'link', to: content.to }
    case 'folder':
      return { kind: 'folder', mode: content.mode }
    case 'absent':
      return { kind: 'absent' }
    default:
      throw content satisfies never
  }
}
