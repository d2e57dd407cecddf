// Which of the decoded certificates may become trust anchors. Pure; the time is handed in. Rule: what would widen or
// break trust is left out with a reason; what is merely useless (expired) is kept and reported.
import type { Certificate } from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import type { DecodedCertificate } from '../certificate/certificate.ts'

export type JudgeOptions = {
  /** Milliseconds since the epoch. */
  readonly now: number
  readonly minRsaBits: number
  /** `sha256:` fingerprints; absent: every certificate is accepted. */
  readonly pins?: readonly string[] | undefined
}

export type Judged = { readonly certificates: readonly Certificate[]; readonly problems: readonly Problem[] }

export function judgeCertificates(decoded: readonly DecodedCertificate[], options: JudgeOptions): Judged {
  const certificates: Certificate[] = []
  const problems: Problem[] = []
  for (const certificate of decoded) {
    const refusal = refuse(certificate, options)
    if (refusal !== undefined) {
      problems.push(refusal)
      continue
    }
    certificates.push(plain(certificate))
    const warning = warn(certificate, options.now)
    if (warning !== undefined) problems.push(warning)
  }
  return { certificates, problems }
}

function refuse(certificate: DecodedCertificate, { minRsaBits, pins }: JudgeOptions): Problem | undefined {
  const who = `${certificate.place} (${certificate.subject || 'no subject'})`
  // A self-signed server certificate is its own authority: Go verifies a server against it.
  if (!certificate.isCa && !certificate.isSelfSigned) return problem('ANCHOR_NOT_A_CA', notACa(certificate))
  if (pins !== undefined && !pins.includes(certificate.fingerprint)) {
    return problem('ANCHOR_PIN_MISMATCH', `${who} has the fingerprint ${certificate.fingerprint}, which is not in pins`)
  }
  if (certificate.rsaBits !== undefined && certificate.rsaBits < minRsaBits) {
    const text = `${who} has an RSA key of ${certificate.rsaBits} bits, less than the ${minRsaBits} required`
    return problem('ANCHOR_WEAK_KEY', text)
  }
  return undefined
}

function notACa({ place, subject, issuer, names }: DecodedCertificate): string {
  const shown = names.slice(0, 5).join(', ') + (names.length > 5 ? ` and ${names.length - 5} more` : '')
  const what = names.length > 0 ? `the server certificate of ${shown}` : 'not a CA certificate'
  const authority = issuer || 'an authority without a name'
  return `${place} is ${what} (subject ${subject || 'empty'}), issued by ${authority}: provide the certificate of ${authority}`
}

function warn({ place, subject, notBefore, notAfter }: DecodedCertificate, now: number): Problem | undefined {
  const who = `${place} (${subject || 'no subject'})`
  if (now > Date.parse(notAfter)) return problem('ANCHOR_EXPIRED', `${who} expired on ${notAfter}`)
  if (now < Date.parse(notBefore)) return problem('ANCHOR_NOT_YET_VALID', `${who} is valid only from ${notBefore} on`)
  return undefined
}

function plain(certificate: DecodedCertificate): Certificate {
  const { place: _place, names: _names, rsaBits: _rsaBits, ...kept } = certificate
  return kept
}
