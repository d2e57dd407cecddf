// A person's restart through the restarter waits out the minute that the restarter demands after the last one, instead
// of being refused.
import type { Clock, RestartPermit } from '../model/ports.ts'
import type { RestartStore } from '../model/restart.ts'
import { ageOf, LEAST_PAUSE_MS } from './ledger.ts'

export function pausedPermit(
  permit: RestartPermit,
  { restarts, clock }: { readonly restarts: RestartStore; readonly clock: Clock },
): RestartPermit {
  return {
    async ask(request) {
      if (request.byHand) {
        const now = { wall: clock.now(), uptimeMs: clock.monotonic(), bootId: restarts.bootId }
        const ages = (await restarts.ledger.read()).map((entry) => ageOf(entry, now))
        await clock.sleep(Math.max(0, LEAST_PAUSE_MS - Math.min(LEAST_PAUSE_MS, ...ages)))
      }
      return permit.ask(request)
    },
  }
}
