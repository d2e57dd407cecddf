// `registry-trust migrate`: as `apply`, and moves every legacy registry section of config.toml to hosts.toml files.
import { applyRun } from '../reconcile/reconcile.ts'
import { applyExit } from './exit-codes.ts'
import { formatProblems } from './format.ts'
import { applyJson, formatApply } from './format-run.ts'
import type { Wiring } from './wiring.ts'

export async function migrateCommand({ options, ports, loadConfig, paint, print, signal }: Wiring): Promise<number> {
  const loaded = await loadConfig()
  if (!loaded.ok) {
    print(
      options.json
        ? `${JSON.stringify({ problems: loaded.problems }, null, 2)}\n`
        : formatProblems(loaded.problems, paint),
    )
    return 1
  }
  const { consentUnrehearsed, containerdAddress } = options
  const runOptions = { address: containerdAddress, byHand: true, consentUnrehearsed, migrateAll: true, signal }
  const run = await applyRun(loaded.desired, runOptions, ports)
  print(options.json ? `${JSON.stringify(applyJson(run), null, 2)}\n` : formatApply(run, paint))
  return applyExit(run, loaded.desired)
}
