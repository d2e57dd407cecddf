// Restarting containerd: which way, whether it may be done at all, and what has to be as before afterwards.
// SIGHUP is never used: it ends the daemon. Source of the limits: containerd's unit file, systemd.service(5).
// This room: restarting containerd: whether, how, and what has to be as before.
// Begin here; then gate.ts (may it be restarted now), guarded.ts (and taken back).
// May touch: containerd's unit, through the port Systemd, with the permit held.

import { posix } from 'node:path'
import { configFileOf } from '../../containerd/unit-config.ts'
import type { RestartSettings } from '../../model/desired-state.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { CriClient, Processes, RuntimeStatus, UnitFacts } from '../../model/ports.ts'
import type { RestartRecord, RuntimeMemory } from '../../model/restart.ts'
import type { RestartPorts } from '../../model/run-ports.ts'

const CALL_MS = 2_000

export type RestartSubject = Pick<ContainerdFacts, 'socket' | 'process' | 'unit'> &
  Partial<Pick<ContainerdFacts, 'configFile'>>

export type RestartWay =
  | { readonly kind: 'systemd'; readonly unit: string }
  | { readonly kind: 'signal' }
  /** `passes`: it may be otherwise in a moment, without an event that tells it. */
  | { readonly kind: 'none'; readonly reason: string; readonly passes?: true }

/** Decides how this node's containerd would be restarted. Never throws: what cannot be done is a way too. */
export async function chooseRestart(
  settings: RestartSettings,
  facts: RestartSubject,
  { systemd, processes }: Pick<RestartPorts, 'systemd' | 'processes'>,
): Promise<RestartWay> {
  if (settings.strategy === 'never') return none('restart.strategy is never')
  if (settings.strategy === 'signal') return chooseSignal(facts, processes)
  const isAvailable = await systemd.isAvailable()
  if (!isAvailable && systemd.restarter !== undefined) {
    const reason = `the restarter at ${systemd.restarter} does not answer, or sees no systemd: its container's log says more`
    return { kind: 'none', reason, passes: true }
  }
  if (!isAvailable)
    return none(
      'the agent has no way to restart containerd here: systemd does not answer on D-Bus, and only profile full has ' +
        'that way in a Pod. Run profile full on this node once; set restart.strategy to signal if a supervisor ' +
        'starts containerd again',
    )
  const name =
    settings.unit === 'auto' ? (facts.process?.unit ?? facts.unit?.name ?? 'containerd.service') : settings.unit
  const unit = await systemd.unit(name)
  if (unit === undefined) return none(`systemd knows no unit ${name}`)
  if (unit.loadState !== 'loaded')
    return none(`unit ${name} cannot be started: systemd says that it is ${unit.loadState}`)
  if (facts.process !== undefined && unit.mainPid !== facts.process.pid)
    return none(
      `unit ${name} runs process ${unit.mainPid}, but ${facts.socket} belongs to process ${facts.process.pid}`,
    )
  if (unit.killMode !== 'process' && unit.killMode !== 'mixed')
    return none(`unit ${name} has KillMode=${unit.killMode}: a restart would kill the running containers`)
  if (unit.killMode === 'mixed')
    return none(`unit ${name} has KillMode=mixed: a restart would kill the running containers after its stop timeout`)
  const obstacle = obstacleOf(unit) ?? otherFile(unit, facts)
  if (obstacle !== undefined) return none(obstacle)
  return { kind: 'systemd', unit: name }
}

function obstacleOf({ name, obstacles = [] }: UnitFacts): string | undefined {
  const [first] = obstacles
  if (first === undefined) return undefined
  return first.startsWith('Refuse')
    ? `unit ${name} has ${first}: systemd does not allow restarting it`
    : `unit ${name} has ${first}: a restart that fails would not leave the node as it is`
}

/**
 * Somebody changed the command line of the unit since its containerd was started, and the new one has not been tried
 * yet.
 */
function otherFile(unit: UnitFacts, { process, configFile }: RestartSubject): string | undefined {
  if (process === undefined || configFile === undefined) return undefined
  // A wrapper's command line does not tell what it starts.
  const [program] = unit.execStart
  if (program === undefined || posix.basename(program) !== posix.basename(process.executable)) return undefined
  const next = configFileOf(unit)
  if (next === configFile) return undefined
  const now = `unit ${unit.name} would start containerd with ${next}, and the running one has ${configFile}`
  return `${now}: its command line has changed since. Restart it by hand, or put the unit back`
}

async function chooseSignal(facts: RestartSubject, processes: Processes): Promise<RestartWay> {
  const owners = await processes.listeningOn(facts.socket)
  if (owners.length > 1) return none(`${owners.length} processes listen on ${facts.socket}`)
  return { kind: 'signal' }
}

function none(reason: string): RestartWay {
  return { kind: 'none', reason }
}

/** What has to be the same after the restart. */
export async function rememberRuntime(cri: CriClient, status: RuntimeStatus): Promise<RuntimeMemory> {
  const running = await cri.runningContainers({ timeoutMs: CALL_MS })
  const containers = await Promise.all(running.map(({ id }) => cri.containerStart(id, { timeoutMs: CALL_MS })))
  const { runtimeReady, networkReady } = status
  return { runtimeReady, networkReady, containers }
}

/** The daemon that runs now, as the machine recognises it again. */
export async function rememberDaemon(
  way: Extract<RestartWay, { kind: 'systemd' | 'signal' }>,
  socket: string,
  { systemd, processes }: Pick<RestartPorts, 'systemd' | 'processes'>,
): Promise<RestartRecord['daemon']> {
  if (way.kind === 'systemd') {
    const unit = await systemd.unit(way.unit)
    return { pid: unit?.mainPid ?? 0, ...(unit?.executedAt === undefined ? {} : { beganAt: unit.executedAt }) }
  }
  const [owner] = await processes.listeningOn(socket)
  if (owner === undefined) return { pid: 0 }
  const { pid, executable, argv } = owner
  return { pid, command: { executable, argv } }
}
