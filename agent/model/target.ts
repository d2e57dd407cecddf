// The contract of every place on a node that trusts: what it reads, what it would change, what it needs. A new target
// is one folder in targets/ that fulfils it and one line in targets/targets.ts; nothing else of the agent knows its
// name (but TARGET_NAMES, a contract).
import type { DesiredState } from './desired-state.ts'
import type { Problem } from './errors.ts'
import type { ContainerdFacts } from './observed-state.ts'
import type { Candidate, Change, Plan, RestartNeed, TargetName } from './plan.ts'
import type { NodeFiles, StateStore } from './ports.ts'
import type { AgentState } from './state.ts'

export type TargetInput = {
  readonly desired: DesiredState
  readonly owned: AgentState['owned']
  /** Hosts that are trusted now and, as the rehearsal shows, would not be with the declared anchors alone. */
  readonly unverified: ReadonlySet<string>
  /** Legacy registry sections are to be moved also where no declared registry needs it (`migrate`). */
  readonly migrateAll: boolean
}

export type ObserveInput = Pick<TargetInput, 'desired' | 'owned'> & { readonly facts: ContainerdFacts }

export type TargetPorts = { readonly files: NodeFiles; readonly store: Pick<StateStore, 'backup'> }

export type TargetPlan = {
  readonly changes: readonly Change[]
  readonly problems: readonly Problem[]
  readonly restart?: RestartNeed
  /** What a person should know although nothing is kept back for it. */
  readonly warnings?: readonly Problem[]
  /** Fingerprints of certificates that the node trusts now and would not with these changes. */
  readonly distrusts?: readonly string[]
}

export type WholePlan = TargetPlan & {
  /** Comes after the changes of every other target: it counts with a restart alone. */
  readonly last?: Pick<TargetPlan, 'changes' | 'problems'>
  /** What containerd will read, for the rehearsal; one target at most tells it. */
  readonly candidate?: Candidate
}

/** `depth`: how many levels of folders below it count as well. */
export type WatchedFolder = { readonly path: string; readonly depth: number }

/** A folder of the node that has to be mounted into the agent's Pod for what trust.yaml asks. */
export type Need = {
  readonly path: string
  readonly access: 'read' | 'write'
  readonly why: string
  readonly remedy: string
  readonly severity?: 'info'
}

/**
 * Something that is wrong on the node, or will be; `where`: a file (with line), a registry host, or a part of the node.
 */
export type TargetAilment = {
  readonly severity: 'error' | 'warning' | 'info'
  readonly where: string
  readonly what: string
  readonly remedy: string
}

/** `plan` is written as a method, so that targets with different observations fit into one list. */
export type Target<Observed = unknown> = {
  /** The names under which its changes are planned, counted and recorded. */
  readonly names: readonly TargetName[]
  /** Those of the names whose changes serve one registry host each, in a folder of host folders. */
  readonly servesHosts: readonly TargetName[]
  /** containerd reads what it writes: a change is rehearsed. */
  readonly isReadByContainerd: boolean
  /** Reads; changes nothing. */
  observe(input: ObserveInput, ports: TargetPorts): Promise<Observed>
  /** Pure: the same input and observation give the same plan. */
  plan(input: TargetInput, observed: Observed): WholePlan | Promise<WholePlan>
  /**
   * Whose changes the daemon should notice at once. `certsDirectory`: undefined where containerd reads no host
   * directories.
   */
  watches(input: {
    readonly facts: Pick<ContainerdFacts, 'configFile' | 'layout'>
    readonly certsDirectory: string | undefined
  }): readonly WatchedFolder[]
  /** `facts`, `plan`: undefined where containerd cannot be looked at. */
  needs(input: {
    readonly desired: DesiredState
    readonly facts: ContainerdFacts | undefined
    readonly plan: Plan | undefined
  }): readonly Need[]
  /** For `doctor`: what is wrong there whether or not the agent would change it. */
  examine?(
    input: { readonly desired: DesiredState; readonly facts: ContainerdFacts; readonly plan: Plan },
    files: NodeFiles,
  ): Promise<readonly TargetAilment[]>
}

/** What each target has seen, in the order in which their changes are carried out. */
export type Observed = readonly (readonly [target: Target, seen: unknown])[]
