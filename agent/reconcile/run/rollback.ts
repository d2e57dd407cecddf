// `rollback`: back to the last committed state before the current one. The generation that is left behind is not
// applied again by the daemon until the input changes.

import type { DesiredState } from '../../model/desired-state.ts'
import { AgentError, asAgentError, problem } from '../../model/errors.ts'
import type { Context, RestartReport, Run, RunOptions } from '../../model/run.ts'
import type { RunPorts } from '../../model/run-ports.ts'
import type { AgentState, PreviousState } from '../../model/state.ts'
import { proveDeclared } from '../prove/prove.ts'
import { mayRestart, type Permission } from '../restart/gate.ts'
import { type NewConfig, restartWith } from '../restart/guarded.ts'
import { isAsRecorded } from '../transaction/read-set.ts'
import { beginTransaction } from '../transaction/transaction.ts'
import { orFailed, planningAnew, withNode } from './entry.ts'

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
    const text = `the way back would undo what others changed since: ${changed.join(', ')}`
    const error = new AgentError('ROLLBACK_BLOCKED', text, { paths: changed })
    return { ...base, outcome: 'refused', error, problems: [problem(error.code, error.message)] }
  }
  const needsRestart = previous.steps.some(({ path }) => path === facts.configFile)
  const reason = `${facts.configFile} goes back to what it was`
  // Files that containerd ran with before need no rehearsal to be loaded again.
  const rehearsal = { verdict: 'not-needed', reason: 'containerd ran with these files before' } as const
  const permission = needsRestart ? await mayRestart(context, rehearsal, reason) : undefined
  if (permission?.allowed === false) return { ...base, outcome: 'deferred', restartPending: permission.reason }
  return revertTo(previous, permission, reason, context)
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
  permission: Permission | undefined,
  reason: string,
  context: Context,
): Promise<Run> {
  const { state, facts, desired, ports } = context
  const startedAt = ports.clock.now()
  const restarts: RestartReport[] = []
  const transaction = beginTransaction(state, previous.generation, ports)
  const base = { facts, applied: [], restarts }
  const outcome = (result: 'committed' | 'rolled-back' | 'rollback-failed', why: string) => ({
    generation: previous.generation,
    durationMs: ports.clock.now() - startedAt,
    result,
    changes: previous.steps.length,
    restarted: restarts.length > 0,
    reason: why,
  })
  const write = () => transaction.revert(previous.steps)
  const remember = (next: AgentState) => afterRollback(next, previous, state)
  const refused = (error: AgentError): Run => {
    const result = error.code === 'ROLLBACK_INCOMPLETE' ? 'rollback-failed' : 'refused'
    const problems = [...transaction.findings(), problem(error.code, error.message)]
    return { ...base, outcome: result, state, error, problems, proofs: [] }
  }
  if (permission?.allowed === true) {
    const newConfig = await configBefore(previous, facts.configFile, ports)
    const step = { facts, ports, transaction, restarts, remember }
    const restarted = await restartWith(write, newConfig, reason, permission, step)
    if (restarted.ok) await restarted.restart.commit()
    else if (!restarted.failure.restarted) return refused(restarted.failure.error)
    else {
      const { failure } = restarted
      const result = failure.restored ? 'rolled-back' : 'rollback-failed'
      const saved = await transaction.abandon(outcome(result, failure.error.message))
      return {
        ...base,
        outcome: result,
        state: saved,
        error: failure.error,
        problems: [...transaction.findings(), problem(failure.error.code, failure.error.message)],
        proofs: [],
      }
    }
  } else {
    try {
      await write()
    } catch (thrown) {
      return refused(asAgentError(thrown))
    }
  }
  const saved = await transaction.commit(outcome('committed', 'rolled back by hand'), remember)
  const cri = ports.connectCri(facts.socket)
  try {
    const proofs = await proveDeclared(desired.registries, cri, ports, desired)
    return { ...base, outcome: 'rolled-back', state: saved, problems: transaction.findings(), proofs }
  } finally {
    cri.close()
  }
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
