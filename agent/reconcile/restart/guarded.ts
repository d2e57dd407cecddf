// The dangerous step of a transaction: write what only a restart makes valid, restart, and where that fails go back:
// config.toml by one rename, containerd, then everything else. What is done when is decided by the machine
// (agent/restart/), which the restarter drives too.
import { type AgentError, asAgentError, AgentError as Failure } from '../../model/errors.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { Change } from '../../model/plan.ts'
import type { FileState } from '../../model/ports.ts'
import type { RestartRecord } from '../../model/restart.ts'
import type { RestartReport } from '../../model/run.ts'
import type { RunPorts } from '../../model/run-ports.ts'
import type { AgentState } from '../../model/state.ts'
import { type Driven, Machine, type RestartOrder } from '../../restart/driver.ts'
import { TakenOver } from '../../restart/own-record.ts'
import { settle } from '../../restart/settle.ts'
import { sha256 } from '../../targets/files/files.ts'
import type { Transaction } from '../transaction/transaction.ts'
import { isUndone, othersFindings } from '../transaction/undo-report.ts'
import type { RestartDecision } from './gate.ts'
import { machinePorts } from './machine-ports.ts'
import { rememberDaemon } from './restart.ts'

export type RestartStep = {
  readonly facts: ContainerdFacts
  readonly ports: RunPorts
  readonly transaction: Transaction
  /** What is remembered of the transaction where the restart goes well, as for its commit. */
  readonly remember: (state: AgentState) => AgentState
}

export type RestartFailure = {
  readonly error: AgentError
  /** Files and runtime are as before the transaction. */
  readonly restored: boolean
  /** False: the failure came before containerd was touched. */
  readonly restarted: boolean
  /** Those that were made, this one included. */
  readonly restarts: readonly RestartReport[]
}

export type Allowed = Extract<RestartDecision, { allowed: true }>

/** A restart that went well so far: it stays when it is committed. */
export type OpenRestart = {
  /** Why it is not committed after all: then containerd and every path are back, as far as the failure says. */
  commit(): Promise<RestartFailure | undefined>
  /** False: something could not be put back. Never throws. */
  revert(error: AgentError): Promise<boolean>
}

export type Restarted =
  | { readonly ok: true; readonly restart: OpenRestart; readonly report: RestartReport }
  | { readonly ok: false; readonly failure: RestartFailure }

/** What config.toml is after `write`; undefined: as it is. */
export type NewConfig = { readonly content: Buffer | null } | undefined

/** Keeps the original, writes what only a restart makes valid, restarts, and on any failure puts everything back. */
export async function restartWith(
  write: () => Promise<void>,
  newConfig: NewConfig,
  reason: string,
  allowed: Allowed,
  attempt: RestartStep,
): Promise<Restarted> {
  const { ports, transaction } = attempt
  let machine: Machine | undefined
  try {
    machine = await Machine.arm(
      machinePorts(ports),
      'agent',
      await orderFor(newConfig, reason, allowed, attempt),
      newConfig?.content ?? undefined,
    )
    await write()
    await transaction.markRestart(attempt.remember)
    await machine.written()
  } catch (thrown) {
    await allowed.release()
    return { ok: false, failure: await notBegun(thrown, machine, attempt) }
  }
  return new GuardedRestart(machine, reason, allowed, attempt).run()
}

async function orderFor(
  newConfig: NewConfig,
  reason: string,
  { way, before: runtime }: Allowed,
  { facts, ports, transaction }: RestartStep,
): Promise<RestartOrder> {
  const { socket, configFile } = facts
  const before = hashOf(await ports.files.readFollowing(configFile), configFile)
  const after = newConfig === undefined ? before : newConfig.content === null ? null : sha256(newConfig.content)
  const daemon = await rememberDaemon(way, socket, ports)
  const unit = way.kind === 'systemd' ? { unit: way.unit } : {}
  return { id: transaction.id, reason, ...unit, socket, configFile, daemon, runtime, before, after }
}

function hashOf(state: FileState, path: string): string | null {
  if (state.kind === 'absent') return null
  if (state.kind === 'file') return sha256(state.bytes)
  throw new Failure('WRITE_FAILED', `${path} cannot be kept before it is changed: it is ${state.kind}`)
}

/** Nothing was restarted: config.toml goes back, and what else was written. */
async function notBegun(
  thrown: unknown,
  machine: Machine | undefined,
  { ports, transaction }: RestartStep,
): Promise<RestartFailure> {
  const error = thrown instanceof TakenOver ? takenOver() : asAgentError(thrown)
  const isBack = machine === undefined || (await goBack(machine, error, ports))
  const isWhole = isUndone(await transaction.undo())
  return { error, restored: isBack && isWhole && error.code !== 'ROLLBACK_INCOMPLETE', restarted: false, restarts: [] }
}

class GuardedRestart implements OpenRestart {
  readonly #machine: Machine
  readonly #reason: string
  readonly #allowed: Allowed
  readonly #attempt: RestartStep
  readonly #at: number
  readonly #began: number

  constructor(machine: Machine, reason: string, allowed: Allowed, attempt: RestartStep) {
    this.#machine = machine
    this.#reason = reason
    this.#allowed = allowed
    this.#attempt = attempt
    this.#at = attempt.ports.clock.now()
    this.#began = attempt.ports.clock.monotonic()
  }

  async run(): Promise<Restarted> {
    const { ports } = this.#attempt
    const driven = await this.#orFollow(() => this.#machine.restart())
    if (driven.end === 'ready' || driven.end === 'committed') {
      if (driven.end === 'ready') for (const note of driven.notes) ports.log.warn('container-ended', { note })
      return { ok: true, restart: this, report: this.#report('ok') }
    }
    const error = failureOf(driven.record)
    ports.log.error('restart-failed', { code: error.code, error: error.message })
    const restored = await this.#undoRest(driven)
    const restarts = [this.#report(restored ? 'rolled-back' : 'rollback-failed')]
    const restarted = driven.record.starts.forward > 0 && error.code !== 'RESTART_REFUSED'
    return { ok: false, failure: { error, restored, restarted, restarts } }
  }

  async commit(): Promise<RestartFailure | undefined> {
    if (this.#machine.record.phase !== 'committed') {
      const driven = await this.#commitOrRevert()
      if (driven.end !== 'committed' && driven.end !== 'ready') {
        const restored = await this.#undoRest(driven)
        const restarts = [this.#report(restored ? 'rolled-back' : 'rollback-failed')]
        return { error: failureOf(driven.record), restored, restarted: true, restarts }
      }
    }
    await this.#allowed.release()
    return undefined
  }

  async revert(error: AgentError): Promise<boolean> {
    const driven = await this.#orFollow(() => this.#machine.revert(error))
    return this.#undoRest(driven)
  }

  /** What cannot be recorded as good, as on a full disk, goes back: the next driver would take it for abandoned. */
  async #commitOrRevert(): Promise<Driven> {
    try {
      return await this.#orFollow(() => this.#machine.commit())
    } catch (thrown) {
      return await this.#orFollow(() => this.#machine.revert(asAgentError(thrown)))
    }
  }

  /** Config.toml and containerd are back, or stuck: now the rest, path by path. */
  async #undoRest(driven: Driven): Promise<boolean> {
    const { transaction } = this.#attempt
    if (driven.end !== 'ready') transaction.tell(othersFindings(driven.record))
    const isWhole = isUndone(await transaction.undo())
    const isBack = driven.end === 'reverted' || (driven.end === 'stuck' && (await this.#onceMore()))
    this.#machine.leave()
    await this.#allowed.release()
    return isWhole && isBack
  }

  /** The undo has other means to write the old config.toml; with it in place the machine may come to its end. */
  async #onceMore(): Promise<boolean> {
    const { ports } = this.#attempt
    this.#machine.leave()
    const record = await settle(machinePorts(ports), 'agent', { isMine: true, isPatient: false })
    return record?.phase === 'reverted'
  }

  /** Where the restarter goes on, as this process was away for too long, its end is ours. */
  async #orFollow(work: () => Promise<Driven>): Promise<Driven> {
    try {
      return await work()
    } catch (thrown) {
      return thrown instanceof TakenOver ? this.#follow() : this.#afterFault(asAgentError(thrown))
    }
  }

  async #follow(): Promise<Driven> {
    const { log } = this.#attempt.ports
    log.warn('restart-followed', { id: this.#machine.record.id })
    const record = await settle(machinePorts(this.#attempt.ports), 'agent', { isMine: false, isPatient: false })
    if (record === undefined || record.id !== this.#machine.record.id) throw takenOver()
    const end = record.phase === 'committed' || record.phase === 'reverted' ? record.phase : 'stuck'
    return { end, record }
  }

  /** A phase that could not be recorded, e.g. on a full disk: back, which needs no record. */
  async #afterFault(error: AgentError): Promise<Driven> {
    try {
      return await this.#machine.revert(error)
    } catch (thrown) {
      if (thrown instanceof TakenOver) return this.#follow()
      throw thrown
    }
  }

  #report(result: RestartReport['result']): RestartReport {
    const durationMs = Math.round(this.#attempt.ports.clock.monotonic() - this.#began)
    return { at: new Date(this.#at).toISOString(), reason: this.#reason, result, durationMs }
  }
}

async function goBack(machine: Machine, error: AgentError, ports: RunPorts): Promise<boolean> {
  try {
    return (await machine.revert(error)).end === 'reverted'
  } catch (thrown) {
    if (!(thrown instanceof TakenOver)) throw thrown
    const record = await settle(machinePorts(ports), 'agent', { isMine: false, isPatient: false })
    return record?.phase === 'reverted'
  } finally {
    machine.leave()
  }
}

function failureOf({ failure, stuck }: RestartRecord): AgentError {
  const { code, message } = failure ?? stuck ?? { code: 'RESTART_FAILED', message: 'containerd was put back' }
  return new Failure(code === 'RESTART_REFUSED' ? code : 'RESTART_FAILED', message)
}

function takenOver(): AgentError {
  return new Failure(
    'RESTART_FAILED',
    'this process was paused for too long, so the restarter put the old configuration back',
  )
}

/** The changes of config.toml itself among these, as the machine wants them. */
export function newConfigOf(changes: readonly Change[], configFile: string): NewConfig {
  const last = changes.findLast(({ path }) => path === configFile)
  if (last === undefined) return undefined
  return { content: last.after.kind === 'file' ? last.after.bytes : null }
}
