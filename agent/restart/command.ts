// The command that restarts containerd: recorded, written to the ledger and to the audit log, then given.
import { AgentError, asAgentError } from '../model/errors.ts'
import { COMMAND_MS, LONGEST_START_MS } from './machine.ts'
import type { MachinePorts, OwnRecord } from './own-record.ts'

export class RestartCommand {
  readonly #ports: MachinePorts
  readonly #own: OwnRecord
  #underWay: Promise<void> | undefined
  #failed: AgentError | undefined
  #signalledAt: number | undefined

  constructor(ports: MachinePorts, own: OwnRecord) {
    this.#ports = ports
    this.#own = own
  }

  /** Its end is worth a look at once; undefined: none is under way. */
  get underWay(): Promise<void> | undefined {
    return this.#underWay
  }

  /**
   * Whether what is seen of containerd may date from before the command. For a signal the time counts from when it was
   * sent: on a slow disk that may be long after it was recorded.
   */
  get mayBeUnseen(): boolean {
    if (this.#underWay !== undefined) return true
    return this.#signalledAt !== undefined && this.#ports.clock.monotonic() - this.#signalledAt < COMMAND_MS
  }

  /** Why it was not taken; what counts is what is seen, and this is said for the reason. */
  get failed(): AgentError | undefined {
    return this.#failed
  }

  /** Records it, then gives it; it runs on while the caller watches. Throws TakenOver. */
  async give(direction: 'forward' | 'back'): Promise<void> {
    const { clock, restarts, log } = this.#ports
    const { starts, id, unit, reason, failure, configFile, before, after } = this.#own.now
    const why = direction === 'forward' ? reason : (failure?.message ?? reason)
    const entry = {
      id,
      at: new Date(clock.now()).toISOString(),
      bootId: restarts.bootId,
      uptimeMs: clock.monotonic(),
      kind: direction,
      by: this.#own.driver,
      reason: why,
    } as const
    const added = restarts.ledger.add(entry)
    // A ledger that cannot be written does not stop the way back.
    await (direction === 'forward' ? added : this.#own.quietly(() => added))
    await this.#own.change({
      starts: { ...starts, [direction]: starts[direction] + 1 },
      commandedAt: clock.monotonic(),
    })
    log.info('restarting', { id, unit, direction, reason: why })
    const hashes = { path: configFile, beforeSha256: before, afterSha256: direction === 'forward' ? after : before }
    await this.#own.audit({ event: 'restart', direction, unit: unit ?? null, reason: why, ...hashes })
    const command = this.#restart()
      .catch((thrown: unknown) => {
        const error = asAgentError(thrown)
        log.warn('restart-command', { id, unit, code: error.code, error: error.message })
        this.#failed = error
      })
      .finally(() => {
        if (this.#underWay === command) this.#underWay = undefined
      })
    this.#underWay = command
    // A signal is given at once, and systemd's job ends when it ends.
    if (unit === undefined) await command
  }

  async #restart(): Promise<void> {
    const { systemd, processes } = this.#ports
    const { unit, socket, id } = this.#own.now
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
    this.#signalledAt = this.#ports.clock.monotonic()
  }
}
