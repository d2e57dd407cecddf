// What is done when a restart is over: the kept original goes, and the ledger learns how it went.
import type { RestartRecord, RestartStore } from '../model/restart.ts'

/** Steps that do not depend on each other; each may be done again, and throws AgentError. */
export function putAway(
  { configFile, id, phase }: RestartRecord,
  restarts: RestartStore,
): readonly (() => Promise<void>)[] {
  return [
    // Asked first: where nothing is kept, a read-only folder is no fault.
    () => twice(async () => ((await restarts.isKept(configFile)) ? restarts.forget(configFile) : undefined)),
    () => twice(() => restarts.ledger.settle(id, phase === 'committed' ? 'ok' : 'rolled-back')),
  ]
}

/** What fails is tried once more: after an uninstall no later run removes what is left. */
function twice(work: () => Promise<void>): Promise<void> {
  return work().catch(() => work())
}
