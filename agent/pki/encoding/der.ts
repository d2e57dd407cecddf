// Reads DER (X.690) elements out of a buffer: just enough for X.509. Hostile bytes never throw: what is not strict DER
// is `undefined`. Strict on purpose: OpenSSL tolerates BER that Go (and so containerd) refuses.

export const TAG = {
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  sequence: 0x30,
  set: 0x31,
} as const

export type DerElement = {
  /** Class, constructed bit and number in one byte; multi-byte tags do not occur in X.509. */
  readonly tag: number
  /** Header and content. */
  readonly raw: Buffer
  readonly content: Buffer
}

/** The element at the start of `bytes`; bytes after it are not looked at. */
export function readElement(bytes: Buffer): DerElement | undefined {
  const tag = bytes[0]
  const first = bytes[1]
  if (tag === undefined || first === undefined || (tag & 0x1f) === 0x1f) return undefined
  if (first < 0x80) return slice(bytes, tag, 2, first)
  const lengthBytes = first & 0x7f
  if (lengthBytes === 0 || lengthBytes > 4 || bytes.length < 2 + lengthBytes) return undefined
  const length = bytes.readUIntBE(2, lengthBytes)
  const isMinimal = length >= 0x80 && bytes[2] !== 0
  return isMinimal ? slice(bytes, tag, 2 + lengthBytes, length) : undefined
}

function slice(bytes: Buffer, tag: number, headerLength: number, length: number): DerElement | undefined {
  const end = headerLength + length
  if (end > bytes.length) return undefined
  return { tag, raw: bytes.subarray(0, end), content: bytes.subarray(headerLength, end) }
}

/**
 * More than any certificate or bundle has: a megabyte of empty elements must not become a hundred megabytes of objects.
 */
const MOST_ELEMENTS = 10_000

/** All elements of `bytes`, one after the other, without a gap or a rest. */
export function readElements(bytes: Buffer): readonly DerElement[] | undefined {
  const elements: DerElement[] = []
  for (let offset = 0; offset < bytes.length; ) {
    const element = readElement(bytes.subarray(offset))
    if (element === undefined || elements.length === MOST_ELEMENTS) return undefined
    elements.push(element)
    offset += element.raw.length
  }
  return elements
}

/** The elements inside `element`, if it has the tag asked for. */
export function childrenOf(element: DerElement | undefined, tag: number): readonly DerElement[] | undefined {
  return element?.tag === tag ? readElements(element.content) : undefined
}

export function encodeElement(tag: number, content: Buffer): Buffer {
  if (content.length < 0x80) return Buffer.concat([Buffer.from([tag, content.length]), content])
  const length: number[] = []
  for (let rest = content.length; rest > 0; rest = Math.floor(rest / 256)) length.unshift(rest % 256)
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length, ...length]), content])
}

/** `2.5.29.17` for the content of an OBJECT IDENTIFIER. */
export function dottedOid(content: Buffer): string {
  const parts: bigint[] = []
  let value = 0n
  for (const byte of content.subarray(0, 64)) {
    value = value * 128n + BigInt(byte & 0x7f)
    if (byte < 0x80) {
      parts.push(value)
      value = 0n
    }
  }
  const [first = 0n, ...rest] = parts
  const top = first < 80n ? first / 40n : 2n
  return [top, first - top * 40n, ...rest].join('.')
}
