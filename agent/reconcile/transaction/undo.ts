// Puts back what journal steps tell, newest first: whole folders where whole folders came or went.
import { posix } from 'node:path'
import { AgentError, asAgentError } from '../../model/errors.ts'
import type { FileContent, RegularFile } from '../../model/plan.ts'
import type { JournalStep, Log, NodeFiles, StateStore } from '../../model/ports.ts'
import type { Before } from '../../model/state.ts'

export async function undoSteps(
  steps: readonly JournalStep[],
  { files, store, log }: { readonly files: NodeFiles; readonly store: StateStore; readonly log: Log },
): Promise<void> {
  const failed: string[] = []
  const restored = new Set<string>()
  for (const step of steps.toReversed()) {
    if (restored.has(step.path)) continue
    try {
      for (const path of await undoStep(step, steps, files, store)) restored.add(path)
    } catch (thrown) {
      const error = asAgentError(thrown)
      log.error('undo-failed', { path: step.path, code: error.code, error: error.message })
      failed.push(`${step.path} (${error.message})`)
    }
  }
  if (failed.length > 0)
    throw new AgentError('ROLLBACK_INCOMPLETE', `could not put back: ${failed.join('; ')}`, { paths: failed })
}

/** Restores one path; a folder that was there is put back complete, one that was not goes complete. */
async function undoStep(
  step: JournalStep,
  steps: readonly JournalStep[],
  files: NodeFiles,
  store: StateStore,
): Promise<readonly string[]> {
  const tree = treeAround(step, steps)
  if (tree === undefined) {
    const content = await contentToRestore(step, store)
    if (content !== undefined) await files.put(step.path, content, { folder: step.folder })
    return []
  }
  const { root, members } = tree
  const now = await files.read(root.path)
  if (now.kind === 'unreadable')
    throw new AgentError('NODE_FILE_UNREADABLE', `${root.path} cannot be read: ${now.reason}`)
  if (root.before.kind === 'folder' && root.after.kind === 'absent' && now.kind === 'absent') {
    const content = await Promise.all(
      members.map(async (member) => ({
        name: posix.basename(member.path),
        content: (await contentToRestore(member, store)) as RegularFile | undefined,
      })),
    )
    const known = content.flatMap(({ name, content }) => (content === undefined ? [] : [{ name, content }]))
    await files.putFolder(root.path, known, { folder: root.folder, mode: root.before.mode })
  } else if (root.before.kind === 'absent' && now.kind === 'folder') {
    const names = new Set(members.map((member) => posix.basename(member.path)))
    const others = (await files.list(root.path)).filter((name) => !names.has(name))
    if (others.length === 0) await files.removeFolder(root.path, { folder: root.folder })
    else for (const { path } of members.toReversed()) await files.put(path, { kind: 'absent' }, { folder: root.folder })
  } else if (root.before.kind === 'folder' && root.after.kind === 'folder') {
    for (const { path } of members.toReversed()) await files.put(path, { kind: 'absent' }, { folder: root.folder })
    await files.put(root.path, root.before, { folder: root.folder })
  }
  return [root.path, ...members.map(({ path }) => path)]
}

function treeAround(
  step: JournalStep,
  steps: readonly JournalStep[],
): { root: JournalStep; members: readonly JournalStep[] } | undefined {
  const isTreeRoot = (one: JournalStep) =>
    (one.after.kind === 'folder' || (one.after.kind === 'absent' && one.before.kind === 'folder')) &&
    steps.some((other) => posix.dirname(other.path) === one.path && other.folder === one.folder)
  const root = steps.find((one) => (one.path === step.path || one.path === posix.dirname(step.path)) && isTreeRoot(one))
  if (root === undefined) return undefined
  return {
    root,
    members: steps.filter((other) => posix.dirname(other.path) === root.path && other.folder === root.folder),
  }
}

/** Undefined: a private key of an earlier process, which is kept nowhere; what is there now stays, and the next run writes the right one. */
async function contentToRestore({ path, before }: JournalStep, store: StateStore): Promise<FileContent | undefined> {
  try {
    return await contentOf(before, store)
  } catch (thrown) {
    if (path.endsWith('.key') && asAgentError(thrown).code === 'STATE_UNREADABLE') return undefined
    throw thrown
  }
}

async function contentOf(before: Before, store: StateStore): Promise<FileContent> {
  if (before.kind !== 'file') return before
  const { mode, uid, gid } = before
  return { kind: 'file', bytes: await store.backup(before.sha256), mode, uid, gid }
}
