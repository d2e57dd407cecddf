// `registry-trust rollback`: back to the last committed state before the current one.

import type { Run } from '../../model/run.ts'
import { rollbackRun } from '../../reconcile/run/leaving/rollback.ts'
import { applyJson, formatApply } from '../output/run.ts'
import type { Wiring } from '../wiring.ts'
import { answer, withConfig } from './with-config.ts'

export async function rollbackCommand(wiring: Wiring): Promise<number> {
  return withConfig(wiring, async (desired) => {
    const options = {
      address: wiring.options.containerdAddress,
      byHand: true,
      consentUnrehearsed: true,
      signal: wiring.signal,
    }
    const run = await rollbackRun(desired, options, wiring.ports)
    answer(wiring, applyJson(run), (paint) => formatApply(run, paint))
    return rollbackExit(run)
  })
}

/** Here going back is what was asked for; with an error the node is as it was before the command. */
function rollbackExit({ outcome, error }: Run): number {
  if (outcome === 'rolled-back') return error === undefined ? 0 : 4
  if (outcome === 'deferred') return 6
  return outcome === 'rollback-failed' ? 5 : 1
}
