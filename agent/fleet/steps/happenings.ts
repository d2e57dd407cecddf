// What has happened on nodes since they were looked at last, as Events: restarts of containerd, and changes that were
// taken back. A leader that has just begun knows no earlier look, and tells nothing of what it finds. Pure.
import type { FleetEvent } from '../../model/fleet-cluster.ts'
import type { NodeSummary } from '../../model/summary.ts'

export type Looked = {
  /** When the last restart of containerd by the agent was; null: none since the agent began. */
  readonly restartedAt: string | null
  /** The generation that was rolled back; empty: none. */
  readonly takenBack: string
}

export type SaidNode = { readonly node: string; readonly uid: string; readonly summary: NodeSummary | undefined }

/** Events in the order of `nodes`, and what is to be known at the next look. Nodes that are gone are forgotten. */
export function happenings(
  nodes: readonly SaidNode[],
  known: ReadonlyMap<string, Looked>,
): { readonly events: readonly FleetEvent[]; readonly known: ReadonlyMap<string, Looked> } {
  const events: FleetEvent[] = []
  const next = new Map<string, Looked>()
  for (const { node, uid, summary } of nodes) {
    const before = known.get(node)
    if (summary === undefined) {
      if (before !== undefined) next.set(node, before)
      continue
    }
    const now = lookAt(summary, before)
    next.set(node, now)
    if (before === undefined) continue
    const { last } = summary.restart
    if (last !== null && last.at !== before.restartedAt && last.result === 'ok') {
      const message = `The agent restarted containerd (generation ${summary.generation}).`
      events.push({ node, nodeUid: uid, type: 'Normal', reason: 'ContainerdRestarted', message })
    }
    if (now.takenBack !== '' && now.takenBack !== before.takenBack)
      events.push({ node, nodeUid: uid, type: 'Warning', ...takenBack(summary) })
  }
  return { events, known: next }
}

function lookAt({ state, generation, restart }: NodeSummary, before: Looked | undefined): Looked {
  const restartedAt = restart.last?.at ?? before?.restartedAt ?? null
  // A run that is under way, or a runtime that is away, says nothing of how the last change ended.
  if (state === 'applying' || state === 'no-containerd') return { restartedAt, takenBack: before?.takenBack ?? '' }
  return { restartedAt, takenBack: state === 'rolled-back' || state === 'rollback-failed' ? generation : '' }
}

function takenBack({ state, generation }: NodeSummary): Pick<FleetEvent, 'reason' | 'message'> {
  if (state === 'rollback-failed')
    return {
      reason: 'RollbackFailed',
      message: `Generation ${generation} could not be rolled back completely: look at the node and at the agent's log.`,
    }
  return { reason: 'RolledBack', message: `Generation ${generation} was rolled back: the agent's log says why.` }
}
