// Drives the machine: looks, decides, records, acts, until it is over. The same for the agent and for the restarter;
// whoever is alive goes on where the other stopped. The rule: nothing is done before it is recorded, except on the way
// back, which a full disk must not stop.
import { posix } from 'node:path'
import { AgentError, asAgentError } from '../model/errors.ts'
import type { Clock, FileState, Log, NodeFiles, Processes, Systemd } from '../model/ports.ts'
import type { CriEvidence, RestartDriver, RestartEvidence, RestartRecord, RestartStore } from '../model/restart.ts'
import { configOf, hashOf, isOthers } from './config-evidence.ts'
import { type CriAnswers, criEvidence, type DaemonWatch, watchDaemon } from './evidence.ts'
import { type Action, decide, isOver, isSameFile, LONGEST_START_MS } from './machine.ts'
import { putAway } from './put-away.ts'
import { withoutOurs } from './without-ours.ts'

/** A driver that has recorded nothing for so long is taken for dead, whatever keeps it. */
export const LEASE_MS = 3_000
const HEARTBEAT_MS = 1_000
const MOST_KEPT = 5
const PUT_BACK_PAUSE_MS = 1_000
const NOT_ASKED: CriEvidence = { state: 'silent', text: 'CRI was not asked' }

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

/** What the driver that begins knows. */
export type RestartOrder = Pick<
  RestartRecord,
  'id' | 'reason' | 'unit' | 'socket' | 'configFile' | 'daemon' | 'runtime' | 'before' | 'after'
>

export type Driven =
  /** The new file runs and everything is as before; it is the caller's to commit. */
  | { readonly end: 'ready'; readonly notes: readonly string[] }
  | { readonly end: 'committed' | 'reverted' | 'stuck'; readonly record: RestartRecord }

/** Thrown where another driver went on meanwhile: follow what it does. */
export class TakenOver extends Error {}

export class Machine {
  readonly #ports: MachinePorts
  readonly #driver: RestartDriver
  readonly #watch: DaemonWatch
  readonly #heart = new AbortController()
  #record: RestartRecord
  /** The newest number on disk. */
  #written: number
  #isLost = false
  #last: Promise<void> = Promise.resolve()
  /** Under way; its end is worth a look at once. */
  #command: Promise<void> | undefined
  /** The command was not taken; what counts is what is seen, and this is said for the reason. */
  #failed: AgentError | undefined
  #notes: readonly string[] = []

  private constructor(ports: MachinePorts, driver: RestartDriver, record: RestartRecord, written: number) {
    this.#ports = ports
    this.#driver = driver
    this.#record = record
    this.#written = written
    this.#watch = watchDaemon(ports)
    void this.#beat()
  }

  /** Records the restart as armed and keeps the original. Throws AgentError: then nothing was begun. */
  static async arm(ports: MachinePorts, driver: RestartDriver, order: RestartOrder, after?: Buffer): Promise<Machine> {
    const { restarts, clock } = ports
    const last = await restarts.read()
    if (last !== undefined && !isOver(last))
      throw new AgentError('LOCKED', `the restart ${last.id} is not over yet: it is ${last.phase}`)
    const isKept = !isSameFile(order) && order.before !== null
    // Recorded before anything is kept: what lies beside config.toml always has a record, so a crash leaves nothing
    // that nobody knows of.
    if (isKept) await restarts.forget(order.configFile)
    const record: RestartRecord = {
      version: 1,
      ...order,
      sequence: (last?.sequence ?? 0) + 1,
      phase: 'armed',
      driver,
      leaseUntil: clock.monotonic() + LEASE_MS,
      bootId: restarts.bootId,
      at: new Date(clock.now()).toISOString(),
      starts: { forward: 0, back: 0 },
    }
    if (!(await restarts.append(record, { durable: true })))
      throw new AgentError('LOCKED', 'another restart was begun at the same moment')
    const machine = new Machine(ports, driver, record, record.sequence)
    if (isKept) await machine.#keep(after)
    return machine
  }

  /** Goes on with what another driver, or an earlier life, left; undefined: somebody else has just done so. */
  static async takeOver(ports: MachinePorts, driver: RestartDriver, last: RestartRecord): Promise<Machine | undefined> {
    const leaseUntil = ports.clock.monotonic() + LEASE_MS
    // What held up the one before may be over: who gives up at once where something is stuck has to try it first.
    const { stuck: _, ...rest } = last
    const record: RestartRecord = { ...rest, sequence: last.sequence + 1, driver, leaseUntil }
    ports.log.warn('restart-taken-over', { id: last.id, phase: last.phase, from: last.driver, by: driver })
    try {
      const isMine = await ports.restarts.append(record, { durable: true })
      return isMine ? new Machine(ports, driver, record, record.sequence) : undefined
    } catch (thrown) {
      // A full disk: nobody else can record either, and the way back needs no space.
      ports.log.error('restart-not-recorded', { error: asAgentError(thrown).message })
      return new Machine(ports, driver, { ...record, phase: 'reverting' }, last.sequence)
    }
  }

  get record(): RestartRecord {
    return this.#record
  }

  /** config.toml has been written. */
  written(): Promise<void> {
    return this.#change({ phase: 'written' })
  }

  /** Restarts containerd and watches. Throws TakenOver. */
  restart(): Promise<Driven> {
    return this.#change({ phase: 'restarting' }).then(() => this.drive({ commits: false }))
  }

  async commit(): Promise<void> {
    await this.#change({ phase: 'committed' })
    await this.#close()
  }

  /** Puts config.toml and containerd back. */
  async revert(failure: { readonly code: string; readonly message: string }): Promise<Driven> {
    const { code, message } = failure
    await this.#change({ phase: 'reverting', failure: { code, message } })
    return this.drive({ commits: false })
  }

  /** Until the end; `commits`: a containerd that answers with the new file is the end. Throws TakenOver. */
  async drive({ commits, isPatient = false }: { commits: boolean; isPatient?: boolean }): Promise<Driven> {
    for (;;) {
      if (this.#isLost) throw new TakenOver()
      const action = decide(this.#record, await this.#look())
      if (action.do === 'record' && action.change.phase === 'committed' && !commits)
        return { end: 'ready', notes: this.#notes }
      await this.#act(action)
      const record = this.#record
      if (record.phase === 'committed' || record.phase === 'reverted') {
        await this.#close()
        return { end: record.phase, record }
      }
      if (record.stuck !== undefined && !isPatient) return { end: 'stuck', record }
    }
  }

  /** Ends the heartbeat of a machine that is left to others. */
  leave(): void {
    this.#heart.abort()
  }

  /** Records and does nothing from here on, as if this process had ended. */
  die(): void {
    this.#isLost = true
    this.#heart.abort()
  }

  async #act(action: Action): Promise<void> {
    switch (action.do) {
      case 'nothing':
        return
      case 'wait':
        return this.#pause()
      case 'record':
        return this.#change(action.change)
      case 'put-back':
        return this.#putBack(action.whole)
      case 'restart':
        return this.#restart(action.direction)
      default:
        return action satisfies never
    }
  }

  async #look(): Promise<RestartEvidence> {
    const { clock, files, restarts } = this.#ports
    const { configFile, phase, bootId } = this.#record
    // Asked first: of a command that ends meanwhile the effect may not be seen yet.
    const isCommandUnderWay = this.#command !== undefined
    const [daemon, config, isKept] = await Promise.all([
      this.#watch.look(this.#record),
      files.readFollowing(configFile).then((state) => configOf(state, this.#record)),
      restarts.isKept(configFile),
    ])
    if (this.#failed !== undefined && phase === 'restarting' && daemon.state === 'same') {
      const { code, message } = this.#failed
      await this.#change({ phase: 'reverting', failure: { code, message } })
    }
    const asks = daemon.state === 'running' || daemon.state === 'same' || daemon.state === 'unknown'
    const cri = asks ? await this.#askCri() : NOT_ASKED
    this.#notes = cri.notes ?? []
    return {
      now: clock.monotonic(),
      isSameBoot: bootId === restarts.bootId,
      config,
      isKept,
      daemon,
      cri,
      isCommandUnderWay,
    }
  }

  async #askCri(): Promise<CriEvidence> {
    const { connectCri, processes } = this.#ports
    const cri = connectCri(this.#record.socket)
    try {
      return await criEvidence(cri, this.#record.runtime, processes)
    } finally {
      cri.close()
    }
  }

  async #pause(): Promise<void> {
    const { clock } = this.#ports
    const sinceMs = clock.monotonic() - (this.#record.commandedAt ?? clock.monotonic())
    const sleep = clock.sleep(sinceMs < 3_000 ? 20 : 200)
    await Promise.race(this.#command === undefined ? [sleep] : [sleep, this.#command])
  }

  async #restart(direction: 'forward' | 'back'): Promise<void> {
    const { clock, restarts, log } = this.#ports
    const { starts, id, unit, reason, failure, configFile, before, after } = this.#record
    const why = direction === 'forward' ? reason : (failure?.message ?? reason)
    const entry = {
      id,
      at: new Date(clock.now()).toISOString(),
      bootId: restarts.bootId,
      uptimeMs: clock.monotonic(),
      kind: direction,
      by: this.#driver,
      reason: why,
    } as const
    await this.#unlessBack(direction, () => restarts.ledger.add(entry))
    await this.#change({ starts: { ...starts, [direction]: starts[direction] + 1 }, commandedAt: clock.monotonic() })
    log.info('restarting', { id, unit, direction, reason: why })
    const hashes = { path: configFile, beforeSha256: before, afterSha256: direction === 'forward' ? after : before }
    await this.#audit({ event: 'restart', direction, unit: unit ?? null, reason: why, ...hashes })
    const command = this.#giveCommand()
      .catch((thrown: unknown) => {
        const error = asAgentError(thrown)
        log.warn('restart-command', { id, unit, code: error.code, error: error.message })
        this.#failed = error
      })
      .finally(() => {
        if (this.#command === command) this.#command = undefined
      })
    this.#command = command
    // A signal is given at once, and systemd's job ends when it ends.
    if (unit === undefined) await command
  }

  async #giveCommand(): Promise<void> {
    const { systemd, processes } = this.#ports
    const { unit, socket, id } = this.#record
    if (unit !== undefined) {
      // The start limit counts starts whatever their result: the sixth in ten seconds would stop a healthy unit for
      // good.
      await systemd.resetFailed(unit).catch(() => undefined)
      await systemd.restart(unit, { timeoutMs: LONGEST_START_MS, machine: id })
      return
    }
    const [owner, ...others] = (await processes?.listeningOn(socket)) ?? []
    if (others.length > 0)
      throw new AgentError('RESTART_REFUSED', `several processes listen on ${socket}; none was signalled`)
    // None: it is down already, and its supervisor starts it by itself.
    if (owner !== undefined) processes?.terminate(owner.pid)
  }

  async #putBack(whole: boolean): Promise<void> {
    const { clock, restarts, files, log } = this.#ports
    const { configFile, before, merged } = this.#record
    try {
      const now = await files.readFollowing(configFile)
      if (!whole) await this.#keepOthers(now)
      const isEdited = !whole && configOf(now, this.#record) === 'other'
      if (isEdited && now.kind === 'file' && (await this.#putMerged(now))) return
      const isBack =
        before === null ? await restarts.remove(configFile).then(() => true) : await restarts.putBack(configFile)
      if (!isBack)
        throw new AgentError('ROLLBACK_INCOMPLETE', `the original of ${configFile} is not beside it any more`)
      log.warn('config-put-back', { path: configFile, by: this.#driver, reason: this.#record.failure?.message })
      await this.#audit({ event: 'put-back', path: configFile, beforeSha256: hashOf(now), afterSha256: before })
      await this.#change({ putBackAt: clock.monotonic(), ...(merged !== undefined && { commandedAt: 0 }) })
    } catch (thrown) {
      if (thrown instanceof TakenOver) throw thrown
      const { code, message } = asAgentError(thrown)
      if (this.#record.stuck === undefined) {
        log.error('put-back-failed', { path: configFile, code, error: message })
        await this.#change({ stuck: { code, message } })
      }
      await clock.sleep(PUT_BACK_PAUSE_MS)
    }
  }

  /** What others made of config.toml since it was written gets a name beside it, and is told with the outcome. */
  async #keepOthers(now: FileState): Promise<void> {
    const { restarts, files, log } = this.#ports
    const { configFile, others = [] } = this.#record
    // Where going back fails it is tried every second: theirs is kept, and so is what they do next.
    if (others.length >= MOST_KEPT) return
    await this.#quietly(async () => {
      const [{ before }, itself] = await Promise.all([restarts.versions(configFile), files.read(configFile)])
      const isLinked = itself.kind === 'link' && before.kind === 'file'
      if (!isLinked && !isOthers(now, before, this.#record)) return
      if (itself.kind === 'absent') {
        log.warn('others-edit-kept', { path: configFile, removed: true })
        await this.#change({ others: [...others, `${configFile} had been removed by others; it was put back`] })
        return
      }
      const aside = await restarts.setAside(configFile)
      log.warn('others-edit-kept', { path: configFile, keptAs: aside })
      await this.#audit({ event: 'set-aside', path: configFile, keptAs: aside })
      const what = itself.kind === 'file' ? 'changed' : 'replaced'
      await this.#change({
        others: [...others, `${configFile} had been ${what} by others; theirs is kept as ${aside}`],
      })
    })
  }

  /** The original with what others wrote since. False: it cannot be told apart, or it cannot be written. */
  async #putMerged(theirs: Extract<FileState, { kind: 'file' }>): Promise<boolean> {
    const { clock, restarts, files, log } = this.#ports
    const { configFile } = this.#record
    try {
      const { before, after } = await restarts.versions(configFile)
      if (before.kind !== 'file' || after === undefined) return false
      const text = withoutOurs({
        before: before.bytes.toString('utf8'),
        after: after.toString('utf8'),
        now: theirs.bytes.toString('utf8'),
      })
      if (text === undefined) return false
      const merged = { ...theirs, bytes: Buffer.from(text) }
      await this.#change({ merged: hashOf(merged) ?? '' })
      const ifAttributesLost = (reason: string) => log.warn('attributes-lost', { path: configFile, reason })
      await files.put(configFile, merged, { folder: posix.dirname(configFile), ifAttributesLost })
      await this.#audit({
        event: 'put-back',
        path: configFile,
        beforeSha256: hashOf(theirs),
        afterSha256: hashOf(merged),
      })
      await this.#change({ putBackAt: clock.monotonic() })
      return true
    } catch (thrown) {
      if (thrown instanceof TakenOver) throw thrown
      log.warn('not-merged', { path: configFile, error: asAgentError(thrown).message })
      return false
    }
  }

  async #keep(after: Buffer | undefined): Promise<void> {
    const { restarts } = this.#ports
    const { configFile } = this.#record
    try {
      await restarts.keep(configFile, after)
      // Whoever took this process for dead meanwhile has ended the restart, and nobody would remove what is kept now.
      await this.#change({}, false)
    } catch (thrown) {
      if (thrown instanceof TakenOver) {
        await this.#quietly(() => restarts.forget(configFile))
        throw thrown
      }
      const { code, message } = asAgentError(thrown)
      await this.#change({ phase: 'reverted', failure: { code, message } })
      await this.#close()
      throw thrown
    }
  }

  async #close(): Promise<void> {
    this.#heart.abort()
    for (const step of putAway(this.#record, this.#ports.restarts)) await this.#quietly(step)
  }

  /** One after the other: a heartbeat in between would take the number of a phase. */
  #change(change: Partial<RestartRecord>, durable = true): Promise<void> {
    const mine = this.#last.then(() => this.#write(change, durable))
    this.#last = mine.catch(() => undefined)
    return mine
  }

  async #write(change: Partial<RestartRecord>, durable: boolean): Promise<void> {
    const { clock, restarts, log } = this.#ports
    if (this.#isLost) throw new TakenOver()
    const sequence = this.#written + 1
    const next: RestartRecord = { ...this.#record, ...change, sequence, leaseUntil: clock.monotonic() + LEASE_MS }
    try {
      if (await restarts.append(next, { durable })) {
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
    this.#isLost = true
    this.#heart.abort()
    throw new TakenOver()
  }

  async #beat(): Promise<void> {
    const { clock } = this.#ports
    const { signal } = this.#heart
    while (!signal.aborted) {
      await clock.sleep(HEARTBEAT_MS, { signal }).catch(() => undefined)
      if (!signal.aborted) await this.#change({}, false).catch(() => undefined)
    }
  }

  async #unlessBack(direction: 'forward' | 'back', work: () => Promise<void>): Promise<void> {
    if (direction === 'forward') await work()
    else await this.#quietly(work)
  }

  #audit(line: object): Promise<void> {
    const { clock, audit } = this.#ports
    const at = new Date(clock.now()).toISOString()
    return this.#quietly(() => audit({ at, transaction: this.#record.id, by: this.#driver, ...line }))
  }

  /** For what must not stop a restart. */
  async #quietly(work: () => Promise<unknown>): Promise<void> {
    try {
      await work()
    } catch (thrown) {
      const { code, message } = asAgentError(thrown)
      this.#ports.log.error('not-recorded', { code, error: message })
    }
  }
}
