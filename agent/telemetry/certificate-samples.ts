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

export function readCertificates(files: readonly CertificateFile[]): readonly CertificateSample[] {
  return files.map(({ path, pem }) => {
    const certificate = new X509Certificate(pem)
    // `certificate.subject` would come with escapes.
    const { subject, issuer } = certificate.toLegacyObject()
    return {
      labels: {
        serial_number: BigInt(`0x${certificate.serialNumber}`).toString(),
        ...nameLabels('subject', subject),
        ...nameLabels('issuer', issuer),
        filename: posix.basename(path),
        filepath: path,
      },
      notBefore: certificate.validFromDate.getTime() / 1000,
      notAfter: certificate.validToDate.getTime() / 1000,
    }
  })
}

type Name = { readonly [field in NameField]?: string | string[] }
type NameLabels<Prefix extends string> = { readonly [field in `${Prefix}_${NameField}`]: string }

/** A field may stand twice in a name. */
function nameLabels<Prefix extends string>(prefix: Prefix, name: Name): NameLabels<Prefix> {
  const labels = NAME_FIELDS.map((field) => [`${prefix}_${field}`, [name[field] ?? []].flat().join(',')])
  return Object.fromEntries(labels) as NameLabels<Prefix>
}
