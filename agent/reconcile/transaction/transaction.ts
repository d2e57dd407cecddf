// One transaction: captures what is there, writes the journal, executes the changes in order, and can undo them in
// reverse, also after a crash. What "as before" means is told by capture.ts and undo.ts alone.

import { asAgentError } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { JournalStep, NodeFiles } from '../../model/ports.ts'
import type { TransactionPorts } from '../../model/run-ports.ts'
import type { AgentState, Before, Ownership, TransactionRecord } from '../../model/state.ts'
import { captureBefore, captureSteps, requireAsCaptured, requireUnchanged } from './capture.ts'
import { undoSteps } from './undo.ts'

const MOST_TRANSACTIONS_REMEMBERED = 50

type Outcome = Omit<TransactionRecord, 'id' | 'at'>

export type Transaction = {
  readonly id: string
  /**
   * Executes changes, in order, where nobody wrote since they were planned (FILE_CHANGED_MEANWHILE). When one fails all that this
   * transaction did so far is undone and the error is thrown.
   */
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
  const { files, store, clock, log, reads } = ports
  const at = new Date(clock.now()).toISOString()
  const id = `${at.replaceAll(/[-:.]/g, '').slice(0, 18)}-${generation}`
  const before = new Map<string, Before>()
  const done: Change[] = []
  /** What the journal names; `steps` are those of it that were begun. */
  let journal: readonly JournalStep[] = []
  let steps: readonly JournalStep[] = []
  let restarted = false
  let journalled = false

  const now = () => new Date(clock.now()).toISOString()

  const writeJournal = async () => {
    await store.journal.write({ transaction: id, generation, at, steps: journal, restarted })
    journalled = true
  }

  const undo = async () => {
    const undone = steps
    // What was never begun is not put back, not even after a crash: by now it may be someone else's newer work.
    const isAllBegun = journal.length === steps.length
    journal = steps
    if (journalled && !isAllBegun) await orLog(ports, writeJournal)
    await tidy(undone, ports)
    await undoSteps(undone, ports)
    journal = []
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
    journal = [...journal, ...captured]
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
        const captured: { readonly change: Change; readonly own: readonly JournalStep[] }[] = []
        for (const change of changes) captured.push({ change, own: await captureSteps(change, files, store) })
        const all = captured.flatMap(({ own }) => own)
        // What this very transaction has written by now was checked before it did.
        const touched = new Set(before.keys())
        const untouched = (step: JournalStep) => !touched.has(step.path)
        if (reads !== undefined) requireUnchanged(all.filter(untouched), reads)
        await capture(all)
        for (const { change, own } of captured) {
          await requireAsCaptured(own.filter(untouched), files)
          steps = [...steps, ...own]
          await executeChange(change, files)
          for (const { path } of own) touched.add(path)
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
        if (reads !== undefined) requireUnchanged(captured, reads)
        await capture(captured)
        steps = captured
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
      // From here on it is committed; what cannot be cleared away now is cleared at the next start.
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
