// The dangerous step of a transaction: write what only a restart makes valid, restart, and on any failure put everything back.
import { type AgentError, asAgentError } from '../../model/errors.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { Change } from '../../model/plan.ts'
import type { RestartReport } from '../../model/run.ts'
import type { RunPorts } from '../../model/run-ports.ts'
import type { Transaction } from '../transaction/transaction.ts'
import { isUndone } from '../transaction/undo.ts'
import type { Permission } from './gate.ts'
import { ROLLBACK_PATIENCE_MS, restartContainerd } from './restart.ts'

export type RestartStep = {
  readonly facts: ContainerdFacts
  readonly ports: RunPorts
  readonly transaction: Transaction
  /** Filled in here. */
  readonly restarts: RestartReport[]
}

export type RestartFailure = {
  readonly error: AgentError
  /** Files and runtime are as before the transaction. */
  readonly restored: boolean
  /** False: the failure came before containerd was touched. */
  readonly restarted: boolean
}

export type Allowed = Extract<Permission, { allowed: true }>

/** Writes what only a restart makes valid, restarts, and on any failure puts everything back and restarts again. */
export async function restartWith(
  changes: readonly Change[],
  reason: string,
  permission: Allowed,
  attempt: RestartStep,
): Promise<RestartFailure | undefined> {
  const { facts, ports, transaction, restarts } = attempt
  const at = ports.clock.now()
  const report = (result: RestartReport['result']) =>
    restarts.push({ at: new Date(at).toISOString(), reason, result, durationMs: ports.clock.now() - at })
  try {
    await transaction.execute(changes)
    await transaction.markRestart()
  } catch (thrown) {
    await permission.release()
    const error = asAgentError(thrown)
    return { error, restored: error.code !== 'ROLLBACK_INCOMPLETE', restarted: false }
  }
  try {
    const { notes } = await restartContainerd(permission.way, facts, permission.before, ports)
    for (const note of notes) ports.log.warn('container-ended', { note })
    // In here: a restarter that waited too long has put the old file back, and says so now.
    await permission.release()
    report('ok')
    return undefined
  } catch (thrown) {
    const error = asAgentError(thrown)
    ports.log.error('restart-failed', { code: error.code, error: error.message })
    const restored = await rollBack(permission, attempt)
    report(restored ? 'rolled-back' : 'rollback-failed')
    return { error, restored, restarted: true }
  } finally {
    // The second time does nothing; after a rollback it no longer matters who else put the file back.
    await permission.release().catch(() => undefined)
  }
}

/** Waits for nothing: no budget, no window, no permit. */
export async function rollBack(permission: Allowed, { transaction, facts, ports }: RestartStep): Promise<boolean> {
  // A path that cannot be put back is no reason to leave containerd down.
  const report = await transaction.undo()
  try {
    await restartContainerd(permission.way, facts, permission.before, ports, ROLLBACK_PATIENCE_MS)
    return isUndone(report)
  } catch (thrown) {
    const error = asAgentError(thrown)
    ports.log.error('rollback-failed', { code: error.code, error: error.message, remedy: error.remedy })
    return false
  }
}
