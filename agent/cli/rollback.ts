// `registry-trust rollback`: back to the last committed state before the current one.
import { rollbackRun } from '../reconcile/revert.ts'
import { formatProblems } from './format.ts'
import { applyJson, formatApply } from './format-run.ts'
import type { Wiring } from './wiring.ts'

export async function rollbackCommand({ options, ports, loadConfig, paint, print, signal }: Wiring): Promise<number> {
  const loaded = await loadConfig()
  if (!loaded.ok) {
    print(
      options.json
        ? `${JSON.stringify({ problems: loaded.problems }, null, 2)}\n`
        : formatProblems(loaded.problems, paint),
    )
    return 1
  }
  const runOptions = { address: options.containerdAddress, byHand: true, consentUnrehearsed: true, signal }
  const run = await rollbackRun(loaded.desired, runOptions, ports)
  print(options.json ? `${JSON.stringify(applyJson(run), null, 2)}\n` : formatApply(run, paint))
  if (run.outcome === 'rolled-back') return run.error === undefined ? 0 : 4
  if (run.outcome === 'deferred') return 6
  return run.outcome === 'rollback-failed' ? 5 : 1
}
