// Puts back what journal steps tell, path by path. The rules: a path is put back only where it is as the agent left it;
// what others changed since is kept, merged where the agent's part can be taken out; and no path is a reason not to put
// back the others.
import { posix } from 'node:path'
import { AgentError, asAgentError } from '../../model/errors.ts'
import type { FileContent, RegularFile } from '../../model/plan.ts'
import type { FileState, JournalStep, Log, NodeFiles, StateStore } from '../../model/ports.ts'
import type { Before } from '../../model/state.ts'
import { whatIs } from '../../targets/files/files.ts'
import { isAsRecorded } from './read-set.ts'
import { editedText, encodingOf, takeOut } from './take-out.ts'
import { failed, type Kept, type PathUndone, spansOf, tell, type UndoReport } from './undo-report.ts'

export type UndoPorts = { readonly files: NodeFiles; readonly store: StateStore; readonly log: Log }

export type UndoOptions = {
  /** What others made of the path since is drift of a file that is the agent's alone, and goes. */
  readonly isOurs?: (path: string) => boolean
}

/** Newest step first; whole folders where whole folders came or went. Never throws: each path has its result. */
export async function undoSteps(
  steps: readonly JournalStep[],
  ports: UndoPorts,
  options: UndoOptions = {},
): Promise<UndoReport> {
  const work: Work = { ...ports, isOurs: options.isOurs ?? (() => false) }
  const spans = spansOf(steps)
  const done = new Map<string, PathUndone>()
  for (const span of spans.toReversed()) {
    if (done.has(span.path)) continue
    for (const one of await undoSpan(span, spans, work)) done.set(one.path, one)
  }
  const report = [...done.values()]
  for (const one of report) tell(one, ports.log)
  return report
}

type Work = UndoPorts & { readonly isOurs: (path: string) => boolean }

async function undoSpan(span: JournalStep, spans: readonly JournalStep[], work: Work): Promise<readonly PathUndone[]> {
  const tree = treeAround(span, spans)
  if (tree === undefined) return [await undoPath(span, work)]
  try {
    return await undoTree(tree, work)
  } catch (thrown) {
    return [tree.root, ...tree.members].map(({ path }) => failed(path, thrown))
  }
}

async function undoPath(step: JournalStep, work: Work): Promise<PathUndone> {
  try {
    return await carryOut(step, await decide(step, await work.files.read(step.path), work), work)
  } catch (thrown) {
    return failed(step.path, thrown)
  }
}

type Decision =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'put'; readonly content: FileContent }
  | { readonly kind: 'merge'; readonly content: FileContent; readonly theirs: Buffer }
  | { readonly kind: 'leave'; readonly reason: string; readonly theirs?: Buffer }

/** Compares what is there with what the agent left there. Throws where that, or what to put back, cannot be read. */
async function decide(step: JournalStep, now: FileState, work: Work): Promise<Decision> {
  const { path, before, after } = step
  if (now.kind === 'unreadable') throw new AgentError('NODE_FILE_UNREADABLE', `${path} cannot be read: ${now.reason}`)
  if (isAsRecorded(now, before)) return modeBack(step, now)
  if (isAsRecorded(now, after) || work.isOurs(path)) return await back(step, now, work)
  if (now.kind !== 'file') {
    const what = now.kind === 'absent' ? 'it was removed' : `it was replaced by ${whatIs(now)}`
    return { kind: 'leave', reason: `${what} since the agent wrote it` }
  }
  return await merge(step, now, work)
}

/** The content is as before already, as after a crash in the middle of an undo. */
function modeBack({ before, after }: JournalStep, now: FileState): Decision {
  const isSame = !('mode' in before) || !('mode' in now) || now.mode === before.mode
  if (isSame || now.mode !== after.mode) return { kind: 'nothing' }
  if (now.kind !== 'file' || before.kind !== 'file') return { kind: 'put', content: before as FileContent }
  return { kind: 'put', content: { ...before, bytes: now.bytes } }
}

async function back(step: JournalStep, now: FileState, work: Work): Promise<Decision> {
  const isNewFolder = step.before.kind === 'absent' && now.kind === 'folder'
  if (isNewFolder && (await isFilled(step.path, work))) return { kind: 'leave', reason: 'it is not empty' }
  const content = await contentToRestore(step, work.store)
  if (content === undefined) return { kind: 'nothing' }
  const isForeignMode = 'mode' in now && step.after.mode !== undefined && now.mode !== step.after.mode
  if (!isForeignMode || content.kind !== 'file' || work.isOurs(step.path)) return { kind: 'put', content }
  return { kind: 'put', content: { ...content, mode: now.mode } }
}

/** A temporary folder that a failed call left behind does not count as content. */
async function isFilled(folder: string, { files }: Work): Promise<boolean> {
  if ((await files.list(folder)).length === 0) return false
  await files.sweep(folder)
  return (await files.list(folder)).length > 0
}

async function merge(step: JournalStep, now: Extract<FileState, { kind: 'file' }>, { store }: Work): Promise<Decision> {
  const { path, before, after } = step
  const theirs = now.bytes
  const leave = (reason: string): Decision => ({ kind: 'leave', reason, theirs })
  if (before.kind === 'link' || before.kind === 'folder') return leave('it was changed since the agent wrote it')
  if (after.kind !== 'file') return leave('it was created again since the agent removed it')
  const was = before.kind === 'absent' ? '' : (await store.backup(before.sha256)).toString(encodingOf(path))
  const ours = after.edits === undefined ? undefined : editedText(was, after.edits)
  if (ours === undefined) return leave('it was changed since the agent wrote it')
  const taken = await takeOut({ path, before: was, after: ours, now: theirs.toString(encodingOf(path)) })
  switch (taken.kind) {
    case 'kept':
      return leave(taken.reason)
    case 'nothing-left':
      return { kind: 'nothing' }
    case 'taken-out': {
      if (taken.text === undefined) return { kind: 'merge', content: { kind: 'absent' }, theirs }
      const { mode, uid, gid } = now
      return {
        kind: 'merge',
        content: { kind: 'file', bytes: Buffer.from(taken.text, encodingOf(path)), mode, uid, gid },
        theirs,
      }
    }
    default:
      throw taken satisfies never
  }
}

async function carryOut({ path, folder }: JournalStep, decision: Decision, work: Work): Promise<PathUndone> {
  switch (decision.kind) {
    case 'nothing':
      return { path, result: 'restored' }
    case 'put':
      return { path, result: 'restored', ...(await putBack(path, decision.content, folder, work)) }
    case 'merge': {
      const copy = await copyOf(path, decision.theirs, work)
      return { path, result: 'merged', ...copy, ...(await putBack(path, decision.content, folder, work)) }
    }
    case 'leave':
      return { path, result: 'left', reason: decision.reason, ...(await copyOf(path, decision.theirs, work)) }
    default:
      throw decision satisfies never
  }
}

async function putBack(path: string, content: FileContent, folder: string, { files }: Work): Promise<Kept> {
  let lost: string | undefined
  const ifAttributesLost = (reason: string) => {
    lost = reason
  }
  await files.put(path, content, { folder, ifAttributesLost })
  return lost === undefined ? {} : { attributesLost: lost }
}

/** A copy for people: what they wrote stays where it is or is merged, so that one that cannot be made loses nothing. */
async function copyOf(
  path: string,
  bytes: Buffer | undefined,
  { store, log }: Work,
): Promise<{ readonly copy?: string }> {
  if (bytes === undefined) return {}
  try {
    const copy = await store.keepCopy(path, bytes)
    return copy === undefined ? {} : { copy }
  } catch (thrown) {
    log.warn('copy-not-kept', { path, error: asAgentError(thrown).message })
    return {}
  }
}

type TreeSteps = { readonly root: JournalStep; readonly members: readonly JournalStep[] }

function treeAround(step: JournalStep, steps: readonly JournalStep[]): TreeSteps | undefined {
  const isTreeRoot = (one: JournalStep) =>
    (one.after.kind === 'folder' || (one.after.kind === 'absent' && one.before.kind === 'folder')) &&
    steps.some((other) => posix.dirname(other.path) === one.path && other.folder === one.folder)
  const root = steps.find((one) => (one.path === step.path || one.path === posix.dirname(step.path)) && isTreeRoot(one))
  if (root === undefined) return undefined
  const members = steps.filter((other) => posix.dirname(other.path) === root.path && other.folder === root.folder)
  return { root, members }
}

/** A folder that was there is put back complete, one that was not goes complete; what others put into it stays. */
async function undoTree(tree: TreeSteps, work: Work): Promise<readonly PathUndone[]> {
  const { root, members } = tree
  const { files } = work
  const now = await files.read(root.path)
  if (now.kind === 'unreadable')
    throw new AgentError('NODE_FILE_UNREADABLE', `${root.path} cannot be read: ${now.reason}`)
  const all = (result: PathUndone['result'] & 'restored') =>
    [root, ...members].map(({ path }): PathUndone => ({ path, result }))
  if (root.before.kind === 'folder' && root.after.kind === 'absent' && now.kind === 'absent') {
    await files.putFolder(root.path, await membersBefore(members, work), {
      folder: root.folder,
      mode: root.before.mode,
    })
    return all('restored')
  }
  if (root.before.kind === 'absent' && now.kind === 'absent') return all('restored')
  if (root.before.kind === 'absent' && now.kind === 'folder' && (await isAsLeft(tree, work))) {
    await files.removeFolder(root.path, { folder: root.folder })
    return all('restored')
  }
  const each = await undoMembers(members, work)
  return [...each, await undoRoot(root, now, work)]
}

async function membersBefore(members: readonly JournalStep[], { store }: Work) {
  const contents = await Promise.all(
    members.map(async (member) => ({
      name: posix.basename(member.path),
      content: (await contentToRestore(member, store)) as RegularFile | undefined,
    })),
  )
  return contents.flatMap(({ name, content }) => (content === undefined ? [] : [{ name, content }]))
}

/** Nobody changed a file in it or added one. */
async function isAsLeft({ root, members }: TreeSteps, { files, isOurs }: Work): Promise<boolean> {
  const known = new Set(members.map(({ path }) => posix.basename(path)))
  if ((await files.list(root.path)).some((name) => !known.has(name))) return false
  for (const { path, before, after } of members) {
    const now = await files.read(path)
    if (!isAsRecorded(now, before) && !isAsRecorded(now, after) && !isOurs(path)) return false
  }
  return true
}

/** What a file that stays may name stays with it: a hosts.toml without its CA file would fail every pull. */
async function undoMembers(members: readonly JournalStep[], work: Work): Promise<readonly PathUndone[]> {
  const isFirst = ({ path }: JournalStep) => path.endsWith('.toml')
  const done: PathUndone[] = []
  for (const member of [...members.filter(isFirst), ...members.filter((one) => !isFirst(one)).toReversed()]) {
    const namedBy = isFirst(member) ? undefined : await namedIn(member, done, work)
    done.push(
      namedBy === undefined
        ? await undoPath(member, work)
        : { path: member.path, result: 'left', reason: `${namedBy} was changed by others and names it` },
    )
  }
  return done
}

async function namedIn({ path, before }: JournalStep, done: UndoReport, { files }: Work): Promise<string | undefined> {
  if (before.kind !== 'absent') return undefined
  for (const other of done) {
    if (other.result === 'restored') continue
    const state = await files.read(other.path)
    if (state.kind === 'file' && state.bytes.includes(posix.basename(path))) return other.path
  }
  return undefined
}

async function undoRoot(root: JournalStep, now: FileState, work: Work): Promise<PathUndone> {
  const { path, before, after, folder } = root
  try {
    if (before.kind === 'folder' && now.kind === 'folder' && after.kind === 'folder')
      await work.files.put(path, { ...before, mode: now.mode === after.mode ? before.mode : now.mode }, { folder })
    if (before.kind !== 'absent' || now.kind !== 'folder') return { path, result: 'restored' }
    if (await isFilled(path, work)) return { path, result: 'left', reason: 'it holds files of others' }
    await work.files.put(path, { kind: 'absent' }, { folder })
    return { path, result: 'restored' }
  } catch (thrown) {
    return failed(path, thrown)
  }
}

/**
 * Undefined: a private key of an earlier process, which is kept nowhere; what is there now stays, and the next run
 * writes the right one.
 */
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
