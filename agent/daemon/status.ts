// Where the anchors lie on the node and which places are as wanted: read out of what the agent owns and of its last
// run. Pure.
import { type DesiredState, withWildcard } from '../model/desired-state.ts'
import { TARGET_NAMES, type TargetName } from '../model/plan.ts'
import type { Run } from '../model/run.ts'
import type { AgentState } from '../model/state.ts'
import type { TargetStatus } from '../model/status.ts'

const CERTIFICATE_FILE = /\.(?:crt|pem|0)$/

/**
 * By anchor, the files that hold it because of the agent, sorted: by its own name in the system store, elsewhere by the
 * registries that declare it.
 */
export function installedPlaces(
  desired: DesiredState,
  { owned }: Pick<AgentState, 'owned'>,
): ReadonlyMap<string, readonly string[]> {
  const anchorsOf = new Map(
    withWildcard(desired).map(({ host, anchors, mirrors = [] }) => [
      host,
      new Set([...anchors, ...mirrors.flatMap((mirror) => mirror.anchors)]),
    ]),
  )
  const places = new Map<string, string[]>()
  for (const [path, { target, subject }] of Object.entries(owned)) {
    if (!CERTIFICATE_FILE.test(path)) continue
    for (const anchor of target === 'system-trust' ? [subject] : (anchorsOf.get(subject) ?? [])) {
      const known = places.get(anchor)
      if (known === undefined) places.set(anchor, [path])
      else known.push(path)
    }
  }
  for (const paths of places.values()) paths.sort()
  return places
}

/**
 * Every place that the agent has written to or would write to now, or cannot. Nothing is in sync that was not seen to
 * be.
 */
export function targetsOf(run: Run | undefined, { owned }: AgentState): readonly TargetStatus[] {
  const open = run?.planned === undefined ? [] : [...run.planned.plan.changes, ...run.planned.leftOut]
  const applied = new Set(run?.applied)
  const waiting = open.filter((change) => !applied.has(change))
  const blocked = new Set(run?.planned?.plan.blocked ?? [])
  const isSeen = run?.planned !== undefined
  const files = countByTarget(Object.values(owned))
  const pending = countByTarget(waiting)
  const count = (target: TargetName) => ({
    target,
    files: files.get(target) ?? 0,
    pending: pending.get(target) ?? 0,
  })
  return TARGET_NAMES.map(count)
    .filter(({ target, files, pending }) => files > 0 || pending > 0 || blocked.has(target))
    .map((one) => ({ ...one, inSync: isSeen && one.pending === 0 && !blocked.has(one.target) }))
}

function countByTarget(items: readonly { readonly target: string }[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const { target } of items) counts.set(target, (counts.get(target) ?? 0) + 1)
  return counts
}
