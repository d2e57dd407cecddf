// Runs on a node whose containerd does not answer, or that has none: what docker, the containers tools and the system
// store read needs no containerd. Proofs are pulls of CRI-O where it is the runtime, else handshakes of the agent's own;
// what containerd reads waits for it.
import { type DesiredState, type Registry, wantsContainerd } from '../../model/desired-state.ts'
import { AgentError, asAgentError, problem } from '../../model/errors.ts'
import { breaksTrust, provesTrust } from '../../model/finding.ts'
import { type ContainerdFacts, NO_RUNTIME, type OtherRuntime } from '../../model/observed-state.ts'
import type { Change, Planned } from '../../model/plan.ts'
import type { ProofResult } from '../../model/proof.ts'
import type { Run, RunOptions } from '../../model/run.ts'
import type { RunPorts } from '../../model/run-ports.ts'
import type { AgentState } from '../../model/state.ts'
import { rootsInPem, SYSTEM } from '../../pki/chain/roots.ts'
import { namesReadByContainerd, namesServingHosts, TARGETS } from '../../targets/targets.ts'
import { readSystemRoots } from '../observe/system-roots.ts'
import { isHealing, rememberHeals } from '../plan/drift.ts'
import { proveByHandshake, proveTls } from '../prove/handshake.ts'
import { Transaction } from '../transaction/transaction.ts'
import { isUndone } from '../transaction/undo-report.ts'
import { rolledBackBefore } from './attempt.ts'
import { desiredOnCrio, inexpressible, lostBy, proveByRuntime, trustedNow, unreadMirrors } from './beside-crio.ts'
import { sparedByDistrust } from './judgements/orphaning-distrust.ts'
import { rememberSystemAnchors } from './judgements/withdrawn-anchors.ts'
import { makePlan } from './planning.ts'
import { settle, wouldOrphan } from './preflight.ts'

export type FilesAloneContext = {
  readonly desired: DesiredState
  readonly state: AgentState
  readonly options: RunOptions
  readonly ports: RunPorts
  /** Answers in containerd's place. */
  readonly runtime?: OtherRuntime | undefined
}

const NOTHING_APPLIED = { applied: [], restarts: [] } as const
const LOOK_MS = 2_000

/** What would change without containerd. `error`: why it does not answer. */
export async function planFilesAlone(given: FilesAloneContext, error: AgentError): Promise<Run> {
  const context = onRuntime(given)
  const { state, planned, problems } = await planAlone(context)
  const base = { state, planned, proofs: [], ...NOTHING_APPLIED, ...runtimeOf(context) }
  const why = missed(context, error)
  return why === undefined
    ? { ...base, outcome: 'planned', problems }
    : { ...base, outcome: 'no-containerd', error: why, problems: [problem(why.code, why.message), ...problems] }
}

/**
 * Writes what needs no containerd. Where it is wanted the outcome stays `no-containerd` and the generation is not
 * recorded: not all of it is on the node. `error`: why it does not answer.
 */
export async function applyFilesAlone(given: FilesAloneContext, error: AgentError): Promise<Run> {
  const context = onRuntime(given)
  const { desired, options, ports } = context
  const { state, planned, problems: found } = await planAlone(context)
  options.signal?.throwIfAborted()
  const why = missed(context, error)
  const problems = [...(why === undefined ? [] : [problem(why.code, why.message)]), ...found]
  const base = { planned, problems, ...(why === undefined ? {} : { error: why }), ...runtimeOf(context) }
  const changes = planned.plan.changes
  const prove = async () =>
    why === undefined || context.runtime !== undefined || options.byHand ? await proveDue(context) : []
  if (changes.length === 0)
    return { ...base, state, outcome: outcomeOf(why, 'unchanged'), proofs: await prove(), ...NOTHING_APPLIED }
  if (state.refusedGeneration === desired.generation && !options.byHand) {
    const refused = [...problems, rolledBackBefore(desired, state)]
    return { ...base, state, problems: refused, outcome: 'refused', proofs: await prove(), ...NOTHING_APPLIED }
  }
  const transaction = new Transaction(state, desired.generation, ports)
  const started = ports.clock.monotonic()
  try {
    const before = await trustedBefore(changes, context)
    await transaction.execute(changes)
    const after = before.size === 0 ? undefined : await proveAll(context)
    const lost = lostBy(after ?? [], before)
    if (lost.length > 0) return await undoLost(lost, transaction, started, { ...base, state }, context)
    const record = {
      generation: desired.generation,
      durationMs: Math.round(ports.clock.monotonic() - started),
      result: 'committed' as const,
      changes: changes.length,
      restarted: false,
      reason: `${changes.length} changes that need no containerd`,
    }
    const saved = await transaction.commit(record, (next) => remember(next, changes, why, context))
    const outcome = outcomeOf(why, 'applied')
    const all = [...problems, ...transaction.findings()]
    const proofs = after ?? (await prove())
    return { ...base, problems: all, state: saved, outcome, proofs, applied: changes, restarts: [] }
  } catch (thrown) {
    const failure = asAgentError(thrown)
    const outcome = failure.code === 'ROLLBACK_INCOMPLETE' ? 'rollback-failed' : 'refused'
    const all = [...problems, ...transaction.findings(), problem(failure.code, failure.message)]
    return { ...base, problems: all, state, outcome, error: failure, proofs: [], ...NOTHING_APPLIED }
  }
}

/** Undefined where containerd is not wanted here, and nothing of the agent's is left for it. */
function missed({ desired, state, ports, runtime }: FilesAloneContext, error: AgentError): AgentError | undefined {
  const names = namesReadByContainerd(ports.targets)
  const isOwned = Object.values(state.owned).some(({ target }) => [...names].some((name) => name === target))
  const isWanted = runtime === undefined ? wantsContainerd(desired) : desired.targets.containerd.enabled === 'on'
  return isWanted || isOwned ? error : undefined
}

/** What was asked of a registry before the change, by CRI-O; empty where nothing can be lost by it. */
async function trustedBefore(
  changes: readonly Change[],
  { desired, state, options, ports, runtime }: FilesAloneContext,
): Promise<ReadonlySet<string>> {
  const isHealingOnly = changes.every((change) => isHealing(change, state, desired))
  if (runtime === undefined || options.allowOrphan === true || isHealingOnly) return new Set()
  return await trustedNow(desired, options.knownBefore ?? new Map(), runtime, ports)
}

/** A registry that CRI-O trusted before the change and does not after it: what was there is put back. */
async function undoLost(
  lost: readonly ProofResult[],
  transaction: Transaction,
  started: number,
  base: Pick<Run, 'state' | 'problems'>,
  context: FilesAloneContext,
): Promise<Run> {
  const { desired, ports } = context
  const text = lost
    .map(({ host, finding }) => `${host} was trusted before and is not now: ${finding.message}`)
    .join('; ')
  const error = new AgentError('TRUST_LOST', text)
  const result = isUndone(await transaction.undo()) ? 'rolled-back' : 'rollback-failed'
  const record = {
    generation: desired.generation,
    durationMs: Math.round(ports.clock.monotonic() - started),
    result,
    changes: 0,
    restarted: false,
    reason: text,
  } as const
  const state = await transaction.abandon(record, { refuse: true })
  const problems = [...base.problems, ...transaction.findings(), problem(error.code, error.message)]
  return { ...base, ...NOTHING_APPLIED, state, problems, outcome: result, error, proofs: await proveAll(context) }
}

function onRuntime(context: FilesAloneContext): FilesAloneContext {
  return context.runtime === undefined ? context : { ...context, desired: desiredOnCrio(context.desired) }
}

function runtimeOf({ runtime }: FilesAloneContext): Pick<Run, 'runtime'> {
  return runtime === undefined ? {} : { runtime }
}

function outcomeOf(why: AgentError | undefined, otherwise: 'applied' | 'unchanged'): Run['outcome'] {
  return why === undefined ? otherwise : 'no-containerd'
}

function remember(
  next: AgentState,
  changes: readonly Change[],
  why: AgentError | undefined,
  { desired, state, ports }: FilesAloneContext,
): AgentState {
  const now = ports.clock.now()
  const healed = changes.filter((change) => isHealing(change, state, desired)).map(({ path }) => path)
  const kept = rememberSystemAnchors(rememberHeals(next, healed, now), state, desired, now)
  // What containerd reads is still that of the generation before: it is no drift when it comes.
  return why === undefined ? kept : { ...kept, generation: state.generation }
}

async function planAlone(context: FilesAloneContext): Promise<PlannedAlone> {
  const alone = await planSpared(context)
  const { runtime, state, ports } = context
  if (runtime === undefined) return alone
  const { plan } = alone.planned
  const unread = await unreadMirrors(runtime, plan, state, ports)
  const warnings = [...plan.warnings, ...inexpressible(context.desired), ...(unread === undefined ? [] : [unread])]
  return { ...alone, planned: { ...alone.planned, plan: { ...plan, warnings } } }
}

async function planSpared(context: FilesAloneContext): Promise<PlannedAlone> {
  const first = await planAll(context)
  const { desired, options, ports } = context
  if (options.allowOrphan === true) return first
  const spared = await sparedByDistrust(first.planned.plan, desired, ports)
  if (spared.problems.length === 0) return first
  const kept = await planAll({ ...context, desired: spared.desired })
  return { ...kept, problems: [...kept.problems, ...spared.problems] }
}

type PlannedAlone = Pick<Run, 'state' | 'problems'> & { readonly planned: Planned }

async function planAll(context: FilesAloneContext): Promise<PlannedAlone> {
  const { desired, state, options, ports } = context
  const targets = (ports.targets ?? TARGETS).filter(({ isReadByContainerd }) => !isReadByContainerd)
  const plan = async (unverified: ReadonlySet<string>) =>
    settle(await makePlan({ desired, state, facts: NOBODY, unverified }, { ...ports, targets }), context)
  const first = await plan(new Set())
  const lost = options.allowOrphan === true ? [] : await lostHosts(first, context)
  if (lost.length === 0) return { state, planned: first, problems: first.plan.problems }
  const kept = await plan(new Set(lost.map(({ host }) => host)))
  const orphaned = lost.map(({ host, finding }) => wouldOrphan(host, finding))
  return { state, planned: kept, problems: [...kept.plan.problems, ...orphaned] }
}

/** Registries that the CA file now in their host folder verifies, and the declared anchors do not. */
async function lostHosts({ plan }: Planned, { desired, ports }: FilesAloneContext): Promise<readonly ProofResult[]> {
  const names = namesServingHosts(ports.targets)
  const edited = plan.changes.filter(
    ({ target, action, path }) => names.has(target) && action === 'update' && path.endsWith('.crt'),
  )
  const lost: ProofResult[] = []
  for (const { subject, path } of edited) {
    const registry = desired.registries.find(({ host }) => host === subject)
    const file = await ports.files.read(path)
    if (registry === undefined || file.kind !== 'file') continue
    const [proof] = await proveByHandshake([registry], desired, ports)
    if (proof === undefined || !breaksTrust(proof.finding.code)) continue
    const now = [...rootsInPem(file.bytes.toString('utf8')), ...(await readSystemRoots(ports.files))]
    const roots = now.map((certificate) => ({ certificate, origin: SYSTEM }))
    const before = await proveTls(registry, roots, ports, { timeoutMs: LOOK_MS })
    if (provesTrust(before.finding.code)) lost.push(proof)
  }
  return lost
}

async function proveDue(context: FilesAloneContext): Promise<readonly ProofResult[]> {
  const { desired, options } = context
  return await proveSome(
    desired.registries.filter(({ host }) => options.isProofDue?.(host) ?? true),
    context,
  )
}

async function proveAll(context: FilesAloneContext): Promise<readonly ProofResult[]> {
  return await proveSome(context.desired.registries, context)
}

async function proveSome(
  registries: readonly Registry[],
  { desired, ports, runtime }: FilesAloneContext,
): Promise<readonly ProofResult[]> {
  if (runtime === undefined) return await proveByHandshake(registries, desired, ports)
  return await proveByRuntime(registries, runtime, desired, ports)
}

/** What a target that containerd does not read is told about containerd: that there is none. */
const NOBODY: ContainerdFacts = {
  socket: NO_RUNTIME,
  version: '',
  status: { runtimeReady: false, networkReady: false },
  process: undefined,
  unit: undefined,
  missingSandboxImage: undefined,
  configFile: '/etc/containerd/config.toml',
  config: { kind: 'absent' },
  imports: [],
  importFolders: [],
  layout: 'none',
  defaultCertsDirectory: '/etc/containerd/certs.d',
  isConfigGenerated: false,
}
