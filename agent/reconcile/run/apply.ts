// Carries out a plan on a node that answers: rehearse → write → restart → prove → commit, or put everything back.
import { AgentError, asAgentError, type Problem, problem } from '../../model/errors.ts'
import { breaksTrust } from '../../model/finding.ts'
import type { Change, Planned, Rehearsal, RestartNeed } from '../../model/plan.ts'
import type { ProofResult } from '../../model/proof.ts'
import type { Context, RestartReport, Run } from '../../model/run.ts'
import type { AgentState, TransactionRecord } from '../../model/state.ts'
import { isLegacyRemoval } from '../../targets/containerd-config/legacy-files.ts'
import { sha256 } from '../../targets/files/files.ts'
import { isHealing, rememberHeals } from '../plan/drift.ts'
import { proveDeclared } from '../prove/prove.ts'
import { rehearse } from '../rehearse/rehearse.ts'
import { mayRestart, type Permission } from '../restart/gate.ts'
import { type NewConfig, newConfigOf, type OpenRestart, type RestartFailure, restartWith } from '../restart/guarded.ts'
import { reviveContainerd } from '../restart/revive.ts'
import { beginTransaction, type Transaction } from '../transaction/transaction.ts'
import { isUndone } from '../transaction/undo.ts'
import { makePlan } from './planning.ts'
import { foresee, isPureHealing, isTrusted, settle } from './preflight.ts'
import { ignoredHosts, isLoadUncertain, notLoaded } from './stale-load.ts'
import { rememberSystemAnchors } from './withdrawn-anchors.ts'

/** What is known once the plan is rehearsed and before anything is written. */
export type Attempt = Context & {
  readonly planned: Planned
  readonly rehearsal: Rehearsal
  readonly before: ReadonlyMap<string, ProofResult>
  readonly problems: readonly Problem[]
  readonly transaction: Transaction
  readonly startedAt: number
  readonly restarts: RestartReport[]
  /** Uninstalling: the original config.toml goes back also where containerd may not be restarted for it. */
  readonly isRemoval?: boolean
}

export async function applyTo(context: Context): Promise<Run> {
  const { desired, state, facts, options, ports } = context
  const { migrateAll = false } = options
  const planned = settle(await makePlan({ desired, state, facts, migrateAll }, ports), context)
  if (planned.plan.changes.length === 0 && !planned.plan.restart.required) return proveUnchanged(context, planned)
  if (state.refusedGeneration === desired.generation && !options.byHand) return refuseAgain(context, planned)
  const { before, ...kept } = await foresee(planned, context)
  options.signal?.throwIfAborted()
  if (kept.rehearsal.verdict === 'failed') return refuseRehearsed(context, planned, kept.rehearsal)
  return carryOut(kept.changes, kept.planned.plan.restart, {
    ...context,
    desired: kept.desired,
    planned: kept.planned,
    rehearsal: kept.rehearsal,
    before,
    problems: [...kept.planned.plan.problems, ...kept.problems],
    transaction: beginTransaction(state, desired.generation, ports),
    startedAt: ports.clock.now(),
    restarts: [],
  })
}

/**
 * Nothing to write. A registry that is not trusted although its files are right may still need the restart that nobody
 * made.
 */
async function proveUnchanged(context: Context, planned: Planned): Promise<Run> {
  const { desired, state, facts, cri, options, ports } = context
  const due = desired.registries.filter(({ host }) => options.isProofDue?.(host) ?? true)
  const proofs = await proveDeclared(due, cri, ports, desired)
  const base = { state, facts, planned, problems: planned.plan.problems, proofs, applied: [], restarts: [] }
  if (!isLoadUncertain(facts, isLegacy(planned)) || !proofs.some(({ finding }) => breaksTrust(finding.code)))
    return { ...base, outcome: 'unchanged' }
  const rehearsal = await rehearse(desired, facts, planned, ports, options.signal, { always: true })
  const ignored = ignoredHosts(proofs, rehearsal)
  if (ignored.length === 0) return { ...base, outcome: 'unchanged', rehearsal }
  const attempt: Attempt = {
    ...context,
    planned,
    rehearsal,
    before: new Map(),
    problems: planned.plan.problems,
    transaction: beginTransaction(state, desired.generation, ports),
    startedAt: ports.clock.now(),
    restarts: [],
  }
  return carryOut([], { required: true, reason: notLoaded(facts, isLegacy(planned), ignored) }, attempt)
}

/**
 * What was rolled back once is not tried again by itself: the node stays as it is until the input changes or a person
 * says so.
 */
async function refuseAgain({ desired, state, facts, cri, options, ports }: Context, planned: Planned): Promise<Run> {
  const last = state.transactions.findLast(
    ({ generation, result }) => generation === desired.generation && result !== 'committed',
  )
  const text = `generation ${desired.generation} was rolled back at ${last?.at ?? 'an earlier time'}: ${last?.reason ?? 'the reason is no longer known'}`
  const due = desired.registries.filter(({ host }) => options.isProofDue?.(host) ?? true)
  const proofs = await proveDeclared(due, cri, ports, desired)
  const problems = [...planned.plan.problems, problem('GENERATION_ROLLED_BACK', text)]
  return { outcome: 'refused', state, facts, planned, problems, proofs, applied: [], restarts: [] }
}

async function refuseRehearsed(
  { desired, state, facts, cri, ports }: Context,
  planned: Planned,
  rehearsal: Extract<Rehearsal, { verdict: 'failed' }>,
): Promise<Run> {
  const text = `containerd ${facts.version} refuses the candidate configuration: ${rehearsal.reason}`
  const error = new AgentError('REHEARSAL_FAILED', text)
  const problems = [...planned.plan.problems, problem(error.code, text)]
  const proofs = await proveDeclared(desired.registries, cri, ports, desired)
  return { outcome: 'refused', state, facts, planned, problems, rehearsal, error, proofs, applied: [], restarts: [] }
}

function permissionFor({ reason, byHand }: RestartNeed, attempt: Attempt): Promise<Permission> | Permission {
  return byHand === undefined ? mayRestart(attempt, attempt.rehearsal, reason) : { allowed: false, reason: byHand }
}

export async function carryOut(kept: readonly Change[], restart: RestartNeed, attempt: Attempt): Promise<Run> {
  const { desired, cri, ports, state, transaction, restarts, rehearsal, facts, options } = attempt
  const isRisky = ({ target, isInForce }: Change) => target === 'containerd-config' && isInForce !== true
  const harmless = kept.filter((change) => !isRisky(change))
  const risky = kept.filter(isRisky)
  const permission = restart.required ? await permissionFor(restart, attempt) : undefined
  const unrestarted = [...harmless, ...unrestartedOf(risky, permission, attempt)]
  try {
    await transaction.execute(unrestarted)
  } catch (thrown) {
    if (permission?.allowed === true) await permission.release()
    return failedToWrite(asAgentError(thrown), attempt)
  }
  const applied = permission?.allowed === false ? unrestarted : [...harmless, ...risky]
  const healed = applied.filter((change) => isHealing(change, state, desired)).map(({ path }) => path)
  const remember = (next: AgentState) =>
    keepPrevious(
      rememberSystemAnchors(rememberHeals(next, healed, ports.clock.now()), state, desired, ports.clock.now()),
      state,
      healed.length === applied.length,
    )
  let open: OpenRestart | undefined
  if (permission?.allowed === true) {
    const write = () => transaction.execute(risky)
    const restarted = await restartWith(write, newConfigOf(risky, facts.configFile), restart.reason, permission, {
      ...attempt,
      remember,
    })
    if (!restarted.ok) return failedToRestart(restarted.failure, attempt)
    open = restarted.restart
  }
  const proofs =
    restarts.length > 0 ? await proveFresh(attempt) : await proveDeclared(desired.registries, cri, ports, desired)
  // What was proved before is put back: when it is not trusted now, the cause lies elsewhere (the file is gone again,
  // or the registry changed its certificate), and undoing would only restore the damage.
  const isHealingOnly = kept.length > 0 && !restart.required && isPureHealing(attempt.planned, attempt)
  const worse =
    options.allowOrphan === true || isHealingOnly
      ? []
      : proofs.filter(({ host, finding }) => breaksTrust(finding.code) && isTrusted(attempt.before.get(host)))
  if (worse.length > 0) return undoWorse(worse, open, attempt)
  const ignored =
    restart.required || !isLoadUncertain(facts, isLegacy(attempt.planned)) ? [] : ignoredHosts(proofs, rehearsal)
  if (ignored.length > 0)
    return carryOut(kept, { required: true, reason: notLoaded(facts, isLegacy(attempt.planned), ignored) }, attempt)

  const reason = applied.length > 0 ? summary(applied) : restart.reason
  const isDone = applied.length > 0 || restarts.length > 0
  let saved = state
  try {
    await open?.commit()
  } catch (thrown) {
    const failure = { error: asAgentError(thrown), restored: isUndone(await transaction.undo()), restarted: true }
    return failedToRestart(failure, attempt)
  }
  try {
    if (isDone) saved = await transaction.commit(record('committed', applied.length, reason, attempt), remember)
  } catch (thrown) {
    return undoUnrecorded(asAgentError(thrown), newConfigOf(risky, facts.configFile), attempt)
  }
  const run = { ...base(attempt), state: saved, proofs, applied, restarts }
  if (permission?.allowed === false) return { ...run, outcome: 'deferred', ...pendingOf(permission) }
  return { ...run, outcome: isDone ? 'applied' : 'unchanged' }
}

/** What changes of containerd's configuration without the restart that makes it valid. */
function unrestartedOf(risky: readonly Change[], permission: Permission | undefined, attempt: Attempt) {
  if (permission === undefined) return risky
  if (permission.allowed || attempt.isRemoval !== true) return []
  // Left to the next start. A file that the running containerd still reads would fail its pulls when it is gone.
  return risky.filter((change) => !isLegacyRemoval(change, attempt.facts.configFile))
}

/** Putting right what others changed is no new state: `rollback` still goes back over the change before it. */
function keepPrevious(next: AgentState, { previous }: AgentState, isHealingOnly: boolean): AgentState {
  if (!isHealingOnly) return next
  const { previous: _, ...rest } = next
  return previous === undefined ? rest : { ...rest, previous }
}

function pendingOf({
  reason,
  waitMs,
}: Extract<Permission, { allowed: false }>): Pick<Run, 'restartPending' | 'restartWaitMs'> {
  return { restartPending: reason, ...(waitMs === undefined ? {} : { restartWaitMs: waitMs }) }
}

function base({ facts, planned, problems, rehearsal, transaction }: Attempt) {
  return { facts, planned, problems: [...problems, ...transaction.findings()], rehearsal }
}

/** The attempt's problems, what the transaction found, and why it failed. */
function withError({ problems, transaction }: Attempt, { code, message }: AgentError): readonly Problem[] {
  return [...problems, ...transaction.findings(), problem(code, message)]
}

function record(
  result: TransactionRecord['result'],
  changes: number,
  reason: string,
  { desired, ports, startedAt, restarts }: Attempt,
): Omit<TransactionRecord, 'id' | 'at'> {
  const durationMs = ports.clock.now() - startedAt
  return { generation: desired.generation, durationMs, result, changes, restarted: restarts.length > 0, reason }
}

function summary(changes: readonly Change[]): string {
  const subjects = [...new Set(changes.map(({ subject }) => subject).filter((subject) => subject !== ''))]
  const some = subjects.slice(0, 5).join(', ') || 'containerd'
  return `${changes.length} ${changes.length === 1 ? 'change' : 'changes'} for ${some}${subjects.length > 5 ? ' …' : ''}`
}

function isLegacy({ legacyFiles }: Planned): boolean {
  return legacyFiles !== undefined
}

async function failedToWrite(error: AgentError, attempt: Attempt): Promise<Run> {
  const { desired, cri, ports, state } = attempt
  const outcome = error.code === 'ROLLBACK_INCOMPLETE' ? 'rollback-failed' : 'refused'
  const proofs = await proveDeclared(desired.registries, cri, ports, desired)
  const problems = withError(attempt, error)
  return { ...base(attempt), outcome, state, problems, error, proofs, applied: [], restarts: [] }
}

async function failedToRestart({ error, restored, restarted }: RestartFailure, attempt: Attempt): Promise<Run> {
  const { transaction, restarts } = attempt
  const result = restored ? 'rolled-back' : 'rollback-failed'
  const state = await transaction.abandon(record(result, 0, error.message, attempt), { refuse: restarted })
  const proofs = restored ? await proveFresh(attempt) : []
  const problems = withError(attempt, error)
  const outcome = restored && !restarted ? 'refused' : result
  return { ...base(attempt), outcome, state, problems, error, proofs, applied: [], restarts }
}

async function undoWorse(worse: readonly ProofResult[], open: OpenRestart | undefined, attempt: Attempt): Promise<Run> {
  const { transaction, restarts } = attempt
  const text = worse
    .map(({ host, finding }) => `${host} was trusted before and is not now: ${finding.message}`)
    .join('; ')
  const error = new AgentError('TRUST_LOST', text)
  const restored = open === undefined ? isUndone(await transaction.undo()) : await open.revert(error)
  const outcome = restored ? 'rolled-back' : 'rollback-failed'
  const refuse = open !== undefined || !isWorthAnotherTry(attempt)
  const state = await transaction.abandon(record(outcome, 0, text, attempt), { refuse })
  const proofs = await proveFresh(attempt)
  const problems = withError(attempt, error)
  return { ...base(attempt), outcome, state, problems, error, proofs, applied: [], restarts }
}

/**
 * A heal of what worked before: somebody else may have written at the same moment. What fails three times in a row is
 * not tried again.
 */
function isWorthAnotherTry({ desired, state }: Attempt): boolean {
  const lately = state.transactions.slice(-2)
  const isRepeated = lately.length === 2 && lately.every(({ result }) => result !== 'committed')
  return state.generation === desired.generation && !isRepeated
}

/** What cannot be written down is not kept: the next run would take it for a crash, undo it, and restart once more. */
async function undoUnrecorded(error: AgentError, loaded: NewConfig, attempt: Attempt): Promise<Run> {
  const { transaction, restarts, facts, desired, ports } = attempt
  const didRestart = restarts.length > 0
  const isBack = isUndone(await transaction.undo())
  const hash = loaded === undefined || loaded.content === null ? undefined : sha256(loaded.content)
  const restored = didRestart ? (await reviveContainerd(facts, desired, ports, hash)) && isBack : isBack
  const result = restored ? 'rolled-back' : 'rollback-failed'
  const state = await transaction.abandon(record(result, 0, error.message, attempt))
  const proofs = await proveFresh(attempt)
  const problems = withError(attempt, error)
  const outcome = restored && !didRestart ? 'refused' : result
  return { ...base(attempt), outcome, state, problems, error, proofs, applied: [], restarts }
}

/** With a connection of its own: the one from before a restart leads to a socket that is gone. */
async function proveFresh({ desired, facts, ports }: Context): Promise<readonly ProofResult[]> {
  const cri = ports.connectCri(facts.socket)
  try {
    return await proveDeclared(desired.registries, cri, ports, desired)
  } finally {
    cri.close()
  }
}
