// One DER certificate → the facts people and targets need. Nothing is judged here except what makes the bytes unusable
// for Go.
// This room: what one certificate says: fields, names, extensions.
// Begin here; then chain-certificate.ts (what a chain needs of it).
// May touch: nothing: bytes go in.
import { createHash, X509Certificate } from 'node:crypto'
import type { Certificate } from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import { refusalText, whyGoRefuses } from '../go/certificate.ts'
import { readCertificateFields } from './fields.ts'

/** A certificate with what is needed to judge it and to talk about it. */
export type DecodedCertificate = Certificate & {
  /** Where it stood in the input: `block 2 (line 31)`. */
  readonly place: string
  /** DNS names and addresses it is valid for. */
  readonly names: readonly string[]
  /** Length of an RSA key; absent for other keys. */
  readonly rsaBits?: number
}

export type ReadCertificate =
  | { readonly ok: true; readonly certificate: DecodedCertificate }
  | { readonly ok: false; readonly problem: Problem }

const MAX_NAME_LENGTH = 500

export function readCertificate(der: Buffer, place: string): ReadCertificate {
  const x509 = openCertificate(der)
  if (x509 === undefined) return notACertificate(place)
  const subject = oneLine(x509.subject)
  const refusal = whyGoRefuses(der)
  if (refusal !== undefined) {
    const who = subject === '' ? '' : ` (${subject})`
    return { ok: false, problem: problem('ANCHOR_UNUSABLE', `${place}${who} cannot be used: ${refusalText(refusal)}`) }
  }
  const fields = readCertificateFields(der)
  const notBefore = rfc3339(x509.validFromDate)
  const notAfter = rfc3339(x509.validToDate)
  if (fields === undefined || notBefore === undefined || notAfter === undefined) return notACertificate(place)
  const rsaBits = rsaBitsOf(x509)
  const certificate: DecodedCertificate = {
    pem: renderPem(der),
    fingerprint: `sha256:${createHash('sha256').update(der).digest('hex')}`,
    subject,
    issuer: oneLine(x509.issuer),
    notBefore,
    notAfter,
    isCa: x509.ca,
    isSelfSigned: fields.subject.raw.equals(fields.issuer.raw) && verifiesItself(x509),
    place,
    names: namesOf(x509),
    ...(rsaBits === undefined ? {} : { rsaBits }),
  }
  return { ok: true, certificate }
}

function notACertificate(place: string): ReadCertificate {
  return { ok: false, problem: problem('ANCHOR_NOT_A_CERTIFICATE', `${place} is not an X.509 certificate`) }
}

/** One block, 64 columns, LF, final newline: the only form that is ever written to a node. */
function renderPem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

function openCertificate(der: Buffer): X509Certificate | undefined {
  try {
    const x509 = new X509Certificate(der)
    // node:crypto tries PEM first: a block hidden inside the DER would be read in its place.
    return x509.raw.equals(der) ? x509 : undefined
  } catch {
    // OpenSSL's reason ("wrong tag", "header too long") tells a person nothing beyond "not a certificate".
    return undefined
  }
}

function rfc3339(date: Date): string | undefined {
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString().replace('.000Z', 'Z')
}

/** `CN=Corp Root, O=Corp, C=DE`: most specific first (RFC 4514), as Go and browsers show names. */
export function oneLine(name: string | undefined): string {
  const text = (name ?? '').split('\n').filter(Boolean).reverse().join(', ')
  return text.length > MAX_NAME_LENGTH ? `${text.slice(0, MAX_NAME_LENGTH)}…` : text
}

function namesOf(x509: X509Certificate): readonly string[] {
  return (x509.subjectAltName ?? '')
    .split(', ')
    .map((name) => name.replace(/^(DNS|IP Address):/, ''))
    .filter(Boolean)
}

function verifiesItself(x509: X509Certificate): boolean {
  try {
    return x509.verify(x509.publicKey)
  } catch {
    // A key type that this OpenSSL does not know: the claim cannot be proved, so it is not made.
    return false
  }
}

function rsaBitsOf(x509: X509Certificate): number | undefined {
  try {
    const { asymmetricKeyType, asymmetricKeyDetails } = x509.publicKey
    return asymmetricKeyType?.startsWith('rsa') ? asymmetricKeyDetails?.modulusLength : undefined
  } catch {
    return undefined
  }
}
