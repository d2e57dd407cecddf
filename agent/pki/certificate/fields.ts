// The fields of an X.509 certificate that node:crypto does not show, and what Go refuses although OpenSSL reads it.
// containerd is Go: a CA file whose only certificate Go cannot parse makes every pull from that registry fail
// ("unable to load CA cert"), so such a certificate must never reach a node.
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

/** Why Go's crypto/x509 refuses to parse the certificate; `undefined`: it reads it. */
export function whyGoRefuses(fields: CertificateFields): string | undefined {
  const firstByte = fields.serial.content[0]
  if (firstByte === undefined || firstByte >= 0x80) return 'its serial number is negative'
  if (!fields.signatureAlgorithm.raw.equals(fields.signatureAlgorithmInside.raw)) {
    return 'its inner and outer signature algorithms differ'
  }
  return refusedKey(fields) ?? refusedExtensions(fields) ?? refusedName(fields.subject) ?? refusedName(fields.issuer)
}

// OID contents in hex. Go knows the NIST curves alone; a key on any other curve fails the whole certificate.
const EC_PUBLIC_KEY = '2a8648ce3d0201'
const GO_CURVES: ReadonlySet<string> = new Set([
  '2b81040021', // P-224
  '2a8648ce3d030107', // P-256
  '2b81040022', // P-384
  '2b81040023', // P-521
])

function refusedKey(fields: CertificateFields): string | undefined {
  const [algorithm] = childrenOf(fields.publicKeyInfo, TAG.sequence) ?? []
  const [oid, parameters] = childrenOf(algorithm, TAG.sequence) ?? []
  if (oid?.content.toString('hex') !== EC_PUBLIC_KEY) return undefined
  const isKnown = parameters?.tag === TAG.oid && GO_CURVES.has(parameters.content.toString('hex'))
  return isKnown ? undefined : 'its key lies on an elliptic curve other than P-224, P-256, P-384 or P-521'
}

function refusedExtensions(fields: CertificateFields): string | undefined {
  const seen = new Set<string>()
  for (const extension of fields.extensions) {
    const [oid] = childrenOf(extension, TAG.sequence) ?? []
    if (oid?.tag !== TAG.oid) return 'one of its extensions is malformed'
    const key = oid.content.toString('hex')
    if (seen.has(key)) return 'it carries the same extension twice'
    seen.add(key)
  }
  return undefined
}

// Characters that Go accepts in each ASN.1 string type of a name (crypto/x509 parseASN1String).
const GO_STRINGS: ReadonlyMap<number, { readonly name: string; accepts(content: Buffer): boolean }> = new Map([
  [0x0c, { name: 'UTF8String', accepts: (content) => isUtf8(content) }],
  [0x12, { name: 'NumericString', accepts: (content) => /^[0-9 ]*$/.test(content.toString('latin1')) }],
  [
    0x13,
    { name: 'PrintableString', accepts: (content) => /^[A-Za-z0-9'()+,\-./ :=?*&]*$/.test(content.toString('latin1')) },
  ],
  [0x14, { name: 'T61String', accepts: () => true }],
  [0x16, { name: 'IA5String', accepts: (content) => content.every((byte) => byte < 0x80) }],
  [0x1e, { name: 'BMPString', accepts: (content) => content.length % 2 === 0 }],
])

function isUtf8(content: Buffer): boolean {
  return Buffer.from(content.toString('utf8'), 'utf8').equals(content)
}

function refusedName(name: DerElement): string | undefined {
  for (const set of childrenOf(name, TAG.sequence) ?? []) {
    for (const attribute of childrenOf(set, TAG.set) ?? []) {
      const [, value] = childrenOf(attribute, TAG.sequence) ?? []
      if (value === undefined) return 'a name in it is malformed'
      const type = GO_STRINGS.get(value.tag)
      if (type === undefined) return `a name in it has the unsupported string type 0x${value.tag.toString(16)}`
      if (!type.accepts(value.content)) return `a name in it holds characters that a ${type.name} may not hold`
    }
  }
  return undefined
}
