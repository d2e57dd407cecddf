// Drives the machine: looks, decides, records, acts, until it is over. The same for the agent and for the restarter;
// the one that is alive goes on where the other stopped. The rule: nothing is done before it is recorded, except on the
// way back, which a full disk must not stop.
import { AgentError, asAgentError } from '../model/errors.ts'
import type { CriEvidence, DaemonEvidence, RestartDriver, RestartEvidence, RestartRecord } from '../model/restart.ts'
import { RestartCommand } from './command.ts'
import { ConfigBack } from './config-back.ts'
import { configOf } from './config-evidence.ts'
import { criEvidence, type DaemonWatch, watchDaemon } from './evidence.ts'
import { type Action, asksCri, asksDaemon, decide, isOver, isSameFile } from './machine.ts'
import { LEASE_MS, type MachinePorts, OwnRecord, TakenOver } from './own-record.ts'
import { putAway } from './put-away.ts'

const NOT_LOOKED: DaemonEvidence = { state: 'unknown', text: 'containerd was not looked at' }
const LEAST_PATIENCE_MS = 2_000
const MOST_PATIENCE_MS = 16_000
const NOT_ASKED: CriEvidence = { state: 'silent', text: 'CRI was not asked' }

/** What the driver that begins knows. */
export type RestartOrder = Pick<
  RestartRecord,
  'id' | 'reason' | 'unit' | 'socket' | 'configFile' | 'daemon' | 'runtime' | 'before' | 'after'
>

export type Driven =
  /** The new file runs and everything is as before; it is the caller's to commit. */
  | { readonly end: 'ready'; readonly notes: readonly string[] }
  | { readonly end: 'committed' | 'reverted' | 'stuck'; readonly record: RestartRecord }

export class Machine {
  readonly #ports: MachinePorts
  readonly #own: OwnRecord
  readonly #watch: DaemonWatch
  readonly #command: RestartCommand
  readonly #back: ConfigBack
  #notes: readonly string[] = []
  /** When the containerd that was ready was executed. */
  #readySince: number | undefined
  /** For one call of CRI: little, as a containerd that hangs holds up each look, and more where it was too little. */
  #patienceMs = LEAST_PATIENCE_MS

  private constructor(ports: MachinePorts, own: OwnRecord) {
    this.#ports = ports
    this.#own = own
    this.#watch = watchDaemon(ports)
    this.#command = new RestartCommand(ports, this.#own)
    this.#back = new ConfigBack(ports, this.#own)
  }

  /** Records the restart as armed and keeps the original. Throws AgentError: then nothing was begun. */
  static async arm(ports: MachinePorts, driver: RestartDriver, order: RestartOrder, after?: Buffer): Promise<Machine> {
    const { restarts, clock } = ports
    const last = await restarts.read()
    if (last !== undefined && !isOver(last))
      throw new AgentError('LOCKED', `the restart ${last.id} is not over yet: it is ${last.phase}`)
    const isKept = !isSameFile(order) && order.before !== null
    // Recorded before anything is kept: what lies beside config.toml always has a record, so a crash leaves nothing
    // without a record.
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
    const own = await OwnRecord.begin(ports, record)
    if (own === undefined) throw new AgentError('LOCKED', 'another restart was begun at the same moment')
    const machine = new Machine(ports, own)
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
      const own = await OwnRecord.begin(ports, record)
      return own && new Machine(ports, own)
    } catch (thrown) {
      // A full disk: no other driver can record either, and the way back needs no space.
      ports.log.error('restart-not-recorded', { error: asAgentError(thrown).message })
      return new Machine(ports, OwnRecord.unwritten(ports, { ...record, phase: 'reverting' }))
    }
  }

  get record(): RestartRecord {
    return this.#own.now
  }

  /** config.toml has been written. */
  written(): Promise<void> {
    return this.#own.change({ phase: 'written' })
  }

  /** Restarts containerd and watches. Throws TakenOver. */
  restart(): Promise<Driven> {
    return this.#own.change({ phase: 'restarting' }).then(() => this.drive({ commits: false }))
  }

  /**
   * Looks once more: what was proved since may have taken long enough for containerd to end, which is not an end that
   * can be committed. Throws TakenOver.
   */
  async commit(): Promise<Driven> {
    if (this.#own.now.phase === 'verifying') return this.drive({ commits: true })
    await this.#own.change({ phase: 'committed' })
    await this.#close()
    return { end: 'committed', record: this.#own.now }
  }

  /** Puts config.toml and containerd back. */
  async revert(failure: { readonly code: string; readonly message: string }): Promise<Driven> {
    const { code, message } = failure
    await this.#own.change({ phase: 'reverting', failure: { code, message } })
    return this.drive({ commits: false })
  }

  /** Until the end; `commits`: a containerd that answers with the new file is the end. Throws TakenOver. */
  async drive({ commits, isPatient = false }: { commits: boolean; isPatient?: boolean }): Promise<Driven> {
    for (;;) {
      if (this.#own.isLost) throw new TakenOver()
      const evidence = await this.#gatherEvidence()
      const action = decide(this.#own.now, evidence)
      if (action.do === 'record' && action.change.phase === 'committed') {
        const { beganAt, text } = evidence.daemon
        if (!commits) {
          this.#readySince = beganAt
          return { end: 'ready', notes: this.#notes }
        }
        if (this.#readySince !== undefined && beganAt !== this.#readySince) {
          const message = `containerd ended after it had answered with the new configuration, and was started again: ${text}`
          await this.#own.change({ phase: 'reverting', failure: { code: 'RESTART_FAILED', message } })
          continue
        }
      }
      await this.#act(action)
      const record = this.#own.now
      if (record.phase === 'committed' || record.phase === 'reverted') {
        await this.#close()
        return { end: record.phase, record }
      }
      if (record.stuck !== undefined && !isPatient) return { end: 'stuck', record }
    }
  }

  /** Ends the heartbeat of a machine that is left to others. */
  leave(): void {
    this.#own.leave()
  }

  /** Records and does nothing from here on, as if this process had ended. */
  die(): void {
    this.#own.die()
  }

  async #act(action: Action): Promise<void> {
    switch (action.do) {
      case 'nothing':
        return
      case 'wait':
        return this.#pause()
      case 'record':
        return this.#own.change(action.change)
      case 'put-back':
        return this.#back.putBack(action.whole)
      case 'restart':
        return this.#command.give(action.direction)
      default:
        return action satisfies never
    }
  }

  async #gatherEvidence(): Promise<RestartEvidence> {
    const { clock, files, restarts } = this.#ports
    const { configFile, phase, bootId } = this.#own.now
    // Asked first: of a command that ends meanwhile the effect may not be seen yet.
    const isCommandUnderWay = this.#command.mayBeUnseen
    const [daemon, config, isKept] = await Promise.all([
      asksDaemon(this.#own.now) ? this.#watch.observe(this.#own.now) : NOT_LOOKED,
      files.readFollowing(configFile).then((state) => configOf(state, this.#own.now)),
      restarts.isKept(configFile),
    ])
    if (this.#command.failed !== undefined && phase === 'restarting' && daemon.state === 'same') {
      const { code, message } = this.#command.failed
      await this.#own.change({ phase: 'reverting', failure: { code, message } })
    }
    const isSameBoot = bootId === restarts.bootId
    const seen = { now: clock.monotonic(), isSameBoot, config, isKept, daemon, isCommandUnderWay }
    const cri = asksCri(this.#own.now, seen) ? await this.#askCri() : NOT_ASKED
    this.#notes = cri.notes ?? []
    return { ...seen, now: clock.monotonic(), cri }
  }

  async #askCri(): Promise<CriEvidence> {
    const { clock, connectCri, processes } = this.#ports
    const began = clock.monotonic()
    const timeoutMs = this.#patienceMs
    const cri = connectCri(this.#own.now.socket)
    try {
      const evidence = await criEvidence(cri, this.#own.now.runtime, { timeoutMs, processes })
      // On a busy node a good containerd takes seconds for an answer, and would never be seen to be well.
      if (evidence.state === 'silent' && clock.monotonic() - began >= timeoutMs)
        this.#patienceMs = Math.min(MOST_PATIENCE_MS, 2 * timeoutMs)
      return evidence
    } finally {
      cri.close()
    }
  }

  async #pause(): Promise<void> {
    const { clock } = this.#ports
    const sinceMs = clock.monotonic() - (this.#own.now.commandedAt ?? clock.monotonic())
    const { underWay } = this.#command
    const sleep = clock.sleep(sinceMs < 3_000 ? 20 : 200)
    await Promise.race(underWay === undefined ? [sleep] : [sleep, underWay])
  }

  async #keep(after: Buffer | undefined): Promise<void> {
    const { restarts } = this.#ports
    const { configFile } = this.#own.now
    try {
      await restarts.keep(configFile, after)
      // A driver that took this process for dead has ended the restart, and nothing would remove what is kept now.
      await this.#own.change({}, { durable: false })
    } catch (thrown) {
      if (thrown instanceof TakenOver) {
        await this.#own.quietly(() => restarts.forget(configFile))
        throw thrown
      }
      const { code, message } = asAgentError(thrown)
      await this.#own.change({ phase: 'reverted', failure: { code, message } })
      await this.#close()
      throw thrown
    }
  }

  async #close(): Promise<void> {
    await this.#own.end()
    for (const step of putAway(this.#own.now, this.#ports.restarts)) await this.#own.quietly(step)
  }
}
