// OpenSSL's TRUSTED CERTIFICATE form: a certificate and, after it, what it may be used for. Go does not read the form,
// so the certificate alone goes to the node; where the extra settings forbid servers, dropping them would widen the
// trust, so it is refused.
import { childrenOf, dottedOid, readElements, TAG } from '../encoding/der.ts'

export type TrustedCertificate =
  | { readonly ok: true; readonly der: Buffer }
  | { readonly ok: false; readonly reason: string }

const REJECT = 0xa0
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
const ANY = '2.5.29.37.0'

export function readTrustedCertificate(bytes: Buffer): TrustedCertificate {
  const [certificate, settings, ...rest] = readElements(bytes) ?? []
  if (certificate === undefined || rest.length > 0) return { ok: false, reason: 'is malformed' }
  if (settings === undefined) return { ok: true, der: certificate.raw }
  const fields = childrenOf(settings, TAG.sequence)
  if (fields === undefined) return { ok: false, reason: 'has malformed trust settings' }
  const uses = (tag: number) => fields.filter((field) => field.tag === tag).flatMap((field) => oidsIn(field.content))
  const [trusted, rejected] = [uses(TAG.sequence), uses(REJECT)]
  const isServer = (oid: string) => oid === SERVER_AUTH || oid === ANY
  const isForbidden = rejected.some(isServer) || (trusted.length > 0 && !trusted.some(isServer))
  if (isForbidden)
    return { ok: false, reason: 'carries OpenSSL trust settings that do not allow it to vouch for servers' }
  return { ok: true, der: certificate.raw }
}

function oidsIn(content: Buffer): readonly string[] {
  return (readElements(content) ?? []).map((element) => (element.tag === TAG.oid ? dottedOid(element.content) : ''))
}
