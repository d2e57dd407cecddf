// One run: observe → plan → rehearse → apply → prove → commit or roll back. `plan`, `apply`, the daemon's loop and the
// healing of drift are these functions with other inputs. The first rule: never leave the node worse than it was.
// This room: one run from end to end; the steps are the folders beside this one.
// Begin here; then apply.ts (the way there), planning.ts (the plan), preflight.ts (before anything is written),
// carry-out.ts (write, restart, prove), give-up.ts (back), leaving/ (uninstall and rollback); before each run repair.ts
// and adopt.ts; without containerd files-alone.ts and beside-crio.ts, without its socket without-runtime.ts.
// May touch: the node, under its lock, through a transaction.
import { LAYOUTS, layoutsOfSocket } from '../../containerd/layouts.ts'
import type { DesiredState } from '../../model/desired-state.ts'
import { AgentError, asAgentError, type Problem, problem } from '../../model/errors.ts'
import { NO_RUNTIME } from '../../model/observed-state.ts'
import { answeringSocket, type Context, type Run, type RunOptions, runtimeNamed } from '../../model/run.ts'
import type { LookMemory, RunPorts } from '../../model/run-ports.ts'
import { type AgentState, EMPTY_STATE } from '../../model/state.ts'
import { isOver } from '../../restart/machine.ts'
import { observeContainerd } from '../observe/containerd.ts'
import { proveByHandshake } from '../prove/handshake.ts'
import { proveDeclared } from '../prove/prove.ts'
import { rehearse } from '../rehearse/rehearse.ts'
import { reviveContainerd } from '../restart/revive.ts'
import { recordReads } from '../transaction/read-set.ts'
import { adopt, isForgetful, tellUnsure } from './adopt.ts'
import { applyTo } from './apply.ts'
import { applyFilesAlone, type FilesAloneContext, planFilesAlone } from './files-alone.ts'
import { makePlan } from './planning.ts'
import { preflight } from './preflight.ts'
import { repair, settleAbandoned } from './repair.ts'
import { applyWithoutRuntime, type NoRuntimeContext, planWithoutRuntime } from './without-runtime.ts'

/** Where containerd at this socket has its configuration, as far as that is known without asking it. */
function configFileAt(socket: string): string {
  return (layoutsOfSocket(socket)[0] ?? LAYOUTS[0])?.configFile ?? '/etc/containerd/config.toml'
}

const LOCK_PATIENCE_MS = 10_000
const NOTHING_APPLIED = { proofs: [], applied: [], restarts: [] } as const

/** What would change here and why, with the rehearsal's verdict. Never writes outside the scratch folder. */
export async function planRun(desired: DesiredState, options: RunOptions, ports: RunPorts): Promise<Run> {
  return orFailed(() => planOnce(desired, options, ports), options, ports)
}

async function planOnce(desired: DesiredState, options: RunOptions, ports: RunPorts): Promise<Run> {
  const { state, problems } = await remembered(ports)
  const run = await planFor(state, desired, options, ports)
  return { ...run, problems: [...problems, ...run.problems] }
}

/** A damaged state.json is left where it is: only a run that changes the node sets it aside. */
async function remembered({ store }: RunPorts): Promise<Pick<Run, 'state' | 'problems'>> {
  try {
    return { state: await store.load(), problems: [] }
  } catch (thrown) {
    const { code, message } = asAgentError(thrown)
    return { state: EMPTY_STATE, problems: [problem(code, message)] }
  }
}

async function planFor(state: AgentState, desired: DesiredState, options: RunOptions, ports: RunPorts): Promise<Run> {
  if (options.address === NO_RUNTIME) return planWithoutRuntime({ desired, state, options, ports })
  const seen = await observeContainerd({ address: options.address, unit: desired.restart.unit }, ports)
  if (seen.state === 'down')
    return planFilesAlone({ desired, state, options, ports, runtime: seen.runtime }, seen.error)
  try {
    const { facts, cri } = seen
    const { migrateAll = false } = options
    const whole = await makePlan({ desired, state, facts, migrateAll }, ports)
    const isEmpty = whole.plan.changes.length === 0 && !whole.plan.restart.required
    if (isEmpty) {
      const rehearsal = await rehearse(desired, facts, whole, ports, options.signal)
      return {
        outcome: 'planned',
        state,
        problems: whole.plan.problems,
        facts,
        planned: whole,
        rehearsal,
        ...NOTHING_APPLIED,
      }
    }
    const { planned, rehearsal, changes, problems } = await preflight(whole, {
      desired,
      state,
      facts,
      cri,
      options,
      ports,
    })
    const kept = { ...planned, plan: { ...planned.plan, changes } }
    const all = [...planned.plan.problems, ...problems]
    return { outcome: 'planned', state, problems: all, facts, planned: kept, rehearsal, ...NOTHING_APPLIED }
  } finally {
    seen.cri.close()
  }
}

/** As planRun, and proves each registry as the node is now: for `mode: audit`. */
export async function auditRun(desired: DesiredState, options: RunOptions, ports: RunPorts): Promise<Run> {
  return orFailed(() => auditOnce(desired, options, ports), options, ports)
}

async function auditOnce(desired: DesiredState, options: RunOptions, ports: RunPorts): Promise<Run> {
  const run = await planOnce(desired, options, ports)
  const socket = answeringSocket(run)
  if (socket === undefined && run.outcome === 'planned')
    return { ...run, proofs: await proveByHandshake(desired.registries, desired, ports) }
  if (socket === undefined || options.address === NO_RUNTIME) return run
  const cri = ports.connectCri(socket)
  try {
    const due = desired.registries.filter(({ host }) => options.isProofDue?.(host) ?? true)
    return {
      ...run,
      proofs: await proveDeclared(due, cri, ports, desired, runtimeNamed(run)),
    }
  } finally {
    cri.close()
  }
}

const MOST_TRIES = 3

/** One transaction. Every end is an outcome; it throws only when `options.signal` ends it before the first write. */
export async function applyRun(desired: DesiredState, options: RunOptions, ports: RunPorts): Promise<Run> {
  const once = () =>
    withNode(desired, options, ports, applyTo, { withoutRuntime: applyWithoutRuntime, alone: applyFilesAlone })
  return orFailed(() => withSandboxImage(() => planningAnew(once)), options, ports)
}

/** The image that the trust just written lets through is pulled and set at once, not at the next resync. */
async function withSandboxImage(work: () => Promise<Run>): Promise<Run> {
  const first = await work()
  const waits = first.problems.some(({ code }) => code === 'SANDBOX_IMAGE_NOT_READY')
  if (!waits || first.outcome !== 'applied') return first
  const second = await work()
  const applied = [...first.applied, ...second.applied]
  const restarts = [...first.restarts, ...second.restarts]
  return { ...second, outcome: second.outcome === 'unchanged' ? 'applied' : second.outcome, applied, restarts }
}

/** An unexpected error is an outcome too: it is counted, shown and logged. */
export async function orFailed(work: () => Promise<Run>, { signal }: RunOptions, { log }: RunPorts): Promise<Run> {
  try {
    return await work()
  } catch (thrown) {
    signal?.throwIfAborted()
    const error = asAgentError(thrown)
    log.error('reconcile-failed', { code: error.code, error: error.message, remedy: error.remedy })
    return failedRun(error)
  }
}

/** What the agent remembers is not known then: a caller keeps what it knew. */
export function failedRun(error: AgentError): Run {
  const problems = [problem(error.code, error.message)]
  return { outcome: 'failed', state: EMPTY_STATE, problems, error, ...NOTHING_APPLIED }
}

/** Where somebody wrote between the plan and its execution, what is there by then is planned with. */
export async function planningAnew(once: () => Promise<Run>): Promise<Run> {
  for (let tries = 1; ; tries += 1) {
    const run = await once()
    if (tries === MOST_TRIES || run.error?.code !== 'FILE_CHANGED_MEANWHILE') return run
  }
}

type NodeWork = {
  readonly withoutRuntime?: (context: NoRuntimeContext) => Promise<Run>
  /** What is done where containerd does not answer; absent: nothing. */
  readonly alone?: (context: FilesAloneContext, error: AgentError) => Promise<Run>
  /** After this run nothing is left to remember. */
  readonly isLast?: (run: Run) => boolean
  /** What the node was to be like when its state was lost; absent: as now. */
  readonly adoptFor?: DesiredState
}

/** Holds the node's lock, repairs what a crash left, and hands over a runtime that answers. */
export async function withNode(
  desired: DesiredState,
  options: RunOptions,
  given: RunPorts,
  work: (context: Context) => Promise<Run>,
  { withoutRuntime = needsRuntime, alone = nothingAlone, isLast = () => false, adoptFor = desired }: NodeWork = {},
): Promise<Run> {
  const lock = await acquire(given, options.signal)
  let forget = false
  try {
    const { restart, recovered } = await repair(given, options.signal)
    const { state } = recovered
    const told = async (run: Run): Promise<Run> => {
      const problems = [...recovered.problems, ...(await asideProblems(given)), ...run.problems]
      return { ...run, problems }
    }
    const { files, through, reads } = recordReads(given.files)
    const memory = given.memory === undefined ? undefined : recordedMemory(given.memory, through)
    const ports = { ...given, files, reads, memory }
    if (options.address === NO_RUNTIME) return await told(await withoutRuntime({ desired, state, options, ports }))
    const observe = () =>
      observeContainerd(
        { address: options.address, unit: desired.restart.unit },
        { ...ports, files: memory?.files ?? files },
      )
    let seen = await observe()
    if (seen.state === 'down' && seen.socket !== undefined && recovered.mayRunUndone && restart === undefined) {
      // The journal of an agent that recorded no restart.
      await reviveContainerd({ socket: seen.socket, configFile: configFileAt(seen.socket) }, desired, ports)
      seen = await observe()
    }
    const ended = async (run: Run): Promise<Run> => {
      if (!isLast(run)) return run
      await ports.store.destroy()
      forget = true
      return run
    }
    if (seen.state === 'down') {
      // A restart that is under way settles containerd first.
      const work = restart === undefined || isOver(restart) ? alone : nothingAlone
      const { runtime } = seen
      return await ended(await told(await work({ desired, state, options, ports, runtime }, seen.error)))
    }
    try {
      const context = { desired, state, facts: seen.facts, cri: seen.cri, options, ports }
      const adopted = isForgetful(state) ? await adopt({ ...context, desired: adoptFor }) : { state, problems: [] }
      const known = await tellUnsure(adopted.state, options, ports)
      const done = await work({ ...context, state: known.state })
      const before = [...adopted.problems, ...known.problems]
      return await ended(await told({ ...done, problems: [...before, ...done.problems] }))
    } finally {
      seen.cri.close()
    }
  } finally {
    await lock.release({ forget })
  }
}

/** What a look reads through its memory is recorded as well. */
function recordedMemory(memory: LookMemory, through: ReturnType<typeof recordReads>['through']): LookMemory {
  const { files } = memory
  return {
    ...memory,
    files: { ...through(files), witnessed: (work) => files.witnessed((witness) => work(through(witness))) },
  }
}

/** As long as it lies there a person has not looked at it. */
async function asideProblems({ store }: RunPorts): Promise<readonly Problem[]> {
  const paths = await store.damaged().catch(() => [])
  return paths.map((path) => problem('STATE_SET_ASIDE', `${path} was damaged and is set aside`))
}

async function needsRuntime({ state }: NoRuntimeContext): Promise<Run> {
  return down(
    state,
    new AgentError(
      'CONTAINERD_NOT_FOUND',
      'this command needs the containerd socket, and --containerd-address is none',
    ),
  )
}

async function nothingAlone({ state }: FilesAloneContext, error: AgentError): Promise<Run> {
  return down(state, error)
}

function down(state: AgentState, error: AgentError): Run {
  return { outcome: 'no-containerd', state, problems: [problem(error.code, error.message)], error, ...NOTHING_APPLIED }
}

async function acquire(ports: RunPorts, signal: AbortSignal | undefined) {
  const { lock, clock } = ports
  const deadline = clock.monotonic() + LOCK_PATIENCE_MS
  for (;;) {
    try {
      return await lock.acquire()
    } catch (thrown) {
      if (asAgentError(thrown).code !== 'LOCKED' || clock.monotonic() > deadline) throw thrown
      await settleAbandoned(ports, signal)
      await clock.sleep(50)
    }
  }
}
