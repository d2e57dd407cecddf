// Which agents are asked next: those that something is awaited from every second, the others once a minute, spread
// evenly. Pure.
import { createHash } from 'node:crypto'

export const FAST_MS = 1_000
/**
 * Waits for its turn to restart: it has nothing new to tell, but what it told last must not be old when its turn comes.
 */
export const WAITING_MS = 15_000
export const SLOW_MS = 60_000
/** Asked for so long without an answer: unreachable. */
export const UNREACHABLE_MS = 120_000
/** An agent that does not answer is asked less and less often. */
const LONGEST_RETRY_MS = 30_000

export type Pace = 'fast' | 'waiting' | 'slow'

export type PollState = {
  readonly lastAskedMs: number
  readonly lastAnswerMs: number
  /** Since it was first asked, or since the last answer. */
  readonly failures: number
}

export function nextPollMs(node: string, pace: Pace, state: PollState | undefined): number {
  if (state === undefined) return Math.floor(share(node) * FAST_MS)
  if (state.failures > 0) return state.lastAskedMs + Math.min(LONGEST_RETRY_MS, FAST_MS * 2 ** (state.failures - 1))
  if (pace === 'fast') return state.lastAskedMs + FAST_MS
  const every = pace === 'waiting' ? WAITING_MS : SLOW_MS
  // At a second of its own in each period, so that what began together does not stay together.
  const slot = Math.floor(share(node) * every)
  const begun = Math.floor((state.lastAskedMs - slot) / every)
  return (begun + 1) * every + slot
}

function share(node: string): number {
  return createHash('sha256').update(node).digest().readUInt32BE(0) / 2 ** 32
}
