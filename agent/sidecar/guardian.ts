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

/** Tells of changes among the records; `onFailure`: it cannot tell of all of them. */
export type WatchRecords = (told: { readonly onChange: () => void; readonly onFailure: (error: unknown) => void }) => {
  close(): void
}

export type IsPermitted = (unit: string) => Promise<boolean>

/**
 * Looks every half second while a restart is under way, for `ALERT_MS` from its start, from each change among the
 * records and from each poke, and all the time where nothing tells it of changes.
 */
export class Guardian {
  readonly #ports: MachinePorts
  readonly #isPermitted: IsPermitted
  readonly #stopping = new AbortController()
  readonly #watching: { close(): void } | undefined
  readonly #running: Promise<void>
  #isWatched: boolean
  #alertUntil: number
  #pause = new AbortController()
  /**
   * What is found at the start is of an earlier life. Later another restarter may drive: for some seconds there are two
   * where a Pod takes the place of one that has not ended yet.
   */
  #isFirst = true
  /** The record that was refused last, and what was permitted last. */
  #refused = ''
  #permitted = ''

  /** Begins at once. */
  constructor(ports: MachinePorts, isPermitted: IsPermitted, watchRecords?: WatchRecords | undefined) {
    this.#ports = ports
    this.#isPermitted = isPermitted
    this.#alertUntil = ports.clock.monotonic() + ALERT_MS
    this.#isWatched = watchRecords !== undefined
    this.#watching = watchRecords?.({ onChange: () => this.poke(), onFailure: (error) => this.#watchFailed(error) })
    this.#running = this.#run()
  }

  /** Something happened that a restart may begin with. */
  poke(): void {
    this.#alertUntil = this.#ports.clock.monotonic() + ALERT_MS
    this.#pause.abort()
  }

  /** Ends when nothing is left half done by an agent that is gone. */
  stop(): Promise<void> {
    this.#stopping.abort()
    this.#watching?.close()
    this.poke()
    return this.#running
  }

  #watchFailed(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error)
    if (this.#isWatched) this.#ports.log.warn('watch-failed', { reason })
    this.#isWatched = false
    this.poke()
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#ports
    const { signal } = this.#stopping
    for (;;) {
      try {
        const state = await this.#turn()
        if (signal.aborted && state === 'idle') return
        await this.#rest(state)
      } catch (thrown) {
        const { code, message } = asAgentError(thrown)
        log.error('restart-not-settled', { code, error: message })
        if (signal.aborted) return
        await clock.sleep(FAULT_PAUSE_MS)
      }
    }
  }

  async #turn(): Promise<'idle' | 'busy'> {
    const { restarts, log } = this.#ports
    const isMine = this.#isFirst
    this.#isFirst = false
    const record = await restarts.read()
    if (record === undefined || isOver(record)) return 'idle'
    // Asked while the agent still drives: when it is gone, a systemd that answers late must not delay config.toml.
    if (record.driver === 'agent' && !(await isAbandoned(record, this.#ports))) {
      await this.#refusal(record).catch(() => undefined)
      return 'busy'
    }
    const why = await this.#refusal(record)
    if (why !== undefined) {
      if (this.#refused !== record.id) log.error('restart-record-refused', { id: record.id, reason: why })
      this.#refused = record.id
      return 'idle'
    }
    const end = await settle(this.#ports, 'restarter', { isMine, isPatient: !this.#stopping.signal.aborted })
    log.info('restart-settled', { id: record.id, phase: end?.phase, reason: end?.failure?.message })
    return 'idle'
  }

  async #rest(state: 'idle' | 'busy'): Promise<void> {
    const { clock } = this.#ports
    if (!this.#isWatched || state === 'busy' || clock.monotonic() < this.#alertUntil) return clock.sleep(POLL_MS)
    this.#pause = new AbortController()
    await clock.sleep(QUIET_POLL_MS, { signal: this.#pause.signal }).catch(() => undefined)
  }

  async #refusal(record: RestartRecord): Promise<string | undefined> {
    const asked = JSON.stringify([record.id, record.unit, record.configFile])
    if (this.#permitted === asked) return undefined
    const why = await whyNot(record, this.#ports, this.#isPermitted)
    if (why === undefined) this.#permitted = asked
    return why
  }
}

async function whyNot(
  { unit, configFile }: RestartRecord,
  { systemd }: MachinePorts,
  isPermitted: IsPermitted,
): Promise<string | undefined> {
  if (unit === undefined) return 'it names no unit, and this restarter sees no processes'
  if (!(await isPermitted(unit))) return `${unit} is not a unit that this restarter may restart`
  const facts = await systemd.unit(unit)
  const own = facts === undefined ? undefined : configFileOf(facts)
  return own === configFile ? undefined : `${unit} reads ${own ?? 'no file'}, not ${configFile}`
}
