// OpenSSL's subject hash: the name (HASH.0) under which OpenSSL looks for a CA in /etc/ssl/certs, as `openssl x509
// -subject_hash` and `openssl rehash` compute it. Rule: SHA-1 over the canonical form of the subject (x509_name_canon
// in OpenSSL's crypto/x509/x_name.c).
import { createHash } from 'node:crypto'
import { childrenOf, type DerElement, encodeElement, TAG } from '../encoding/der.ts'
import { readCertificateFields } from './fields.ts'

const UTF8_STRING = 0x0c
const T61_STRING = 0x14
const UNIVERSAL_STRING = 0x1c
const BMP_STRING = 0x1e

/** The types that OpenSSL folds; anything else (NumericString too) goes in as it is. */
const CANONICAL_TYPES: ReadonlySet<number> = new Set([
  UTF8_STRING,
  0x13, // PrintableString
  T61_STRING,
  0x16, // IA5String
  0x1a, // VisibleString
  UNIVERSAL_STRING,
  BMP_STRING,
])

/** Eight hex digits for one PEM block; `undefined` when it holds no certificate. */
export function subjectHash(pem: string): string | undefined {
  const body = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----/.exec(pem)?.[1]
  const fields = body === undefined ? undefined : readCertificateFields(Buffer.from(body, 'base64'))
  const canonical = fields === undefined ? undefined : canonicalName(fields.subject)
  if (canonical === undefined) return undefined
  const digest = createHash('sha1').update(canonical).digest()
  return digest.readUInt32LE(0).toString(16).padStart(8, '0')
}

/** The RDN sets one after the other, without the SEQUENCE around them. */
function canonicalName(name: DerElement): Buffer | undefined {
  const sets = childrenOf(name, TAG.sequence)
  if (sets === undefined) return undefined
  const encoded: Buffer[] = []
  for (const set of sets) {
    const attributes = childrenOf(set, TAG.set)?.map(canonicalAttribute)
    if (attributes === undefined) return undefined
    const known = attributes.filter((attribute) => attribute !== undefined)
    if (known.length !== attributes.length) return undefined
    encoded.push(encodeElement(TAG.set, Buffer.concat(known.sort(Buffer.compare))))
  }
  return Buffer.concat(encoded)
}

function canonicalAttribute(attribute: DerElement): Buffer | undefined {
  const [type, value] = childrenOf(attribute, TAG.sequence) ?? []
  if (type === undefined || value === undefined) return undefined
  return encodeElement(TAG.sequence, Buffer.concat([type.raw, canonicalValue(value)]))
}

function canonicalValue(value: DerElement): Buffer {
  if (!CANONICAL_TYPES.has(value.tag)) return value.raw
  const folded = textOf(value)
    .replace(/^[ \t\n\v\f\r]+|[ \t\n\v\f\r]+$/g, '')
    .replace(/[ \t\n\v\f\r]+/g, ' ')
    .replace(/[A-Z]/g, (letter) => letter.toLowerCase())
  return encodeElement(UTF8_STRING, Buffer.from(folded, 'utf8'))
}

function textOf({ tag, content }: DerElement): string {
  switch (tag) {
    case BMP_STRING:
      return codePoints(content, 2)
    case UNIVERSAL_STRING:
      return codePoints(content, 4)
    case T61_STRING:
      return content.toString('latin1')
    default:
      return content.toString('utf8')
  }
}

function codePoints(content: Buffer, width: number): string {
  let text = ''
  for (let offset = 0; offset + width <= content.length; offset += width) {
    const point = content.readUIntBE(offset, width)
    text += point > 0x10ffff ? '\ufffd' : String.fromCodePoint(point)
  }
  return text
}
