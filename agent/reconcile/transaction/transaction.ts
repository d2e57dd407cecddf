// One transaction: captures what is there, writes the journal, executes the changes in order, and can undo them in
// reverse, also after a crash. What "as before" means is defined only in capture.ts and undo.ts.
// This room: all or nothing: what was there is captured and journalled before the first write, and put back when a step
// fails.
// Begin here; then capture.ts (before), undo.ts (back), recover.ts (after a crash).
// May touch: the paths of the plan's changes, and the journal.

import { AgentError, asAgentError, type Problem, problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { JournalStep, NodeFiles, PutOptions } from '../../model/ports.ts'
import type { TransactionPorts } from '../../model/run-ports.ts'
import type { AgentState, Before, Ownership, TransactionRecord } from '../../model/state.ts'
import { auditedPaths, auditOf } from './audited-paths.ts'
import { captureBefore, captureSteps, requireAsCaptured, requireUnchanged } from './capture.ts'
import { keepOthersWork } from './others-work.ts'
import { isSameRecord } from './read-set.ts'
import { orLog, tidy } from './tidy.ts'
import { undoSteps } from './undo.ts'
import { attributesLost, exceptionsOf, failedSteps, isUndone, type UndoReport, undoProblems } from './undo-report.ts'

const MOST_TRANSACTIONS_REMEMBERED = 50

type Outcome = Omit<TransactionRecord, 'id' | 'at'>

type Amend = (state: AgentState) => AgentState

const asItIs: Amend = (state) => state

/** What was done to the node so far, and how to take it back. */
export class Transaction {
  readonly id: string
  readonly #state: AgentState
  readonly #generation: string
  readonly #ports: TransactionPorts
  readonly #at: string
  readonly #before = new Map<string, Before>()
  readonly #done: Change[] = []
  /** What the journal names; `#steps` are those of it that were begun. */
  #journal: readonly JournalStep[] = []
  #steps: readonly JournalStep[] = []
  #isJournalled = false
  #restarted = false
  /** The state that holds where the restart goes well without the agent. */
  #meant: AgentState | undefined
  #findings: readonly Problem[] = []

  /** Writes nothing yet. `generation`: the one that the node has once it is committed. */
  constructor(state: AgentState, generation: string, ports: TransactionPorts) {
    this.#state = state
    this.#generation = generation
    this.#ports = ports
    this.#at = new Date(ports.clock.now()).toISOString()
    this.id = `${this.#at.replaceAll(/[-:.]/g, '').slice(0, 18)}-${generation}`
  }

  /**
   * What a person should know of what was done so far, beside the error thrown: paths not put back, entries not written
   * to the audit log.
   */
  findings(): readonly Problem[] {
    return this.#findings
  }

  /** What the restart of this transaction has to tell. */
  tell(findings: readonly Problem[]): void {
    this.#findings = [...this.#findings, ...findings]
  }

  /**
   * Executes changes, in order, where nobody else wrote since they were planned (FILE_CHANGED_MEANWHILE). When one
   * fails all that this transaction did so far is undone and the error is thrown.
   */
  async execute(changes: readonly Change[]): Promise<void> {
    if (changes.length === 0) return
    await this.#orUndo(() => this.#write(changes))
  }

  /**
   * Puts back what an earlier, committed transaction changed, newest step first, others' changes of what the agent
   * alone owns included; itself undone when a path cannot be put back (ROLLBACK_INCOMPLETE).
   */
  async revert(past: readonly JournalStep[]): Promise<void> {
    await this.#orUndo(() => this.#putBack(past))
  }

  /**
   * Puts back everything, newest first. Never throws: each path has its result, and what failed is tried again by the
   * next run.
   */
  async undo(): Promise<UndoReport> {
    const ports = this.#ports
    const undone = this.#steps
    // What was never begun is not put back, not even after a crash: by now it may be someone else's newer work.
    const isAsJournalled = this.#journal.length === this.#steps.length && this.#meant === undefined
    this.#journal = this.#steps
    // From here on nothing stays, however the restart went.
    this.#meant = undefined
    if (this.#isJournalled && !isAsJournalled) await orLog(ports, () => this.#writeJournal())
    await tidy(undone, ports)
    const paths = undone.map(({ path }) => path)
    const changes = await auditedPaths(paths, ports.files)
    const report = await undoSteps(undone, ports)
    this.#findings = [...this.#findings, ...undoProblems(report)]
    const failed = failedSteps(report, undone)
    this.#journal = failed
    this.#steps = failed
    this.#done.length = 0
    if (this.#isJournalled)
      await orLog(ports, () => (failed.length === 0 ? ports.store.journal.clear() : this.#writeJournal()))
    this.#isJournalled = failed.length > 0
    await tidy(undone, ports)
    if (paths.length > 0)
      await this.#audit(this.#auditLine({ event: 'undone', paths, changes: await changes(), ...exceptionsOf(report) }))
    return report
  }

  /**
   * Notes that containerd is about to be restarted: in the journal, and as a restart that failed in state.json.
   * Whatever ends the agent from here on, the restart counts for budget, pause and circuit breaker until `commit` or
   * `abandon` say how it went. `amend` as for `commit`: the restart may go well without the agent.
   */
  async markRestart(amend: Amend = asItIs): Promise<void> {
    await this.#orUndo(async () => {
      this.#restarted = true
      const reason = 'the agent ended while containerd was being restarted'
      const pending = { generation: this.#generation, durationMs: 0, changes: 0, restarted: true, reason } as const
      this.#meant = this.#committed({ ...pending, result: 'committed', changes: this.#steps.length }, amend)
      await this.#writeJournal()
      await this.#ports.store.save(this.#recorded(this.#state, { ...pending, result: 'rolled-back' }))
    })
  }

  /** Records ownership and the outcome, then drops the journal. `amend` adds to what is saved. */
  async commit(outcome: Outcome, amend: Amend = asItIs): Promise<AgentState> {
    const { store } = this.#ports
    const saved = this.#committed(outcome, amend)
    await store.save(saved)
    // From here on it is committed; what cannot be cleared away now is cleared at the next start.
    await orLog(this.#ports, async () => {
      if (this.#isJournalled) await store.journal.clear()
      await store.forget(backupsReferencedBy(saved))
    })
    await tidy(this.#steps, this.#ports)
    return saved
  }

  /** Records an outcome after `undo`; never throws: the node is as it was, whether that can be recorded or not. */
  async abandon(outcome: Outcome, { refuse }: { readonly refuse: boolean } = { refuse: false }): Promise<AgentState> {
    // The journal stays when undoing failed: the next start tries again.
    const state = refuse ? { ...this.#state, refusedGeneration: this.#generation } : this.#state
    const saved = this.#recorded(state, outcome)
    await orLog(this.#ports, () => this.#ports.store.save(saved))
    return saved
  }

  async #write(changes: readonly Change[]): Promise<void> {
    const { files, store, reads } = this.#ports
    const captured: { readonly change: Change; readonly own: readonly JournalStep[] }[] = []
    for (const change of changes) captured.push({ change, own: await captureSteps(change, files, store) })
    const all = captured.flatMap(({ own }) => own)
    // What this very transaction has written by now was checked before it did.
    const touched = new Set(this.#before.keys())
    const untouched = (step: JournalStep) => !touched.has(step.path)
    if (reads !== undefined) requireUnchanged(all.filter(untouched), reads)
    await this.#capture(all.map((step) => this.#asBeforeAll(step)))
    const begun = [...this.#steps]
    this.#steps = begun
    const lines: object[] = []
    try {
      for (const { change, own } of captured) {
        await requireAsCaptured(own.filter(untouched), files)
        const keptAs = await keepOthersWork(own.filter(untouched), this.#state.owned, this.#ports)
        begun.push(...own.map((step) => this.#asBeforeAll(step)))
        await executeChange(change, files, this.#keepingAttributes(change))
        for (const { path } of own) touched.add(path)
        this.#done.push(change)
        lines.push(this.#auditLine({ ...auditOf(change, this.#before), ...keptAs }))
      }
    } finally {
      // One write for all: until it is made, the journal says what was begun.
      await this.#audit(...lines)
    }
  }

  async #putBack(past: readonly JournalStep[]): Promise<void> {
    const { files, store, reads } = this.#ports
    const { owned } = this.#state
    const captured: JournalStep[] = []
    for (const { path, folder, before: was } of past.toReversed())
      captured.push({ path, folder, before: await captureBefore(path, files, store), after: was })
    if (reads !== undefined) requireUnchanged(captured, reads)
    await this.#capture(captured)
    this.#steps = captured
    const paths = past.map(({ path }) => path)
    const keptAs = await keepOthersWork(captured, owned, this.#ports)
    const changes = await auditedPaths(paths, files)
    const report = await undoSteps(past, this.#ports, { isOurs: (path) => owned[path]?.kind === 'whole' })
    requireReverted(report)
    this.#findings = [...this.#findings, ...undoProblems(report)]
    await this.#audit(this.#auditLine({ event: 'reverted', paths, changes: await changes(), ...keptAs }))
  }

  async #orUndo(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (thrown) {
      const error = asAgentError(thrown)
      this.#ports.log.warn('change-failed', { transaction: this.id, code: error.code, error: error.message })
      const report = await this.undo()
      if (isUndone(report)) throw error
      const paths = report.filter(({ result }) => result === 'failed').map(({ path }) => path)
      const text = `${error.message}; and not put back: ${paths.join(', ')}`
      throw new AgentError('ROLLBACK_INCOMPLETE', text, { paths }, { cause: error })
    }
  }

  /** What an undo could not put back is ours as it is: what was there before it is what goes back. */
  #asBeforeAll(step: JournalStep): JournalStep {
    const { unrestored = [] } = this.#state
    const earlier = unrestored.find(({ path, after }) => path === step.path && isSameRecord(after, step.before))
    return earlier === undefined ? step : { ...step, before: earlier.before }
  }

  async #capture(captured: readonly JournalStep[]): Promise<void> {
    for (const step of captured) if (!this.#before.has(step.path)) this.#before.set(step.path, step.before)
    this.#journal = [...this.#journal, ...captured]
    await this.#writeJournal()
  }

  async #writeJournal(): Promise<void> {
    const meant = this.#meant
    await this.#ports.store.journal.write({
      transaction: this.id,
      generation: this.#generation,
      at: this.#at,
      steps: this.#journal,
      restarted: this.#restarted,
      ...(meant === undefined ? {} : { meant }),
    })
    this.#isJournalled = true
  }

  /** A file that is the agent's alone is given the same mode anew; what others gave one of theirs is to stay. */
  #keepingAttributes({ path }: Change): Pick<PutOptions, 'ifAttributesLost'> {
    if (this.#state.owned[path]?.kind === 'whole') return {}
    const ifAttributesLost = (reason: string) => {
      this.#ports.log.warn('attributes-lost', { path, reason })
      this.#findings = [...this.#findings, attributesLost(path, reason)]
    }
    return { ifAttributesLost }
  }

  /** When it was done, and by which transaction. */
  #auditLine(line: object): object {
    return { at: new Date(this.#ports.clock.now()).toISOString(), transaction: this.id, ...line }
  }

  async #audit(...lines: readonly object[]): Promise<void> {
    const { store, log } = this.#ports
    if (lines.length === 0) return
    try {
      await store.audit(...lines)
    } catch (thrown) {
      const error = asAgentError(thrown)
      log.error('not-recorded', { code: error.code, error: error.message })
      if (this.#findings.some(({ code }) => code === 'AUDIT_NOT_WRITTEN')) return
      const found = problem('AUDIT_NOT_WRITTEN', `the audit log was not written: ${error.message}`)
      this.#findings = [...this.#findings, found]
    }
  }

  #recorded(next: AgentState, outcome: Outcome): AgentState {
    const others = next.transactions.filter(({ id }) => id !== this.id)
    const mine = { id: this.id, at: this.#at, ...outcome }
    return { ...next, transactions: [...others, mine].slice(-MOST_TRANSACTIONS_REMEMBERED) }
  }

  /** The state after all that was done. */
  #committed(outcome: Outcome, amend: Amend): AgentState {
    const { refusedGeneration: _, unrestored = [], ...rest } = this.#state
    const steps = this.#steps
    const changed = new Set(steps.map(({ path }) => path))
    const still = unrestored.filter(({ path }) => !changed.has(path))
    const previous = { generation: rest.generation, owned: rest.owned, steps, restarted: this.#restarted }
    const owned = ownedAfter(rest.owned, this.#done, this.#before)
    const next = { ...rest, generation: this.#generation, owned, previous }
    return this.#recorded(amend(still.length === 0 ? next : { ...next, unrestored: still }), outcome)
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
    for (const { path, kind, sha256, sandboxImage, target = change.target } of owns)
      next[path] = {
        kind,
        target,
        subject,
        sha256,
        ...(sandboxImage === undefined ? {} : { sandboxImage }),
        ...(kind === 'edited' && hasOthers(owned[path], before.get(path)) ? { hasOthers: true } : {}),
        before: owned[path]?.before ?? before.get(path) ?? { kind: 'absent' },
      }
  }
  return next
}

/** What was there when the agent came to edit it again is neither what it wrote nor what it had found. */
function hasOthers(owner: Ownership | undefined, found: Before | undefined): boolean {
  if (owner === undefined) return false
  if (owner.hasOthers === true) return true
  if (found?.kind !== 'file' || found.sha256 === owner.sha256) return false
  return owner.before.kind !== 'file' || found.sha256 !== owner.before.sha256
}

function requireReverted(report: UndoReport): void {
  const failed = report.filter((one) => one.result === 'failed')
  if (failed.length === 0) return
  const text = failed.map(({ path, reason }) => `${path} (${reason})`).join('; ')
  throw new AgentError('WRITE_FAILED', `could not put back: ${text}`, { paths: failed.map(({ path }) => path) })
}

async function executeChange(
  change: Change,
  files: NodeFiles,
  keeping: Pick<PutOptions, 'ifAttributesLost'>,
): Promise<void> {
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
      return files.put(path, after, { folder, ...keeping })
    default:
      throw after satisfies never
  }
}

function backupsReferencedBy({ owned, previous, unrestored = [] }: AgentState): ReadonlySet<string> {
  const befores = [owned, previous?.owned ?? {}].flatMap((map) => Object.values(map).map(({ before }) => before))
  const all = [...befores, ...[...(previous?.steps ?? []), ...unrestored].map(({ before }) => before)]
  return new Set(all.flatMap((before) => (before.kind === 'file' ? [before.sha256] : [])))
}
