// What one agent remembers between runs, and the status it makes of it. Pure: every function returns a new value.

import { configVersionOf } from '../containerd/config/read.ts'
import { type DesiredState, wantsContainerd } from '../model/desired-state.ts'
import { type Problem, problem } from '../model/errors.ts'
import { breaksTrust, type Finding, finding, isLoginFailure, provesTrust } from '../model/finding.ts'
import { NO_RUNTIME } from '../model/observed-state.ts'
import { ADVISORY_KINDS, type Change } from '../model/plan.ts'
import type { ProofResult } from '../model/proof.ts'
import { answeringSocket, type Run } from '../model/run.ts'
import type { AgentState } from '../model/state.ts'
import type {
  DriftStatus,
  LastProof,
  LastRestart,
  NodeState,
  NodeStatus,
  RegistryState,
  RegistryStatus,
  RuntimeIdentity,
} from '../model/status.ts'
import { isRuntimeDown } from '../model/verdict.ts'
import { outdatedRoots } from './advisories.ts'
import { installedPlaces, targetsOf } from './status.ts'

export type RegistryMemory = {
  readonly state: RegistryState
  readonly since: string
  readonly finding: Finding
  readonly lastProof: LastProof
  /** When it was remembered, monotonic: the next proof is scheduled by it, so that setting the clock has no effect. */
  readonly provedAt: number
  /** Proofs in a row that did not establish trust or login; decides when to try again. */
  readonly failures: number
}

export type Memory = {
  readonly desired: DesiredState | undefined
  /** What is wrong with the configuration read last; the desired state is older then. */
  readonly configProblems: readonly Problem[]
  readonly run: Run | undefined
  /** When the node was looked at last, monotonic. */
  readonly seenAt: number | undefined
  /** The generation that was on the node before the last run: changes for the same one are drift. */
  readonly generationBefore: string
  readonly registries: ReadonlyMap<string, RegistryMemory>
  readonly lastRestart: LastRestart | undefined
  readonly isApplying: boolean
  /** containerd stopped answering `at` this time, monotonic, and the node has not been looked at since. */
  readonly silent: { readonly problem: Problem; readonly at: number } | undefined
}

export const NOTHING_REMEMBERED: Memory = {
  desired: undefined,
  configProblems: [],
  run: undefined,
  seenAt: undefined,
  generationBefore: '',
  registries: new Map(),
  lastRestart: undefined,
  isApplying: false,
  silent: undefined,
}

/** `at`: when the run began and ended, monotonic. */
export function rememberRun(
  memory: Memory,
  desired: DesiredState,
  run: Run,
  { began, ended: now }: { readonly began: number; readonly ended: number },
): Memory {
  // On a node without containerd nothing tells more of a registry than a handshake.
  const isAlone = answeringSocket(run) === undefined && !wantsContainerd(desired)
  const hosts = new Set(desired.registries.map(({ host }) => host))
  const registries = new Map([...memory.registries].filter(([host]) => hosts.has(host)))
  const rehearsed = run.outcome === 'deferred' && run.rehearsal?.verdict === 'passed' ? run.rehearsal.proofs : []
  const provedAt = new Map(run.proofs.map(({ host, at }) => [host, at]))
  for (const { host, finding: found, durationMs } of rehearsed) {
    const at = provedAt.get(host)
    if (at === undefined || !provesTrust(found.code) || !hosts.has(host)) continue
    rememberOne(registries, host, 'rehearsed', found, { level: 'manifest', by: 'rehearsal', at, durationMs }, now)
  }
  for (const proof of run.proofs) if (hosts.has(proof.host)) rememberProof(registries, proof, now, isAlone)
  const last = run.restarts.at(-1)
  return {
    ...memory,
    desired,
    run,
    seenAt: run.outcome === 'failed' ? memory.seenAt : now,
    registries: run.outcome === 'no-containerd' ? withoutRuntime(registries, desired, run) : registries,
    lastRestart: last ?? memory.lastRestart,
    isApplying: false,
    // A run that had looked before does not know; one that restarted containerd waited until it answered.
    silent: last === undefined && memory.silent !== undefined && memory.silent.at >= began ? memory.silent : undefined,
  }
}

/** `now`: monotonic. */
export function rememberProofs(memory: Memory, proofs: readonly ProofResult[], now: number): Memory {
  const registries = new Map(memory.registries)
  for (const proof of proofs) rememberProof(registries, proof, now)
  return { ...memory, registries }
}

type Registries = ReadonlyMap<string, RegistryMemory>
/** One that is being made, by one copy for all proofs of a run. */
type NewRegistries = Map<string, RegistryMemory>

function rememberProof(
  registries: NewRegistries,
  { host, finding: found, level, at, durationMs, by }: ProofResult,
  now: number,
  isAlone = false,
): void {
  if (by !== 'live') {
    const weaker = stateOf(found, false)
    const proof = { level, by, at, durationMs }
    rememberOne(registries, host, weaker === 'trusted' && !isAlone ? 'rehearsed' : weaker, found, proof, now)
    return
  }
  const wasRehearsed = registries.get(host)?.state === 'rehearsed'
  const state = stateOf(found, wasRehearsed)
  if (state === 'rehearsed') return
  rememberOne(registries, host, state, found, { level, by: 'live', at, durationMs }, now)
}

/** A network fault says nothing about trust; an x509 fault does. */
function stateOf(found: Finding, wasRehearsed: boolean): RegistryState {
  if (provesTrust(found.code)) return 'trusted'
  if (wasRehearsed) return 'rehearsed'
  return breaksTrust(found.code) ? 'untrusted' : 'unproved'
}

function rememberOne(
  registries: NewRegistries,
  host: string,
  state: RegistryState,
  found: Finding,
  lastProof: LastProof,
  provedAt: number,
): void {
  const before = registries.get(host)
  const since = before?.state === state ? before.since : lastProof.at
  const failures = provesTrust(found.code) && !isLoginFailure(found.code) ? 0 : (before?.failures ?? 0) + 1
  registries.set(host, { state, since, finding: found, lastProof, provedAt, failures })
}

function withoutRuntime(registries: Registries, desired: DesiredState, run: Run): Registries {
  const down = runtimeFinding(run)
  return new Map(
    desired.registries.flatMap(({ host }) => {
      const known = registries.get(host)
      return known === undefined ? [] : [[host, { ...known, finding: down }] as const]
    }),
  )
}

function runtimeFinding({ error }: Run): Finding {
  const code = error?.code === 'CRI_NOT_LOADED' ? 'cri-not-loaded' : 'containerd-down'
  return finding(code, error?.message ?? 'containerd does not answer')
}

export type Looking = {
  /** When the loop began, monotonic. */
  readonly since: number
  /** What the run under way waits for, where it takes long. */
  readonly waits: readonly string[]
}

export type StatusIdentity = { readonly node: string; readonly version: string }

/** Above the resync interval: a run with many registries that do not answer takes its time. */
const OVERDUE_MS = 60_000

function runtimeOf(run: Run | undefined): RuntimeIdentity | null {
  if (run?.runtime !== undefined) {
    const { name, version, socket } = run.runtime
    return { name, version, socket }
  }
  if (run?.facts === undefined || run.facts.socket === NO_RUNTIME) return null
  return { name: 'containerd', version: run.facts.version, socket: run.facts.socket }
}

/** `advisories`: drift that was seen beside the runs; `now`: monotonic. */
export function statusOf(
  memory: Memory,
  state: AgentState,
  { node, version }: StatusIdentity,
  advisories: readonly DriftStatus[],
  now: number,
  looking: Looking,
): NodeStatus {
  const { desired, run, configProblems, silent } = memory
  const overdue = overdueProblems(memory, now, looking)
  const drift = allDrift(memory, state, advisories)
  return {
    node,
    version,
    mode: desired?.mode ?? 'enforce',
    generation: desired?.generation ?? '',
    state: isUnknown(memory, now) ? 'failed' : nodeState(memory, state, drift),
    containerd: {
      version: run?.facts?.version ?? null,
      socket: run?.facts?.socket ?? null,
      configFile: run?.facts?.configFile ?? null,
      configVersion: run?.facts === undefined ? null : configVersionOf(run.facts),
      configPath: run?.planned?.plan.certsDirectory ?? null,
      layout: run?.facts?.layout ?? null,
    },
    runtime: runtimeOf(run),
    anchors: anchorsOf(desired, state),
    registries: desired?.registries.map(({ host }) => registryStatus(host, memory.registries.get(host), run)) ?? [],
    targets: targetsOf(run, state),
    drift,
    restart: {
      pending: run?.restartPending !== undefined,
      reason: run?.restartPending ?? null,
      last: memory.lastRestart ?? null,
    },
    transactions: state.transactions,
    problems: [
      ...configProblems,
      ...(run?.problems ?? []),
      ...overdue,
      ...(silent === undefined ? [] : [silent.problem]),
    ],
    warnings: run?.planned?.plan.warnings ?? [],
    sources: desired?.sources ?? [],
  }
}

/** What was seen longer ago is not known to be so any more. */
function isUnknown({ desired, run, seenAt }: Memory, now: number): boolean {
  if (desired === undefined || seenAt === undefined || run?.outcome === 'failed') return false
  return now - seenAt > desired.drift.resyncMs + OVERDUE_MS
}

/**
 * A restart that waits for a known time makes the next look due then, which may be long before the resync; the first
 * look is due at once.
 */
function overdueProblems({ desired, run, seenAt }: Memory, now: number, { since, waits }: Looking): readonly Problem[] {
  if (desired === undefined || run?.outcome === 'failed') return []
  const ageMs = now - (seenAt ?? since)
  const dueMs =
    seenAt === undefined ? 0 : Math.min(desired.drift.resyncMs, run?.restartWaitMs ?? Number.POSITIVE_INFINITY)
  if (ageMs <= dueMs + OVERDUE_MS) return []
  const seconds = `${Math.round(ageMs / 1000)} s`
  const what =
    seenAt === undefined
      ? `the first look at the node began ${seconds} ago`
      : `the node was last looked at ${seconds} ago`
  const why = waits.length === 0 ? '' : `; the look under way waits for ${waits.join(', ')}`
  return [problem('RECONCILE_OVERDUE', `${what}${why}`)]
}

function anchorsOf(desired: DesiredState | undefined, state: AgentState): NodeStatus['anchors'] {
  if (desired === undefined) return []
  const places = installedPlaces(desired, state)
  return desired.anchors.flatMap(({ name, certificates, problems: findings }): NodeStatus['anchors'] => {
    const installed = places.get(name) ?? []
    if (certificates.length === 0)
      return [{ name, subject: null, fingerprint: null, notAfter: null, installed, findings }]
    return certificates.map(({ subject, fingerprint, notAfter }) => ({
      name,
      subject,
      fingerprint,
      notAfter,
      installed,
      findings,
    }))
  })
}

function registryStatus(host: string, known: RegistryMemory | undefined, run: Run | undefined): RegistryStatus {
  if (known === undefined) {
    const found =
      run?.outcome === 'no-containerd'
        ? runtimeFinding(run)
        : finding('not-proved-yet', `${host} has not been proved yet`)
    return { host, state: 'unproved', since: null, finding: found, lastProof: null }
  }
  const { state, since, finding: found, lastProof } = known
  return { host, state, since, finding: found, lastProof }
}

function nodeState(
  { run, desired, isApplying, silent }: Memory,
  state: AgentState,
  drift: readonly DriftStatus[],
): NodeState {
  if (isApplying) return 'applying'
  if (run === undefined || isRuntimeDown(run) || silent !== undefined) return 'no-containerd'
  if (run.outcome === 'rollback-failed') return 'rollback-failed'
  if (run.outcome === 'failed') return 'failed'
  if (desired?.mode === 'audit') return 'audit'
  if (
    run.outcome === 'rolled-back' ||
    (state.refusedGeneration !== undefined && state.refusedGeneration === desired?.generation)
  )
    return 'rolled-back'
  if (run.outcome === 'refused') return 'failed'
  if (run.restartPending !== undefined) return 'restart-pending'
  if (drift.some(({ kind }) => !ADVISORY_KINDS.has(kind))) return 'drifted'
  return (run.planned?.plan.blocked ?? []).length > 0 ? 'failed' : 'converged'
}

/** `advisories`: drift that was seen beside the runs. */
export function allDrift(
  memory: Memory,
  state: AgentState,
  advisories: readonly DriftStatus[],
): readonly DriftStatus[] {
  return [...driftOf(memory), ...rootsOf(memory, state), ...advisories]
}

function rootsOf({ run, desired, registries }: Memory, state: AgentState): readonly DriftStatus[] {
  if (run === undefined || desired === undefined) return []
  return outdatedRoots(run, desired, state, (host) => registries.get(host)?.finding.code)
}

/** What differs from the last committed state of the same generation and was not put right by the run. */
export function driftOf({ run, desired, generationBefore }: Memory): readonly DriftStatus[] {
  if (run?.planned === undefined || desired === undefined) return []
  const isDrift = generationBefore === desired.generation || desired.mode === 'audit'
  if (!isDrift) return []
  const { plan, leftOut } = run.planned
  const applied = new Set(run.applied)
  const files = [...plan.changes.filter((change) => !applied.has(change)), ...leftOut].map(asDrift)
  return [...files, ...loadedDiffers(run)]
}

/** The file is as wanted, and the daemon runs with an older one: only a restart puts that right. */
function loadedDiffers({ planned, facts, restarts }: Run): readonly DriftStatus[] {
  if (planned?.plan.restart.required !== true || facts === undefined || restarts.length > 0) return []
  if (planned.plan.changes.some(({ target }) => target === 'containerd-config')) return []
  const { configFile: path } = facts
  return [{ target: 'containerd-config', path, kind: 'loaded-differs', reason: planned.plan.restart.reason }]
}

export function asDrift({ target, path, action, drift, reason }: Change): DriftStatus {
  return { target, path, kind: drift ?? (action === 'create' ? 'missing' : 'changed'), reason }
}
