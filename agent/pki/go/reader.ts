// A cursor over DER with the rules of golang.org/x/crypto/cryptobyte, which Go's crypto/x509 is written with: what it
// reads is read, what it refuses is refused. It does not look at what follows the last element that is asked for, as Go
// does not.
import { readElement, TAG } from '../encoding/der.ts'
import { type GoVersion, must, Refusal } from './refusal.ts'

export const BOOLEAN = 0x01
export const GENERALIZED_TIME = 0x18
export const UTC_TIME = 0x17

/** Tags of `[n] IMPLICIT` and of `[n] EXPLICIT`. */
export const contextTag = (number: number): number => 0x80 | number
export const constructedTag = (number: number): number => 0xa0 | number

export type BitString = { readonly bytes: Buffer; readonly unusedBits: number }

export class DerReader {
  readonly #go: GoVersion
  #rest: Buffer

  constructor(bytes: Buffer, go: GoVersion) {
    this.#rest = bytes
    this.#go = go
  }

  get isEmpty(): boolean {
    return this.#rest.length === 0
  }

  peek(tag: number): boolean {
    return this.#rest[0] === tag
  }

  /** The next element, whatever it is. @throws Refusal with `reason` where there is none. */
  any(reason: string): { readonly tag: number; readonly content: Buffer; readonly raw: Buffer } {
    const element = readElement(this.#rest)
    must(element !== undefined, reason)
    this.#rest = this.#rest.subarray(element.raw.length)
    return element
  }

  content(tag: number, reason: string): Buffer {
    const element = this.any(reason)
    must(element.tag === tag, reason)
    return element.content
  }

  raw(tag: number, reason: string): Buffer {
    const element = this.any(reason)
    must(element.tag === tag, reason)
    return element.raw
  }

  inside(tag: number, reason: string): DerReader {
    return new DerReader(this.content(tag, reason), this.#go)
  }

  sequence(reason: string): DerReader {
    return this.inside(TAG.sequence, reason)
  }

  /** `undefined`: the next element has another tag, and stays. */
  optional(tag: number, reason: string): DerReader | undefined {
    return this.peek(tag) ? this.inside(tag, reason) : undefined
  }

  boolean(reason: string): boolean {
    const content = this.content(BOOLEAN, reason)
    must(content.length === 1 && (content[0] === 0 || content[0] === 0xff), reason)
    return content[0] === 0xff
  }

  /** The two's complement bytes of a minimally encoded INTEGER. */
  integer(reason: string, tag: number = TAG.integer): Buffer {
    const content = this.content(tag, reason)
    const [first = 0, second = 0] = content
    must(content.length > 0, reason)
    const isPadded = (first === 0 && second < 0x80) || (first === 0xff && second >= 0x80)
    must(content.length === 1 || !isPadded, reason)
    return content
  }

  /** An INTEGER that fits Go's int of 64 bits. */
  int64(reason: string, tag: number = TAG.integer): bigint {
    const bytes = this.integer(reason, tag)
    must(bytes.length <= 8, reason)
    return BigInt.asIntN(bytes.length * 8, BigInt(`0x${bytes.toString('hex')}`))
  }

  bitString(reason: string): BitString {
    const content = this.content(TAG.bitString, reason)
    const [unusedBits, ...rest] = [content[0] ?? 8, content.at(-1) ?? 0]
    must(content.length > 0 && unusedBits <= 7, reason)
    if (content.length === 1) must(unusedBits === 0, reason)
    else must(((rest[0] ?? 0) & ((1 << unusedBits) - 1)) === 0, reason)
    return { bytes: content.subarray(1), unusedBits }
  }

  /** The content of an OBJECT IDENTIFIER in hex, each arc in its shortest form: at most five bytes, below 2^31. */
  oid(reason: string): string {
    const content = this.content(TAG.oid, reason)
    must(content.length > 0, reason)
    // Each certificate holds some thirty: where no arc is to be shortened, the bytes are read in place.
    let isShortest = true
    for (let at = 0; at < content.length; at = this.#endOfArc(content, at, reason))
      if (content[at] === 0x80) isShortest = false
    return isShortest ? content.toString('hex') : shortest(content).toString('hex')
  }

  #endOfArc(bytes: Buffer, start: number, reason: string): number {
    // Go 1.19 does not ask for the shortest form (X.690 8.19.2).
    must(bytes[start] !== 0x80 || this.#go === '1.19', reason)
    let value = 0
    for (let at = start; at < Math.min(start + 5, bytes.length); at += 1) {
      const byte = bytes[at] ?? 0
      if (byte < 0x80) return at + 1
      value = value * 128 + (byte & 0x7f)
      // With the seven bits of the last byte it stays below 2^31.
      must(value < 2 ** 24, reason)
    }
    throw new Refusal(reason)
  }
}

/** Without the 0x80 that an arc begins with. */
function shortest(content: Buffer): Buffer {
  let isStart = true
  const kept = content.filter((byte) => {
    const isPadding = isStart && byte === 0x80
    isStart = isPadding || byte < 0x80
    return !isPadding
  })
  return Buffer.from(kept)
}

/** The bits moved to the right end, as Go takes keys out of a BIT STRING. */
export function rightAligned({ bytes, unusedBits }: BitString): Buffer {
  if (unusedBits === 0 || bytes.length === 0) return bytes
  return Buffer.from(bytes.map((byte, at) => ((bytes[at - 1] ?? 0) << (8 - unusedBits)) | (byte >> unusedBits)))
}
