// What is said of one node: its state in the fleet, the condition on its Node object, and how bad it is. Pure.
import type { SeenCondition } from '../../model/fleet-cluster.ts'
import type { NodeSummary } from '../../model/summary.ts'
import type { Tone } from '../../model/verdict.ts'

/** Worst first. */
export const FLEET_STATES = [
  'rollback-failed',
  'rolled-back',
  'failed',
  'untrusted',
  'no-containerd',
  'unreachable',
  'drifted',
  'restart-pending',
  'restarting',
  'waiting',
  'unknown',
  'audit',
  'trusted',
] as const
export type FleetState = (typeof FLEET_STATES)[number]

/** ok: as desired; warn: not yet; bad: a person has to look. */
export const TONES: { readonly [state in FleetState]: Tone } = {
  'rollback-failed': 'bad',
  'rolled-back': 'bad',
  failed: 'bad',
  untrusted: 'bad',
  'no-containerd': 'bad',
  unreachable: 'bad',
  drifted: 'warn',
  'restart-pending': 'warn',
  restarting: 'warn',
  waiting: 'warn',
  unknown: 'warn',
  audit: 'ok',
  trusted: 'ok',
}

export type NodeFacts = {
  readonly node: string
  /** The last answer; undefined: none since this leader watches. */
  readonly summary: NodeSummary | undefined
  /** It has not answered for so long that it counts as unreachable. */
  readonly isUnreachable: boolean
  /** It has answered for the configuration in force. */
  readonly isCurrent: boolean
  readonly isGranted: boolean
  /** Of a grant: its node did not come back in time. */
  readonly isOverdue?: boolean
}

export function fleetState({ summary, isUnreachable, isCurrent, isGranted, isOverdue }: NodeFacts): FleetState {
  if (isUnreachable) return 'unreachable'
  if (summary === undefined) return 'unknown'
  const { state } = summary
  // In the middle of the restart that it was granted.
  if (state === 'no-containerd' && isGranted && isOverdue !== true) return 'restarting'
  if (
    state === 'rollback-failed' ||
    state === 'rolled-back' ||
    state === 'no-containerd' ||
    state === 'failed' ||
    state === 'audit'
  )
    return state
  if (isGranted || summary.grant?.phase === 'used') return 'restarting'
  if (!isCurrent || state === 'applying') return 'waiting'
  if (state === 'restart-pending') return state
  if (untrustedCount(summary) > 0) return 'untrusted'
  return state === 'drifted' ? 'drifted' : 'trusted'
}

function untrustedCount({ untrusted, untrustedMore }: NodeSummary): number {
  return untrusted.length + untrustedMore
}

/** True: every declared registry is trusted and proved. Undefined: nothing new may be said yet. */
export function conditionOf(facts: NodeFacts): SeenCondition | undefined {
  const state = fleetState(facts)
  const { summary } = facts
  if (state === 'unreachable')
    return {
      status: 'Unknown',
      reason: 'AgentUnreachable',
      message:
        'The agent of this node does not answer the fleet component: look at its Pod (kubectl -n registry-trust get pods -o wide).',
    }
  if (summary === undefined || state === 'waiting' || state === 'restarting') return undefined
  const at = `generation ${summary.generation}`
  const [worst] = summary.untrusted
  if (state === 'rolled-back' || state === 'rollback-failed' || state === 'no-containerd' || state === 'failed')
    return { status: 'False', reason: camel(state), message: `${SENTENCES[state]} (${at}).` }
  if (worst !== undefined) {
    const more = untrustedCount(summary) - 1
    const others = more === 0 ? '' : `, and ${more} more`
    const how = `kubectl -n registry-trust exec POD -- registry-trust explain ${worst.host}/IMAGE`
    const message = `${worst.host} is not trusted: ${worst.code}${others} (${at}). ${how} shows why.`
    return { status: 'False', reason: camel(worst.code), message }
  }
  const registries =
    summary.registries === 1 ? 'The declared registry is' : `All ${summary.registries} declared registries are`
  return { status: 'True', reason: 'Trusted', message: `${registries} trusted (${at}).` }
}

const SENTENCES = {
  'rolled-back': 'The last change was rolled back; the log of the agent says why, and a new generation is tried',
  'rollback-failed': 'A change could not be rolled back completely: look at the node and at the log of the agent',
  'no-containerd': 'containerd does not answer on this node: look at its unit',
  failed: 'The last run of the agent ended in an error or was refused: its log says why',
} as const

/** A reason of a condition has no hyphens. */
function camel(code: string): string {
  return code.replace(/(?:^|-)([a-z0-9])/g, (_all, letter: string) => letter.toUpperCase())
}

export function isWorse(left: FleetState, right: FleetState): number {
  return FLEET_STATES.indexOf(left) - FLEET_STATES.indexOf(right)
}
