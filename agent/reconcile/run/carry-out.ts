// Carries out a plan in passes: write → restart → prove. A second pass follows only where the proofs of the first show
// that the running containerd needs a restart that was not planned. Then all is committed, or put back.
import type { Registry } from '../../model/desired-state.ts'
import { asAgentError } from '../../model/errors.ts'
import { breaksTrust } from '../../model/finding.ts'
import type { Change, Rehearsal, RestartNeed } from '../../model/plan.ts'
import type { ProofResult } from '../../model/proof.ts'
import type { RestartReport, Run } from '../../model/run.ts'
import type { AgentState } from '../../model/state.ts'
import { isLegacyRemoval } from '../../targets/containerd-config/legacy-files.ts'
import { isHealing, rememberHeals } from '../plan/drift.ts'
import { proveWithNames } from '../prove/names.ts'
import { proveDeclared } from '../prove/prove.ts'
import { rehearse } from '../rehearse/rehearse.ts'
import { checkRestart, type RestartDecision } from '../restart/gate.ts'
import { newConfigOf, type OpenRestart, restartWith } from '../restart/guarded.ts'
import { type Attempt, base, isLegacy, proveFresh, record } from './attempt.ts'
import { failedToRestart, failedToWrite, undoUnrecorded, undoWorse } from './give-up.ts'
import { withFilesInPlace } from './in-place.ts'
import { ignoredHosts, isLoadUncertain, notLoaded, whileUnread } from './judgements/stale-load.ts'
import { rememberSystemAnchors } from './judgements/withdrawn-anchors.ts'
import { isPureHealing, isTrusted } from './preflight.ts'

/** What one pass is to do. */
type Task = {
  readonly changes: readonly Change[]
  /** By an earlier pass of the same attempt. */
  readonly written: readonly Change[]
  readonly restart: RestartNeed
}

type Denied = Extract<RestartDecision, { allowed: false }>

type Pass =
  | { readonly kind: 'proved'; readonly proved: Proved }
  /** It failed, and whatever it did is put back as far as that can be done. */
  | { readonly kind: 'ended'; readonly run: Run }

/** All is written and no registry lost its trust by it. */
type Proved = {
  readonly task: Task
  /** By this pass and the earlier one. */
  readonly applied: readonly Change[]
  readonly restarts: readonly RestartReport[]
  readonly open: OpenRestart | undefined
  readonly denied: Denied | undefined
  readonly proofs: readonly ProofResult[]
}

type Unforeseen = { readonly restart: RestartNeed; readonly rehearsal: Rehearsal }

/** Never throws for what the node does: the run that it returns tells how it went. */
export async function carryOut(changes: readonly Change[], restart: RestartNeed, attempt: Attempt): Promise<Run> {
  const first = await makePass({ changes, written: [], restart }, attempt)
  if (first.kind === 'ended') return first.run
  const unforeseen = await unforeseenRestart(first.proved, attempt)
  if (unforeseen === undefined) return finish(first.proved, attempt)
  const { restart: due, rehearsal } = unforeseen
  const again = { ...attempt, rehearsal }
  const second = await makePass({ changes: [], written: first.proved.applied, restart: due }, again)
  return second.kind === 'ended' ? second.run : finish(second.proved, again)
}

async function makePass(task: Task, attempt: Attempt): Promise<Pass> {
  const { changes, written, restart } = task
  const { desired, cri, ports, transaction, facts } = attempt
  const isRisky = ({ target, isInForce }: Change) => target === 'containerd-config' && isInForce !== true
  const harmless = changes.filter((change) => !isRisky(change))
  const risky = changes.filter(isRisky)
  const decision = restart.required ? await decisionFor(restart, attempt) : undefined
  const unrestarted = [...harmless, ...unrestartedOf(risky, decision, attempt)]
  try {
    await transaction.execute(unrestarted)
  } catch (thrown) {
    if (decision?.allowed === true) await decision.release()
    return { kind: 'ended', run: await failedToWrite(asAgentError(thrown), attempt) }
  }
  if (decision?.allowed !== true) {
    const prove = (some: readonly Registry[]) => proveDeclared(some, cri, ports, desired)
    const settings = { clock: ports.clock, signal: attempt.options.signal }
    const proofs = await proveWithNames(desired.registries, unrestarted, prove, settings)
    const applied = [...written, ...unrestarted]
    return unlessWorse({ task, applied, restarts: [], open: undefined, denied: decision, proofs }, attempt)
  }
  const applied = [...written, ...harmless, ...risky]
  const write = () => transaction.execute(risky)
  const restarted = await restartWith(write, newConfigOf(applied, facts.configFile), restart.reason, decision, {
    facts,
    ports,
    transaction,
    remember: memoryOf(applied, attempt),
  })
  if (!restarted.ok) return { kind: 'ended', run: await failedToRestart(restarted.failure, attempt) }
  const restarts = [restarted.report]
  const proofs = await proveFresh(attempt)
  return unlessWorse({ task, applied, restarts, open: restarted.restart, denied: undefined, proofs }, attempt)
}

/**
 * What was proved before is put back. Not after a mere heal: what is not trusted then has its cause elsewhere (the file
 * is gone again, or the registry changed its certificate), and undoing would only restore the damage.
 */
async function unlessWorse(proved: Proved, attempt: Attempt): Promise<Pass> {
  const { changes, restart } = proved.task
  const isHealingOnly = changes.length > 0 && !restart.required && isPureHealing(attempt.planned, attempt)
  const isLeft = attempt.options.allowOrphan === true || isHealingOnly
  const worse = isLeft
    ? []
    : proved.proofs.filter(({ host, finding }) => breaksTrust(finding.code) && isTrusted(attempt.before.get(host)))
  if (worse.length === 0) return { kind: 'proved', proved }
  return { kind: 'ended', run: await undoWorse(worse, proved.open, proved.restarts, attempt) }
}

/** The running containerd does not trust what a fresh start of it does; with the rehearsal that shows it. */
async function unforeseenRestart({ task, applied, proofs }: Proved, attempt: Attempt): Promise<Unforeseen | undefined> {
  const { desired, facts, planned, ports, options, state } = attempt
  if (task.restart.required || !isLoadUncertain(facts, isLegacy(planned))) return undefined
  if (!proofs.some(({ finding }) => finding.code === 'unknown-authority')) return undefined
  const rehearsal =
    attempt.rehearsal.verdict === 'passed'
      ? attempt.rehearsal
      : // What only puts right again was not rehearsed.
        await rehearse(desired, facts, planned, ports, options.signal, { always: true })
  const ignored = await withFilesInPlace(ignoredHosts(proofs, rehearsal), state, applied, ports.files)
  if (ignored.length === 0) return undefined
  return { restart: { required: true, reason: notLoaded(facts, isLegacy(planned), ignored) }, rehearsal }
}

async function finish({ task, applied, restarts, open, denied, proofs }: Proved, attempt: Attempt): Promise<Run> {
  const { state, transaction, facts } = attempt
  const reason = applied.length > 0 ? summary(applied) : task.restart.reason
  const isDone = applied.length > 0 || restarts.length > 0
  const failure = await open?.commit()
  if (failure !== undefined)
    return failedToRestart({ ...failure, restarts: [...restarts.slice(0, -1), ...failure.restarts] }, attempt)
  let saved = state
  try {
    const outcome = record('committed', applied.length, reason, restarts, attempt)
    if (isDone) saved = await transaction.commit(outcome, memoryOf(applied, attempt))
  } catch (thrown) {
    return undoUnrecorded(asAgentError(thrown), newConfigOf(applied, facts.configFile), restarts, attempt)
  }
  const run = { ...base(attempt), state: saved, proofs, applied, restarts }
  if (denied !== undefined)
    return { ...run, proofs: told(proofs, task, denied, attempt), outcome: 'deferred', ...pendingOf(denied) }
  return { ...run, outcome: isDone ? 'applied' : 'unchanged' }
}

function decisionFor({ reason, byHand }: RestartNeed, attempt: Attempt): Promise<RestartDecision> | RestartDecision {
  return byHand === undefined ? checkRestart(attempt, attempt.rehearsal, reason) : { allowed: false, reason: byHand }
}

/** What changes of containerd's configuration without the restart that makes it valid. */
function unrestartedOf(risky: readonly Change[], decision: RestartDecision | undefined, attempt: Attempt) {
  if (decision === undefined) return risky
  if (decision.allowed || attempt.isRemoval !== true) return []
  // Left to the next start. A file that the running containerd still reads would fail its pulls when it is gone.
  return risky.filter((change) => !isLegacyRemoval(change, attempt.facts.configFile))
}

/** What the state remembers once these changes are committed. */
function memoryOf(applied: readonly Change[], { state, desired, ports }: Attempt): (next: AgentState) => AgentState {
  const healed = applied.filter((change) => isHealing(change, state, desired)).map(({ path }) => path)
  const isHealingOnly = healed.length === applied.length
  return (next) => {
    const now = ports.clock.now()
    const remembered = rememberSystemAnchors(rememberHeals(next, healed, now), state, desired, now)
    return keepPrevious(remembered, state, isHealingOnly)
  }
}

/** Putting right what others changed is no new state: `rollback` still goes back over the change before it. */
function keepPrevious(next: AgentState, { previous }: AgentState, isHealingOnly: boolean): AgentState {
  if (!isHealingOnly) return next
  const { previous: _, ...rest } = next
  return previous === undefined ? rest : { ...rest, previous }
}

/** A restart that was not planned has suspects beside config_path, which the words of the pull leave open. */
function told(proofs: readonly ProofResult[], { restart }: Task, denied: Denied, { planned, rehearsal }: Attempt) {
  if (!planned.plan.restart.required) return proofs
  return whileUnread(proofs, rehearsal, { due: restart.reason, waitsFor: denied.reason })
}

function pendingOf({ reason, waitMs }: Denied): Pick<Run, 'restartPending' | 'restartWaitMs'> {
  return { restartPending: reason, ...(waitMs === undefined ? {} : { restartWaitMs: waitMs }) }
}

function summary(changes: readonly Change[]): string {
  const subjects = [...new Set(changes.map(({ subject }) => subject).filter((subject) => subject !== ''))]
  const some = subjects.slice(0, 5).join(', ') || 'containerd'
  return `${changes.length} ${changes.length === 1 ? 'change' : 'changes'} for ${some}${subjects.length > 5 ? ' …' : ''}`
}
