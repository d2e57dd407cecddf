// What others made of a file that is the agent's alone is overwritten or removed with the next change of it. Before
// that it gets a copy, so that nobody's work is lost.
import type { JournalStep } from '../../model/ports.ts'
import type { TransactionPorts } from '../../model/run-ports.ts'
import type { AgentState } from '../../model/state.ts'
import { orLog } from './tidy.ts'

/**
 * Copies to the backup folder what lies at these steps and is not what the agent left there; `steps` are captured and
 * not yet begun. Returns the copies by path, as the audit log has them. A copy that cannot be made is told and stops nothing.
 */
export async function keepOthersWork(
  steps: readonly JournalStep[],
  owned: AgentState['owned'],
  ports: TransactionPorts,
): Promise<{ readonly keptAs?: { readonly [path: string]: string } }> {
  const { store, log } = ports
  const copies: { [path: string]: string } = {}
  for (const { path, before } of steps) {
    const owner = owned[path]
    if (owner?.kind !== 'whole' || before.kind !== 'file' || before.sha256 === owner.sha256) continue
    await orLog(ports, async () => {
      const copy = await store.keepCopy(path, await store.backup(before.sha256))
      if (copy === undefined) return
      copies[path] = copy
      log.warn('others-edit-kept', { path, keptAs: copy })
    })
  }
  return Object.keys(copies).length === 0 ? {} : { keptAs: copies }
}
