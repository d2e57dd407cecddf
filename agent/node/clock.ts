// The system clock (port Clock): the only place that sleeps.
import { setTimeout } from 'node:timers/promises'
import type { Clock } from '../model/ports.ts'

export function systemClock(): Clock {
  return {
    now: () => Date.now(),
    // libuv reads CLOCK_MONOTONIC for it, on Linux always.
    monotonic: () => Number(process.hrtime.bigint() / 1000n) / 1000,
    async sleep(ms, options = {}) {
      const { signal } = options
      try {
        await setTimeout(ms, undefined, signal === undefined ? {} : { signal })
      } catch (error) {
        signal?.throwIfAborted()
        throw error
      }
    },
  }
}
