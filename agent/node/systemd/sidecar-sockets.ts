// A Pod starts its sidecars before the agent, but does not wait until they listen: a command that runs once waits for
// them, the daemon just tries again.
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

const PATIENCE_MS = 3_000
const POLL_MS = 20

/** Resolves when all are there, or when it takes too long: what is missing then is reported where it is needed. */
export async function awaitSockets(
  sockets: readonly (string | undefined)[],
  { patienceMs = PATIENCE_MS }: { readonly patienceMs?: number } = {},
): Promise<void> {
  const deadline = performance.now() + patienceMs
  const isMissing = (socket: string | undefined) => socket !== undefined && !existsSync(socket)
  while (sockets.some(isMissing) && performance.now() < deadline) await sleep(POLL_MS)
}
