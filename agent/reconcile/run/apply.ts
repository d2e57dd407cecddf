// Goes from a plan to its end on a node that answers: nothing to do, refused, or tried in advance and carried out.
import { AgentError, problem } from '../../model/errors.ts'
import { breaksTrust } from '../../model/finding.ts'
import type { Planned, Rehearsal } from '../../model/plan.ts'
import type { Context, Run } from '../../model/run.ts'
import { proveDeclared } from '../prove/prove.ts'
import { rehearse } from '../rehearse/rehearse.ts'
import { Transaction } from '../transaction/transaction.ts'
import { type Attempt, isLegacy, rolledBackBefore } from './attempt.ts'
import { carryOut } from './carry-out.ts'
import { withFilesInPlace } from './in-place.ts'
import { ignoredHosts, isLoadUncertain, notLoaded } from './judgements/stale-load.ts'
import { planLook } from './planning.ts'
import { preflight, settle } from './preflight.ts'
import { readySandboxImage } from './sandbox-image.ts'

export async function applyTo(given: Context): Promise<Run> {
  const sandbox = await readySandboxImage(given)
  const run = await applyReady({ ...given, desired: sandbox.desired })
  return { ...run, problems: [...run.problems, ...sandbox.problems] }
}

async function applyReady(context: Context): Promise<Run> {
  const { desired, state, facts, options, ports } = context
  const { migrateAll = false } = options
  const planned = settle(await planLook({ desired, state, facts, migrateAll }, ports), context)
  if (planned.plan.changes.length === 0 && !planned.plan.restart.required) return proveUnchanged(context, planned)
  if (state.refusedGeneration === desired.generation && !options.byHand) return refuseAgain(context, planned)
  const { before, ...kept } = await preflight(planned, context)
  options.signal?.throwIfAborted()
  if (kept.rehearsal.verdict === 'failed') return refuseRehearsed(context, planned, kept.rehearsal)
  return carryOut(kept.changes, kept.planned.plan.restart, {
    ...context,
    desired: kept.desired,
    planned: kept.planned,
    rehearsal: kept.rehearsal,
    before,
    problems: [...kept.planned.plan.problems, ...kept.problems],
    transaction: new Transaction(state, desired.generation, ports),
    startedAt: ports.clock.monotonic(),
  })
}

/**
 * Nothing to write. A registry that is not trusted although its files are right may still need the restart that was not
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
  // What another program took away meanwhile is no restart's to bring back, but the next look's.
  const ignored = await withFilesInPlace(ignoredHosts(proofs, rehearsal), state, [], ports.files)
  if (ignored.length === 0) return { ...base, outcome: 'unchanged', rehearsal }
  const attempt: Attempt = {
    ...context,
    planned,
    rehearsal,
    before: new Map(),
    problems: planned.plan.problems,
    transaction: new Transaction(state, desired.generation, ports),
    startedAt: ports.clock.monotonic(),
  }
  return carryOut([], { required: true, reason: notLoaded(facts, isLegacy(planned), ignored) }, attempt)
}

/**
 * What was rolled back once is not tried again by itself: the node stays as it is until the input changes or a person
 * says so.
 */
async function refuseAgain({ desired, state, facts, cri, options, ports }: Context, planned: Planned): Promise<Run> {
  const due = desired.registries.filter(({ host }) => options.isProofDue?.(host) ?? true)
  const proofs = await proveDeclared(due, cri, ports, desired)
  const problems = [...planned.plan.problems, rolledBackBefore(desired, state)]
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
