// What the agent and the restarter sidecar say to each other: one JSON object in a line, one answer to each. The verbs are all there is:
// none of them carries a path, a command or the content of a file.
import type { ErrorCode } from './errors.ts'
import type { JobOutcome, UnitFacts } from './ports.ts'

export type RestarterRequest =
  /** Without a unit: does systemd answer? */
  | { readonly verb: 'facts'; readonly unit?: string }
  | { readonly verb: 'reset-failed'; readonly unit: string }
  | { readonly verb: 'restart'; readonly unit: string; readonly timeoutMs: number }
  /**
   * Remembers containerd's config file as it is now. Unless `commit` comes on the same connection in time, and before that connection ends,
   * the file is put back and containerd restarted.
   */
  | { readonly verb: 'hold' }
  | { readonly verb: 'commit' }

export type RestarterReply =
  | {
      readonly ok: true
      readonly available?: boolean
      readonly unit?: UnitFacts | null
      readonly job?: JobOutcome
    }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string }

/** No honest line is longer. */
export const MAX_LINE_BYTES = 64 * 1024
