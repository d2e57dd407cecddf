// When what is due: from what is remembered and a time. Pure; every time is milliseconds of the monotonic clock.
import type { DesiredState } from '../model/desired-state.ts'
import { isLoginFailure, isRuntimeFinding } from '../model/finding.ts'
import { registryOf } from '../model/lookup.ts'
import type { ProofResult } from '../model/proof.ts'
import { answeringSocket, type Run } from '../model/run.ts'
import type { Memory } from './history.ts'

const FIRST_RETRY_MS = 250
const LAST_RETRY_MS = 5_000
const FIRST_PROOF_RETRY_MS = 5_000
const LOGIN_PAUSE_MS = 2_000
/** What a timer takes. */
const LONGEST_WAIT_MS = 2 ** 31 - 1

export type Resync = {
  readonly at: number
  /** While containerd does not answer: how long until it is asked again. */
  readonly retryMs: number
}

export const AT_ONCE: Resync = { at: 0, retryMs: FIRST_RETRY_MS }

/** When the node is looked at again although nothing has happened. */
export function resyncAfter(
  { outcome, restartWaitMs = Number.POSITIVE_INFINITY }: Pick<Run, 'outcome' | 'restartWaitMs'>,
  resyncMs: number,
  now: number,
  last: Resync,
): Resync {
  switch (outcome) {
    case 'no-containerd':
      return { at: now + last.retryMs, retryMs: Math.min(last.retryMs * 2, LAST_RETRY_MS) }
    case 'failed':
      return { at: now + LAST_RETRY_MS, retryMs: FIRST_RETRY_MS }
    default:
      // A restart that has to wait a known time is made when that is over, not at the next resync.
      return { at: now + Math.min(resyncMs, restartWaitMs), retryMs: FIRST_RETRY_MS }
  }
}

/** Whether a run proves the registry again. `asked`: hosts for which a proof was asked for. */
export function isProofDue(
  host: string,
  memory: Memory,
  {
    desired,
    asked,
    now,
  }: { readonly desired: DesiredState; readonly asked: ReadonlySet<string>; readonly now: number },
): boolean {
  const known = memory.registries.get(host)
  return (
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

/** How long the loop may sleep when nothing wakes it. */
export function waitMs(memory: Memory, resyncAt: number, now: number): number {
  const { desired } = memory
  if (desired === undefined) return LAST_RETRY_MS
  const due = [resyncAt, ...desired.registries.map(({ host }) => proofDueAt(memory, desired, host))]
  return Math.min(Math.max(0, Math.min(...due) - now), LONGEST_WAIT_MS)
}

/** The node is not yet as the configuration in force wants it: what the last run said is about an older one. */
export function isNewInput({ desired, run }: Memory): boolean {
  if (desired === undefined) return false
  if (run === undefined) return true
  return run.planned !== undefined && run.planned.plan.generation !== desired.generation
}

/**
 * Monotonic. Trusted: as often as declared; not trusted: sooner, each time twice as long, never more often than
 * declared allows.
 */
export function proofDueAt(memory: Memory, desired: DesiredState | undefined, host: string): number {
  const known = memory.registries.get(host)
  const everyMs = registryOf(desired?.registries ?? [], host)?.proof.everyMs ?? 0
  if (known === undefined) return answeringSocket(memory.run) === undefined ? Number.POSITIVE_INFINITY : 0
  if (isRuntimeFinding(known.finding)) return answeringSocket(memory.run) === undefined ? Number.POSITIVE_INFINITY : 0
  const afterMs = known.failures === 0 ? everyMs : Math.min(everyMs, FIRST_PROOF_RETRY_MS * 2 ** (known.failures - 1))
  return known.provedAt + afterMs
}

/** Earlier proofs that stand for what a registry is before the change. `now`: monotonic. */
export function freshProofs(memory: Memory, desired: DesiredState, now: number): ReadonlyMap<string, ProofResult> {
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
