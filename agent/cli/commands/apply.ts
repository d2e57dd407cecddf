// `registry-trust apply`: one transaction, always proved. Under `mode: audit` it is `plan`.
import { applyRun } from '../../reconcile/run/entry.ts'
import { applyExit } from '../exit-codes.ts'
import { applyJson, formatApply } from '../output/run.ts'
import type { Wiring } from '../wiring.ts'
import { planCommand } from './plan.ts'
import { answer, keepFragments, withConfig } from './with-config.ts'

export async function applyCommand(wiring: Wiring): Promise<number> {
  return withConfig(wiring, async (desired, loaded) => {
    if (desired.mode === 'audit') return planCommand(wiring)
    const { consentUnrehearsed, containerdAddress, allowOrphan } = wiring.options
    const options = { address: containerdAddress, byHand: true, consentUnrehearsed, allowOrphan, signal: wiring.signal }
    const run = await applyRun(desired, options, wiring.ports)
    await keepFragments(wiring, loaded)
    answer(wiring, applyJson(run), (paint) => formatApply(run, paint))
    return applyExit(run, desired)
  })
}
