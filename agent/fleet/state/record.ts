// The values of a roll-out: what is seen of the nodes, what was granted, and what the leader has measured itself.
import type { RolloutSettings } from '../../model/fleet.ts'
import type { NodeSummary } from '../../model/summary.ts'

export type FleetNode = {
  readonly name: string
  readonly zone: string
  readonly isControlPlane: boolean
  readonly labels: { readonly [name: string]: string }
  /** Of the Node object. */
  readonly isReady: boolean
  readonly isCordoned: boolean
  /** There is an agent's Pod. */
  readonly hasAgent: boolean
  /** The last answer of its agent, and when it was asked for (monotonic). */
  readonly report?: { readonly summary: NodeSummary; readonly askedAtMs: number } | undefined
}

export type OpenGrant = {
  readonly id: string
  readonly generation: string
  /** It was counted as a node that did not come back. */
  readonly isOverdue?: boolean
}

/** Kept in the Lease. The keys of the objects are names of nodes, their values generations. */
export type RolloutRecord = {
  readonly config: string
  readonly grants: { readonly [node: string]: OpenGrant }
  readonly failed: { readonly [node: string]: string }
  /** Failures that a person has answered with `resume`. */
  readonly forgiven: { readonly [node: string]: string }
  /** The last `resume` that was followed. */
  readonly resume: string
}

export const NEW_RECORD: RolloutRecord = { config: '', grants: {}, failed: {}, forgiven: {}, resume: '' }

/** What this leader has measured with its own clock. */
export type LeaderMemory = {
  readonly grantSeenMs: ReadonlyMap<string, number>
  /** Since when the canary of a generation is over. */
  readonly canaryOverMs: ReadonlyMap<string, number>
}

export const NEW_MEMORY: LeaderMemory = { grantSeenMs: new Map(), canaryOverMs: new Map() }

export type RolloutInput = {
  /** Digest of the ConfigMap; undefined: there is none, so nothing is granted. */
  readonly config: string | undefined
  /** Value of the annotation that `fleet resume` writes; empty: none. */
  readonly resume: string
  readonly nodes: readonly FleetNode[]
  readonly record: RolloutRecord
  readonly memory: LeaderMemory
  readonly settings: RolloutSettings
  readonly nowMs: number
  /** An id that was never used before: 8 to 64 hexadecimal digits. */
  readonly newId: () => string
}
