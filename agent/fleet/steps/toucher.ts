// Tells Pods what is due: paced, never the same twice while the watch has not shown it yet, and ever more slowly while
// the API server refuses.
import { asAgentError } from '../../model/errors.ts'
import type { FleetApi, SeenPod } from '../../model/fleet-cluster.ts'
import type { Log } from '../../model/ports.ts'
import { Pause } from '../pace/pause.ts'
import { TokenBucket } from '../pace/token-bucket.ts'
import { type TouchInput, touchesDue } from './touches.ts'

/** A touch that the watch has not shown yet is not made again. */
const SETTLE_MS = 10_000
/** A Pod that the server refuses is tried again after this time, twice as long after each refusal. */
const FIRST_RETRY_MS = 1_000
const LONGEST_RETRY_MS = 60_000

export type Toucher = {
  /** Returns at once; at most `perSecond` Pods are touched. */
  touch(input: Omit<TouchInput, 'limit' | 'pods'>, pods: ReadonlyMap<string, SeenPod>, perSecond: number): void
  /** Milliseconds of the monotonic clock; undefined where it was not told by this component. */
  toldAtMs(pod: string): number | undefined
  readonly count: number
}

type Told = {
  readonly note: string
  readonly atMs: number
  readonly quietUntilMs: number
  /** Since the last success. */
  readonly failures: number
}

export type ToucherOptions = {
  readonly api: Pick<FleetApi, 'annotatePod'>
  readonly now: () => number
  readonly log: Log
}

export function createToucher({ api, now, log }: ToucherOptions): Toucher {
  // Turns come about once a second: one that is late must not cost a part of the rate.
  const bucket = new TokenBucket(2)
  const told = new Map<string, Told>()
  let count = 0
  const pause = new Pause()

  const tell = async (pod: SeenPod, note: string) => {
    const begunMs = now()
    const failures = told.get(pod.name)?.failures ?? 0
    told.set(pod.name, { note, atMs: begunMs, quietUntilMs: begunMs + SETTLE_MS, failures: 0 })
    count += 1
    try {
      await api.annotatePod(pod, note)
      pause.succeeded()
    } catch (thrown) {
      const quietUntilMs = now() + Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures)
      told.set(pod.name, { note, atMs: begunMs, quietUntilMs, failures: failures + 1 })
      if (pause.refused(begunMs, now()))
        log.warn('touch-failed', { pod: pod.name, error: asAgentError(thrown).message })
    }
  }
  return {
    touch(input, pods, perSecond) {
      const nowMs = now()
      const limit = bucket.available(perSecond, nowMs)
      for (const name of told.keys()) if (!pods.has(name)) told.delete(name)
      if (!pause.isOver(nowMs)) return
      const free = [...pods.values()].filter(({ name, note }) => {
        const last = told.get(name)
        return last === undefined || last.note === note || nowMs > last.quietUntilMs
      })
      const due = touchesDue({ ...input, pods: free, limit })
      // An allowance that was not used in time is not saved up.
      bucket.spend(Math.max(due.length, limit - perSecond))
      for (const { pod, note } of due) void tell(pod, note)
    },
    toldAtMs: (pod) => told.get(pod)?.atMs,
    get count() {
      return count
    },
  }
}
