// Brings up a containerd that may be down because of files that have just been put back: a way back of the machine
// without anything to put back. It asks nothing first and waits for nothing but containerd.
import { createHash } from 'node:crypto'
import type { DesiredState } from '../../model/desired-state.ts'
import { asAgentError } from '../../model/errors.ts'
import type { RuntimeMemory } from '../../model/restart.ts'
import type { RunPorts } from '../../model/run-ports.ts'
import { Machine } from '../../restart/driver.ts'
import { machinePorts } from './machine-ports.ts'
import { chooseRestart, rememberDaemon } from './restart.ts'

/**
 * Which containers ran before is not known any more; that the runtime was ready is, or it would not have been
 * restarted.
 */
const READY: RuntimeMemory = { runtimeReady: true, networkReady: false, containers: [] }

/**
 * `loaded`: SHA-256 of what containerd has read, where that is known to be another config.toml; it is then restarted
 * even if it answers. False: containerd does not answer, or it may not be restarted; the log says why.
 */
export async function reviveContainerd(
  { socket, configFile }: { readonly socket: string; readonly configFile: string },
  desired: DesiredState,
  ports: RunPorts,
  loaded?: string | null,
): Promise<boolean> {
  try {
    const [process] = await ports.processes.listeningOn(socket)
    const way = await chooseRestart(desired.restart, { socket, process, unit: undefined }, ports)
    if (way.kind === 'none') throw new Error(way.reason)
    const daemon = await rememberDaemon(way, socket, ports)
    const state = await ports.files.readFollowing(configFile)
    const hash = state.kind === 'file' ? createHash('sha256').update(state.bytes).digest('hex') : null
    const machine = await Machine.arm(machinePorts(ports), 'agent', {
      id: `revive-${new Date(ports.clock.now()).toISOString()}`,
      reason: 'containerd has to load the configuration that was put back',
      ...(way.kind === 'systemd' ? { unit: way.unit } : {}),
      socket,
      configFile,
      // Whatever runs, if anything: what it has loaded is not what lies there.
      daemon: { ...daemon, pid: 0 },
      runtime: READY,
      before: hash,
      after: loaded === undefined ? hash : loaded,
    })
    const driven = await machine.revert({ code: 'RESTART_FAILED', message: 'the configuration was put back' })
    machine.leave()
    ports.log.warn('containerd-revived', { socket, end: driven.end })
    return driven.end === 'reverted'
  } catch (thrown) {
    const error = asAgentError(thrown)
    ports.log.error('containerd-not-revived', { socket, code: error.code, error: error.message, remedy: error.remedy })
    return false
  }
}
