// Restarting containerd: which way, whether it may be done at all, and whether the runtime came back as it was.
// SIGHUP is never used: it ends the daemon. Source of the limits: containerd's unit file, systemd.service(5).
// This room: restarting containerd: whether, how, and what has to be as before.
// Begin here; then gate.ts (may it be restarted now), guarded.ts (and taken back).
// May touch: containerd's unit, through the port Systemd, with the permit held.

import type { RestartSettings } from '../../model/desired-state.ts'
import { AgentError, asAgentError } from '../../model/errors.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { ContainerStart, CriClient, Processes, RuntimeStatus, Systemd } from '../../model/ports.ts'
import type { RestartPorts } from '../../model/run-ports.ts'

/**
 * From the restart until the runtime is as before. The cluster sees a node that stays down longer than 30 s as NotReady, and the way back
 * has to fit in as well.
 */
const PATIENCE_MS = 15_000
/** With the old files there is nothing left to fall back on: a slow node is waited for. */
export const ROLLBACK_PATIENCE_MS = 60_000
/** The job may have used up the patience; the socket follows within milliseconds. */
const LEAST_MS = 3_000
const STOP_DEADLINE_MS = 10_000
const POLL_MS = 10
const CALL_MS = 2_000

export type RestartSubject = Pick<ContainerdFacts, 'socket' | 'process' | 'unit'>

export type RestartWay =
  | { readonly kind: 'systemd'; readonly unit: string }
  | { readonly kind: 'signal' }
  | { readonly kind: 'none'; readonly reason: string }

/** Decides how this node's containerd would be restarted. Never throws: what cannot be done is a way too. */
export async function chooseRestart(
  settings: RestartSettings,
  facts: RestartSubject,
  { systemd, processes }: RestartPorts,
): Promise<RestartWay> {
  if (settings.strategy === 'never') return none('restart.strategy is never')
  if (settings.strategy === 'signal') return chooseSignal(facts, processes)
  if (!(await systemd.isAvailable()))
    return none(
      'systemd does not answer on D-Bus, so nothing is known to start containerd again: in a Pod of profile hosts-proof, run profile ' +
        'full on this node once; set restart.strategy to signal if a supervisor does',
    )
  const name =
    settings.unit === 'auto' ? (facts.process?.unit ?? facts.unit?.name ?? 'containerd.service') : settings.unit
  const unit = await systemd.unit(name)
  if (unit === undefined || unit.loadState !== 'loaded') return none(`systemd knows no unit ${name}`)
  if (facts.process !== undefined && unit.mainPid !== facts.process.pid)
    return none(
      `unit ${name} runs process ${unit.mainPid}, but ${facts.socket} belongs to process ${facts.process.pid}`,
    )
  if (unit.killMode !== 'process' && unit.killMode !== 'mixed')
    return none(`unit ${name} has KillMode=${unit.killMode}: a restart would kill the running containers`)
  if (unit.killMode === 'mixed')
    return none(`unit ${name} has KillMode=mixed: a restart would kill the running containers after its stop timeout`)
  return { kind: 'systemd', unit: name }
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
export type RuntimeBefore = { readonly status: RuntimeStatus; readonly containers: readonly ContainerStart[] }

export async function rememberRuntime(cri: CriClient, status: RuntimeStatus): Promise<RuntimeBefore> {
  const running = await cri.runningContainers({ timeoutMs: CALL_MS })
  const containers = await Promise.all(running.map(({ id }) => cri.containerStart(id, { timeoutMs: CALL_MS })))
  return { status, containers }
}

export type RestartOutcome = { readonly durationMs: number; readonly notes: readonly string[] }

/**
 * Restarts containerd and waits until the runtime is as before.
 * Throws AgentError RESTART_FAILED with the reason when it is not: the caller puts the old files back.
 */
export async function restartContainerd(
  way: RestartWay,
  facts: Pick<ContainerdFacts, 'socket'>,
  before: RuntimeBefore,
  ports: RestartPorts,
  patienceMs: number = PATIENCE_MS,
): Promise<RestartOutcome> {
  const started = ports.clock.now()
  if (way.kind === 'none') throw new AgentError('RESTART_UNAVAILABLE', `containerd cannot be restarted: ${way.reason}`)
  if (way.kind === 'systemd') await restartUnit(way.unit, ports.systemd, patienceMs)
  else await signalAndWait(facts.socket, ports)
  const leftMs = Math.max(LEAST_MS, started + patienceMs - ports.clock.now())
  const notes = await awaitAsBefore(facts.socket, before, leftMs, ports)
  return { durationMs: ports.clock.now() - started, notes }
}

/** The start limit counts starts whatever their result: reset first, or the sixth restart in 10 s stops a healthy unit for good. */
async function restartUnit(unit: string, systemd: Systemd, timeoutMs: number): Promise<void> {
  await systemd.resetFailed(unit)
  const job = await systemd.restart(unit, { timeoutMs })
  if (job.result !== 'done')
    throw new AgentError(
      'RESTART_FAILED',
      `systemd: the restart job of ${unit} ended with "${job.result}" after ${job.durationMs} ms`,
    )
}

async function signalAndWait(socket: string, { processes, clock }: RestartPorts): Promise<void> {
  const [owner, ...others] = await processes.listeningOn(socket)
  if (others.length > 0)
    throw new AgentError('CONTAINERD_AMBIGUOUS', `several processes listen on ${socket}; none was signalled`)
  // No process: it is down already (a crash loop on a bad file), and the supervisor starts it again by itself.
  if (owner === undefined) return
  processes.terminate(owner.pid)
  const deadline = clock.now() + STOP_DEADLINE_MS
  while (processes.isAlive(owner.pid)) {
    if (clock.now() > deadline)
      throw new AgentError(
        'RESTART_FAILED',
        `containerd (process ${owner.pid}) did not end within ${STOP_DEADLINE_MS} ms of SIGTERM`,
      )
    await clock.sleep(POLL_MS)
  }
}

/** UNIMPLEMENTED is never a passing state of a starting containerd: it means a dead CRI plugin, at once. */
async function awaitAsBefore(
  socket: string,
  before: RuntimeBefore,
  deadlineMs: number,
  ports: RestartPorts,
): Promise<readonly string[]> {
  const cri = ports.connectCri(socket)
  const deadline = ports.clock.now() + deadlineMs
  let last = new AgentError('CRI_UNREACHABLE', `${socket} did not answer`)
  try {
    while (ports.clock.now() < deadline) {
      try {
        await cri.version({ timeoutMs: CALL_MS })
        const status = await cri.status({ timeoutMs: CALL_MS })
        const notYet = readiness(status, before.status)
        if (notYet === undefined) return await compareContainers(cri, before.containers, ports.processes)
        last = new AgentError('RESTART_FAILED', notYet)
      } catch (thrown) {
        last = asAgentError(thrown)
        if (last.code === 'CRI_NOT_LOADED')
          throw new AgentError(
            'RESTART_FAILED',
            `containerd runs, but its CRI plugin does not: ${last.message}`,
            {},
            { cause: last },
          )
        if (last.code === 'RESTART_FAILED') throw last
      }
      await ports.clock.sleep(POLL_MS)
    }
  } finally {
    cri.close()
  }
  const text = `the runtime did not come back within ${deadlineMs} ms: ${last.message}`
  throw new AgentError('RESTART_FAILED', text, {}, { cause: last })
}

function readiness(now: RuntimeStatus, before: RuntimeStatus): string | undefined {
  if (before.runtimeReady && !now.runtimeReady) return 'RuntimeReady is false and was true before'
  if (before.networkReady && !now.networkReady) return 'NetworkReady is false and was true before'
  return undefined
}

/** A container that ended by itself meanwhile is no harm done; one that was started again or that the runtime lost is. */
async function compareContainers(
  cri: CriClient,
  before: readonly ContainerStart[],
  processes: Processes,
): Promise<readonly string[]> {
  const notes: string[] = []
  let unknown = 0
  for (const container of before) {
    const now = await startOf(container.id, cri)
    const id = container.id.slice(0, 12)
    if (now === undefined || now.state === 'EXITED') {
      if (now === undefined) unknown += 1
      if (now === undefined && container.pid !== undefined && processes.isAlive(container.pid))
        throw new AgentError(
          'RESTART_FAILED',
          `containerd lost container ${id}, whose process ${container.pid} runs on`,
        )
      notes.push(`container ${id} ended while containerd was restarted`)
      continue
    }
    const isSame =
      now.state === container.state &&
      now.startedAt === container.startedAt &&
      (container.pid === undefined || now.pid === undefined || now.pid === container.pid)
    if (!isSame)
      throw new AgentError(
        'RESTART_FAILED',
        `container ${id} is not the same after the restart: ${now.state}, started ${now.startedAt}`,
      )
  }
  if (unknown > 1 && unknown === before.length)
    throw new AgentError('RESTART_FAILED', `containerd knows none of the ${unknown} containers that ran before`)
  return notes
}

/** Undefined: the runtime does not know it. Any other failure says nothing about the container and is thrown. */
async function startOf(id: string, cri: CriClient): Promise<ContainerStart | undefined> {
  try {
    return await cri.containerStart(id, { timeoutMs: CALL_MS })
  } catch (thrown) {
    const error = asAgentError(thrown)
    if (error.detail['status'] === 'NOT_FOUND') return undefined
    throw error
  }
}
