// `registry-trust migrate`: as `apply`, and moves every legacy registry section of config.toml to hosts.toml files.
import { applyRun } from '../reconcile/reconcile.ts'
import { answer, withConfig } from './configured.ts'
import { applyExit } from './exit-codes.ts'
import { applyJson, formatApply } from './format-run.ts'
import type { Wiring } from './wiring.ts'

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
    const run = await applyRun(desired, options, wiring.ports)
    answer(wiring, applyJson(run), (paint) => formatApply(run, paint))
    return applyExit(run, desired)
  })
}
