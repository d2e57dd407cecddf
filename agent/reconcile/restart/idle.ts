// The quiet window: containerd is restarted when no image is being downloaded and no container is being made, if that
// comes soon. The rule: the wait is bounded, and what no longer moves delays nothing; containerd resumes a download
// that was cut short.
import { asAgentError } from '../../model/errors.ts'
import type { Clock, CriClient, RuntimeActivity } from '../../model/ports.ts'

/** The loop comes back by itself; a person waits in front of a terminal. */
export const QUIET_PATIENCE_MS = 30_000
export const QUIET_PATIENCE_BY_HAND_MS = 10_000

const POLL_MS = 200
const CALL_MS = 2_000
/**
 * containerd writes a download in steps of 1 MiB: at 35 kB/s one takes 30 s. What a killed pull left behind never moves
 * again.
 */
const STALLED_MS = 30_000
const ENDLESS_MS = 600_000
/** The kubelet starts what it creates within moments; older ones were forgotten. */
const CREATED_MS = 120_000
/** What seems to rest is watched for this long: the wall clock may have been set since containerd noted its times. */
const OBSERVED_MS = 5_000
/** What one process may be ahead of another that reads the same clock, and a little more. */
const CLOCKS_APART_MS = 1_000

/** Waits until nothing is in flight. Answers why containerd should not be restarted now, or nothing. */
export async function awaitQuiet(
  cri: CriClient,
  {
    clock,
    patienceMs,
    signal,
  }: { readonly clock: Clock; readonly patienceMs: number; readonly signal?: AbortSignal | undefined },
): Promise<string | undefined> {
  const deadline = clock.monotonic() + patienceMs
  const seen: Seen = new Map()
  let wasBusy = false
  for (;;) {
    const busy = await reasonToWait(cri, clock, seen, signal)
    if (busy === undefined && !wasBusy) return undefined
    // Between two layers of one image there is a moment without any: what was busy has to be quiet twice.
    wasBusy = busy !== undefined
    if (busy !== undefined && clock.monotonic() + POLL_MS > deadline)
      return `${busy}; waited ${Math.round(patienceMs / 1000)} s for it to end`
    await clock.sleep(POLL_MS, { signal })
  }
}

async function reasonToWait(
  cri: CriClient,
  clock: Clock,
  seen: Seen,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  try {
    const activity = await cri.activity({ timeoutMs: CALL_MS, signal })
    return inFlight(activity, { wall: clock.now(), monotonic: clock.monotonic() }, seen)
  } catch (thrown) {
    signal?.throwIfAborted()
    return `containerd cannot be asked what it is doing: ${asAgentError(thrown).message}`
  }
}

/** What was seen at rest, by what it was and when it last moved, and since when (monotonic). */
export type Seen = Map<string, number>

/**
 * What a restart would interrupt, in words; undefined: nothing. By containerd's own times where they can be those of
 * something that moves. What they call old, or of the future, may be so because a clock was set: it holds up the restart
 * for a few seconds more, and goes on doing so where it moves meanwhile. `seen` is kept from one look to the next.
 */
export function inFlight(
  { downloads, created }: RuntimeActivity,
  now: { readonly wall: number; readonly monotonic: number },
  seen: Seen,
): string | undefined {
  const isAged = (at: string, limitMs: number) => {
    const age = now.wall - Date.parse(at)
    return age < -CLOCKS_APART_MS || age >= limitMs
  }
  const isAtRest = (key: string) => {
    const since = seen.get(key)
    if (since === undefined) seen.set(key, now.monotonic)
    return since !== undefined && now.monotonic - since >= OBSERVED_MS
  }
  const moving = downloads.filter(({ startedAt, updatedAt }) => {
    const isEndless = now.wall - Date.parse(startedAt) >= ENDLESS_MS
    const rests = isAtRest(isEndless ? startedAt : `${startedAt} ${updatedAt}`)
    return !rests || !(isEndless || isAged(updatedAt, STALLED_MS))
  })
  const starting = created.filter(({ id, createdAt }) => !isAtRest(id) || !isAged(createdAt, CREATED_MS))
  const parts = [
    ...(moving.length > 0 ? [`image pulls are in flight (${count(moving.length, 'download')})`] : []),
    ...(starting.length > 0 ? [`${count(starting.length, 'container')} created and not started yet`] : []),
  ]
  return parts.length === 0 ? undefined : parts.join(', ')
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
