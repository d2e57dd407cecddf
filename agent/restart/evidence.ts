// What is seen of containerd while it is restarted: by systemd, or where there is none by its process; and by its CRI.
import { asAgentError } from '../model/errors.ts'
import type { Clock, ContainerStart, CriClient, Processes, RuntimeStatus, Systemd, UnitFacts } from '../model/ports.ts'
import type { CriEvidence, DaemonEvidence, RestartRecord, RuntimeMemory } from '../model/restart.ts'

/** A supervisor that has started nothing for this long will not start anything. */
const SUPERVISOR_MS = 15_000

export type DaemonPorts = {
  readonly clock: Clock
  readonly systemd: Systemd
  /** Absent: only systemd can tell. */
  readonly processes?: Processes
}

/** What is asked of CRI here. */
export type CriAnswers = Pick<CriClient, 'version' | 'status' | 'containerStart' | 'close'>

export type DaemonWatch = { observe(record: RestartRecord): Promise<DaemonEvidence> }

export function watchDaemon(ports: DaemonPorts): DaemonWatch {
  const bySignal = watchProcess(ports)
  return {
    observe: (record) => (record.unit === undefined ? bySignal(record) : byUnit(record, record.unit, ports.systemd)),
  }
}

async function byUnit({ daemon }: RestartRecord, name: string, systemd: Systemd): Promise<DaemonEvidence> {
  try {
    const unit = await systemd.unit(name)
    return unit === undefined ? { state: 'unknown', text: `systemd knows no unit ${name}` } : unitEvidence(unit, daemon)
  } catch (thrown) {
    return { state: 'unknown', text: asAgentError(thrown).message }
  }
}

/**
 * What systemd says of a unit, in the machine's words. Pure. Source: systemd's D-Bus interface,
 * org.freedesktop.systemd1(5).
 */
export function unitEvidence(unit: UnitFacts, before: RestartRecord['daemon']): DaemonEvidence {
  const { activeState, subState, mainPid, hasJob, result, exitStatus, restarts, executedAt, forkedAt, startLimitMs } =
    unit
  const ended = result === 'success' ? '' : `, Result=${result}, ExecMainStatus=${exitStatus}, NRestarts=${restarts}`
  const masked = unit.loadState === 'masked' ? ', LoadState=masked' : ''
  const facts = {
    text: `${unit.name} is ${activeState}/${subState}${ended}${masked}`,
    ...(startLimitMs === undefined ? {} : { startLimitMs }),
  }
  const startedAt = forkedAt ?? executedAt
  const executed = startedAt === undefined ? {} : { beganAt: startedAt }
  const isSame = mainPid > 0 && mainPid === before.pid && executedAt === before.beganAt
  switch (activeState) {
    case 'active':
    case 'reloading':
    case 'refreshing':
      return { state: isSame ? 'same' : 'running', ...facts, ...executed }
    case 'deactivating':
      return { state: 'stopping', ...facts, ...executed }
    case 'activating':
      if (subState.startsWith('auto-restart')) return { state: 'between', ...facts, ...executed }
      // Before the main process: it will read the file that lies there then. One that forks is there all the while.
      return { state: 'starting', ...facts, ...(mainPid > 0 || isForking(unit) ? executed : {}) }
    default:
      return { state: hasJob ? 'starting' : 'ended', ...facts, ...(hasJob ? {} : executed) }
  }
}

function isForking({ subState, forkedAt }: UnitFacts): boolean {
  return subState === 'start' && forkedAt !== undefined
}

/**
 * Who listens is who runs. A process of the same program that came and went without listening is a start that ended.
 */
function watchProcess({ clock, processes }: DaemonPorts): (record: RestartRecord) => Promise<DaemonEvidence> {
  const firstSeen = new Map<number, number>()
  const attempts = new Set<number>()
  let nobodySince: number | undefined
  return async ({ socket, daemon }) => {
    if (processes === undefined) return { state: 'unknown', text: 'processes cannot be seen' }
    const now = clock.monotonic()
    const [listener, ...others] = await processes.listeningOn(socket)
    if (others.length > 0) return { state: 'unknown', text: `${others.length + 1} processes listen on ${socket}` }
    if (listener !== undefined) {
      nobodySince = undefined
      if (!firstSeen.has(listener.pid)) firstSeen.set(listener.pid, now)
      const text = `process ${listener.pid} listens on ${socket}`
      return listener.pid === daemon.pid
        ? { state: 'same', text }
        : { state: 'running', text, beganAt: firstSeen.get(listener.pid) ?? now }
    }
    if (daemon.pid > 0 && processes.isAlive(daemon.pid))
      return { state: 'stopping', text: `process ${daemon.pid} has not ended yet` }
    nobodySince ??= now
    const candidates = daemon.command === undefined ? [] : processes.runningAs(daemon.command)
    const gone = [...attempts].filter((pid) => !candidates.includes(pid))
    for (const pid of candidates) {
      attempts.add(pid)
      if (!firstSeen.has(pid)) firstSeen.set(pid, now)
    }
    if (gone.length > 0) {
      for (const pid of gone) attempts.delete(pid)
      return { state: 'between', text: `process ${gone.join(', ')} ended before it listened on ${socket}` }
    }
    const [starting] = candidates
    if (starting !== undefined)
      return { state: 'starting', text: `process ${starting} is starting`, beganAt: firstSeen.get(starting) ?? now }
    if (now - nobodySince < SUPERVISOR_MS) return { state: 'starting', text: 'nothing has started containerd yet' }
    return { state: 'ended', text: `nothing has started containerd for ${SUPERVISOR_MS / 1000} s` }
  }
}

/** Never throws. `timeoutMs`: what each call may take. */
export async function criEvidence(
  cri: CriAnswers,
  before: RuntimeMemory,
  { timeoutMs, processes }: { readonly timeoutMs: number; readonly processes?: Processes | undefined },
): Promise<CriEvidence> {
  try {
    await cri.version({ timeoutMs })
    const status = await cri.status({ timeoutMs })
    const notYet = readiness(status, before)
    if (notYet !== undefined) return { state: 'not-ready', text: notYet }
    return await compareContainers(cri, before.containers, { timeoutMs, processes })
  } catch (thrown) {
    const error = asAgentError(thrown)
    // Never a passing state of a starting containerd: it serves all of CRI or nothing of it.
    if (error.code === 'CRI_NOT_LOADED')
      return { state: 'dead', text: `containerd runs, but its CRI plugin does not: ${error.message}` }
    return { state: 'silent', text: error.message }
  }
}

function readiness(now: RuntimeStatus, before: RuntimeMemory): string | undefined {
  if (before.runtimeReady && !now.runtimeReady) return 'RuntimeReady is false and was true before'
  if (before.networkReady && !now.networkReady) return 'NetworkReady is false and was true before'
  return undefined
}

/**
 * A container that ended by itself meanwhile is no harm done; one that was started again or that the runtime lost is.
 */
async function compareContainers(
  cri: CriAnswers,
  before: readonly ContainerStart[],
  { timeoutMs, processes }: { readonly timeoutMs: number; readonly processes: Processes | undefined },
): Promise<CriEvidence> {
  const notes: string[] = []
  let unknown = 0
  for (const container of before) {
    const now = await startOf(container.id, cri, timeoutMs)
    const id = container.id.slice(0, 12)
    if (now === undefined || now.state === 'EXITED') {
      if (now === undefined) unknown += 1
      if (now === undefined && container.pid !== undefined && processes?.isAlive(container.pid) === true)
        return worse(`containerd lost container ${id}, whose process ${container.pid} is still running`)
      notes.push(`container ${id} ended while containerd was restarted`)
      continue
    }
    const isSame =
      now.state === container.state &&
      now.startedAt === container.startedAt &&
      (container.pid === undefined || now.pid === undefined || now.pid === container.pid)
    if (!isSame)
      return worse(`container ${id} is not the same after the restart: ${now.state}, started ${now.startedAt}`)
  }
  if (unknown > 1 && unknown === before.length)
    return worse(`containerd knows none of the ${unknown} containers that ran before`)
  return { state: 'ready', text: 'CRI answers as before', notes }
}

function worse(text: string): CriEvidence {
  return { state: 'worse', text }
}

/** Undefined: the runtime does not know it. Any other failure says nothing about the container and is thrown. */
async function startOf(id: string, cri: CriAnswers, timeoutMs: number): Promise<ContainerStart | undefined> {
  try {
    return await cri.containerStart(id, { timeoutMs })
  } catch (thrown) {
    const error = asAgentError(thrown)
    if (error.detail['status'] === 'NOT_FOUND') return undefined
    throw error
  }
}
