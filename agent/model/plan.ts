// The plan: what would change on the node, why, and whether containerd must be restarted for it. Pure values.
import type { Problem } from './errors.ts'
import type { Finding } from './finding.ts'
import type { Ownership } from './state.ts'

export type TargetName = 'system-trust' | 'containerd-hosts' | 'containerd-config' | 'docker' | 'containers'

export type Action = 'create' | 'update' | 'edit' | 'delete' | 'link'

/** What a path should be after the step. Modes are permission bits, e.g. 0o644. */
export type FileContent =
  | { readonly kind: 'file'; readonly bytes: Buffer; readonly mode: number; readonly uid: number; readonly gid: number }
  | { readonly kind: 'link'; readonly to: string }
  | { readonly kind: 'folder'; readonly mode: number }
  | { readonly kind: 'absent' }

/** One path that changes. Steps are executed in order and undone in reverse. */
export type Change = {
  readonly target: TargetName
  readonly action: Action
  /** Absolute on the node (without --root). */
  readonly path: string
  readonly reason: string
  /** The folder that the agent may write for this target; temporary files go into its sub-folder, symlinks may not leave it. */
  readonly folder: string
  readonly after: FileContent
  /** Recorded in state.json when the step is done; `null` forgets the path; absent: nothing to record. */
  readonly ownership?: Ownership | null
}

export type RestartNeed = { readonly required: boolean; readonly reason: string }

export type Rehearsal =
  | { readonly verdict: 'not-needed'; readonly reason: string }
  | { readonly verdict: 'passed'; readonly durationMs: number; readonly proofs: readonly RehearsedProof[] }
  | { readonly verdict: 'failed'; readonly reason: string; readonly durationMs: number; readonly proofs: readonly RehearsedProof[] }
  | { readonly verdict: 'not-rehearsed'; readonly reason: string }

export type RehearsedProof = { readonly host: string; readonly finding: Finding; readonly durationMs: number }

export type Plan = {
  readonly generation: string
  readonly changes: readonly Change[]
  readonly restart: RestartNeed
  /** Input and node problems that keep something from being applied; the rest goes on. */
  readonly problems: readonly Problem[]
}
