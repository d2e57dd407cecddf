// Finishes, or takes back, a restart of containerd whose agent is gone: without containerd the kubelet cannot start the
// agent again. The rules: a record is obeyed only where its unit is one that this restarter may restart, and its file
// the one that this unit's containerd takes; a driver is left alone while its lease runs.
import { configFileOf } from '../containerd/unit-config.ts'
import { asAgentError } from '../model/errors.ts'
import type { RestartRecord } from '../model/restart.ts'
import { isOver } from '../restart/machine.ts'
import type { MachinePorts } from '../restart/own-record.ts'
import { isAbandoned, settle } from '../restart/settle.ts'

const POLL_MS = 500
const FAULT_PAUSE_MS = 2_000
/** Without a sign of a restart. Each look wakes the process, so many of them are most of what an idle sidecar costs. */
const QUIET_POLL_MS = 30_000
/** After a sign of a restart it is looked often, as not everything that follows gives one. */
const ALERT_MS = 10_000

export type Guardian = {
  /** Something happened that a restart may begin with. */
  poke(): void
  /** Ends when nothing is left half done by an agent that is gone. */
  stop(): Promise<void>
}

/** Tells of changes among the records; `onFailure`: it cannot tell of all of them. */
export type WatchRecords = (told: { readonly onChange: () => void; readonly onFailure: (error: unknown) => void }) => {
  close(): void
}

/**
 * Looks every half second while a restart is under way, for `ALERT_MS` from its start, from each change among the
 * records and from each poke, and all the time where nothing tells it of changes.
 */
export function startGuardian(
  ports: MachinePorts,
  isPermitted: (unit: string) => Promise<boolean>,
  watchRecords?: WatchRecords | undefined,
): Guardian {
  const stopping = new AbortController()
  const { clock, log, restarts } = ports
  let alertUntil = clock.monotonic() + ALERT_MS
  let pause = new AbortController()
  const poke = () => {
    alertUntil = clock.monotonic() + ALERT_MS
    pause.abort()
  }
  let isWatched = watchRecords !== undefined
  const watching = watchRecords?.({
    onChange: poke,
    onFailure(error) {
      if (isWatched) log.warn('watch-failed', { reason: error instanceof Error ? error.message : String(error) })
      isWatched = false
      poke()
    },
  })
  const rest = async (state: 'idle' | 'busy') => {
    if (!isWatched || state === 'busy' || clock.monotonic() < alertUntil) return clock.sleep(POLL_MS)
    pause = new AbortController()
    await clock.sleep(QUIET_POLL_MS, { signal: pause.signal }).catch(() => undefined)
  }
  // What is found at the start is of an earlier life. Later another restarter may drive: for some seconds there are two
  // where a Pod takes the place of one that has not ended yet.
  let isFirst = true
  let refused = ''
  let permitted = ''
  const refusal = async (record: RestartRecord): Promise<string | undefined> => {
    const asked = JSON.stringify([record.id, record.unit, record.configFile])
    if (permitted === asked) return undefined
    const why = await whyNot(record, ports, isPermitted)
    if (why === undefined) permitted = asked
    return why
  }
  const turn = async (): Promise<'idle' | 'busy'> => {
    const isMine = isFirst
    isFirst = false
    const record = await restarts.read()
    if (record === undefined || isOver(record)) return 'idle'
    // Asked while the agent still drives: when it is gone, a systemd that answers late must not delay config.toml.
    if (record.driver === 'agent' && !(await isAbandoned(record, ports))) {
      await refusal(record).catch(() => undefined)
      return 'busy'
    }
    const why = await refusal(record)
    if (why !== undefined) {
      if (refused !== record.id) log.error('restart-record-refused', { id: record.id, reason: why })
      refused = record.id
      return 'idle'
    }
    const end = await settle(ports, 'restarter', { isMine, isPatient: !stopping.signal.aborted })
    log.info('restart-settled', { id: record.id, phase: end?.phase, reason: end?.failure?.message })
    return 'idle'
  }
  const running = (async () => {
    for (;;) {
      try {
        const state = await turn()
        if (stopping.signal.aborted && state === 'idle') return
        await rest(state)
      } catch (thrown) {
        const { code, message } = asAgentError(thrown)
        log.error('restart-not-settled', { code, error: message })
        if (stopping.signal.aborted) return
        await clock.sleep(FAULT_PAUSE_MS)
      }
    }
  })()
  return {
    poke,
    stop() {
      stopping.abort()
      watching?.close()
      poke()
      return running
    },
  }
}

async function whyNot(
  { unit, configFile }: RestartRecord,
  { systemd }: MachinePorts,
  isPermitted: (unit: string) => Promise<boolean>,
): Promise<string | undefined> {
  if (unit === undefined) return 'it names no unit, and this restarter sees no processes'
  if (!(await isPermitted(unit))) return `${unit} is not a unit that this restarter may restart`
  const facts = await systemd.unit(unit)
  const own = facts === undefined ? undefined : configFileOf(facts)
  return own === configFile ? undefined : `${unit} reads ${own ?? 'no file'}, not ${configFile}`
}
