// After a crash in the middle of a restart: the old files are back, but containerd may have been started with the new ones and be dead
// of them. Only then is it restarted here, and nothing is asked first: the way back waits for nothing.
import type { DesiredState } from '../../model/desired-state.ts'
import { asAgentError } from '../../model/errors.ts'
import type { Log } from '../../model/ports.ts'
import type { RestartPorts } from '../../model/run-ports.ts'
import { chooseRestart, type RuntimeBefore, restartContainerd } from './restart.ts'

/** Which containers ran before is not known any more; that the runtime was ready is, or it would not have been restarted. */
const READY: RuntimeBefore = { status: { runtimeReady: true, networkReady: false }, containers: [] }

export async function reviveContainerd(
  socket: string,
  desired: DesiredState,
  ports: RestartPorts & { readonly log: Log },
): Promise<void> {
  try {
    const [process] = await ports.processes.listeningOn(socket)
    const way = await chooseRestart(desired.restart, { socket, process, unit: undefined }, ports)
    const { durationMs } = await restartContainerd(way, { socket }, READY, ports)
    ports.log.warn('containerd-revived', { socket, durationMs })
  } catch (thrown) {
    const error = asAgentError(thrown)
    ports.log.error('containerd-not-revived', { socket, code: error.code, error: error.message, remedy: error.remedy })
  }
}
