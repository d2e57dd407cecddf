// The fields of an X.509 certificate that node:crypto does not show.
import { childrenOf, type DerElement, readElement, TAG } from '../encoding/der.ts'

export type CertificateFields = {
  /** 1, 2 or 3. */
  readonly version: number
  readonly serial: DerElement
  readonly issuer: DerElement
  readonly subject: DerElement
  readonly publicKeyInfo: DerElement
  readonly signatureAlgorithm: DerElement
  readonly signatureAlgorithmInside: DerElement
  readonly extensions: readonly DerElement[]
}

const VERSION_TAG = 0xa0
const EXTENSIONS_TAG = 0xa3

/** `undefined` when the bytes are not exactly one strictly encoded certificate. */
export function readCertificateFields(der: Buffer): CertificateFields | undefined {
  const outer = readElement(der)
  if (outer === undefined || outer.raw.length !== der.length) return undefined
  const [tbs, signatureAlgorithm, signature, ...rest] = childrenOf(outer, TAG.sequence) ?? []
  if (signatureAlgorithm === undefined || signature?.tag !== TAG.bitString || rest.length > 0) return undefined
  const fields = childrenOf(tbs, TAG.sequence)
  if (fields === undefined) return undefined
  const hasVersion = fields[0]?.tag === VERSION_TAG
  const version = hasVersion ? (fields[0]?.content.at(-1) ?? 0) + 1 : 1
  const [serial, signatureAlgorithmInside, issuer, validity, subject, publicKeyInfo, ...optional] = hasVersion
    ? fields.slice(1)
    : fields
  if (serial?.tag !== TAG.integer || signatureAlgorithmInside?.tag !== TAG.sequence) return undefined
  if (issuer?.tag !== TAG.sequence || validity?.tag !== TAG.sequence || subject?.tag !== TAG.sequence) return undefined
  if (publicKeyInfo?.tag !== TAG.sequence) return undefined
  // Go looks at extensions of version 3 certificates only.
  const wrapped = version === 3 ? optional.find((field) => field.tag === EXTENSIONS_TAG) : undefined
  const extensions = wrapped === undefined ? [] : childrenOf(readElement(wrapped.content), TAG.sequence)
  if (extensions === undefined) return undefined
  return { version, serial, issuer, subject, publicKeyInfo, signatureAlgorithm, signatureAlgorithmInside, extensions }
}
