// Runs without any socket of the node (profile `hosts`): files alone, proved by the rehearsal, which pulls with the
// node's own containerd binary. What would need a restart is reported, never written.
import type { DesiredState } from '../../model/desired-state.ts'
import { AgentError, asAgentError, problem } from '../../model/errors.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { Planned, Rehearsal } from '../../model/plan.ts'
import type { ProofResult } from '../../model/proof.ts'
import type { Run, RunOptions } from '../../model/run.ts'
import type { RunPorts } from '../../model/run-ports.ts'
import type { AgentState } from '../../model/state.ts'
import { observeWithoutRuntime } from '../observe/containerd.ts'
import { rehearse } from '../rehearse/rehearse.ts'
import { Transaction } from '../transaction/transaction.ts'
import { applyFilesAlone, planFilesAlone } from './files-alone.ts'
import { sparedByDistrust } from './judgements/orphaning-distrust.ts'
import { makePlan } from './planning.ts'

export type NoRuntimeContext = {
  readonly desired: DesiredState
  readonly state: AgentState
  readonly options: RunOptions
  readonly ports: RunPorts
}

const NOTHING_APPLIED = { applied: [], restarts: [] } as const

export async function planWithoutRuntime(context: NoRuntimeContext): Promise<Run> {
  const seen = await planAndRehearse(context)
  if (seen instanceof AgentError) return planFilesAlone(context, seen)
  return { ...seen.base, outcome: 'planned', proofs: seen.proofs, ...NOTHING_APPLIED }
}

export async function applyWithoutRuntime(context: NoRuntimeContext): Promise<Run> {
  const { desired, state, ports } = context
  const seen = await planAndRehearse(context)
  if (seen instanceof AgentError) return applyFilesAlone(context, seen)
  const { base, proofs } = seen
  const { plan } = base.planned
  if (base.rehearsal.verdict === 'failed') {
    const error = new AgentError('REHEARSAL_FAILED', `containerd refuses its configuration: ${base.rehearsal.reason}`)
    const problems = [...base.problems, problem(error.code, error.message)]
    return { ...base, outcome: 'refused', problems, error, proofs, ...NOTHING_APPLIED }
  }
  const pending = plan.restart.required
    ? { restartPending: `${plan.restart.reason}; this agent has no socket to restart it with` }
    : {}
  const changes = plan.changes.filter(({ target }) => target !== 'containerd-config')
  if (changes.length === 0) {
    const outcome = plan.restart.required ? 'deferred' : 'unchanged'
    return { ...base, outcome, proofs, ...NOTHING_APPLIED, ...pending }
  }
  const transaction = new Transaction(state, desired.generation, ports)
  const started = ports.clock.monotonic()
  try {
    await transaction.execute(changes)
  } catch (thrown) {
    const error = asAgentError(thrown)
    const outcome = error.code === 'ROLLBACK_INCOMPLETE' ? 'rollback-failed' : 'refused'
    const problems = [...base.problems, ...transaction.findings(), problem(error.code, error.message)]
    return { ...base, outcome, problems, error, proofs, ...NOTHING_APPLIED }
  }
  const saved = await transaction.commit({
    generation: desired.generation,
    durationMs: Math.round(ports.clock.monotonic() - started),
    result: 'committed',
    changes: changes.length,
    restarted: false,
    reason: `${changes.length} changes, proved by rehearsal`,
  })
  const outcome = plan.restart.required ? 'deferred' : 'applied'
  const problems = [...base.problems, ...transaction.findings()]
  return { ...base, outcome, problems, state: saved, proofs, applied: changes, restarts: [], ...pending }
}

type RehearsedPlan = {
  readonly base: {
    readonly state: AgentState
    readonly facts: ContainerdFacts
    readonly planned: Planned
    readonly problems: Run['problems']
    readonly rehearsal: Rehearsal
  }
  readonly proofs: readonly ProofResult[]
}

/** The error of a node where no containerd can be found. */
async function planAndRehearse({
  desired: declared,
  state,
  options,
  ports,
}: NoRuntimeContext): Promise<RehearsedPlan | AgentError> {
  const facts = await observeWithoutRuntime(declared.restart.unit, ports).catch(asAgentError)
  if (facts instanceof AgentError) return facts
  const whole = await makePlan({ desired: declared, state, facts }, ports)
  const spared =
    options.allowOrphan === true
      ? { desired: declared, problems: [] }
      : await sparedByDistrust(whole.plan, declared, ports)
  const { desired } = spared
  const planned = desired === declared ? whole : await makePlan({ desired, state, facts }, ports)
  const rehearsal = await rehearse(desired, facts, planned, ports, options.signal, { always: true })
  const base = { state, facts, planned, problems: [...planned.plan.problems, ...spared.problems], rehearsal }
  return { base, proofs: proofsOf(rehearsal, ports.clock.now()) }
}

function proofsOf(rehearsal: Rehearsal, now: number): readonly ProofResult[] {
  if (rehearsal.verdict !== 'passed') return []
  const at = new Date(now).toISOString()
  return rehearsal.proofs.map(({ host, finding, durationMs }) => ({
    host,
    level: 'manifest',
    by: 'rehearsal',
    reference: finding.evidence.reference ?? '',
    finding,
    at,
    durationMs,
  }))
}
