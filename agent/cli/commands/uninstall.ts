// `registry-trust uninstall`: removes what the agent owns, restores what it edited. Works without a valid
// configuration.
import type { ErrorCode } from '../../model/errors.ts'
import { uninstallRun } from '../../reconcile/run/leaving/uninstall.ts'
import { applyExit } from '../exit-codes.ts'
import { applyJson, formatApply } from '../output/run.ts'
import type { Wiring } from '../wiring.ts'
import { answer } from './with-config.ts'

const STAYS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'TARGET_NOT_MOUNTED',
  'TARGET_READ_ONLY',
  'OWNERSHIP_UNSURE',
  'ROLLBACK_INCOMPLETE',
])

export async function uninstallCommand(wiring: Wiring): Promise<number> {
  const { consentUnrehearsed, containerdAddress } = wiring.options
  const loaded = await wiring.loadConfig()
  const desired = loaded.ok ? loaded.desired : undefined
  const options = { address: containerdAddress, byHand: true, consentUnrehearsed, signal: wiring.signal }
  const run = await uninstallRun(desired, options, wiring.ports)
  answer(wiring, applyJson(run), (paint) => formatApply(run, paint))
  const code = applyExit(run, { anchors: [], registries: [] })
  // Something of ours is still there, where this Pod cannot reach it.
  return code === 0 && run.problems.some(({ code: each }) => STAYS.has(each)) ? 3 : code
}
