// The quiet window: containerd is restarted when no image is being downloaded and no container is being made, if that
// comes soon. The rule: the wait is bounded, and what moves no more holds up nothing; containerd resumes a download
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
  let wasBusy = false
  for (;;) {
    const busy = await look(cri, clock, signal)
    if (busy === undefined && !wasBusy) return undefined
    // Between two layers of one image there is a moment without any: what was busy has to be quiet twice.
    wasBusy = busy !== undefined
    if (busy !== undefined && clock.monotonic() + POLL_MS > deadline)
      return `${busy}; waited ${Math.round(patienceMs / 1000)} s for it to end`
    await clock.sleep(POLL_MS, { signal })
  }
}

async function look(cri: CriClient, clock: Clock, signal: AbortSignal | undefined): Promise<string | undefined> {
  try {
    return inFlight(await cri.activity({ timeoutMs: CALL_MS, signal }), clock.now())
  } catch (thrown) {
    signal?.throwIfAborted()
    return `containerd cannot be asked what it is doing: ${asAgentError(thrown).message}`
  }
}

/** What a restart would interrupt, in words. Pure. */
export function inFlight({ downloads, created }: RuntimeActivity, now: number): string | undefined {
  const age = (at: string) => now - Date.parse(at)
  const moving = downloads.filter(
    ({ startedAt, updatedAt }) => age(updatedAt) < STALLED_MS && age(startedAt) < ENDLESS_MS,
  )
  const starting = created.filter(({ createdAt }) => age(createdAt) < CREATED_MS)
  const parts = [
    ...(moving.length > 0 ? [`image pulls are in flight (${count(moving.length, 'download')})`] : []),
    ...(starting.length > 0 ? [`${count(starting.length, 'container')} created and not started yet`] : []),
  ]
  return parts.length === 0 ? undefined : parts.join(', ')
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`
}
