// `registry-trust migrate`: as `apply`, and moves every legacy registry section of config.toml to hosts.toml files.
// Under `mode: audit` it only shows what it would do.
import { applyRun, planRun } from '../../reconcile/run/entry.ts'
import { applyExit, planExit } from '../exit-codes.ts'
import { applyJson, formatApply, formatPlan, planJson } from '../output/run.ts'
import type { Wiring } from '../wiring.ts'
import { answer, withConfig } from './with-config.ts'

export async function migrateCommand(wiring: Wiring): Promise<number> {
  return withConfig(wiring, async (desired) => {
    const { consentUnrehearsed, containerdAddress } = wiring.options
    const options = {
      address: containerdAddress,
      byHand: true,
      consentUnrehearsed,
      migrateAll: true,
      signal: wiring.signal,
    }
    if (desired.mode === 'audit') {
      const plan = await planRun(desired, options, wiring.ports)
      answer(wiring, planJson(plan), (paint) => formatPlan(plan, paint))
      return planExit(plan)
    }
    const run = await applyRun(desired, options, wiring.ports)
    answer(wiring, applyJson(run), (paint) => formatApply(run, paint))
    return applyExit(run, desired)
  })
}
