// What is asked of a served chain, and what is answered.
import type { Finding } from '../../model/finding.ts'
import type { ChainCertificate } from '../certificate/chain-certificate.ts'
import type { TrustedRoot } from './roots.ts'

export type ChainQuestion = {
  /** As in an image reference, for messages. */
  readonly registry: string
  /** Without a port: what the certificate must be valid for. */
  readonly host: string
  /** DER, in the order in which they were served. */
  readonly chain: readonly Buffer[]
  /** Declared for this host (or all, where the host is not declared) and the node's own store. */
  readonly roots: readonly TrustedRoot[]
  /** Declared for other hosts: never trusted here, but worth naming. */
  readonly otherAnchors?: readonly TrustedRoot[]
  /** Fetched from where the served certificates say their issuer can be had. Never trusted: evidence alone. */
  readonly fetched?: readonly ChainCertificate[]
  readonly isDeclared: boolean
  /** Milliseconds since the epoch. */
  readonly now: number
}

export type ChainAnswer = {
  readonly finding: Finding
  /** Name of the anchor, or `system`; null: nothing verifies it. */
  readonly verifiedBy: string | null
  /** Where the certificate that is missing could be had; empty: nothing is missing, or it is not known where. */
  readonly issuerUrls: readonly string[]
  /**
   * The authority that is not known here, as a fingerprint or a name: the same for several hosts means interception.
   */
  readonly unexpectedIssuer?: string
}
