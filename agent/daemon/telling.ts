// What the loop writes to the log: a line for each outcome that a person would act on, and the same again not twice.
import type { LoadResult } from '../config/load.ts'
import type { Problem } from '../model/errors.ts'
import { ADVISORY_KINDS } from '../model/plan.ts'
import type { Log } from '../model/ports.ts'
import type { Run } from '../model/run.ts'
import type { DriftStatus } from '../model/status.ts'
import type { Memory } from './history.ts'

export function tellConfig(log: Log, loaded: LoadResult, { desired, configProblems }: Memory): void {
  const textOf = (problems: readonly Problem[]) => problems.map(({ message }) => message).join('; ')
  const wasTold = textOf(loaded.ok ? loaded.refused : loaded.problems) === textOf(configProblems)
  if (!loaded.ok) {
    if (!wasTold) log.error('config-rejected', { problems: loaded.problems, inForce: desired?.generation ?? 'none' })
    return
  }
  const { generation, registries } = loaded.desired
  if (generation !== desired?.generation || !wasTold)
    log.info('config-loaded', { generation, registries: registries.length })
  if (loaded.refused.length > 0 && !wasTold) log.error('fragment-refused', { problems: loaded.refused })
}

/** Each advisory once, when it comes up; the runs tell of what they heal. */
export function tellAdvisories(
  log: Log,
  drift: readonly DriftStatus[],
  told: ReadonlySet<string>,
): ReadonlySet<string> {
  const advisories = drift.filter(({ kind }) => ADVISORY_KINDS.has(kind))
  const keyOf = ({ kind, path }: DriftStatus) => `${kind} ${path}`
  for (const one of advisories) if (!told.has(keyOf(one))) log.warn('drift-found', { ...one })
  return new Set(advisories.map(keyOf))
}

/** Gives back what was said, for the next call. */
export function tellRun(log: Log, run: Run, { registries }: Memory, lastTold: string): string {
  // What is known of each, not what this run has proved: not every run proves every registry.
  const findings = [...registries].map(([host, { finding }]) => `${host}: ${finding.code}`)
  const said = JSON.stringify([run.outcome, run.restartPending, run.problems.map(({ message }) => message), findings])
  if (run.applied.length > 0 || run.restarts.length > 0)
    log.info('applied', {
      outcome: run.outcome,
      changes: run.applied.map(({ action, path }) => `${action} ${path}`),
      restarts: run.restarts,
      proofs: findings,
    })
  else if (said !== lastTold) {
    const fields = {
      outcome: run.outcome,
      problems: run.problems,
      proofs: findings,
      ...(run.restartPending ? { restartPending: run.restartPending } : {}),
    }
    if (run.problems.length > 0 || run.restartPending !== undefined) log.warn('reconciled', fields)
    else log.info('reconciled', fields)
  }
  return said
}
