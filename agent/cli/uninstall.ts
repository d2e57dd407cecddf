// `registry-trust uninstall`: removes what the agent owns, restores what it edited. Works without a valid configuration.
import { uninstallRun } from '../reconcile/uninstall.ts'
import { applyExit } from './exit-codes.ts'
import { applyJson, formatApply } from './format-run.ts'
import type { Wiring } from './wiring.ts'

export async function uninstallCommand({ options, ports, loadConfig, paint, print, signal }: Wiring): Promise<number> {
  const loaded = await loadConfig()
  const desired = loaded.ok ? loaded.desired : undefined
  const runOptions = {
    address: options.containerdAddress,
    byHand: true,
    consentUnrehearsed: options.consentUnrehearsed,
    signal,
  }
  const run = await uninstallRun(desired, runOptions, ports)
  print(options.json ? `${JSON.stringify(applyJson(run), null, 2)}\n` : formatApply(run, paint))
  return applyExit(run, { anchors: [], registries: [] })
}
