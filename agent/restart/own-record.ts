// The record of the restart under way and who owns it: each change is written under the next number, and a driver that
// finds its number taken has lost the restart to another one. Beside it the heartbeat that renews the lease: by records
// as well, which tell a driver that it has lost, and without them, as a record may wait for the disk for longer than a
// lease lasts.
import { asAgentError } from '../model/errors.ts'
import type { Clock, Log, NodeFiles, Processes, Systemd } from '../model/ports.ts'
import type { RestartDriver, RestartRecord, RestartStore } from '../model/restart.ts'
import type { CriAnswers } from './evidence.ts'

/** A driver that has said nothing for this long is taken for dead, whatever holds it up. */
export const LEASE_MS = 3_000
const HEARTBEAT_MS = 1_000
/**
 * A record that the disk has not taken by then never comes, and another driver may have more luck. Far above what a disk
 * takes: two drivers whose records both take longer would take the restart from each other.
 */
const LONGEST_WRITE_MS = 5 * 60_000

export type MachinePorts = {
  readonly clock: Clock
  readonly log: Log
  readonly files: NodeFiles
  readonly restarts: RestartStore
  readonly systemd: Systemd
  readonly processes?: Processes
  readonly connectCri: (socket: string) => CriAnswers
  /** Appends a line to audit.jsonl. */
  readonly audit: (line: object) => Promise<void>
}

/** Thrown where another driver went on meanwhile: follow what it does. */
export class TakenOver extends Error {}

export class OwnRecord {
  readonly driver: RestartDriver
  readonly #ports: MachinePorts
  readonly #heart = new AbortController()
  #record: RestartRecord
  /** The newest number on disk. */
  #written: number
  #isLost = false
  #writingSince: number | undefined
  #last: Promise<void> = Promise.resolve()

  private constructor(ports: MachinePorts, record: RestartRecord) {
    this.#ports = ports
    this.driver = record.driver
    this.#record = record
    this.#written = record.sequence
  }

  /** Writes it as the first of this driver; undefined: somebody else was first. Throws as RestartStore.append. */
  static async begin(ports: MachinePorts, record: RestartRecord): Promise<OwnRecord | undefined> {
    const own = new OwnRecord(ports, record)
    await own.#renew()
    void own.#eachBeat(() => own.#renew())
    try {
      if (await own.#append(record, true)) {
        void own.#eachBeat(() => own.change({}, { durable: false }))
        return own
      }
    } catch (thrown) {
      own.die()
      throw thrown
    }
    own.die()
    return undefined
  }

  /** On a disk that takes no record: no other driver can record either. `record` is not counted as written. */
  static unwritten(ports: MachinePorts, record: RestartRecord): OwnRecord {
    const own = new OwnRecord(ports, record)
    own.#written = record.sequence - 1
    void own.#eachBeat(() => own.#renew())
    void own.#eachBeat(() => own.change({}, { durable: false }))
    return own
  }

  get now(): RestartRecord {
    return this.#record
  }

  /** Another driver went on, or this one is to do nothing any more. */
  get isLost(): boolean {
    return this.#isLost
  }

  /** One after the other: a heartbeat in between would take the number of a phase. Throws TakenOver. */
  change(change: Partial<RestartRecord>, { durable = true } = {}): Promise<void> {
    const mine = this.#last.then(() => this.#write(change, durable))
    this.#last = mine.catch(() => undefined)
    return mine
  }

  /** Ends the heartbeat. */
  leave(): void {
    this.#heart.abort()
  }

  /** Ends the heartbeat of a restart that is over, and leaves nothing of it. */
  async end(): Promise<void> {
    this.leave()
    await this.quietly(() => this.#ports.restarts.release(this.driver))
  }

  /** Records nothing from here on, as if this process had ended. */
  die(): void {
    this.#isLost = true
    this.#heart.abort()
  }

  audit(line: object): Promise<void> {
    const { clock, audit } = this.#ports
    const at = new Date(clock.now()).toISOString()
    return this.quietly(() => audit({ at, transaction: this.#record.id, by: this.driver, ...line }))
  }

  /** For what must not stop a restart. */
  async quietly(work: () => Promise<unknown>): Promise<void> {
    try {
      await work()
    } catch (thrown) {
      const { code, message } = asAgentError(thrown)
      this.#ports.log.error('not-recorded', { code, error: message })
    }
  }

  async #write(change: Partial<RestartRecord>, durable: boolean): Promise<void> {
    const { clock, log } = this.#ports
    if (this.#isLost) throw new TakenOver()
    const sequence = this.#written + 1
    const next: RestartRecord = { ...this.#record, ...change, sequence, leaseUntil: clock.monotonic() + LEASE_MS }
    try {
      if (await this.#append(next, durable)) {
        this.#record = next
        this.#written = sequence
        return
      }
    } catch (thrown) {
      if (next.phase !== 'reverting' && next.phase !== 'reverted') throw thrown
      log.error('restart-not-recorded', { phase: next.phase, error: asAgentError(thrown).message })
      this.#record = { ...next, sequence: this.#written }
      return
    }
    this.die()
    throw new TakenOver()
  }

  async #append(record: RestartRecord, durable: boolean): Promise<boolean> {
    const { clock, restarts } = this.#ports
    this.#writingSince = clock.monotonic()
    try {
      return await restarts.append(record, { durable })
    } finally {
      this.#writingSince = undefined
    }
  }

  async #renew(): Promise<void> {
    const { clock, restarts } = this.#ports
    const now = clock.monotonic()
    if (now - (this.#writingSince ?? now) > LONGEST_WRITE_MS) return
    const lease = { id: this.#record.id, leaseUntil: now + LEASE_MS }
    // What cannot be said so is said by the records.
    await restarts.renew(this.driver, lease).catch(() => undefined)
  }

  async #eachBeat(work: () => Promise<void>): Promise<void> {
    const { clock } = this.#ports
    const { signal } = this.#heart
    while (!signal.aborted) {
      await clock.sleep(HEARTBEAT_MS, { signal }).catch(() => undefined)
      if (!signal.aborted) await work().catch(() => undefined)
    }
  }
}
