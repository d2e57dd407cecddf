// Which agents are asked next: those that something is awaited from every second, the others once a minute, spread
// evenly. Pure.
import { createHash } from 'node:crypto'
import type { FleetState, NodeFacts } from '../state/verdict.ts'

export const FAST_MS = 1_000
/**
 * Waits for its turn to restart: it has nothing new to report, but its last report must not be old when its turn comes.
 */
export const WAITING_MS = 15_000
export const SLOW_MS = 60_000
/** Asked for this long without an answer: unreachable. */
export const UNREACHABLE_MS = 120_000
/** An agent that does not answer is asked less and less often. */
const LONGEST_RETRY_MS = 30_000
/** What the component bears: a request costs it about half a millisecond. */
const LEAST_PER_SECOND = 200
/** So that a tenth of the nodes may restart and all others wait for it, and no answer of theirs is older than FRESH_MS. */
const PER_SECOND_A_NODE = 0.08

export type Pace = 'fast' | 'waiting' | 'slow'

export type PollState = {
  readonly lastAskedMs: number
  readonly lastAnswerMs: number
  /** Since it was first asked, or since the last answer. */
  readonly failures: number
}

/** @param isExpected whether the node should have taken the change up by now */
export function paceFor(
  { facts, state }: { readonly facts: Pick<NodeFacts, 'isGranted' | 'isCurrent'>; readonly state: FleetState },
  isExpected: () => boolean,
): Pace {
  // Whatever it says in the middle of its restart: all others wait for the end of it.
  if (facts.isGranted) return 'fast'
  if (state === 'restart-pending') return 'waiting'
  if (state === 'restarting' || state === 'unknown') return 'fast'
  // Whatever is said of it: to a node on which the last change failed, the next one is the way out.
  const isAwaited = state === 'waiting' || !facts.isCurrent
  return isAwaited && isExpected() ? 'fast' : 'slow'
}

/** @param share of the node, which `shareOf` tells */
export function nextPollMs(share: number, pace: Pace, state: PollState | undefined): number {
  if (state === undefined) return Math.floor(share * FAST_MS)
  if (state.failures > 0) return state.lastAskedMs + Math.min(LONGEST_RETRY_MS, FAST_MS * 2 ** (state.failures - 1))
  if (pace === 'fast') return state.lastAskedMs + FAST_MS
  const every = pace === 'waiting' ? WAITING_MS : SLOW_MS
  // At a second of its own in each period, so that what began together does not stay together.
  const slot = Math.floor(share * every)
  const begun = Math.floor((state.lastAskedMs - slot) / every)
  return (begun + 1) * every + slot
}

const PERIODS_MS = { fast: FAST_MS, waiting: WAITING_MS, slow: SLOW_MS } as const

/** How late it is to ask, in periods of the pace: where not all can be asked, all are late by the same measure. */
export function lateness(dueMs: number, pace: Pace, nowMs: number): number {
  return (nowMs - dueMs) / PERIODS_MS[pace]
}

/** Where in a period this node has its place: in [0, 1), always the same. */
export function shareOf(node: string): number {
  return createHash('sha256').update(node).digest().readUInt32BE(0) / 2 ** 32
}

/** How many agents may be asked in a second, however many are due. */
export function pollsPerSecond(nodes: number): number {
  return Math.max(LEAST_PER_SECOND, Math.ceil(nodes * PER_SECOND_A_NODE))
}
