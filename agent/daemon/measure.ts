// What a run reports to the metrics.
import { defectsOf } from '../containerd/defects.ts'
import type { Run } from '../model/run.ts'
import type { Metrics, ReconcileResult } from '../telemetry/metrics.ts'

export type RunFacts = {
  /** Drift that was not there, or not known, after the run before. */
  readonly detected: readonly { readonly target: string }[]
  readonly healed: readonly { readonly target: string }[]
  readonly durationMs: number
}

export function measure(metrics: Metrics, run: Run, { detected, healed, durationMs }: RunFacts): void {
  const changes = run.planned?.plan.changes ?? []
  metrics.plan(changes.length)
  metrics.reconcile(resultOf(run), durationMs / 1000)
  for (const { target } of detected) metrics.driftDetected(target)
  for (const { target } of healed) metrics.driftHealed(target)
  // Restarts that came to an end are counted from the ledger; of this one the end is that it has none.
  if (run.restarts.some(({ result }) => result === 'rollback-failed')) metrics.restart('rollback', 'failed')
  if (run.outcome === 'rolled-back') metrics.rollback()
  metrics.deprecations(run.facts?.status.deprecations ?? [])
  metrics.defects(defectsOf(run.facts?.version ?? '').map(({ id }) => id))
  metrics.writerConflicts(run.planned?.conflicts ?? [])
}

function resultOf({ outcome }: Run): ReconcileResult {
  switch (outcome) {
    case 'applied':
      return 'committed'
    case 'no-containerd':
    case 'failed':
      return 'failed'
    case 'planned':
      return 'deferred'
    case 'unchanged':
    case 'deferred':
    case 'refused':
    case 'rolled-back':
    case 'rollback-failed':
      return outcome
    default:
      throw outcome satisfies never
  }
}
