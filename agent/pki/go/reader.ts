// A cursor over DER with the rules of golang.org/x/crypto/cryptobyte, which Go's crypto/x509 is written with: what it
// reads is read, what it refuses is refused. It does not look at what follows the last element that is asked for, as Go
// does not.
import { readElement, TAG } from '../encoding/der.ts'
import { type GoVersion, must } from './refusal.ts'

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
    const arcs: Buffer[] = []
    for (let at = 0; at < content.length; at += arcs.at(-1)?.length ?? 0)
      arcs.push(this.#arc(content.subarray(at), reason))
    return arcs.map(shortest).join('')
  }

  #arc(bytes: Buffer, reason: string): Buffer {
    // Go 1.19 does not ask for the shortest form (X.690 8.19.2).
    must(bytes[0] !== 0x80 || this.#go === '1.19', reason)
    const end = bytes.findIndex((byte) => byte < 0x80) + 1
    must(end > 0 && end <= 5, reason)
    const arc = bytes.subarray(0, end)
    must(arc.subarray(0, -1).reduce((value, byte) => value * 128 + (byte & 0x7f), 0) < 2 ** 24, reason)
    return arc
  }
}

function shortest(arc: Buffer): string {
  return arc.subarray(arc.findIndex((byte) => byte !== 0x80)).toString('hex')
}

/** The bits moved to the right end, as Go takes keys out of a BIT STRING. */
export function rightAligned({ bytes, unusedBits }: BitString): Buffer {
  if (unusedBits === 0 || bytes.length === 0) return bytes
  return Buffer.from(bytes.map((byte, at) => ((bytes[at - 1] ?? 0) << (8 - unusedBits)) | (byte >> unusedBits)))
}
