// How long an agent waits before it takes up a change, so that a registry is not asked by every node within one second.
import { createHash } from 'node:crypto'

/**
 * Of each node 15 ms: 75 s for 5,000 nodes. Together with 50 touches a second no registry sees more than 50 proofs a
 * second, and the last
 * node proves within three minutes (docs/fleet.md).
 */
const MS_A_NODE = 15
/** Whatever the note says, a change is not put off for longer. */
const LONGEST_MS = 300_000

export type Spread = {
  /** Of the note; undefined: there is no fleet component. */
  readonly nodes: number | undefined
  /** drift.spread, which counts only without a note. */
  readonly spreadMs: number
}

/** The same for the same node and change, in [0, window); nodes fall evenly over the window. */
export function spreadDelayMs(node: string, change: string, { nodes, spreadMs }: Spread): number {
  const windowMs = nodes === undefined ? spreadMs : Math.min(LONGEST_MS, nodes * MS_A_NODE)
  const draw = createHash('sha256').update(`${node}\n${change}`).digest().readUInt32BE(0)
  return Math.floor((draw / 2 ** 32) * windowMs)
}
