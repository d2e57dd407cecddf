// What a run begins with: whatever ended the one before it, a restart that it left comes to its end, and its
// transaction is undone or kept as a whole.
import { asAgentError } from '../../model/errors.ts'
import type { RestartRecord } from '../../model/restart.ts'
import type { RunPorts } from '../../model/run-ports.ts'
import { isOver } from '../../restart/machine.ts'
import { putAway } from '../../restart/put-away.ts'
import { isAbandoned, settle } from '../../restart/settle.ts'
import { machinePorts } from '../restart/machine-ports.ts'
import { type Recovery, recover } from '../transaction/recover.ts'
import { othersFindings } from '../transaction/undo-report.ts'

export type Repaired = {
  /** The newest restart that was recorded, and where it has come to. */
  readonly restart: RestartRecord | undefined
  readonly recovered: Recovery
}

/**
 * The holder of the lock may hang, or take long to die, in the middle of a restart. The lease of its record says so,
 * and decides between drivers; containerd does not wait for the lock. Never throws but for `signal`.
 */
export async function settleAbandoned(ports: RunPorts, signal?: AbortSignal): Promise<void> {
  try {
    const record = await ports.restarts.read()
    if (record === undefined || isOver(record) || !(await isAbandoned(record, ports))) return
    await settle(machinePorts(ports), 'agent', { isMine: false, isPatient: false, signal })
  } catch (thrown) {
    signal?.throwIfAborted()
    const { code, message } = asAgentError(thrown)
    ports.log.error('restart-not-settled', { code, error: message })
  }
}

/** The caller holds the node's lock. */
export async function repair(ports: RunPorts, signal?: AbortSignal): Promise<Repaired> {
  // First what saves the node: a restart that somebody left half done comes to its end before any other path is looked
  // at.
  const restart = await settle(machinePorts(ports), 'agent', { isMine: true, isPatient: false, signal })
  await tidy(restart, ports)
  const ended = await ports.store.journal.read().catch(() => undefined)
  const recovered = await recover(ports, { committed: restart?.phase === 'committed' ? restart.id : undefined })
  // Told once, by the run that takes up the transaction: the record stays until the next restart.
  const others = restart !== undefined && ended?.transaction === restart.id ? othersFindings(restart) : []
  return { restart, recovered: { ...recovered, problems: [...others, ...recovered.problems] } }
}

/**
 * What the crash of an earlier run left beside config.toml and among the records. Never throws: a later run tries
 * again.
 */
async function tidy(restart: RestartRecord | undefined, { restarts, log }: RunPorts): Promise<void> {
  if (restart !== undefined && !isOver(restart)) return
  const kept = restart === undefined ? [] : putAway(restart, restarts)
  for (const step of [() => restarts.sweep(), ...kept])
    await step().catch((thrown: unknown) => {
      const { code, message } = asAgentError(thrown)
      log.error('not-recovered', { code, error: message })
    })
}
