// The generation: a short name for everything that decides what is written to the node, and how.
// Independent of the order of declarations, of where the input lay and of when it was read; `mode`, proofs and drift write nothing.
import { createHash } from 'node:crypto'
import type { DesiredState } from '../model/desired-state.ts'

export function generationOf(desired: Pick<DesiredState, 'anchors' | 'registries' | 'targets' | 'restart'>): string {
  const { targets, restart } = desired
  const byFirst = (left: readonly [string, unknown], right: readonly [string, unknown]) => (left[0] < right[0] ? -1 : 1)
  // Arrays only: JSON of them has one spelling.
  const canonical = [
    desired.anchors
      .map((anchor) => [anchor.name, anchor.certificates.map((certificate) => certificate.fingerprint)] as const)
      .toSorted(byFirst),
    desired.registries.map((registry) => [registry.host, registry.anchors] as const).toSorted(byFirst),
    [targets.systemTrust.enabled, targets.systemTrust.fileName, targets.containerd.enabled, targets.containerd.layout],
    [targets.docker.enabled, targets.containers.enabled],
    [restart.strategy, restart.unit, restart.maxPerHour, restart.backoffMinMs, restart.backoffMaxMs],
  ]
  return createHash('sha256').update(JSON.stringify(canonical)).digest('hex').slice(0, 12)
}
