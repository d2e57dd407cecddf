// How long an agent waits before it takes up a change, so that a registry is not asked by every node within one second.
// Pure.
import { createHash } from 'node:crypto'
import type { FleetNote } from '../model/fleet.ts'

/**
 * Of each node 15 ms: 75 s for 5,000 nodes. The component tells 50 nodes a second, those first that wait least, so that
 * proofs come evenly over both times (docs/fleet.md).
 */
const MS_A_NODE = 15
/** What it takes to tell a node at 50 a second. */
const TOLD_MS_A_NODE = 20
/** Whatever the note says, a change is not put off for longer. */
const LONGEST_MS = 300_000

export type Spread = {
  /** Of the note; undefined: there is no fleet component. */
  readonly nodes: number | undefined
  /** drift.spread, which counts only without a note. */
  readonly spreadMs: number
  /**
   * False: the kubelet mounted the change before the component announced it, so the component does not spread the
   * nodes.
   */
  readonly isTold?: boolean
}

/** The same for the same node and change, in [0, window); nodes fall evenly over the window. */
export function spreadDelayMs(node: string, change: string, { nodes, spreadMs, isTold = true }: Spread): number {
  const eachMs = MS_A_NODE + (isTold ? 0 : TOLD_MS_A_NODE)
  const windowMs = nodes === undefined ? spreadMs : Math.min(LONGEST_MS, nodes * eachMs)
  const draw = createHash('sha256').update(`${node}\n${change}`).digest().readUInt32BE(0)
  return Math.floor((draw / 2 ** 32) * windowMs)
}

export type SeenChange = {
  /** Digest of the ConfigMap as it is mounted, and as the last run began with it. */
  readonly config: string
  readonly takenUp: string
  readonly note: FleetNote | undefined
  /** The note is not the one that the last run began with. */
  readonly isNoteNew: boolean
  readonly spreadMs: number
}

/** How long to wait after something mounted has changed: the ConfigMap, a Secret, or the note alone. */
export function takeUpDelayMs(node: string, { config, takenUp, note, isNoteNew, spreadMs }: SeenChange): number {
  // A grant must not wait.
  if (config === takenUp && isNoteNew) return 0
  const isTold = config === takenUp || note === undefined || note.config === config
  return spreadDelayMs(node, config, { nodes: note?.nodes, spreadMs, isTold })
}
