// What the agent remembers on the node (state.json): the paths it owns and what was there before.

/** What was at a path before the agent first touched it; the bytes lie in backup/SHA256. */
export type Before =
  | { readonly kind: 'absent' }
  | {
      readonly kind: 'file'
      readonly sha256: string
      readonly mode: number
      readonly uid: number
      readonly gid: number
    }
  | { readonly kind: 'link'; readonly to: string }
  | { readonly kind: 'folder'; readonly mode: number }

/**
 * whole: the file is ours alone, a foreign change is drift and is put right;
 * edited: the file is someone else's and carries keys or lines of ours.
 */
export type OwnershipKind = 'whole' | 'edited'

export type Ownership = {
  readonly kind: OwnershipKind
  readonly target: string
  /** For containerd-hosts: the registry host the path serves; for system-trust: the anchor name. */
  readonly subject: string
  /** SHA-256 hex of the bytes (file) or of the link target (link), empty for a folder. */
  readonly sha256: string
  readonly before: Before
  /** Of config.toml: the sandbox image that the agent set there. */
  readonly sandboxImage?: string
  /**
   * Others edited the file between two edits of the agent, so that `before` lacks their work: going back takes the
   * agent's part out of what is there.
   */
  readonly hasOthers?: boolean
}

export type TransactionRecord = {
  readonly id: string
  readonly generation: string
  /** RFC 3339. */
  readonly at: string
  readonly durationMs: number
  readonly result: 'committed' | 'rolled-back' | 'rollback-failed' | 'refused'
  readonly changes: number
  readonly restarted: boolean
  readonly reason: string
}

/** What `rollback` goes back over: the last committed transaction as steps, and what was owned before it. */
export type PreviousState = {
  readonly generation: string
  readonly owned: { readonly [path: string]: Ownership }
  readonly steps: readonly StepRecord[]
  readonly restarted: boolean
}

/** One path that a transaction changed. */
export type StepRecord = {
  readonly path: string
  readonly folder: string
  readonly before: Before
  readonly after: {
    readonly kind: 'file' | 'link' | 'folder' | 'absent'
    readonly sha256?: string
    readonly to?: string
    readonly mode?: number
    /** For a file that others write in too: how it was made out of what was there before, line by line. */
    readonly edits?: readonly LineEdit[]
  }
}

/** Lines `start` to `end` (exclusive) that were replaced, and what stands there instead, with line ends. */
export type LineEdit = { readonly start: number; readonly end: number; readonly lines: readonly string[] }

export type AgentState = {
  readonly version: 1
  /** Generation last committed; empty before the first. */
  readonly generation: string
  /** Keyed by absolute path on the node. */
  readonly owned: { readonly [path: string]: Ownership }
  /** Newest last, bounded. */
  readonly transactions: readonly TransactionRecord[]
  /** A generation that was rolled back is not tried again until the input changes or a person says so. */
  readonly refusedGeneration?: string
  /** Absent before the first commit and after a rollback. */
  readonly previous?: PreviousState
  /** What an undo could not put back; tried again at the start of every run. */
  readonly unrestored?: readonly StepRecord[]
  /** Paths that may be the agent's from before its memory was lost: reported until a person has run a command. */
  readonly unsure?: readonly string[]
  /**
   * When each path was put right after someone else changed it, RFC 3339, the last hour only: tells a fight from an
   * accident.
   */
  readonly heals?: { readonly [path: string]: readonly string[] }
  /** Certificates that the system store holds because of us. */
  readonly systemAnchors?: readonly SystemAnchor[]
  /** Certificates that were taken out of it, newest last: a containerd that started before goes on trusting them. */
  readonly withdrawn?: readonly WithdrawnAnchor[]
  /** By which clock the times above were noted: when this boot began, in milliseconds since the epoch. */
  readonly clock?: { readonly bootId: string; readonly bootedAt: number }
}

export type SystemAnchor = { readonly anchor: string; readonly fingerprint: string }

export type WithdrawnAnchor = SystemAnchor & {
  /** RFC 3339. */
  readonly at: string
}

export const EMPTY_STATE: AgentState = { version: 1, generation: '', owned: {}, transactions: [] }
