// Certificates in files as x509-certificate-exporter labels them, so that dashboards and alerts made for it read ours
// too.
import { X509Certificate } from 'node:crypto'
import { posix } from 'node:path'
import { NAME_FIELDS } from './metric-table.ts'

/** One certificate and the file on the node that holds it. */
export type CertificateFile = { readonly path: string; readonly pem: string }

type NameField = (typeof NAME_FIELDS)[number]

export type CertificateLabels = {
  readonly [label in 'serial_number' | 'filename' | 'filepath' | `subject_${NameField}` | `issuer_${NameField}`]: string
}

export type CertificateSample = {
  readonly labels: CertificateLabels
  /** Seconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
}

/** What one certificate says, wherever it lies. */
type CertificateFacts = {
  readonly labels: Omit<CertificateLabels, 'filename' | 'filepath'>
  readonly notBefore: number
  readonly notAfter: number
}

/** `parse` is asked once for each content: the same CA lies in the folder of every registry that trusts it. */
export function readCertificates(
  files: readonly CertificateFile[],
  parse: (pem: string) => CertificateFacts = parseFacts,
): readonly CertificateSample[] {
  const known = new Map<string, CertificateFacts>()
  return files.map(({ path, pem }) => {
    const facts = known.get(pem) ?? parse(pem)
    known.set(pem, facts)
    const { labels, notBefore, notAfter } = facts
    return { labels: { ...labels, filename: posix.basename(path), filepath: path }, notBefore, notAfter }
  })
}

export function parseFacts(pem: string): CertificateFacts {
  const certificate = new X509Certificate(pem)
  // `certificate.subject` would come with escapes.
  const { subject, issuer } = certificate.toLegacyObject()
  return {
    labels: {
      serial_number: BigInt(`0x${certificate.serialNumber}`).toString(),
      ...nameLabels('subject', subject),
      ...nameLabels('issuer', issuer),
    },
    notBefore: certificate.validFromDate.getTime() / 1000,
    notAfter: certificate.validToDate.getTime() / 1000,
  }
}

type Name = { readonly [field in NameField]?: string | string[] }
type NameLabels<Prefix extends string> = { readonly [field in `${Prefix}_${NameField}`]: string }

/** A field may stand twice in a name. */
function nameLabels<Prefix extends string>(prefix: Prefix, name: Name): NameLabels<Prefix> {
  const labels = NAME_FIELDS.map((field) => [`${prefix}_${field}`, [name[field] ?? []].flat().join(',')])
  return Object.fromEntries(labels) as NameLabels<Prefix>
}
