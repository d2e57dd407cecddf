// One transaction: captures what is there, writes the journal, executes the changes in order, and can undo them in
// reverse, also after a crash. What "as before" means is told by capture.ts and undo.ts alone.
// This room: all or nothing: what was there is captured and journalled before the first write, and put back when a step
// fails.
// Begin here; then capture.ts (before), undo.ts (back).
// May touch: the paths of the plan's changes, and the journal.

import { AgentError, asAgentError, type Problem, problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { JournalStep, NodeFiles } from '../../model/ports.ts'
import type { TransactionPorts } from '../../model/run-ports.ts'
import { type AgentState, type Before, EMPTY_STATE, type Ownership, type TransactionRecord } from '../../model/state.ts'
import { captureBefore, captureSteps, requireAsCaptured, requireUnchanged } from './capture.ts'
import { isSameRecord } from './read-set.ts'
import { failedSteps, isUndone, type UndoReport, undoProblems, undoSteps } from './undo.ts'

const MOST_TRANSACTIONS_REMEMBERED = 50

type Outcome = Omit<TransactionRecord, 'id' | 'at'>

export type Transaction = {
  readonly id: string
  /**
   * Executes changes, in order, where nobody wrote since they were planned (FILE_CHANGED_MEANWHILE). When one fails all
   * that this
   * transaction did so far is undone and the error is thrown.
   */
  execute(changes: readonly Change[]): Promise<void>
  /**
   * Puts back what an earlier, committed transaction changed, newest step first, others' changes of what the agent
   * alone owns included;
   * itself undone when a path cannot be put back (ROLLBACK_INCOMPLETE).
   */
  revert(steps: readonly JournalStep[]): Promise<void>
  /**
   * Puts back everything, newest first. Never throws: each path has its result, and what failed is tried again by the
   * next run.
   */
  undo(): Promise<UndoReport>
  /**
   * What a person should know of what was done so far, beside the error thrown: paths not put back, entries not written
   * to the audit log.
   */
  findings(): readonly Problem[]
  /**
   * Notes that containerd is about to be restarted: in the journal, and as a restart that failed in state.json.
   * Whatever ends the agent
   * from here on, the restart counts for budget, pause and circuit breaker until `commit` or `abandon` say how it went.
   * `amend` as for
   * `commit`: the restart may go well without the agent.
   */
  markRestart(amend?: (state: AgentState) => AgentState): Promise<void>
  /** Records ownership and the outcome, then drops the journal. `amend` adds to what is saved. */
  commit(outcome: Outcome, amend?: (state: AgentState) => AgentState): Promise<AgentState>
  /** Records an outcome after `undo`; never throws: the node is as it was, whether that can be recorded or not. */
  abandon(outcome: Outcome, options?: { readonly refuse: boolean }): Promise<AgentState>
}

export function beginTransaction(state: AgentState, generation: string, ports: TransactionPorts): Transaction {
  const { files, store, clock, log, reads } = ports
  const unrestored = state.unrestored ?? []
  const at = new Date(clock.now()).toISOString()
  const id = `${at.replaceAll(/[-:.]/g, '').slice(0, 18)}-${generation}`
  const before = new Map<string, Before>()
  const done: Change[] = []
  /** What the journal names; `steps` are those of it that were begun. */
  let journal: readonly JournalStep[] = []
  let steps: readonly JournalStep[] = []
  let restarted = false
  let meant: AgentState | undefined
  let journalled = false
  let findings: readonly Problem[] = []

  const now = () => new Date(clock.now()).toISOString()

  const writeJournal = async () => {
    const entry = { transaction: id, generation, at, steps: journal, restarted }
    await store.journal.write(meant === undefined ? entry : { ...entry, meant })
    journalled = true
  }

  const audit = async (line: object) => {
    try {
      await store.audit({ at: now(), transaction: id, ...line })
    } catch (thrown) {
      const error = asAgentError(thrown)
      log.error('not-recorded', { code: error.code, error: error.message })
      if (findings.some(({ code }) => code === 'AUDIT_NOT_WRITTEN')) return
      findings = [...findings, problem('AUDIT_NOT_WRITTEN', `the audit log was not written: ${error.message}`)]
    }
  }

  const undo = async (): Promise<UndoReport> => {
    const undone = steps
    // What was never begun is not put back, not even after a crash: by now it may be someone else's newer work.
    const isAsJournalled = journal.length === steps.length && meant === undefined
    journal = steps
    // From here on nothing stays, however the restart went.
    meant = undefined
    if (journalled && !isAsJournalled) await orLog(ports, writeJournal)
    await tidy(undone, ports)
    const report = await undoSteps(undone, ports)
    findings = [...findings, ...undoProblems(report)]
    const failed = failedSteps(report, undone)
    journal = failed
    steps = failed
    done.length = 0
    if (journalled) await orLog(ports, failed.length === 0 ? () => store.journal.clear() : writeJournal)
    journalled = failed.length > 0
    await tidy(undone, ports)
    const paths = undone.map(({ path }) => path)
    if (paths.length > 0) await audit({ event: 'undone', paths, ...exceptionsOf(report) })
    return report
  }

  const orUndo = async (work: () => Promise<void>) => {
    try {
      await work()
    } catch (thrown) {
      const error = asAgentError(thrown)
      log.warn('change-failed', { transaction: id, code: error.code, error: error.message })
      const report = await undo()
      if (isUndone(report)) throw error
      const paths = report.filter(({ result }) => result === 'failed').map(({ path }) => path)
      const text = `${error.message}; and not put back: ${paths.join(', ')}`
      throw new AgentError('ROLLBACK_INCOMPLETE', text, { paths }, { cause: error })
    }
  }

  /** What an undo could not put back is ours as it is: what was there before it is what goes back. */
  const asBeforeAll = (step: JournalStep): JournalStep => {
    const earlier = unrestored.find(({ path, after }) => path === step.path && isSameRecord(after, step.before))
    return earlier === undefined ? step : { ...step, before: earlier.before }
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

  /** The state after all that was done. */
  const committed = (outcome: Outcome, amend: (state: AgentState) => AgentState): AgentState => {
    const { refusedGeneration: _, unrestored: __, ...rest } = state
    const changed = new Set(steps.map(({ path }) => path))
    const still = unrestored.filter(({ path }) => !changed.has(path))
    const previous = { generation: state.generation, owned: state.owned, steps, restarted }
    const owned = ownedAfter(state.owned, done, before)
    const next = { ...rest, generation, owned, previous, ...(still.length === 0 ? {} : { unrestored: still }) }
    return recorded(amend(next), outcome)
  }

  return {
    id,
    undo,
    findings: () => findings,
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
        await capture(all.map(asBeforeAll))
        for (const { change, own } of captured) {
          await requireAsCaptured(own.filter(untouched), files)
          steps = [...steps, ...own.map(asBeforeAll)]
          await executeChange(change, files)
          for (const { path } of own) touched.add(path)
          done.push(change)
          await audit(auditOf(change, before))
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
        const report = await undoSteps(past, ports, { isOurs: (path) => state.owned[path]?.kind === 'whole' })
        requireReverted(report)
        findings = [...findings, ...undoProblems(report)]
        await audit({ event: 'reverted', paths: past.map(({ path }) => path) })
      })
    },
    async markRestart(amend = (next) => next) {
      await orUndo(async () => {
        restarted = true
        const reason = 'the agent ended while containerd was being restarted'
        const pending = { generation, durationMs: 0, changes: 0, restarted, reason } as const
        meant = committed({ ...pending, result: 'committed', changes: steps.length }, amend)
        await writeJournal()
        await store.save(recorded(state, { ...pending, result: 'rolled-back' }))
      })
    },
    async commit(outcome, amend = (next) => next) {
      const saved = committed(outcome, amend)
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
  readonly state: AgentState
  /** What a person should know of it. */
  readonly problems: readonly Problem[]
  /** containerd may have been restarted with files that have just been put back: it has to load the old ones. */
  readonly mayRunUndone: boolean
}

/** What a run starts from. Never throws: what cannot be repaired is a problem, and the run goes on without it. */
export async function recover(
  ports: TransactionPorts,
  {
    committed,
  }: {
    /** The transaction whose restart went well after its agent had ended: its files stay. */ readonly committed?:
      | string
      | undefined
  } = {},
): Promise<Recovery> {
  const { store, log, clock } = ports
  const problems: Problem[] = []
  const orProblem = async <T>(work: () => Promise<T>, otherwise: T): Promise<T> => {
    try {
      return await work()
    } catch (thrown) {
      const { code, message } = asAgentError(thrown)
      log.error('not-recovered', { code, error: message })
      problems.push(problem(code, message))
      return otherwise
    }
  }
  await orProblem(() => store.sweep(), undefined)
  await orProblem(() => store.setAside(), undefined)
  const entry = await orProblem(() => store.journal.read(), undefined)
  const loaded = await orProblem(() => store.load(), EMPTY_STATE)
  const isRecorded = loaded.transactions.some(({ id, result }) => id === entry?.transaction && result === 'committed')
  const meant = isRecorded || entry?.transaction !== committed ? undefined : entry?.meant
  const isCommitted = isRecorded || meant !== undefined
  const state = meant ?? loaded
  const steps = [...(state.unrestored ?? []), ...(entry === undefined || isCommitted ? [] : entry.steps)]
  // Before: a folder with something left behind in it could not be removed.
  await tidy([...steps, ...(entry?.steps ?? [])], ports)
  const report = await undoSteps(steps, ports)
  problems.push(...undoProblems(report))
  const failed = failedSteps(report, steps)
  await tidy(steps, ports)
  const { unrestored: before = [], ...rest } = state
  const next = failed.length === 0 ? rest : { ...rest, unrestored: failed }
  // Saved before the journal goes: what failed is tried again by the next run.
  const isSaved = await orProblem(async () => {
    if (failed.length > 0 || before.length > 0 || meant !== undefined) await store.save(next)
    return true
  }, false)
  if (entry === undefined) return { state: next, mayRunUndone: false, problems }
  if (isSaved) await orProblem(() => store.journal.clear(), undefined)
  const at = new Date(clock.now()).toISOString()
  const told = { transaction: entry.transaction, kept: isCommitted, ...exceptionsOf(report) }
  await orProblem(() => store.audit({ at, event: 'recovered', ...told }), undefined)
  log.warn('transaction-recovered', { steps: entry.steps.length, ...told })
  return { state: next, mayRunUndone: entry.restarted && !isCommitted, problems }
}

/** For the audit log: what was not simply put back. */
function exceptionsOf(report: UndoReport): object {
  const others = report.filter(({ result }) => result !== 'restored')
  return others.length === 0 ? {} : { exceptions: others }
}

function requireReverted(report: UndoReport): void {
  const failed = report.filter((one) => one.result === 'failed')
  if (failed.length === 0) return
  const text = failed.map(({ path, reason }) => `${path} (${reason})`).join('; ')
  throw new AgentError('WRITE_FAILED', `could not put back: ${text}`, { paths: failed.map(({ path }) => path) })
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

function backupsReferencedBy({ owned, previous, unrestored = [] }: AgentState): ReadonlySet<string> {
  const befores = [owned, previous?.owned ?? {}].flatMap((map) => Object.values(map).map(({ before }) => before))
  const all = [...befores, ...[...(previous?.steps ?? []), ...unrestored].map(({ before }) => before)]
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
