// The plan: what would change on the node, why, and whether containerd must be restarted for it. Pure values.
import type { Problem } from './errors.ts'
import type { Finding } from './finding.ts'
import type { OwnershipKind } from './state.ts'

export const TARGET_NAMES = [
  'system-trust',
  'containerd-hosts',
  'containerd-config',
  'docker',
  'containers',
  'k3s',
  'crictl',
  'hosts-file',
] as const
export type TargetName = (typeof TARGET_NAMES)[number]

/**
 * missing: ours was removed; changed: other bytes or another kind of file; mode: permissions or owner; foreign: someone
 * else's file
 * stands in its place; loaded-differs: the running containerd has not loaded what its file says; os-bundle-newer: it
 * trusts by an older
 * system store than the node's, and that matters; chain-changed: a registry serves another chain, and no proof has
 * succeeded since;
 * source-stale: an input is mounted in a way that never shows a change.
 */
export const DRIFT_KINDS = [
  'missing',
  'changed',
  'mode',
  'foreign',
  'loaded-differs',
  'os-bundle-newer',
  'chain-changed',
  'source-stale',
] as const
export type DriftKind = (typeof DRIFT_KINDS)[number]

/**
 * Nothing that the agent wrote differs, and nothing that it may write would put it right: a person should know, and
 * decide.
 */
export const ADVISORY_KINDS: ReadonlySet<DriftKind> = new Set<DriftKind>([
  'os-bundle-newer',
  'chain-changed',
  'source-stale',
])

export type Action = 'create' | 'update' | 'edit' | 'delete' | 'link'

/** What a path should be after the step. Modes are permission bits, e.g. 0o644. */
export type FileContent =
  | { readonly kind: 'file'; readonly bytes: Buffer; readonly mode: number; readonly uid: number; readonly gid: number }
  | { readonly kind: 'link'; readonly to: string }
  | { readonly kind: 'folder'; readonly mode: number }
  | { readonly kind: 'absent' }

export type RegularFile = Extract<FileContent, { kind: 'file' }>

/** A complete folder with its files, renamed into place (or out of sight) as one: readers see all of it or nothing. */
export type Tree =
  | {
      readonly kind: 'tree'
      readonly mode: number
      readonly files: readonly { readonly name: string; readonly content: RegularFile }[]
    }
  | { readonly kind: 'absent-tree'; readonly names: readonly string[] }

/** One path that changes. Changes are executed in order and undone in reverse. */
export type Change = {
  readonly target: TargetName
  readonly action: Action
  /** Absolute on the node (without --root). */
  readonly path: string
  readonly reason: string
  /** How the path differs from what is wanted; absent: as the action says. */
  readonly drift?: DriftKind
  /** The registry host or the anchor that the change serves. */
  readonly subject: string
  /**
   * The folder that the agent may write for this target; temporary files go into its sub-folder, symlinks may not leave
   * it.
   */
  readonly folder: string
  readonly after: FileContent | Tree
  /** Paths recorded in state.json when the transaction commits, with what they are then. */
  readonly owns: readonly OwnedPath[]
  /** Paths that state.json forgets when the transaction commits. */
  readonly forgets: readonly string[]
  /**
   * Of containerd-config: the running containerd has loaded it, so it is written whether or not a restart is allowed.
   */
  readonly isInForce?: boolean
}

/** `before` is filled in by the transaction, which captures what was there, unless the path was owned already. */
export type OwnedPath = {
  readonly path: string
  readonly kind: OwnershipKind
  readonly sha256: string
  /** Whose the path is from then on, when it is not the target of the change. */
  readonly target?: TargetName
  /** Of config.toml: the sandbox image that the agent set there. */
  readonly sandboxImage?: string
}

export type RestartNeed = {
  readonly required: boolean
  readonly reason: string
  /** Why the restart is never the agent's to make: a person has to. */
  readonly byHand?: string
}

export type Rehearsal =
  | { readonly verdict: 'not-needed'; readonly reason: string }
  | { readonly verdict: 'passed'; readonly durationMs: number; readonly proofs: readonly RehearsedProof[] }
  | {
      readonly verdict: 'failed'
      readonly reason: string
      readonly durationMs: number
      readonly proofs: readonly RehearsedProof[]
    }
  | { readonly verdict: 'not-rehearsed'; readonly reason: string }

export type RehearsedProof = { readonly host: string; readonly finding: Finding; readonly durationMs: number }

export type Plan = {
  readonly generation: string
  readonly changes: readonly Change[]
  readonly restart: RestartNeed
  /** Folder of host directories that containerd reads (or will, after the restart); undefined while unknown. */
  readonly certsDirectory: string | undefined
  /** Input and node problems that keep something from being applied; the rest goes on. */
  readonly problems: readonly Problem[]
  /** What a person should know although nothing is kept back for it. */
  readonly warnings: readonly Problem[]
  /** Fingerprints of certificates that the node trusts now and would not trust any more. */
  readonly distrusts?: readonly string[]
  /** Targets that cannot do all that is declared, for one of the problems. */
  readonly blocked?: readonly TargetName[]
}

/** What containerd will read, as the rehearsal needs it. */
export type Candidate = {
  /** Folder of host directories that containerd reads (or will, after the restart); undefined while unknown. */
  readonly certsDirectory: string | undefined
  /** config.toml as it will be; undefined: containerd runs without one. */
  readonly candidateConfig: Buffer | undefined
  /** Files of the declared registries' host directories as they will be, relative to certs.d. */
  readonly stagedHosts: readonly { readonly path: string; readonly bytes: Buffer }[]
  /** Present with `layout: legacy`: the files that config.toml names, by their paths on the node. */
  readonly legacyFiles?: readonly { readonly path: string; readonly bytes: Buffer }[]
}

/** The plan with what the rehearsal needs of it. */
export type Planned = Omit<Candidate, 'certsDirectory'> & {
  readonly plan: Plan
  /** Drift that is not put right: `drift.heal` is off, or someone else keeps changing the path. */
  readonly leftOut: readonly Change[]
  /** Paths of the latter kind. */
  readonly conflicts: readonly string[]
}
