// What the agent and the restarter sidecar say to each other: one JSON object in a line, one answer to each. The verbs
// are all there is: none of them carries a path, a command or the content of a file.
import type { ErrorCode } from './errors.ts'
import type { JobOutcome, UnitFacts } from './ports.ts'

export type RestarterRequest =
  /** Without a unit: does systemd answer? */
  | { readonly verb: 'facts'; readonly unit?: string }
  | { readonly verb: 'reset-failed'; readonly unit: string }
  /** `machine`: the restart that is recorded in the state folder and driven by the agent; there is no other. */
  | { readonly verb: 'restart'; readonly unit: string; readonly timeoutMs: number; readonly machine: string }

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
