// The certificates that a verification may end in, each with where it comes from: a declared anchor by its name, or the
// node's own store.
import type { Certificate, TrustAnchor } from '../../model/desired-state.ts'
import { type ChainCertificate, readChainCertificate } from '../certificate/chain-certificate.ts'

/** What `verifiedBy` says of the node's own store; no anchor can have it as its source. */
export const SYSTEM = 'system'

export type TrustedRoot = {
  readonly certificate: ChainCertificate
  /** Name of the declared anchor, or SYSTEM. */
  readonly origin: string
}

export function rootsOfAnchors(anchors: readonly TrustAnchor[]): readonly TrustedRoot[] {
  return anchors.flatMap(rootsOfAnchor)
}

const parsed = new WeakMap<TrustAnchor, readonly TrustedRoot[]>()

/** Parsed once for each anchor, however many registries and looks ask for it. */
function rootsOfAnchor(anchor: TrustAnchor): readonly TrustedRoot[] {
  const known = parsed.get(anchor)
  if (known !== undefined) return known
  const { name, certificates } = anchor
  const roots = rootsOfCertificates(certificates).map((certificate) => ({ certificate, origin: name }))
  parsed.set(anchor, roots)
  return roots
}

function rootsOfCertificates(certificates: readonly Certificate[]): readonly ChainCertificate[] {
  return certificates.flatMap(({ pem }) => rootsInPem(pem))
}

const MOST_ROOTS = 5_000

/**
 * Every certificate in PEM text that Go's CertPool.AppendCertsFromPEM would take: other blocks, blocks with headers and
 * what does not
 * parse are passed over. `seen` leaves out what earlier files held already.
 */
export function rootsInPem(text: string, seen: Set<string> = new Set()): readonly ChainCertificate[] {
  const roots: ChainCertificate[] = []
  for (const [, body = ''] of text.matchAll(
    /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----/g,
  )) {
    const compact = body.replace(/\s+/g, '')
    if (seen.has(compact)) continue
    seen.add(compact)
    const read = readChainCertificate(Buffer.from(compact, 'base64'))
    if (read.ok) roots.push(read.certificate)
    if (roots.length >= MOST_ROOTS) break
  }
  return roots
}
