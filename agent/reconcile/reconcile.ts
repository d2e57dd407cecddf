// One run: observe → plan → rehearse → apply → prove → commit or roll back. `plan`, `apply`, the daemon's loop and the
// healing of drift are this function with other inputs. The first rule: never leave the node worse than it was.
import type { DesiredState, Registry } from '../model/desired-state.ts'
import { AgentError, asAgentError, type Problem, problem } from '../model/errors.ts'
import { breaksTrust, provesTrust } from '../model/finding.ts'
import type { ContainerdFacts } from '../model/observed-state.ts'
import type { Change, Rehearsal } from '../model/plan.ts'
import type { CriClient, NodeLock, RestartPermit } from '../model/ports.ts'
import type { AgentState } from '../model/state.ts'
import { type ObservePorts, observeContainerd } from './observe.ts'
import { makePlan, type Planned } from './planning.ts'
import { PROOF_DEADLINE_MS, type ProofResult, proveRegistries } from './prove.ts'
import { type RehearsePorts, rehearse } from './rehearse.ts'
import { chooseRestart, type RestartPorts, type RestartWay, rememberRuntime, restartContainerd, type RuntimeBefore } from './restart.ts'
import { beginTransaction, recover, type Transaction, type TransactionPorts } from './transaction.ts'

const HOUR_MS = 3_600_000
/** Before a change, only what answers quickly is asked: a registry that is down holds up nothing and proves nothing. */
const BEFORE_DEADLINE_MS = 2_000
const LOCK_PATIENCE_MS = 10_000

export type RunPorts = ObservePorts &
  RehearsePorts &
  RestartPorts &
  TransactionPorts & { readonly permit: RestartPermit; readonly lock: NodeLock }

export type RunOptions = {
  readonly address: string | undefined
  /** A person asked for this run: a generation that was rolled back is tried again, the restart budget does not count. */
  readonly byHand: boolean
  readonly consentUnrehearsed: boolean
  /** Which registries to prove when nothing changes; all unless told. */
  readonly isProofDue?: (host: string) => boolean
  /** Finding codes of earlier proofs that are fresh enough to stand for "before". */
  readonly knownBefore?: ReadonlyMap<string, ProofResult>
  readonly signal?: AbortSignal | undefined
}

export type RestartReport = {
  readonly at: string
  readonly reason: string
  readonly result: 'ok' | 'failed' | 'rolled-back' | 'rollback-failed'
  readonly durationMs: number
}

export type Run = {
  readonly outcome:
    | 'no-containerd'
    | 'planned'
    | 'unchanged'
    | 'applied'
    | 'deferred'
    | 'refused'
    | 'rolled-back'
    | 'rollback-failed'
  readonly state: AgentState
  readonly problems: readonly Problem[]
  readonly facts?: ContainerdFacts
  readonly planned?: Planned
  readonly rehearsal?: Rehearsal
  readonly proofs: readonly ProofResult[]
  /** Changes that are on the node now because of this run. */
  readonly applied: readonly Change[]
  readonly restarts: readonly RestartReport[]
  /** Why a restart that is due was not made. */
  readonly restartPending?: string
  readonly error?: AgentError
}

const NOTHING_APPLIED = { proofs: [], applied: [], restarts: [] } as const

/** What would change here and why, with the rehearsal's verdict. Never writes outside the scratch folder. */
export async function planRun(desired: DesiredState, options: RunOptions, ports: RunPorts): Promise<Run> {
  const state = await ports.store.load()
  const seen = await observeContainerd({ address: options.address, unit: desired.restart.unit }, ports)
  if (seen.state === 'down') return down(state, seen.error)
  try {
    const planned = await makePlan({ desired, state, facts: seen.facts }, ports.files)
    const rehearsal = await rehearse(desired, seen.facts, planned, ports, options.signal)
    return { outcome: 'planned', state, problems: planned.plan.problems, facts: seen.facts, planned, rehearsal, ...NOTHING_APPLIED }
  } finally {
    seen.cri.close()
  }
}

/** As planRun, and proves each registry as the node is now: for `mode: audit`. */
export async function auditRun(desired: DesiredState, options: RunOptions, ports: RunPorts): Promise<Run> {
  const run = await planRun(desired, options, ports)
  if (run.facts === undefined) return run
  const cri = ports.connectCri(run.facts.socket)
  try {
    return { ...run, proofs: await proveAll(desired, cri, options, ports) }
  } finally {
    cri.close()
  }
}

/** One transaction. Throws only what is a defect or a broken state folder; everything expected is an outcome. */
export async function applyRun(desired: DesiredState, options: RunOptions, ports: RunPorts): Promise<Run> {
  const lock = await acquire(ports)
  try {
    await recover(ports)
    const state = await ports.store.load()
    const seen = await observeContainerd({ address: options.address, unit: desired.restart.unit }, ports)
    if (seen.state === 'down') return down(state, seen.error)
    try {
      return await applyTo({ desired, state, facts: seen.facts, cri: seen.cri, options, ports })
    } finally {
      seen.cri.close()
    }
  } finally {
    await lock.release()
  }
}

function down(state: AgentState, error: AgentError): Run {
  return { outcome: 'no-containerd', state, problems: [problem(error.code, error.message)], error, ...NOTHING_APPLIED }
}

async function acquire({ lock, clock }: RunPorts) {
  const deadline = clock.now() + LOCK_PATIENCE_MS
  for (;;) {
    try {
      return await lock.acquire()
    } catch (thrown) {
      if (asAgentError(thrown).code !== 'LOCKED' || clock.now() > deadline) throw thrown
      await clock.sleep(50)
    }
  }
}

type Context = {
  readonly desired: DesiredState
  readonly state: AgentState
  readonly facts: ContainerdFacts
  readonly cri: CriClient
  readonly options: RunOptions
  readonly ports: RunPorts
}

async function applyTo(context: Context): Promise<Run> {
  const { desired, state, facts, cri, options, ports } = context
  const planned = await makePlan({ desired, state, facts }, ports.files)
  const { plan } = planned
  const base = { state, facts, planned, problems: plan.problems }
  if (plan.changes.length === 0 && !plan.restart.required) {
    const due = desired.registries.filter(({ host }) => options.isProofDue?.(host) ?? true)
    const proofs = await proveAll({ ...desired, registries: due }, cri, options, ports)
    return { ...base, outcome: 'unchanged', proofs, applied: [], restarts: [] }
  }
  const [rehearsal, before] = await Promise.all([
    rehearse(desired, facts, planned, ports, options.signal),
    provedBefore(context),
  ])
  if (rehearsal.verdict === 'failed') {
    const error = new AgentError('REHEARSAL_FAILED', `containerd ${facts.version} refuses the candidate configuration: ${rehearsal.reason}`)
    const problems = [...plan.problems, problem(error.code, error.message)]
    const proofs = await proveAll(desired, cri, options, ports)
    return { ...base, outcome: 'refused', problems, rehearsal, error, proofs, applied: [], restarts: [] }
  }
  const { kept, problems: orphaned } = withoutOrphaning(plan.changes, rehearsal, before)
  const problems = [...plan.problems, ...orphaned]
  const transaction = beginTransaction(state, desired.generation, ports)
  const started = ports.clock.now()
  const record = (result: 'committed' | 'rolled-back' | 'rollback-failed', changes: number, restarted: boolean, reason: string) => ({
    generation: desired.generation,
    durationMs: ports.clock.now() - started,
    result,
    changes,
    restarted,
    reason,
  })
  const harmless = kept.filter(({ target }) => target !== 'containerd-config')
  const risky = kept.filter(({ target }) => target === 'containerd-config')
  const permission = plan.restart.required ? await mayRestart(context, rehearsal) : undefined
  try {
    await transaction.execute(harmless)
  } catch (thrown) {
    const error = asAgentError(thrown)
    const proofs = await proveAll(desired, cri, options, ports)
    const outcome = error.code === 'ROLLBACK_INCOMPLETE' ? 'rollback-failed' : 'refused'
    return { ...base, outcome, problems: [...problems, problem(error.code, error.message)], rehearsal, error, proofs, applied: [], restarts: [] }
  }

  const restarts: RestartReport[] = []
  if (permission?.allowed === true) {
    const failed = await restartWith({ ...context, transaction, changes: risky, permission, reason: plan.restart.reason, restarts })
    if (failed !== undefined) {
      const result = failed.restored ? 'rolled-back' : 'rollback-failed'
      const saved = await transaction.abandon(record(result, 0, failed.restarted, failed.error.message), {
        refuse: failed.restarted,
      })
      const proofs = failed.restored ? await proveFresh(context) : []
      return {
        ...base,
        outcome: failed.restored && !failed.restarted ? 'refused' : result,
        state: saved,
        problems: [...problems, problem(failed.error.code, failed.error.message)],
        rehearsal,
        error: failed.error,
        proofs,
        applied: [],
        restarts,
      }
    }
  }

  const proofs = restarts.length > 0 ? await proveFresh(context) : await proveAll(desired, cri, options, ports)
  const worse = proofs.filter(({ host, finding }) => breaksTrust(finding.code) && isTrusted(before.get(host)))
  if (worse.length > 0) return undoWorse({ context, base, worse, transaction, rehearsal, problems, restarts, record, permission })
  const applied = permission === undefined || permission.allowed ? [...harmless, ...risky] : harmless
  const reason = applied.length > 0 ? summary(applied) : plan.restart.reason
  const saved =
    applied.length > 0 || restarts.length > 0
      ? await transaction.commit(record('committed', applied.length, restarts.length > 0, reason))
      : state
  const pending = permission?.allowed === false ? { restartPending: permission.reason } : {}
  const outcome = permission?.allowed === false ? 'deferred' : 'applied'
  return { ...base, outcome, state: saved, problems, rehearsal, proofs, applied, restarts, ...pending }
}

function summary(changes: readonly Change[]): string {
  const subjects = [...new Set(changes.map(({ subject }) => subject).filter((subject) => subject !== ''))]
  return `${changes.length} ${changes.length === 1 ? 'change' : 'changes'} for ${subjects.slice(0, 5).join(', ') || 'containerd'}${subjects.length > 5 ? ' …' : ''}`
}

function isTrusted(proof: ProofResult | undefined): boolean {
  return proof !== undefined && provesTrust(proof.finding.code)
}

async function provedBefore({ desired, cri, options, ports }: Context): Promise<ReadonlyMap<string, ProofResult>> {
  const known = options.knownBefore ?? new Map<string, ProofResult>()
  const unknown = desired.registries.filter(({ host }) => !known.has(host)).map(byManifest)
  const fresh = await proveRegistries(unknown, cri, { clock: ports.clock, timeoutMs: BEFORE_DEADLINE_MS, signal: options.signal })
  return new Map([...known, ...fresh.map((proof) => [proof.host, proof] as const)])
}

/** Before a change nothing is downloaded: whether the image named can be pulled is asked afterwards. */
function byManifest({ proof: { image: _, ...proof }, ...registry }: Registry): Registry {
  return { ...registry, proof: { ...proof, level: 'manifest' } }
}

/** A registry that is trusted now and would not be afterwards keeps what it has. */
function withoutOrphaning(
  changes: readonly Change[],
  rehearsal: Rehearsal,
  before: ReadonlyMap<string, ProofResult>,
): { readonly kept: readonly Change[]; readonly problems: readonly Problem[] } {
  if (rehearsal.verdict !== 'passed') return { kept: changes, problems: [] }
  const orphaned = rehearsal.proofs.filter(({ host, finding }) => breaksTrust(finding.code) && isTrusted(before.get(host)))
  const hosts = new Set(orphaned.map(({ host }) => host))
  const kept = changes.filter(({ target, subject }) => target !== 'containerd-hosts' || !hosts.has(subject))
  const problems = orphaned.map(({ host, finding }) =>
    problem('ANCHOR_WOULD_ORPHAN', `${host} is trusted now; with the anchors declared it would not be: ${finding.message}`),
  )
  return { kept, problems }
}

type Permission =
  | { readonly allowed: true; readonly way: RestartWay; readonly before: RuntimeBefore; release(): Promise<void> }
  | { readonly allowed: false; readonly reason: string }

/** Everything that speaks against a restart now, asked before anything is written. */
async function mayRestart({ desired, state, facts, cri, options, ports }: Context, rehearsal: Rehearsal): Promise<Permission> {
  const no = (reason: string): Permission => ({ allowed: false, reason })
  if (state.refusedGeneration === desired.generation && !options.byHand)
    return no('this generation was rolled back before; it is tried again when the input changes or by `registry-trust apply`')
  const way = await chooseRestart(desired.restart, facts, ports)
  if (way.kind === 'none') return no(way.reason)
  if (rehearsal.verdict === 'not-rehearsed' && !options.consentUnrehearsed)
    return no(`the candidate could not be rehearsed (${rehearsal.reason}); --consent-unrehearsed allows the restart without`)
  const recent = state.transactions.filter(({ restarted, at }) => restarted && Date.parse(at) > ports.clock.now() - HOUR_MS)
  if (recent.length >= desired.restart.maxPerHour && !options.byHand)
    return no(`containerd was restarted ${recent.length} times within the last hour (restart.budget.maxPerHour)`)
  const permit = await ports.permit.ask({ reason: 'config_path' })
  if (!permit.granted) return no(permit.reason)
  try {
    return { allowed: true, way, before: await rememberRuntime(cri, facts.status), release: () => permit.release() }
  } catch (thrown) {
    await permit.release()
    return no(`the running containers can not be listed: ${asAgentError(thrown).message}`)
  }
}

type RestartInput = Context & {
  readonly transaction: Transaction
  readonly changes: readonly Change[]
  readonly permission: Extract<Permission, { allowed: true }>
  readonly reason: string
  readonly restarts: RestartReport[]
}

type RestartFailure = {
  readonly error: AgentError
  /** Files and runtime are as before the transaction. */
  readonly restored: boolean
  /** False: the failure came before containerd was touched. */
  readonly restarted: boolean
}

/** Writes what only a restart makes valid, restarts, and on any failure puts everything back and restarts again. */
async function restartWith(input: RestartInput): Promise<RestartFailure | undefined> {
  const { facts, ports, transaction, changes, permission, reason, restarts } = input
  const at = ports.clock.now()
  const report = (result: RestartReport['result']) =>
    restarts.push({ at: new Date(at).toISOString(), reason, result, durationMs: ports.clock.now() - at })
  try {
    await transaction.execute(changes)
  } catch (thrown) {
    await permission.release()
    const error = asAgentError(thrown)
    return { error, restored: error.code !== 'ROLLBACK_INCOMPLETE', restarted: false }
  }
  try {
    await transaction.markRestart()
    const { notes } = await restartContainerd(permission.way, facts, permission.before, ports)
    for (const note of notes) ports.log.warn('container-ended', { note })
    report('ok')
    return undefined
  } catch (thrown) {
    const error = asAgentError(thrown)
    ports.log.error('restart-failed', { code: error.code, error: error.message })
    const restored = await rollBack(input)
    report(restored ? 'rolled-back' : 'rollback-failed')
    return { error, restored, restarted: true }
  } finally {
    await permission.release()
  }
}

/** Waits for nothing: no budget, no window, no permit. */
async function rollBack({
  transaction,
  permission,
  ports,
  facts,
}: Pick<RestartInput, 'transaction' | 'permission' | 'ports' | 'facts'>): Promise<boolean> {
  try {
    await transaction.undo()
    await restartContainerd(permission.way, facts, permission.before, ports)
    return true
  } catch (thrown) {
    const error = asAgentError(thrown)
    ports.log.error('rollback-failed', { code: error.code, error: error.message, remedy: error.remedy })
    return false
  }
}

type WorseInput = {
  readonly context: Context
  readonly base: Pick<Run, 'state' | 'problems'> & { readonly facts: ContainerdFacts; readonly planned: Planned }
  readonly worse: readonly ProofResult[]
  readonly transaction: Transaction
  readonly rehearsal: Rehearsal
  readonly problems: readonly Problem[]
  readonly restarts: RestartReport[]
  readonly permission: Permission | undefined
  readonly record: (
    result: 'rolled-back' | 'rollback-failed',
    changes: number,
    restarted: boolean,
    reason: string,
  ) => Parameters<Transaction['abandon']>[0]
}

async function undoWorse({ context, base, worse, transaction, rehearsal, problems, restarts, record, permission }: WorseInput): Promise<Run> {
  const { facts, ports } = context
  const text = worse.map(({ host, finding }) => `${host} was trusted before and is not now: ${finding.message}`).join('; ')
  const error = new AgentError('TRUST_LOST', text)
  const didRestart = restarts.length > 0 && permission?.allowed === true
  const restored = didRestart
    ? await rollBack({ transaction, permission, ports, facts })
    : await transaction.undo().then(
        () => true,
        () => false,
      )
  const outcome = restored ? 'rolled-back' : 'rollback-failed'
  const state = await transaction.abandon(record(outcome, 0, didRestart, text), { refuse: true })
  const proofs = await proveFresh(context)
  return { ...base, outcome, state, problems: [...problems, problem(error.code, text)], rehearsal, error, proofs, applied: [], restarts }
}

async function proveAll(desired: DesiredState, cri: CriClient, { signal }: RunOptions, { clock }: RunPorts) {
  return proveRegistries(desired.registries, cri, { clock, timeoutMs: PROOF_DEADLINE_MS, signal })
}

/** With a connection of its own: the one from before a restart leads to a socket that is gone. */
async function proveFresh({ desired, facts, options, ports }: Context): Promise<readonly ProofResult[]> {
  const cri = ports.connectCri(facts.socket)
  try {
    return await proveAll(desired, cri, options, ports)
  } finally {
    cri.close()
  }
}
