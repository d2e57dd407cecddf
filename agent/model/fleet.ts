// What the fleet component and the agents tell each other: one annotation of the agent's Pod goes down, a short summary
// comes up. Neither side needs the other: without a note an agent does as it would alone.

/** The annotation of an agent's Pod, which the Pod mounts as a file (downward API). */
export const FLEET_ANNOTATION = 'registry-trust.io/fleet'

/** One restart of containerd, of one generation, on one node. */
export type Grant = {
  readonly id: string
  /** 12 hexadecimal digits. */
  readonly generation: string
  /** Runs from when the agent first sees the grant: no two clocks are compared. */
  readonly ttlSeconds: number
}

/** null: the node has no label of that name. */
export type NodeLabels = { readonly [name: string]: string | null }

export type FleetNote = {
  /** Digest of the ConfigMap's data (config/config-digest.ts). */
  readonly config: string
  /** How many nodes have an agent: proofs after a change are spread by it. */
  readonly nodes: number
  readonly grant?: Grant
  /** Those of the node that `fleet.nodeLabels` names; absent where it names none. */
  readonly labels?: NodeLabels
  /** Images that Pods of this node wait for, to be pulled without a login; at most MOST_PULLS_TOLD. */
  readonly pull?: readonly string[]
}

/** What a node is told to pull at the same time. */
export const MOST_PULLS_TOLD = 2

/** What an agent says about an image that its note tells it to pull, once that has ended. */
export type PullReport = {
  /** `pullId` of its reference (config/fleet-note.ts). */
  readonly image: string
  /** It is on the node. False: it could not be pulled without a login, or not in time. */
  readonly ok: boolean
}

/**
 * held: seen, and good for a restart that was not made yet; used: the restart is under way; done: it is over, and `ok`
 * says how;
 * expired: it was not needed in time. done and expired are final, and remembered: the id never allows another restart.
 */
export const GRANT_PHASES = ['held', 'used', 'done', 'expired'] as const
export type GrantPhase = (typeof GRANT_PHASES)[number]

/** What an agent says about the last grant that it saw. */
export type GrantReport = {
  readonly id: string
  readonly generation: string
  readonly phase: GrantPhase
  /** Of `done`: the restart led to the new generation, and nothing was rolled back. */
  readonly ok: boolean
}

/** A grant that can never be used again, as state.json remembers it. */
export type ClosedGrant = {
  readonly id: string
  readonly generation: string
  readonly phase: 'used' | 'done' | 'expired'
  readonly ok: boolean
}

export type FleetSettings = {
  readonly touchesPerSecond: number
  readonly startupTaint: 'keep' | 'remove'
  /** Names of labels that the agents are given. */
  readonly nodeLabels: readonly string[]
  /** Pods that wait in ImagePullBackOff are helped once their node trusts the registry. */
  readonly wakePods: boolean
  readonly rollout: RolloutSettings
}

/** A number of nodes, a part of all nodes in percent, or (canary only) the labels that nodes carry. */
export type Share =
  | { readonly kind: 'count'; readonly count: number }
  | { readonly kind: 'percent'; readonly percent: number }

export type CanaryChoice = Share | { readonly kind: 'selector'; readonly labels: { readonly [name: string]: string } }

export type RolloutSettings = {
  readonly canary: CanaryChoice
  readonly maxUnavailable: Share
  readonly soakMs: number
  readonly haltAfter: number
}

export const DEFAULT_FLEET: FleetSettings = {
  touchesPerSecond: 50,
  startupTaint: 'keep',
  nodeLabels: [],
  wakePods: false,
  rollout: {
    canary: { kind: 'count', count: 1 },
    maxUnavailable: { kind: 'percent', percent: 10 },
    soakMs: 30_000,
    haltAfter: 1,
  },
}

/** The record of a roll-out as it stands in the Lease; empty: none yet. */
export type RolloutText = string

/** On the ConfigMap: a new value lets a halted roll-out go on. */
export const RESUME_ANNOTATION = 'registry-trust.io/fleet-resume'
/** On a Pod that has waited for an image: when that was pulled for it. */
export const WOKEN_ANNOTATION = 'registry-trust.io/image-pulled'
/** On the Lease. */
export const RECORD_ANNOTATION = 'registry-trust.io/rollout'
export const FLEET_LEASE = 'registry-trust-fleet'
export const FLEET_CONFIG_MAP = 'registry-trust'
