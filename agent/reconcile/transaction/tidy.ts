// What follows a transaction that is done or undone, and must not turn it into a failed one.
import { asAgentError } from '../../model/errors.ts'
import type { JournalStep } from '../../model/ports.ts'
import type { TransactionPorts } from '../../model/run-ports.ts'

/** Removes temporary folders that a failed call left behind; another tool could take one for a host directory. */
export async function tidy(steps: readonly JournalStep[], ports: TransactionPorts): Promise<void> {
  const { files } = ports
  // What fails is tried once more: after an uninstall there is no next run.
  for (const folder of new Set(steps.map((step) => step.folder)))
    await orLog(ports, () => files.sweep(folder).catch(() => files.sweep(folder)))
}

/** For what must not turn a transaction that is done or undone into a failed one. */
export async function orLog({ log }: TransactionPorts, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (thrown) {
    const error = asAgentError(thrown)
    log.error('not-recorded', { code: error.code, error: error.message })
  }
}
