// The ends of an attempt that failed: what was done is put back, the outcome is recorded, and what people need to know is
// told.
import { AgentError } from '../../model/errors.ts'
import type { ProofResult } from '../../model/proof.ts'
import type { RestartReport, Run } from '../../model/run.ts'
import { sha256 } from '../../targets/files/files.ts'
import { proveDeclared } from '../prove/prove.ts'
import type { NewConfig, OpenRestart, RestartFailure } from '../restart/guarded.ts'
import { reviveContainerd } from '../restart/revive.ts'
import { isUndone } from '../transaction/undo-report.ts'
import { type Attempt, base, proveFresh, record, withError } from './attempt.ts'

export async function failedToWrite(error: AgentError, attempt: Attempt): Promise<Run> {
  const { desired, cri, ports, state } = attempt
  const outcome = error.code === 'ROLLBACK_INCOMPLETE' ? 'rollback-failed' : 'refused'
  const proofs = await proveDeclared(desired.registries, cri, ports, desired)
  const problems = withError(attempt, error)
  return { ...base(attempt), outcome, state, problems, error, proofs, applied: [], restarts: [] }
}

export async function failedToRestart(
  { error, restored, restarted, restarts }: RestartFailure,
  attempt: Attempt,
): Promise<Run> {
  const { transaction } = attempt
  const result = restored ? 'rolled-back' : 'rollback-failed'
  const state = await transaction.abandon(record(result, 0, error.message, restarts, attempt), { refuse: restarted })
  const proofs = restored ? await proveFresh(attempt) : []
  const problems = withError(attempt, error)
  const outcome = restored && !restarted ? 'refused' : result
  return { ...base(attempt), outcome, state, problems, error, proofs, applied: [], restarts }
}

export async function undoWorse(
  worse: readonly ProofResult[],
  open: OpenRestart | undefined,
  restarts: readonly RestartReport[],
  attempt: Attempt,
): Promise<Run> {
  const { transaction } = attempt
  const text = worse
    .map(({ host, finding }) => `${host} was trusted before and is not now: ${finding.message}`)
    .join('; ')
  const error = new AgentError('TRUST_LOST', text)
  const restored = open === undefined ? isUndone(await transaction.undo()) : await open.revert(error)
  const outcome = restored ? 'rolled-back' : 'rollback-failed'
  const refuse = open !== undefined || !isWorthAnotherTry(attempt)
  const state = await transaction.abandon(record(outcome, 0, text, restarts, attempt), { refuse })
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
export async function undoUnrecorded(
  error: AgentError,
  loaded: NewConfig,
  restarts: readonly RestartReport[],
  attempt: Attempt,
): Promise<Run> {
  const { transaction, facts, desired, ports } = attempt
  const didRestart = restarts.length > 0
  const isBack = isUndone(await transaction.undo())
  const hash = loaded === undefined || loaded.content === null ? undefined : sha256(loaded.content)
  const restored = didRestart ? (await reviveContainerd(facts, desired, ports, hash)) && isBack : isBack
  const result = restored ? 'rolled-back' : 'rollback-failed'
  const state = await transaction.abandon(record(result, 0, error.message, restarts, attempt))
  const proofs = await proveFresh(attempt)
  const problems = withError(attempt, error)
  const outcome = restored && !didRestart ? 'refused' : result
  return { ...base(attempt), outcome, state, problems, error, proofs, applied: [], restarts }
}
