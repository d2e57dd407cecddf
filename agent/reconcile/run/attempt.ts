// An attempt to carry out a plan: what is known of it, and what every end of it tells.
import type { DesiredState } from '../../model/desired-state.ts'
import type { AgentError, Problem } from '../../model/errors.ts'
import { problem } from '../../model/errors.ts'
import type { Planned, Rehearsal } from '../../model/plan.ts'
import type { ProofResult } from '../../model/proof.ts'
import type { Context, RestartReport } from '../../model/run.ts'
import type { AgentState, TransactionRecord } from '../../model/state.ts'
import { proveDeclared } from '../prove/prove.ts'
import type { Transaction } from '../transaction/transaction.ts'

/** What is known once the plan is rehearsed and before anything is written. */
export type Attempt = Context & {
  readonly planned: Planned
  readonly rehearsal: Rehearsal
  readonly before: ReadonlyMap<string, ProofResult>
  readonly problems: readonly Problem[]
  readonly transaction: Transaction
  /** Monotonic. */
  readonly startedAt: number
  /** Uninstalling: the original config.toml goes back also where containerd may not be restarted for it. */
  readonly isRemoval?: boolean
}

export function base({ facts, planned, problems, rehearsal, transaction }: Attempt) {
  return { facts, planned, problems: [...problems, ...transaction.findings()], rehearsal }
}

/** The attempt's problems, what the transaction found, and why it failed. */
export function withError({ problems, transaction }: Attempt, { code, message }: AgentError): readonly Problem[] {
  return [...problems, ...transaction.findings(), problem(code, message)]
}

export function record(
  result: TransactionRecord['result'],
  changes: number,
  reason: string,
  restarts: readonly RestartReport[],
  { desired, ports, startedAt }: Attempt,
): Omit<TransactionRecord, 'id' | 'at'> {
  const durationMs = Math.round(ports.clock.monotonic() - startedAt)
  return { generation: desired.generation, durationMs, result, changes, restarted: restarts.length > 0, reason }
}

/** With a connection of its own: the one from before a restart leads to a socket that is gone. */
export async function proveFresh({ desired, facts, ports }: Context): Promise<readonly ProofResult[]> {
  const cri = ports.connectCri(facts.socket)
  try {
    return await proveDeclared(desired.registries, cri, ports, desired)
  } finally {
    cri.close()
  }
}

/** Why a generation that was rolled back once is not tried again by itself. */
export function rolledBackBefore({ generation }: DesiredState, { transactions }: AgentState): Problem {
  const last = transactions.findLast((one) => one.generation === generation && one.result !== 'committed')
  const [at, reason] = [last?.at ?? 'an earlier time', last?.reason ?? 'the reason is no longer known']
  return problem('GENERATION_ROLLED_BACK', `generation ${generation} was rolled back at ${at}: ${reason}`)
}

/** containerd's registry sections are of the legacy kind. */
export function isLegacy({ legacyFiles }: Planned): boolean {
  return legacyFiles !== undefined
}
