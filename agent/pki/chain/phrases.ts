// How certificates are named in messages: always with the name people use and the fingerprint that tells twins apart.
import { type ChainCertificate, type ReadChainCertificate, shortName } from '../certificate/chain-certificate.ts'

const MOST_CHARACTERS = 100

/** `"Corp Root G2" (sha256:…)` */
export function quoted(certificate: ChainCertificate): string {
  return `"${shortName(certificate).slice(0, MOST_CHARACTERS)}" (${certificate.fingerprint})`
}

export function day(time: number): string {
  return instant(time).slice(0, 10)
}

/** RFC 3339; a certificate may hold a date that no calendar has. */
export function instant(time: number): string {
  const date = new Date(time)
  return Number.isNaN(date.getTime()) ? 'an unreadable date' : date.toISOString().replace(/\.\d{3}Z$/, 'Z')
}

/** One line for each certificate, in the order in which the server sent them. */
export function served(index: number, read: ReadChainCertificate): string {
  if (!read.ok) return `served ${index + 1}: unreadable (${read.reason})`
  const { subject, issuer, notBefore, notAfter, fingerprint, isSelfSigned } = read.certificate
  const by = isSelfSigned ? 'self-signed' : `issued by ${issuer || 'an unnamed authority'}`
  return `served ${index + 1}: ${subject || 'no subject'}, ${by}, ${day(notBefore)} to ${day(notAfter)}, ${fingerprint}`
}
