// The values that a run takes and gives: shared by the steps of reconcile/ and shown by http/ and cli/.

import type { DesiredState } from './desired-state.ts'
import type { AgentError, Problem } from './errors.ts'
import type { ContainerdFacts, OtherRuntime } from './observed-state.ts'
import type { Change, Planned, Rehearsal } from './plan.ts'
import type { CriClient } from './ports.ts'
import type { ProofResult } from './proof.ts'
import type { RunPorts } from './run-ports.ts'
import type { AgentState } from './state.ts'

export type RunOptions = {
  /** Path of containerd's socket on the node; undefined: found. */
  readonly address: string | undefined
  /**
   * A person asked for this run: a generation that was rolled back is tried again, the restart budget does not count.
   */
  readonly byHand: boolean
  readonly consentUnrehearsed: boolean
  /** Replace the anchors of a registry even if the new ones do not verify what it serves now. */
  readonly allowOrphan?: boolean
  /** Move legacy registry sections also where no declared registry needs it (`migrate`). */
  readonly migrateAll?: boolean
  /** Which registries to prove when nothing changes; by default all. */
  readonly isProofDue?: (host: string) => boolean
  /** Earlier proofs that are fresh enough to stand for "before the change". */
  readonly knownBefore?: ReadonlyMap<string, ProofResult>
  /** Ends the run before the first write only: from then on it is finished or undone. */
  readonly signal?: AbortSignal | undefined
}

export type RestartReport = {
  /** RFC 3339. */
  readonly at: string
  readonly reason: string
  readonly result: 'ok' | 'failed' | 'rolled-back' | 'rollback-failed'
  readonly durationMs: number
}

export type Outcome =
  | 'no-containerd'
  | 'planned'
  | 'unchanged'
  | 'applied'
  | 'deferred'
  | 'refused'
  | 'rolled-back'
  | 'rollback-failed'
  /** Ended by an unexpected error; what was begun is undone now or by the next run. */
  | 'failed'

export type Run = {
  readonly outcome: Outcome
  readonly state: AgentState
  readonly problems: readonly Problem[]
  readonly facts?: ContainerdFacts
  /** Answers in containerd's place: `facts` is absent then. */
  readonly runtime?: OtherRuntime
  readonly planned?: Planned
  readonly rehearsal?: Rehearsal
  readonly proofs: readonly ProofResult[]
  /** Changes that are on the node now because of this run. */
  readonly applied: readonly Change[]
  readonly restarts: readonly RestartReport[]
  /** Why a restart that is due was not made. */
  readonly restartPending?: string
  /** Milliseconds after which that restart may be allowed; absent where that is not known. */
  readonly restartWaitMs?: number
  readonly error?: AgentError
}

/** Where the runtime answered in this run, containerd or another one; undefined: none did. */
export function answeringSocket(run: Pick<Run, 'facts' | 'runtime'> | undefined): string | undefined {
  return run?.facts?.socket ?? run?.runtime?.socket
}

/** The runtime whose pulls prove registries in this run, as people write it. */
export function runtimeNamed({ runtime }: Pick<Run, 'runtime'>): string {
  if (runtime === undefined) return 'containerd'
  return runtime.name === 'cri-o' ? 'CRI-O' : runtime.name
}

/** What every step of a run is handed: a runtime that answers, and the node's lock held. */
export type Context = {
  readonly desired: DesiredState
  readonly state: AgentState
  readonly facts: ContainerdFacts
  readonly cri: CriClient
  readonly options: RunOptions
  readonly ports: RunPorts
}
