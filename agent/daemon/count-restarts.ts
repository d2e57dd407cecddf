// Restarts of containerd in the metrics: each entry of the ledger once, whoever made it. The restarter has no metrics
// of its own, and what an agent began before it died is known by the ledger alone.

import type { Clock } from '../model/ports.ts'
import type { RestartEntry, RestartStore } from '../model/restart.ts'
import { ageOf } from '../restart/ledger.ts'
import type { Metrics, RestartReason, RestartResult } from '../telemetry/metrics.ts'

/**
 * A restart shortly before this process began is the one that it was started after, and has not been counted elsewhere.
 */
const BEFORE_US_MS = 15 * 60_000

export function restartCounter(
  { restarts, clock }: { readonly restarts: RestartStore; readonly clock: Clock },
  metrics: Pick<Metrics, 'restart'>,
): () => Promise<void> {
  const counted = new Set<string>()
  let isFirst = true
  return async () => {
    const entries = await restarts.ledger.read()
    const now = { wall: clock.now(), uptimeMs: clock.monotonic(), bootId: restarts.bootId }
    for (const entry of entries) {
      const key = `${entry.id} ${entry.kind} ${entry.uptimeMs}`
      if (counted.has(key) || entry.result === undefined) continue
      counted.add(key)
      if (!isFirst || ageOf(entry, now) < BEFORE_US_MS) metrics.restart(reasonOf(entry), resultOf(entry))
    }
    isFirst = false
  }
}

function reasonOf({ kind, by, id }: RestartEntry): RestartReason {
  if (by === 'restarter' || id.startsWith('revive-')) return 'recovery'
  return kind === 'forward' ? 'apply' : 'rollback'
}

/** A way back that has come to its end has brought containerd up. */
function resultOf({ kind, result }: RestartEntry): RestartResult {
  return kind === 'back' || result === 'ok' ? 'succeeded' : 'failed'
}
