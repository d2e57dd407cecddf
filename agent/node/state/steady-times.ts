// A state store whose times stay right when the wall clock is set: what was an hour ago is an hour ago by the new clock
// too. Within one boot by the monotonic clock; over a reboot there is only the wall clock, and nothing is of the future.
import type { Clock, StateStore } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'

/** Clocks are slewed and read one after the other: a smaller difference is not a step. */
const LEAST_STEP_MS = 2_000

type Moment = { readonly wall: number; readonly uptimeMs: number; readonly bootId: string }

export function withSteadyTimes(
  store: StateStore,
  { clock, bootId }: { readonly clock: Pick<Clock, 'now' | 'monotonic'>; readonly bootId: string },
): StateStore {
  const now = (): Moment => ({ wall: clock.now(), uptimeMs: clock.monotonic(), bootId })
  return {
    ...store,
    load: async () => byTheClockOf(now(), await store.load()),
    save(state) {
      const { wall, uptimeMs } = now()
      return store.save({ ...state, clock: { bootId, bootedAt: Math.round(wall - uptimeMs) } })
    },
  }
}

/** The times that decide something, as the clock of `now` would have noted them, and none later than now. Pure. */
export function byTheClockOf({ wall, uptimeMs, bootId }: Moment, state: AgentState): AgentState {
  const { clock, heals, withdrawn } = state
  const step = clock !== undefined && clock.bootId === bootId && bootId !== '' ? wall - uptimeMs - clock.bootedAt : 0
  const shift = Math.abs(step) < LEAST_STEP_MS ? 0 : step
  const steady = (at: string) => {
    const time = Date.parse(at) + shift
    return Number.isNaN(time) || (shift === 0 && time <= wall) ? at : new Date(Math.min(time, wall)).toISOString()
  }
  return {
    ...state,
    ...(heals === undefined
      ? {}
      : { heals: Object.fromEntries(Object.entries(heals).map(([path, times]) => [path, times.map(steady)])) }),
    ...(withdrawn === undefined ? {} : { withdrawn: withdrawn.map((one) => ({ ...one, at: steady(one.at) })) }),
  }
}
