// Notices between two looks that containerd stops answering. Nothing on disk tells it: a socket outlives its process,
// and a daemon that hangs changes no file. What to do about it is the loop's to find out.
import { NO_RUNTIME } from '../../model/observed-state.ts'
import type { Clock, RuntimePulse } from '../../model/ports.ts'

/** One that is followed for this long is no longer taken for one that only seems lost again and again. */
const STEADY_MS = 60_000
const FIRST_PAUSE_MS = 1_000
const LONGEST_PAUSE_MS = 60_000

export type PulseOptions = {
  readonly clock: Clock
  readonly pulse: RuntimePulse
  readonly onLost: (reason: string) => void
}

export type PulseWatch = {
  /** After each look: where containerd answered in it; undefined where it did not, as the loop looks for it then. */
  see(socket: string | undefined): void
  close(): void
}

/**
 * A loss that the next look does not confirm is followed by a pause, each time a longer one: a node that is so busy
 * that containerd answers late must not be looked at all the time.
 */
export function watchPulse({ clock, pulse, onLost }: PulseOptions): PulseWatch {
  let followed: { readonly socket: string; close(): void } | undefined
  let waiting: AbortController | undefined
  let wasLost = false
  let pauseMs = 0

  const stop = () => {
    waiting?.abort()
    waiting = undefined
    followed?.close()
    followed = undefined
  }
  const follow = (socket: string) => {
    const since = clock.monotonic()
    const { close } = pulse(socket, (reason) => {
      followed = undefined
      wasLost = true
      if (clock.monotonic() - since >= STEADY_MS) pauseMs = 0
      onLost(reason)
    })
    followed = { socket, close }
  }
  const followLater = (socket: string, ms: number) => {
    const paused = new AbortController()
    waiting = paused
    clock.sleep(ms, { signal: paused.signal }).then(
      () => {
        waiting = undefined
        follow(socket)
      },
      () => undefined,
    )
  }
  return {
    see(socket) {
      if (socket === undefined || socket === NO_RUNTIME) {
        stop()
        wasLost = false
        pauseMs = 0
        return
      }
      if (waiting !== undefined || followed?.socket === socket) return
      stop()
      if (wasLost && pauseMs > 0) followLater(socket, pauseMs)
      else follow(socket)
      if (wasLost) pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, 2 * pauseMs))
      wasLost = false
    },
    close: stop,
  }
}
