// The ports that the steps of a run are handed, step by step and together. Types alone.

import type { DesiredState, Registry } from './desired-state.ts'
import type { Finding } from './finding.ts'
import type { Planned } from './plan.ts'
import type {
  CallOptions,
  Clock,
  CriConnector,
  FleetGate,
  Log,
  NodeFiles,
  NodeLock,
  Processes,
  RegistryCredentials,
  RehearsalRunner,
  RememberedFiles,
  RestartPermit,
  StateStore,
  Systemd,
  TlsProbe,
} from './ports.ts'
import type { RestartStore } from './restart.ts'
import type { Before } from './state.ts'
import type { Target } from './target.ts'

export type ObservePorts = {
  readonly files: NodeFiles
  readonly processes: Processes
  readonly systemd: Systemd
  readonly connectCri: CriConnector
}

export type RehearsePorts = {
  readonly files: NodeFiles
  readonly runner: RehearsalRunner
  readonly clock: Clock
  readonly targets?: readonly Target[]
}

export type RestartPorts = {
  readonly clock: Clock
  readonly log: Log
  readonly files: NodeFiles
  readonly processes: Processes
  readonly systemd: Systemd
  readonly connectCri: CriConnector
  readonly restarts: RestartStore
}

export type ReadSet = {
  /**
   * True when something else stands at the path than when the plan was made. Where it was not looked at, that is not
   * known: false.
   */
  hasChanged(path: string, now: Before): boolean
}

export type TransactionPorts = {
  readonly files: NodeFiles
  readonly store: StateStore
  readonly clock: Clock
  readonly log: Log
  /** What the plan was made from; absent: no plan was made. */
  readonly reads?: ReadSet
}

export type Login =
  | { readonly kind: 'accepted'; readonly credentials: RegistryCredentials; readonly who: string }
  /** Everybody may pull: there is nothing to hand over. */
  | { readonly kind: 'not-needed' }
  /** The pull that follows, without credentials, shows TLS trust. */
  | { readonly kind: 'failed'; readonly finding: Finding }

/** Undefined: none are declared. */
export type LoginFor = (registry: Registry, options: CallOptions) => Promise<Login | undefined>

export type LoginDesk = {
  for(desired: DesiredState): LoginFor
  /** A person asks: what was refused may be sent once more, before its pause is over. */
  forgive(): void
}

/** What one look leaves to the next, in a process that stays. */
export type LookMemory = {
  /** Reads of the node for a look; never for what is about to be written. */
  readonly files: Pick<RememberedFiles, 'witnessed'> & NodeFiles
  /** The last plan, where it had nothing to do. */
  readonly last: { unchanged: UnchangedPlan | undefined }
}

export type UnchangedPlan = {
  readonly planned: Planned
  /** Whether it is the plan for this request too: everything that it was made from is the same. */
  isFor(request: object): Promise<boolean>
}

export type RunPorts = ObservePorts &
  RehearsePorts &
  RestartPorts &
  TransactionPorts & {
    readonly tls: TlsProbe
    readonly permit: RestartPermit
    readonly lock: NodeLock
    /** Absent: all that the agent knows (targets/targets.ts). */
    readonly targets?: readonly Target[]
    /** Absent: proofs are made without credentials. */
    readonly logins?: LoginDesk
    /** Absent: every look reads everything. */
    readonly memory?: LookMemory | undefined
    /** Absent: no note of a fleet component is read. */
    readonly fleet?: FleetGate
  }
