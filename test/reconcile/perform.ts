// One of the agent's real runs on a scratch root, as a fresh process of it would do.
import type { DesiredState } from '../../agent/model/desired-state.ts'
import { applyRun } from '../../agent/reconcile/reconcile.ts'
import { rollbackRun } from '../../agent/reconcile/revert.ts'
import type { Run, RunPorts } from '../../agent/reconcile/run.ts'
import { uninstallRun } from '../../agent/reconcile/uninstall.ts'
import { scratchPorts } from '../fakes/scratch-runtime.ts'

export type Step = { readonly command: 'apply' | 'rollback' | 'uninstall'; readonly desired: DesiredState }
export async function perform(
  { command, desired: wanted }: Step,
  root: string,
  ports: RunPorts = scratchPorts(root),
): Promise<Run> {
  const options = { address: undefined, byHand: true, consentUnrehearsed: false }
  switch (command) {
    case 'apply':
      return applyRun(wanted, options, ports)
    case 'rollback':
      return rollbackRun(wanted, options, ports)
    case 'uninstall':
      return uninstallRun(wanted, options, ports)
    default:
      throw command satisfies never
  }
}
