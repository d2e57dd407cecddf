// `registry-trust apply`: one transaction, always proved. Under `mode: audit` it is `plan`.
import { applyRun } from '../reconcile/reconcile.ts'
import { applyExit } from './exit-codes.ts'
import { formatProblems } from './format.ts'
import { applyJson, formatApply } from './format-run.ts'
import { planCommand } from './plan.ts'
import type { Wiring } from './wiring.ts'

export async function applyCommand(wiring: Wiring): Promise<number> {
  const { options, ports, loadConfig, paint, print, signal } = wiring
  const loaded = await loadConfig()
  if (!loaded.ok) {
    print(
      options.json
        ? `${JSON.stringify({ problems: loaded.problems }, null, 2)}\n`
        : formatProblems(loaded.problems, paint),
    )
    return 1
  }
  if (loaded.desired.mode === 'audit') return planCommand(wiring)
  const runOptions = {
    address: options.containerdAddress,
    byHand: true,
    consentUnrehearsed: options.consentUnrehearsed,
    allowOrphan: options.allowOrphan,
    signal,
  }
  const run = await applyRun(loaded.desired, runOptions, ports)
  print(options.json ? `${JSON.stringify(applyJson(run), null, 2)}\n` : formatApply(run, paint))
  return applyExit(run, loaded.desired)
}
