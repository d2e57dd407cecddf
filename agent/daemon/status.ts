// Where the anchors lie on the node and which places are as wanted: read out of what the agent owns and of its last
// run. Pure.
import { type DesiredState, withWildcard } from '../model/desired-state.ts'
import { TARGET_NAMES, type TargetName } from '../model/plan.ts'
import type { Run } from '../model/run.ts'
import type { AgentState } from '../model/state.ts'
import type { TargetStatus } from '../model/status.ts'

const CERTIFICATE_FILE = /\.(?:crt|pem|0)$/

/**
 * Files that hold the anchor because of the agent: by its own name in the system store, elsewhere by the registries
 * that declare it.
 */
export function installedAt(anchor: string, desired: DesiredState, { owned }: AgentState): readonly string[] {
  const hosts = new Set(
    withWildcard(desired)
      .filter(({ anchors, mirrors = [] }) =>
        [anchors, ...mirrors.map((mirror) => mirror.anchors)].flat().includes(anchor),
      )
      .map(({ host }) => host),
  )
  return Object.entries(owned)
    .filter(([path, { target, subject }]) => {
      if (!CERTIFICATE_FILE.test(path)) return false
      return target === 'system-trust' ? subject === anchor : hosts.has(subject)
    })
    .map(([path]) => path)
    .sort()
}

/**
 * Every place that the agent has written to or would write to now, or cannot. Nothing is in sync that was not seen to
 * be.
 */
export function targetsOf(run: Run | undefined, { owned }: AgentState): readonly TargetStatus[] {
  const open = run?.planned === undefined ? [] : [...run.planned.plan.changes, ...run.planned.leftOut]
  const waiting = open.filter((change) => run?.applied.includes(change) !== true)
  const blocked = new Set(run?.planned?.plan.blocked ?? [])
  const isSeen = run?.planned !== undefined
  const count = (name: TargetName) => ({
    target: name,
    files: Object.values(owned).filter(({ target }) => target === name).length,
    pending: waiting.filter(({ target }) => target === name).length,
  })
  return TARGET_NAMES.map(count)
    .filter(({ target, files, pending }) => files > 0 || pending > 0 || blocked.has(target))
    .map((one) => ({ ...one, inSync: isSeen && one.pending === 0 && !blocked.has(one.target) }))
}
