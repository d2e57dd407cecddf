// One transaction: captures what is there, writes the journal, executes the changes in order, and can undo them in
// reverse, also after a crash. Nothing outside this file decides what "as before" means.
import { createHash } from 'node:crypto'
import { posix } from 'node:path'
import { AgentError, asAgentError } from '../model/errors.ts'
import type { Change, FileContent, RegularFile } from '../model/plan.ts'
import type { Clock, JournalStep, Log, NodeFiles, StateStore } from '../model/ports.ts'
import type { AgentState, Before, Ownership, TransactionRecord } from '../model/state.ts'

export type TransactionPorts = {
  readonly files: NodeFiles
  readonly store: StateStore
  readonly clock: Clock
  readonly log: Log
}

const MOST_TRANSACTIONS_REMEMBERED = 50

type Outcome = Omit<TransactionRecord, 'id' | 'at'>

export type Transaction = {
  readonly id: string
  /** Executes changes, in order. When one fails all that this transaction did so far is undone and the error is thrown. */
  execute(changes: readonly Change[]): Promise<void>
  /** Puts back what an earlier, committed transaction changed, newest step first; itself undone when that fails. */
  revert(steps: readonly JournalStep[]): Promise<void>
  /** Puts back everything, newest first. Throws ROLLBACK_INCOMPLETE naming the paths that could not be restored. */
  undo(): Promise<void>
  /**
   * Notes that containerd is about to be restarted: in the journal, and as a restart that failed in state.json. Whatever ends the agent
   * from here on, the restart counts for budget, pause and circuit breaker until `commit` or `abandon` say how it went.
   */
  markRestart(): Promise<void>
  /** Records ownership and the outcome, then drops the journal. `amend` adds to what is saved. */
  commit(outcome: Outcome, amend?: (state: AgentState) => AgentState): Promise<AgentState>
  /** Records an outcome after `undo`; never throws: the node is as it was, whether that can be recorded or not. */
  abandon(outcome: Outcome, options?: { readonly refuse: boolean }): Promise<AgentState>
}

export function beginTransaction(state: AgentState, generation: string, ports: TransactionPorts): Transaction {
  const { files, store, clock, log } = ports
  const at = new Date(clock.now()).toISOString()
  const id = `${at.replaceAll(/[-:.]/g, '').slice(0, 18)}-${generation}`
  const before = new Map<string, Before>()
  const done: Change[] = []
  let steps: JournalStep[] = []
  let restarted = false
  let journalled = false

  const now = () => new Date(clock.now()).toISOString()

  const writeJournal = async () => {
    await store.journal.write({ transaction: id, generation, at, steps, restarted })
    journalled = true
  }

  const undo = async () => {
    const undone = steps
    await tidy(undone, ports)
    await undoSteps(undone, ports)
    steps = []
    done.length = 0
    if (journalled) await store.journal.clear()
    journalled = false
    await tidy(undone, ports)
    const paths = undone.map(({ path }) => path)
    if (paths.length > 0) await orLog(ports, () => store.audit({ at: now(), transaction: id, event: 'undone', paths }))
  }

  const orUndo = async (work: () => Promise<void>) => {
    try {
      await work()
    } catch (thrown) {
      const error = asAgentError(thrown)
      log.warn('change-failed', { transaction: id, code: error.code, error: error.message })
      await undo()
      throw error
    }
  }

  const capture = async (captured: readonly JournalStep[]) => {
    for (const step of captured) if (!before.has(step.path)) before.set(step.path, step.before)
    steps = [...steps, ...captured]
    await writeJournal()
  }

  const recorded = (next: AgentState, outcome: Outcome): AgentState => {
    const others = next.transactions.filter((one) => one.id !== id)
    return { ...next, transactions: [...others, { id, at, ...outcome }].slice(-MOST_TRANSACTIONS_REMEMBERED) }
  }

  return {
    id,
    undo,
    async execute(changes) {
      if (changes.length === 0) return
      await orUndo(async () => {
        const captured: JournalStep[] = []
        for (const change of changes) captured.push(...(await captureSteps(change, files, store)))
        requireBasis(changes, captured)
        await capture(captured)
        for (const change of changes) {
          await executeChange(change, files)
          done.push(change)
          await store.audit({ at: now(), transaction: id, ...auditOf(change, before) })
        }
      })
    },
    async revert(past) {
      await orUndo(async () => {
        const captured: JournalStep[] = []
        for (const { path, folder, before: was } of past.toReversed())
          captured.push({ path, folder, before: await captureBefore(path, files, store), after: was })
        await capture(captured)
        await undoSteps(past, ports)
        await store.audit({ at: now(), transaction: id, event: 'reverted', paths: past.map(({ path }) => path) })
      })
    },
    async markRestart() {
      await orUndo(async () => {
        restarted = true
        await writeJournal()
        const reason = 'the agent ended while containerd was being restarted'
        const pending = { generation, durationMs: 0, result: 'rolled-back', changes: 0, restarted, reason } as const
        await store.save(recorded(state, pending))
      })
    },
    async commit(outcome, amend = (next) => next) {
      const { refusedGeneration: _, ...rest } = state
      const previous = { generation: state.generation, owned: state.owned, steps, restarted }
      const next: AgentState = { ...rest, generation, owned: ownedAfter(state.owned, done, before), previous }
      const saved = recorded(amend(next), outcome)
      await store.save(saved)
      // From here on it is committed; what can not be cleared away now is cleared at the next start.
      await orLog(ports, async () => {
        if (journalled) await store.journal.clear()
        await store.forget(backupsReferencedBy(saved))
      })
      await tidy(steps, ports)
      return saved
    },
    async abandon(outcome, options) {
      // The journal stays when undoing failed: the next start tries again.
      const saved = recorded(options?.refuse === true ? { ...state, refusedGeneration: generation } : state, outcome)
      await orLog(ports, () => store.save(saved))
      return saved
    },
  }
}

function ownedAfter(
  owned: AgentState['owned'],
  done: readonly Change[],
  before: ReadonlyMap<string, Before>,
): AgentState['owned'] {
  const next: { [path: string]: Ownership } = { ...owned }
  for (const { forgets, owns, subject, ...change } of done) {
    for (const path of forgets) delete next[path]
    for (const { path, kind, sha256, target = change.target } of owns)
      next[path] = {
        kind,
        target,
        subject,
        sha256,
        before: owned[path]?.before ?? before.get(path) ?? { kind: 'absent' },
      }
  }
  return next
}

export type Recovery = {
  /** containerd may have been restarted with files that have just been put back: it has to load the old ones. */
  readonly mayRunUndone: boolean
}

/** Undoes what a crash left half done; undefined when there was nothing. */
export async function recover(ports: TransactionPorts): Promise<Recovery | undefined> {
  const { store, log, clock } = ports
  await store.sweep()
  const entry = await store.journal.read()
  if (entry === undefined) return undefined
  const { transactions } = await store.load()
  const isCommitted = transactions.some(({ id, result }) => id === entry.transaction && result === 'committed')
  // Before: a folder with something left behind in it could not be removed.
  await tidy(entry.steps, ports)
  if (!isCommitted) await undoSteps(entry.steps, ports)
  await tidy(entry.steps, ports)
  const at = new Date(clock.now()).toISOString()
  await store.audit({ at, transaction: entry.transaction, event: 'recovered', kept: isCommitted })
  await store.journal.clear()
  log.warn('transaction-recovered', { transaction: entry.transaction, steps: entry.steps.length, kept: isCommitted })
  return { mayRunUndone: entry.restarted && !isCommitted }
}

/** Removes temporary folders that a failed call left behind; another tool could take one for a host directory. */
async function tidy(steps: readonly JournalStep[], ports: TransactionPorts): Promise<void> {
  const { files } = ports
  // What fails is tried once more: after an uninstall nobody comes by again.
  for (const folder of new Set(steps.map((step) => step.folder)))
    await orLog(ports, () => files.sweep(folder).catch(() => files.sweep(folder)))
}

/** For what must not turn a transaction that is done or undone into a failed one. */
async function orLog({ log }: TransactionPorts, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (thrown) {
    const error = asAgentError(thrown)
    log.error('not-recorded', { code: error.code, error: error.message })
  }
}

async function executeChange(change: Change, files: NodeFiles): Promise<void> {
  const { path, after, folder } = change
  switch (after.kind) {
    case 'tree':
      return files.putFolder(path, after.files, { folder, mode: after.mode })
    case 'absent-tree':
      return files.removeFolder(path, { folder })
    case 'file':
    case 'link':
    case 'folder':
    case 'absent':
      return files.put(path, after, { folder })
    default:
      throw after satisfies never
  }
}

/** A tree is one change and several steps: the folder, then its files. */
async function captureSteps(change: Change, files: NodeFiles, store: StateStore): Promise<readonly JournalStep[]> {
  const { path, folder, after } = change
  const at = async (where: string, becomes: FileContent) => ({
    path: where,
    folder,
    before: await captureBefore(where, files, store),
    after: afterOf(becomes),
  })
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

async function captureBefore(path: string, files: NodeFiles, store: StateStore): Promise<Before> {
  const state = await files.read(path)
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
      throw new AgentError('WRITE_FAILED', `${path} can not be read before it is changed: ${state.reason}`)
    default:
      throw state satisfies never
  }
}

/** Before anything is written: what an edit was made from is still there. */
function requireBasis(changes: readonly Change[], captured: readonly JournalStep[]): void {
  for (const { path, basis } of changes) {
    const [now, ...again] = captured.flatMap((step) => (step.path === path ? [step.before] : []))
    // More than once: this very transaction writes it first.
    if (basis === undefined || again.length > 0 || (now?.kind === 'file' && now.sha256 === basis)) continue
    const text = `${path} was written by somebody else while the agent was about to edit it; nothing was changed`
    throw new AgentError('FILE_CHANGED_MEANWHILE', text)
  }
}

function afterOf(content: FileContent): JournalStep['after'] {
  switch (content.kind) {
    case 'file':
      return { kind: 'file', sha256: createHash('sha256').update(content.bytes).digest('hex'), mode: content.mode }
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

async function undoSteps(steps: readonly JournalStep[], { files, store, log }: TransactionPorts): Promise<void> {
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
    throw new AgentError('NODE_FILE_UNREADABLE', `${root.path} can not be read: ${now.reason}`)
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

function backupsReferencedBy({ owned, previous }: AgentState): ReadonlySet<string> {
  const befores = [owned, previous?.owned ?? {}].flatMap((map) => Object.values(map).map(({ before }) => before))
  const all = [...befores, ...(previous?.steps ?? []).map(({ before }) => before)]
  return new Set(all.flatMap((before) => (before.kind === 'file' ? [before.sha256] : [])))
}

function auditOf(change: Change, before: ReadonlyMap<string, Before>) {
  const was = before.get(change.path)
  return {
    target: change.target,
    action: change.action,
    path: change.path,
    reason: change.reason,
    beforeSha256: was?.kind === 'file' ? was.sha256 : null,
    afterSha256: change.owns.find((own) => own.path === change.path)?.sha256 ?? null,
  }
}
