// `rollback`: back to the last committed state before the current one. The generation that is left behind is not
// applied again by the daemon until the input changes.

import type { DesiredState } from '../../../model/desired-state.ts'
import { AgentError, asAgentError, problem } from '../../../model/errors.ts'
import type { Context, RestartReport, Run, RunOptions } from '../../../model/run.ts'
import type { RunPorts } from '../../../model/run-ports.ts'
import type { AgentState, PreviousState } from '../../../model/state.ts'
import { proveDeclared } from '../../prove/prove.ts'
import { checkRestart, type RestartDecision } from '../../restart/gate.ts'
import { type NewConfig, type RestartStep, restartWith } from '../../restart/guarded.ts'
import { isAsRecorded } from '../../transaction/read-set.ts'
import { Transaction } from '../../transaction/transaction.ts'
import { orFailed, planningAnew, withNode } from '../entry.ts'

export async function rollbackRun(desired: DesiredState, options: RunOptions, ports: RunPorts): Promise<Run> {
  return orFailed(() => planningAnew(() => withNode(desired, options, ports, goBack)), options, ports)
}

async function goBack(context: Context): Promise<Run> {
  const { state, facts } = context
  const { previous } = state
  const base = { state, facts, problems: [], proofs: [], applied: [], restarts: [] }
  if (previous === undefined) {
    const error = new AgentError('NOTHING_TO_ROLL_BACK', 'there is no earlier committed state')
    return { ...base, outcome: 'refused', error, problems: [problem(error.code, error.message)] }
  }
  const changed = await changedSince(previous, context)
  if (changed.length > 0) {
    const text = `the rollback would undo what others changed since: ${changed.join(', ')}`
    const error = new AgentError('ROLLBACK_BLOCKED', text, { paths: changed })
    return { ...base, outcome: 'refused', error, problems: [problem(error.code, error.message)] }
  }
  const needsRestart = previous.steps.some(({ path }) => path === facts.configFile)
  const reason = `${facts.configFile} goes back to what it was`
  // Files that containerd ran with before need no rehearsal to be loaded again.
  const rehearsal = { verdict: 'not-needed', reason: 'containerd ran with these files before' } as const
  const decision = needsRestart ? await checkRestart(context, rehearsal, reason) : undefined
  if (decision?.allowed === false) return { ...base, outcome: 'deferred', restartPending: decision.reason }
  return revertTo(previous, decision, reason, context)
}

/**
 * Paths that are neither as the transaction left them nor ours alone: the file of someone else, with later edits in it.
 */
async function changedSince({ steps }: PreviousState, { state, ports }: Context): Promise<readonly string[]> {
  const last = new Map(steps.map((step) => [step.path, step.after] as const))
  const changed: string[] = []
  for (const [path, after] of last) {
    if (state.owned[path]?.kind === 'whole') continue
    if (!isAsRecorded(await ports.files.read(path), after)) changed.push(path)
  }
  return changed
}

async function revertTo(
  previous: PreviousState,
  decision: RestartDecision | undefined,
  reason: string,
  context: Context,
): Promise<Run> {
  const { state, facts, desired, ports } = context
  const startedAt = ports.clock.monotonic()
  const transaction = new Transaction(state, previous.generation, ports)
  const outcome = (result: 'committed' | 'rolled-back' | 'rollback-failed', restarted: boolean, why: string) => ({
    generation: previous.generation,
    durationMs: Math.round(ports.clock.monotonic() - startedAt),
    result,
    changes: previous.steps.length,
    restarted,
    reason: why,
  })
  const remember = (next: AgentState) => afterRollback(next, previous, state)
  const written = await writeBack(previous, decision, reason, { facts, ports, transaction, remember })
  const base = { facts, applied: [], restarts: written.restarts }
  if (!written.ok) {
    const { error, restarts, isPutBack } = written
    const problems = () => [...transaction.findings(), problem(error.code, error.message)]
    if (isPutBack === undefined) {
      const result = error.code === 'ROLLBACK_INCOMPLETE' ? 'rollback-failed' : 'refused'
      return { ...base, outcome: result, state, error, problems: problems(), proofs: [] }
    }
    const result = isPutBack ? 'rolled-back' : 'rollback-failed'
    const saved = await transaction.abandon(outcome(result, restarts.length > 0, error.message))
    return { ...base, outcome: result, state: saved, error, problems: problems(), proofs: [] }
  }
  const didRestart = written.restarts.length > 0
  const saved = await transaction.commit(outcome('committed', didRestart, 'rolled back by hand'), remember)
  const cri = ports.connectCri(facts.socket)
  try {
    const proofs = await proveDeclared(desired.registries, cri, ports, desired)
    return { ...base, outcome: 'rolled-back', state: saved, problems: transaction.findings(), proofs }
  } finally {
    cri.close()
  }
}

type WrittenBack =
  | { readonly ok: true; readonly restarts: readonly RestartReport[] }
  | {
      readonly ok: false
      readonly restarts: readonly RestartReport[]
      readonly error: AgentError
      /** Files and runtime are as before; undefined: containerd was not touched. */
      readonly isPutBack: boolean | undefined
    }

/** Puts the files back, with the restart that makes config.toml valid where it is allowed. */
async function writeBack(
  previous: PreviousState,
  decision: RestartDecision | undefined,
  reason: string,
  step: RestartStep,
): Promise<WrittenBack> {
  const { facts, ports, transaction } = step
  const write = () => transaction.revert(previous.steps)
  if (decision?.allowed !== true) {
    try {
      await write()
      return { ok: true, restarts: [] }
    } catch (thrown) {
      return { ok: false, restarts: [], error: asAgentError(thrown), isPutBack: undefined }
    }
  }
  const newConfig = await configBefore(previous, facts.configFile, ports)
  const restarted = await restartWith(write, newConfig, reason, decision, step)
  const failure = restarted.ok ? await restarted.restart.commit() : restarted.failure
  if (failure === undefined) return { ok: true, restarts: restarted.ok ? [restarted.report] : [] }
  const { error, restarts, restored, restarted: didRestart } = failure
  return { ok: false, restarts, error, isPutBack: didRestart ? restored : undefined }
}

/** What config.toml becomes by going back; undefined: it stays. */
async function configBefore({ steps }: PreviousState, configFile: string, { store }: RunPorts): Promise<NewConfig> {
  const step = steps.find(({ path }) => path === configFile)
  if (step === undefined) return undefined
  return { content: step.before.kind === 'file' ? await store.backup(step.before.sha256) : null }
}

function afterRollback(next: AgentState, { owned }: PreviousState, { generation }: AgentState): AgentState {
  const { previous: _, ...rest } = next
  return { ...rest, owned, refusedGeneration: generation }
}
