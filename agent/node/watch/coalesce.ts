// Many events, few looks: what a burst of file events comes to.

/** A kubelet swap of a volume is six to fourteen events within a few milliseconds. */
const QUIET_MS = 20
const AT_MOST_MS = 100

export type Coalesced = { poke(): void; cancel(): void }

/**
 * Calls `onChange` once things have been quiet for 20 ms; while they are not, every 100 ms, so that a program that
 * never stops writing is seen too. `cancel` drops what has not been reported yet.
 */
export function coalesce(onChange: () => void): Coalesced {
  let quiet: NodeJS.Timeout | undefined
  let atMost: NodeJS.Timeout | undefined
  const cancel = () => {
    clearTimeout(quiet)
    clearTimeout(atMost)
    quiet = undefined
    atMost = undefined
  }
  const fire = () => {
    cancel()
    onChange()
  }
  return {
    poke() {
      clearTimeout(quiet)
      quiet = setTimeout(fire, QUIET_MS)
      atMost ??= setTimeout(fire, AT_MOST_MS)
    },
    cancel,
  }
}
