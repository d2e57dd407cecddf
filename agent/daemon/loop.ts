// The daemon's loop: level-based, one run at a time. An event only says "look again"; what to do follows from what is
// there.

import type { LoadConfig, LookOptions } from '../config/load.ts'
import { type DesiredState, type Registry, wantsContainerd } from '../model/desired-state.ts'
import { asAgentError, problem } from '../model/errors.ts'
import { provesTrust } from '../model/finding.ts'
import { NO_RUNTIME } from '../model/observed-state.ts'
import type { ProofResult } from '../model/proof.ts'
import { answeringSocket, type Run, runtimeNamed } from '../model/run.ts'
import type { RunPorts } from '../model/run-ports.ts'
import { type AgentState, EMPTY_STATE } from '../model/state.ts'
import type { DriftStatus, NodeStatus } from '../model/status.ts'
import { proveDeclared } from '../reconcile/prove/prove.ts'
import { applyRun, auditRun, failedRun } from '../reconcile/run/entry.ts'
import { detectedDrift } from './detected.ts'
import { AT_ONCE, freshProofs, isNewInput, isProofDue, proofDueAt, type Resync, resyncAfter, waitMs } from './due.ts'
import {
  allDrift,
  asDrift,
  driftOf,
  type Memory,
  NOTHING_REMEMBERED,
  rememberProofs,
  rememberRun,
  type StatusIdentity,
  statusOf,
} from './history.ts'
import { type Checks, livenessOf, readinessOf } from './readiness.ts'
import { tellAdvisories, tellConfig, tellRun } from './telling.ts'
import { namedPorts, Waits } from './waits.ts'

const BUSY_PAUSE_MS = 200
/** A turn that takes longer is told in the log, and what it waits for; again after twice the time. */
const SLOW_MS = 30_000

/** What the loop reports about itself; the composition root feeds metrics from it. */
export type LoopEvents = {
  onConfig(valid: boolean): void
  onRun(
    run: Run,
    facts: {
      readonly detected: readonly { readonly target: string }[]
      readonly healed: readonly { readonly target: string }[]
      readonly durationMs: number
    },
  ): void
  onProofs(proofs: readonly ProofResult[]): void
  /** What `Loop.status` returns may have changed; it is made when it is asked for. */
  onStatus(now: { readonly isApplying: boolean }): void
}

export type LoopOptions = {
  readonly identity: StatusIdentity
  readonly address: string | undefined
  readonly consentUnrehearsed: boolean
  readonly loadConfig: LoadConfig
  readonly ports: RunPorts
  readonly events: LoopEvents
  /** Drift that is seen beside the runs. */
  readonly advisories?: (desired: DesiredState | undefined) => readonly DriftStatus[]
  /** Why only a new process can do the work; undefined: this one can. */
  readonly isBlind?: () => string | undefined
  /** Before a look that nothing has asked for: everything is read anew, whatever seems to be as it was. */
  readonly forget?: () => void
}

/** What the loop is asked for between two turns. */
type Pending = { readonly look: boolean; readonly byHand: boolean; readonly prove: boolean }

const NOTHING_PENDING: Pending = { look: false, byHand: false, prove: false }

export function startLoop(options: LoopOptions): Loop {
  const loop = new Loop(options)
  loop.start()
  return loop
}

export class Loop {
  readonly #options: LoopOptions
  readonly #waits: Waits
  readonly #since: number
  #memory: Memory = NOTHING_REMEMBERED
  #state: AgentState = EMPTY_STATE
  #pending: Pending = { ...NOTHING_PENDING, look: true }
  /** Registries to prove without a look at the node. */
  #overdue: ReadonlySet<string> = new Set()
  #resync: Resync = AT_ONCE
  #wake = new AbortController()
  #isStopped = false
  #running: Promise<void> = Promise.resolve()
  #runStartedAt: number | undefined
  /** When it is to wake by itself; undefined while it does not sleep. */
  #wakesAt: number | undefined
  #firstEndedAt: number | undefined
  readonly #firstTurn = Promise.withResolvers<void>()
  #lastTold = ''
  #advised: ReadonlySet<string> = new Set()
  readonly #detected = detectedDrift()

  constructor(options: LoopOptions) {
    this.#waits = new Waits(options.ports.clock)
    this.#since = options.ports.clock.monotonic()
    this.#options = { ...options, ports: namedPorts(options.ports, this.#waits) }
  }

  start(): void {
    this.#running = this.#run()
  }

  /** Resolves when the first look has ended, however it went. */
  firstTurn(): Promise<void> {
    return this.#firstTurn.promise
  }

  status(): NodeStatus {
    const looking = { since: this.#since, waits: this.#waits.longest() }
    return statusOf(this.#memory, this.#state, this.#options.identity, this.#advisories(), this.#now(), looking)
  }

  #advisories(): readonly DriftStatus[] {
    return this.#options.advisories?.(this.#memory.desired) ?? []
  }

  /** Where containerd answered in the last run. */
  socket(): string | undefined {
    return this.#memory.run?.facts?.socket
  }

  /** Of the configuration in force. */
  registries(): readonly Registry[] {
    return this.#memory.desired?.registries ?? []
  }

  /** Look again, now or as soon as the run under way has ended. */
  poke({ byHand = false, prove = false }: { readonly byHand?: boolean; readonly prove?: boolean } = {}): void {
    this.#pending = { look: true, byHand: this.#pending.byHand || byHand, prove: this.#pending.prove || prove }
    this.#wake.abort()
  }

  /**
   * containerd ended, hangs or answers with an error, which `reason` says: status and metrics tell it from here on, not
   * only when the look that follows has lost its patience.
   */
  lost(reason: string): void {
    const socket = this.socket() ?? 'its socket'
    const silent = problem('CRI_UNREACHABLE', `containerd at ${socket} stopped answering: ${reason}`)
    this.#memory = { ...this.#memory, silent: { problem: silent, at: this.#now() } }
    this.#options.ports.log.warn('containerd-silent', { socket, reason })
    this.#publish()
    this.poke()
  }

  /** One registry, without a look at the node. */
  proveSoon(host: string): void {
    this.#overdue = new Set([...this.#overdue, host])
    this.#wake.abort()
  }

  readiness(): Checks {
    return readinessOf(this.#memory, this.#firstEndedAt, this.#now())
  }

  liveness(): Checks {
    const turn = { startedAt: this.#runStartedAt, dueAt: this.#wakesAt }
    return livenessOf(turn, this.#options.isBlind?.(), this.#now())
  }

  /** Ends after the run under way; the node stays as it is. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#wake.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      await this.#turn()
      this.#firstTurn.resolve()
      if (this.#isStopped) return
      const { look, byHand, prove } = this.#pending
      // A writer that never rests must not make the agent run without a pause; the first event is answered at once.
      if (look && !byHand) await this.#options.ports.clock.sleep(BUSY_PAUSE_MS)
      else if (!byHand && !prove) await this.#idle()
    }
  }

  async #turn(): Promise<void> {
    const { log } = this.#options.ports
    const { look, byHand, prove } = this.#pending
    this.#pending = NOTHING_PENDING
    const startedAt = this.#now()
    this.#runStartedAt = startedAt
    this.#waits.begin()
    const ended = new AbortController()
    void this.#tellSlow(startedAt, ended.signal)
    try {
      const isResync = this.#resync.at <= startedAt
      const isAnew = isResync || byHand
      if (isAnew) this.#options.forget?.()
      if (look || byHand || prove || isResync) await this.#loadAndReconcile({ isAnew, byHand, prove })
      else await this.#proveDue()
    } catch (thrown) {
      const error = asAgentError(thrown)
      log.error('reconcile-failed', { code: error.code, error: error.message, remedy: error.remedy })
      const run = failedRun(error)
      this.#memory = { ...this.#memory, isApplying: false, silent: undefined, run }
      const now = this.#now()
      this.#options.events.onRun(run, { detected: [], healed: [], durationMs: now - startedAt })
      this.#resync = { ...this.#resync, at: resyncAfter(run, 0, now, this.#resync).at }
    } finally {
      ended.abort()
      this.#runStartedAt = undefined
      this.#publish()
    }
  }

  /** Beside the turn, until it has ended: what hangs says nothing itself. */
  async #tellSlow(startedAt: number, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options.ports
    for (let afterMs = SLOW_MS; ; afterMs *= 2) {
      await clock.sleep(startedAt + afterMs - this.#now(), { signal }).catch(() => undefined)
      if (signal.aborted) return
      const underWayMs = Math.round(this.#now() - startedAt)
      log.warn('reconcile-slow', { underWayMs, waitsFor: this.#waits.longest(), spent: this.#waits.spent() })
    }
  }

  async #loadAndReconcile({ isAnew, byHand, prove }: Pick<Pending, 'byHand' | 'prove'> & LookOptions): Promise<void> {
    await this.#readConfig({ isAnew })
    this.#memory = { ...this.#memory, isApplying: isNewInput(this.#memory) }
    this.#publish()
    const { desired } = this.#memory
    if (desired !== undefined) await this.#reconcile(desired, byHand, prove)
  }

  async #readConfig(options: LookOptions): Promise<void> {
    const { events, loadConfig, ports } = this.#options
    const loaded = await this.#waits.during('the configuration', '', loadConfig(options))
    const problems = loaded.ok ? loaded.refused : loaded.problems
    events.onConfig(problems.length === 0)
    tellConfig(ports.log, loaded, this.#memory)
    this.#memory = { ...this.#memory, configProblems: problems, ...(loaded.ok ? { desired: loaded.desired } : {}) }
  }

  async #reconcile(desired: DesiredState, byHand: boolean, proveAll: boolean): Promise<void> {
    const { address, consentUnrehearsed, events, ports } = this.#options
    const generationBefore = this.#state.generation
    const now = this.#now()
    const memory = this.#memory
    const due = { desired, asked: this.#takeOverdue(), now }
    const options = {
      address,
      consentUnrehearsed,
      byHand,
      knownBefore: freshProofs(memory, desired, now),
      isProofDue: (host: string) => proveAll || isProofDue(host, memory, due),
    }
    const run = await (desired.mode === 'audit' ? auditRun : applyRun)(desired, options, ports)
    if (run.outcome !== 'failed') this.#state = run.state
    const ended = this.#now()
    this.#memory = rememberRun({ ...this.#memory, generationBefore }, desired, run, { began: now, ended })
    const drifted = generationBefore === desired.generation ? (run.planned?.plan.changes ?? []) : []
    const applied = new Set(run.applied)
    const healed = drifted.filter((change) => applied.has(change)).map(asDrift)
    const detected = this.#detected(run, driftOf(this.#memory), healed)
    events.onRun(run, { detected, healed, durationMs: ended - now })
    events.onProofs(run.proofs)
    if (run.outcome !== 'no-containerd') this.#firstEndedAt ??= ended
    this.#lastTold = tellRun(ports.log, run, this.#memory, this.#lastTold)
    this.#resync = resyncAfter(run, desired.drift.resyncMs, this.#now(), this.#resync)
  }

  /** Between resyncs only proofs are due: no plan, no lock. */
  async #proveDue(): Promise<void> {
    const { address, events, ports } = this.#options
    const { desired, run } = this.#memory
    const now = this.#now()
    if (desired === undefined || run === undefined) return
    const socket = answeringSocket(run)
    const isAlone = socket === undefined && !wantsContainerd(desired)
    // Without a socket a proof is a rehearsal or a handshake, which is a whole run.
    if (address === NO_RUNTIME || isAlone) return this.#resyncBy(now)
    if (socket === undefined) return
    const asked = this.#takeOverdue()
    const isDue = (host: string) => asked.has(host) || proofDueAt(this.#memory, desired, host) <= now
    const due = desired.registries.filter(({ host }) => isDue(host))
    if (due.length === 0) return
    const cri = ports.connectCri(socket)
    try {
      const proofs = await proveDeclared(due, cri, ports, desired, runtimeNamed(run))
      this.#memory = rememberProofs(this.#memory, proofs, this.#now())
      events.onProofs(proofs)
      // What broke since is looked at as a whole: the files may have been damaged.
      if (proofs.some(({ finding }) => !provesTrust(finding.code))) this.#resyncBy(this.#now())
    } finally {
      cri.close()
    }
  }

  async #idle(): Promise<void> {
    const { clock } = this.#options.ports
    const ms = waitMs(this.#memory, this.#resync.at, this.#now())
    this.#wakesAt = this.#now() + ms
    await clock.sleep(ms, { signal: this.#wake.signal }).catch(() => undefined)
    this.#wakesAt = undefined
    if (this.#memory.desired === undefined) this.#pending = { ...this.#pending, look: true }
    this.#wake = new AbortController()
  }

  #publish(): void {
    const { events, ports } = this.#options
    const drift = allDrift(this.#memory, this.#state, this.#advisories())
    this.#advised = tellAdvisories(ports.log, drift, this.#advised)
    events.onStatus({ isApplying: this.#memory.isApplying })
  }

  #resyncBy(at: number): void {
    this.#resync = { ...this.#resync, at: Math.min(this.#resync.at, at) }
  }

  /** What is asked for from here on is for the next turn. */
  #takeOverdue(): ReadonlySet<string> {
    const taken = this.#overdue
    this.#overdue = new Set()
    return taken
  }

  #now(): number {
    return this.#options.ports.clock.monotonic()
  }
}
