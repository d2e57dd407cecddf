// `registry-trust plan`: what would change here and why, with the rehearsal's verdict. Never writes.
import { planRun } from '../reconcile/reconcile.ts'
import { planExit } from './exit-codes.ts'
import { formatProblems } from './format.ts'
import { formatPlan, planJson } from './format-run.ts'
import { harmless } from './terminal.ts'
import type { Wiring } from './wiring.ts'

export async function planCommand({ options, ports, loadConfig, paint, print, signal }: Wiring): Promise<number> {
  const loaded = await loadConfig()
  if (!loaded.ok) {
    print(
      options.json
        ? `${JSON.stringify({ problems: loaded.problems }, null, 2)}\n`
        : formatProblems(loaded.problems, paint),
    )
    return 1
  }
  const runOptions = {
    address: options.containerdAddress,
    byHand: true,
    consentUnrehearsed: options.consentUnrehearsed,
    signal,
  }
  const run = await planRun(loaded.desired, runOptions, ports)
  print(options.json ? `${JSON.stringify(planJson(run), null, 2)}\n` : formatPlan(run, paint))
  if (!options.json && loaded.problems.length > 0)
    print(loaded.problems.map(({ message }) => `${harmless(message)}\n`).join(''))
  return planExit(run)
}
