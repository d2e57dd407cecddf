// What one proof of a registry found.
import type { ProofLevel } from './desired-state.ts'
import type { Finding } from './finding.ts'

export type ProofResult = {
  readonly host: string
  readonly level: ProofLevel
  /**
   * The node's own containerd, a private copy of it where the socket cannot be reached, or the agent's own TLS
   * handshake.
   */
  readonly by: 'live' | 'rehearsal' | 'tls'
  readonly reference: string
  readonly finding: Finding
  /** Whether the declared credentials were accepted; absent where none are declared or nothing is known. */
  readonly loginAccepted?: boolean
  /** RFC 3339. */
  readonly at: string
  readonly durationMs: number
}
