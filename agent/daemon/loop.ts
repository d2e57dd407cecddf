// The daemon's loop: level-based, one run at a time. An event only says "look again"; what to do follows from what is there.
import type { LoadResult } from '../config/load.ts'
import type { DesiredState, Registry } from '../model/desired-state.ts'
import { asAgentError, type Problem } from '../model/errors.ts'
import { isLoginFailure, isRuntimeFinding, provesTrust } from '../model/finding.ts'
import { NO_RUNTIME } from '../model/observed-state.ts'
import { ADVISORY_KINDS } from '../model/plan.ts'
import type { ProofResult } from '../model/proof.ts'
import type { Run } from '../model/run.ts'
import type { RunPorts } from '../model/run-ports.ts'
import { type AgentState, EMPTY_STATE } from '../model/state.ts'
import type { DriftStatus, NodeStatus } from '../model/status.ts'
import { proveDeclared } from '../reconcile/prove/prove.ts'
import { applyRun, auditRun, failedRun } from '../reconcile/run/entry.ts'
import {
  asDrift,
  type Memory,
  NOTHING_REMEMBERED,
  rememberProofs,
  rememberRun,
  type StatusIdentity,
  statusOf,
} from './history.ts'

const FIRST_RETRY_MS = 250
const LAST_RETRY_MS = 5_000
const FIRST_PROOF_RETRY_MS = 5_000
/** A run takes seconds; one that takes this long hangs in a way that only a new process gets out of. */
const STUCK_MS = 600_000
const READY_PATIENCE_MS = 5_000
const BUSY_PAUSE_MS = 200
const LOGIN_PAUSE_MS = 2_000

/** What the loop tells of itself; the composition root feeds metrics from it. */
export type LoopEvents = {
  onConfig(valid: boolean): void
  onRun(
    run: Run,
    facts: {
      readonly drifted: number
      readonly healed: readonly { readonly target: string }[]
      readonly durationMs: number
    },
  ): void
  onProofs(proofs: readonly ProofResult[]): void
  onStatus(status: NodeStatus): void
}

export type LoopOptions = {
  readonly identity: StatusIdentity
  readonly address: string | undefined
  readonly consentUnrehearsed: boolean
  readonly loadConfig: () => Promise<LoadResult>
  readonly ports: RunPorts
  readonly events: LoopEvents
  /** Drift that is seen beside the runs. */
  readonly advisories?: (desired: DesiredState | undefined) => readonly DriftStatus[]
  /** Why only a new process can do the work; undefined: nothing is. */
  readonly isBlind?: () => string | undefined
}

export type Loop = {
  status(): NodeStatus
  /** Of the configuration in force. */
  registries(): readonly Registry[]
  proofEverySeconds(host: string): number | undefined
  /** Look again, now or as soon as the run under way has ended. */
  poke(options?: { readonly byHand?: boolean; readonly prove?: boolean }): void
  /** One registry, without a look at the node. */
  proveSoon(host: string): void
  readiness(): { readonly ready: boolean; readonly checks: readonly { name: string; ok: boolean; message: string }[] }
  liveness(): { readonly ready: boolean; readonly checks: readonly { name: string; ok: boolean; message: string }[] }
  /** Ends after the run under way; the node stays as it is. */
  stop(): Promise<void>
}

export function startLoop({
  identity,
  address,
  consentUnrehearsed,
  loadConfig,
  ports,
  events,
  advisories = () => [],
  isBlind = () => undefined,
}: LoopOptions): Loop {
  const { clock, log } = ports
  let memory: Memory = NOTHING_REMEMBERED
  let state: AgentState = EMPTY_STATE
  let pending = { look: true, byHand: false, prove: false }
  let wake = new AbortController()
  let stopped = false
  let runStartedAt: number | undefined
  let firstEndedAt: number | undefined
  let nextResyncAt = 0
  let retryMs = FIRST_RETRY_MS
  let lastTold = ''
  let advised: ReadonlySet<string> = new Set()
  const overdue = new Set<string>()

  /** What is asked for from here on is for the next turn. */
  const takeOverdue = (): ReadonlySet<string> => {
    const taken = new Set(overdue)
    overdue.clear()
    return taken
  }

  const status = () => statusOf(memory, state, identity, advisories(memory.desired), clock.monotonic())
  const publish = () => {
    const now = status()
    advised = tellAdvisories(log, now.drift, advised)
    events.onStatus(now)
  }

  const readConfig = async (): Promise<void> => {
    const loaded = await loadConfig()
    const problems = loaded.ok ? loaded.refused : loaded.problems
    events.onConfig(problems.length === 0)
    tellOnce(log, loaded, memory)
    memory = { ...memory, configProblems: problems, ...(loaded.ok ? { desired: loaded.desired } : {}) }
  }

  const runOnce = async (byHand: boolean, proveAll: boolean): Promise<void> => {
    const { desired } = memory
    if (desired === undefined) return
    const started = clock.monotonic()
    const generationBefore = state.generation
    const now = clock.monotonic()
    const asked = takeOverdue()
    const isDue = (host: string) => {
      const known = memory.registries.get(host)
      return (
        proveAll ||
        known === undefined ||
        asked.has(host) ||
        // That a restart is due may be known by the proofs alone.
        memory.run?.restartPending !== undefined ||
        isRuntimeFinding(known.finding) ||
        proofDueAt(memory, desired, host) <= now ||
        // What woke us may be the new password.
        (isLoginFailure(known.finding.code) && known.provedAt + LOGIN_PAUSE_MS <= now)
      )
    }
    const options = {
      address,
      consentUnrehearsed,
      byHand,
      knownBefore: freshProofs(memory, desired, now),
      isProofDue: isDue,
    }
    const run = await (desired.mode === 'audit' ? auditRun : applyRun)(desired, options, ports)
    if (run.outcome !== 'failed') state = run.state
    memory = rememberRun({ ...memory, generationBefore }, desired, run, clock.monotonic())
    const drifted = generationBefore === desired.generation ? (run.planned?.plan.changes ?? []) : []
    const healed = drifted.filter((change) => run.applied.includes(change)).map(asDrift)
    events.onRun(run, { drifted: drifted.length, healed, durationMs: clock.monotonic() - started })
    events.onProofs(run.proofs)
    if (run.outcome !== 'no-containerd') firstEndedAt ??= clock.monotonic()
    lastTold = tell(log, run, memory, lastTold)
    const isDown = run.outcome === 'no-containerd'
    nextResyncAt = clock.monotonic() + pauseAfter(run, desired.drift.resyncMs)
    retryMs = isDown ? Math.min(retryMs * 2, LAST_RETRY_MS) : FIRST_RETRY_MS
  }

  const pauseAfter = ({ outcome }: Run, resyncMs: number) => {
    if (outcome === 'failed') return LAST_RETRY_MS
    return outcome === 'no-containerd' ? retryMs : resyncMs
  }

  /** Between resyncs only proofs are due: no plan, no lock. */
  const proveDue = async (): Promise<void> => {
    const { desired, run } = memory
    const now = clock.monotonic()
    if (desired === undefined || run?.facts === undefined) return
    // Without a socket a proof is a rehearsal, which is a whole run.
    if (address === NO_RUNTIME) {
      nextResyncAt = Math.min(nextResyncAt, now)
      return
    }
    const asked = takeOverdue()
    const due = desired.registries.filter(({ host }) => asked.has(host) || proofDueAt(memory, desired, host) <= now)
    if (due.length === 0) return
    const cri = ports.connectCri(run.facts.socket)
    try {
      const proofs = await proveDeclared(due, cri, ports, desired)
      memory = rememberProofs(memory, proofs, clock.monotonic())
      events.onProofs(proofs)
      // What broke since is looked at as a whole: the files may have been damaged.
      if (proofs.some(({ finding }) => !provesTrust(finding.code)))
        nextResyncAt = Math.min(nextResyncAt, clock.monotonic())
    } finally {
      cri.close()
    }
  }

  const turn = async (): Promise<void> => {
    const { look, byHand, prove } = pending
    pending = { look: false, byHand: false, prove: false }
    runStartedAt = clock.monotonic()
    try {
      if (look || byHand || prove || nextResyncAt <= clock.monotonic()) {
        await readConfig()
        memory = { ...memory, isApplying: isNewInput(memory) }
        publish()
        await runOnce(byHand, prove)
      } else await proveDue()
    } catch (thrown) {
      const error = asAgentError(thrown)
      log.error('reconcile-failed', { code: error.code, error: error.message, remedy: error.remedy })
      const run = failedRun(error)
      memory = { ...memory, isApplying: false, run }
      events.onRun(run, { drifted: 0, healed: [], durationMs: clock.monotonic() - (runStartedAt ?? 0) })
      nextResyncAt = clock.monotonic() + LAST_RETRY_MS
    } finally {
      runStartedAt = undefined
      publish()
    }
  }

  const idle = async (): Promise<void> => {
    const due = [
      nextResyncAt,
      ...(memory.desired?.registries ?? []).map(({ host }) => proofDueAt(memory, memory.desired, host)),
    ]
    const waitMs = memory.desired === undefined ? LAST_RETRY_MS : Math.max(0, Math.min(...due) - clock.monotonic())
    await clock.sleep(Math.min(waitMs, 2 ** 31 - 1), { signal: wake.signal }).catch(() => undefined)
    if (memory.desired === undefined) pending = { ...pending, look: true }
    wake = new AbortController()
  }

  const running = (async () => {
    while (!stopped) {
      await turn()
      // A writer that never rests must not make the agent run without a pause; the first event is answered at once.
      if (!stopped && pending.look && !pending.byHand) await clock.sleep(BUSY_PAUSE_MS)
      if (!stopped && !pending.look && !pending.byHand && !pending.prove) await idle()
    }
  })()

  return {
    status,
    registries: () => memory.desired?.registries ?? [],
    proofEverySeconds(host) {
      const registry = memory.desired?.registries.find((one) => one.host === host)
      return registry === undefined ? undefined : registry.proof.everyMs / 1000
    },
    poke(options = {}) {
      pending = {
        look: true,
        byHand: pending.byHand || options.byHand === true,
        prove: pending.prove || options.prove === true,
      }
      wake.abort()
    },
    proveSoon(host) {
      overdue.add(host)
      wake.abort()
    },
    readiness() {
      const registries = memory.desired?.registries ?? []
      const tried = registries.filter(({ host }) => memory.registries.has(host)).length
      const waited = firstEndedAt !== undefined && clock.monotonic() - firstEndedAt >= READY_PATIENCE_MS
      const isFailed = memory.run?.outcome === 'failed' || memory.run?.outcome === 'rollback-failed'
      const reconcileMessage = isFailed
        ? (memory.run?.error?.message ?? 'the last change could be neither kept nor undone completely')
        : 'the first reconcile has not ended yet'
      const isDown = memory.run === undefined || memory.run.outcome === 'no-containerd'
      const checks = [
        check('config', memory.desired !== undefined, memory.configProblems[0]?.message ?? 'not read yet'),
        check('containerd', !isDown, memory.run?.error?.message ?? 'not looked at yet'),
        check('reconcile', firstEndedAt !== undefined && !isFailed, reconcileMessage),
        check(
          'proofs',
          tried === registries.length || waited,
          `${tried} of ${registries.length} registries were tried`,
        ),
      ]
      return { ready: checks.every(({ ok }) => ok), checks }
    },
    liveness() {
      const since = runStartedAt ?? clock.monotonic()
      const isStuck = clock.monotonic() - since > STUCK_MS
      const blind = isBlind()
      const checks = [
        check('loop', !isStuck, `a run has been under way for ${Math.round((clock.monotonic() - since) / 1000)} s`),
        check('mounts', blind === undefined, blind ?? ''),
      ]
      return { ready: !isStuck && blind === undefined, checks }
    },
    async stop() {
      stopped = true
      wake.abort()
      await running
    },
  }
}

/** The node is not yet as the configuration in force wants it: what the last run said is about an older one. */
function isNewInput({ desired, run }: Memory): boolean {
  if (desired === undefined) return false
  if (run === undefined) return true
  return run.planned !== undefined && run.planned.plan.generation !== desired.generation
}

function check(name: string, ok: boolean, message: string) {
  return { name, ok, message: ok ? '' : message }
}

/** Monotonic. Trusted: as often as declared; not trusted: sooner, each time twice as long, never more often than declared allows. */
function proofDueAt(memory: Memory, desired: DesiredState | undefined, host: string): number {
  const known = memory.registries.get(host)
  const everyMs = desired?.registries.find((registry) => registry.host === host)?.proof.everyMs ?? 0
  if (known === undefined) return memory.run?.facts === undefined ? Number.POSITIVE_INFINITY : 0
  if (isRuntimeFinding(known.finding)) return memory.run?.facts === undefined ? Number.POSITIVE_INFINITY : 0
  const afterMs = known.failures === 0 ? everyMs : Math.min(everyMs, FIRST_PROOF_RETRY_MS * 2 ** (known.failures - 1))
  return known.provedAt + afterMs
}

function freshProofs(memory: Memory, desired: DesiredState, now: number): ReadonlyMap<string, ProofResult> {
  return new Map(
    desired.registries.flatMap(({ host, proof }) => {
      const known = memory.registries.get(host)
      if (known === undefined || known.lastProof.by !== 'live') return []
      if (known.provedAt + proof.everyMs < now) return []
      const { level, at, durationMs } = known.lastProof
      return [[host, { host, level, by: 'live', reference: '', finding: known.finding, at, durationMs }] as const]
    }),
  )
}

function tellOnce(log: RunPorts['log'], loaded: LoadResult, { desired, configProblems }: Memory): void {
  const textOf = (problems: readonly Problem[]) => problems.map(({ message }) => message).join('; ')
  const wasTold = textOf(loaded.ok ? loaded.refused : loaded.problems) === textOf(configProblems)
  if (!loaded.ok) {
    if (!wasTold) log.error('config-rejected', { problems: loaded.problems, inForce: desired?.generation ?? 'none' })
    return
  }
  const { generation, registries } = loaded.desired
  if (generation !== desired?.generation || !wasTold)
    log.info('config-loaded', { generation, registries: registries.length })
  if (loaded.refused.length > 0 && !wasTold) log.error('fragment-refused', { problems: loaded.refused })
}

/** Each advisory once, when it comes up; the runs tell of what they heal. */
function tellAdvisories(
  log: RunPorts['log'],
  drift: readonly DriftStatus[],
  told: ReadonlySet<string>,
): ReadonlySet<string> {
  const advisories = drift.filter(({ kind }) => ADVISORY_KINDS.has(kind))
  const keyOf = ({ kind, path }: DriftStatus) => `${kind} ${path}`
  for (const one of advisories) if (!told.has(keyOf(one))) log.warn('drift-found', { ...one })
  return new Set(advisories.map(keyOf))
}

/** One line for each outcome that a person would act on; the same again is not said twice. */
function tell(log: RunPorts['log'], run: Run, { registries }: Memory, lastTold: string): string {
  // What is known of each, not what this run has proved: not every run proves every registry.
  const findings = [...registries].map(([host, { finding }]) => `${host}: ${finding.code}`)
  const said = JSON.stringify([run.outcome, run.restartPending, run.problems.map(({ message }) => message), findings])
  if (run.applied.length > 0 || run.restarts.length > 0)
    log.info('applied', {
      outcome: run.outcome,
      changes: run.applied.map(({ action, path }) => `${action} ${path}`),
      restarts: run.restarts,
      proofs: findings,
    })
  else if (said !== lastTold) {
    const fields = {
      outcome: run.outcome,
      problems: run.problems,
      proofs: findings,
      ...(run.restartPending ? { restartPending: run.restartPending } : {}),
    }
    if (run.problems.length > 0 || run.restartPending !== undefined) log.warn('reconciled', fields)
    else log.info('reconciled', fields)
  }
  return said
}
