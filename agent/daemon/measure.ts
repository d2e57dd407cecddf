// What a run tells the metrics.
import type { Run } from '../model/run.ts'
import type { Metrics, ReconcileResult } from '../telemetry/metrics.ts'

export type RunFacts = {
  readonly drifted: number
  readonly healed: readonly { readonly target: string }[]
  readonly durationMs: number
}

export function measure(metrics: Metrics, run: Run, { healed, durationMs }: RunFacts): void {
  const changes = run.planned?.plan.changes ?? []
  metrics.plan(changes.length)
  metrics.reconcile(resultOf(run), durationMs / 1000)
  for (const { target } of healed) {
    metrics.driftDetected(target)
    metrics.driftHealed(target)
  }
  // Restarts that came to an end are counted from the ledger; of this one the end is that it has none.
  if (run.restarts.some(({ result }) => result === 'rollback-failed')) metrics.restart('rollback', 'failed')
  if (run.outcome === 'rolled-back') metrics.rollback()
  metrics.deprecations(run.facts?.status.deprecations ?? [])
  metrics.writerConflicts(run.planned?.conflicts ?? [])
  const folder = run.planned?.plan.certsDirectory ?? ''
  const files = run.planned?.stagedHosts.filter(({ path }) => path.endsWith('.crt')) ?? []
  const named = run.planned?.legacyFiles?.filter(({ path }) => path.endsWith('.crt')) ?? []
  metrics.certificates([
    ...files.map(({ path, bytes }) => ({ path: `${folder}/${path}`, pem: bytes.toString('utf8') })),
    ...named.map(({ path, bytes }) => ({ path, pem: bytes.toString('utf8') })),
  ])
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
