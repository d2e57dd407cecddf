// Subject and issuer as Go reads them (crypto/x509 parseName, parseASN1String, readASN1Any).
import { TAG } from '../encoding/der.ts'
import { BOOLEAN, DerReader, GENERALIZED_TIME, UTC_TIME } from './reader.ts'
import { type GoVersion, must } from './refusal.ts'
import { readTime } from './time.ts'

const MALFORMED = 'a name in it is malformed'

/** @throws Refusal where Go does not read `name`, a whole SEQUENCE. */
export function checkDistinguishedName(name: Buffer, go: GoVersion): void {
  const sets = new DerReader(name, go).sequence(MALFORMED)
  while (!sets.isEmpty) {
    const set = sets.inside(TAG.set, MALFORMED)
    while (!set.isEmpty) {
      const attribute = set.sequence(MALFORMED)
      attribute.oid(MALFORMED)
      checkValue(attribute.any(MALFORMED), go)
    }
  }
}

type Value = { readonly tag: number; readonly content: Buffer; readonly raw: Buffer }

function checkValue({ tag, content, raw }: Value, go: GoVersion): void {
  const type = STRINGS.get(tag)
  if (type !== undefined) {
    must(type.accepts(content, go), `a name in it holds characters that a ${type.name} may not hold`)
    return
  }
  // Go 1.27 reads values that are not strings too, and leaves types that it does not know alone.
  must(go === '1.27', `a name in it has the unsupported string type 0x${tag.toString(16)}`)
  const value = new DerReader(raw, go)
  if (tag === TAG.integer) value.int64(MALFORMED)
  else if (tag === TAG.bitString) value.bitString(MALFORMED)
  else if (tag === TAG.oid) value.oid(MALFORMED)
  else if (tag === BOOLEAN) value.boolean(MALFORMED)
  else if (tag === UTC_TIME || tag === GENERALIZED_TIME) readTime(value, go)
}

type StringType = { readonly name: string; accepts(content: Buffer, go: GoVersion): boolean }

/** The characters that Go accepts in each ASN.1 string type. */
const STRINGS: ReadonlyMap<number, StringType> = new Map<number, StringType>([
  [0x0c, { name: 'UTF8String', accepts: isUtf8 }],
  [0x12, { name: 'NumericString', accepts: (content) => /^[0-9 ]*$/.test(content.toString('latin1')) }],
  [0x13, { name: 'PrintableString', accepts: isPrintable }],
  [0x14, { name: 'T61String', accepts: () => true }],
  [0x16, { name: 'IA5String', accepts: isAscii }],
  [0x1e, { name: 'BMPString', accepts: isBmp }],
])

function isPrintable(content: Buffer): boolean {
  return /^[A-Za-z0-9'()+,\-./ :=?*&]*$/.test(content.toString('latin1'))
}

export function isAscii(content: Buffer): boolean {
  return content.every((byte) => byte < 0x80)
}

/** Go takes the code points of surrogates, written as UTF-8, for invalid, and so does the decoder. */
function isUtf8(content: Buffer): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content)
    return true
  } catch {
    // The one reason for which it throws: the bytes are not UTF-8.
    return false
  }
}

function isBmp(content: Buffer, go: GoVersion): boolean {
  if (content.length % 2 !== 0) return false
  if (go !== '1.27') return true
  const hasTerminator = content.length >= 2 && content.readUInt16BE(content.length - 2) === 0
  const end = content.length - (hasTerminator ? 2 : 0)
  for (let at = 0; at < end; at += 2) {
    const point = content.readUInt16BE(at)
    if (point >= 0xfffe || (point >= 0xfdd0 && point <= 0xfdef) || (point >= 0xd800 && point <= 0xdfff)) return false
  }
  return true
}
