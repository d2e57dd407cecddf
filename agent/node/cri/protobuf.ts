// Protocol Buffers (proto3) for the messages of messages.ts, by their descriptors: unknown fields are skipped, 64-bit
// numbers and enums are text, and a field that an answer leaves out reads as its default. No code is generated: that
// took longer than all calls of a run.
import type { Field, MessageType, Types } from './messages.ts'

/** https://protobuf.dev/programming-guides/encoding: the low three bits of a tag. */
const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const
const MOST_VARINT_BYTES = 10

export type Message = { readonly [field: string]: unknown }

/** Throws RangeError for bytes that are not a message: truncated, or with a number of more than ten bytes. */
export function decodeMessage(types: Types, name: string, bytes: Uint8Array): Message {
  const { fields } = messageType(types, name)
  const byNumber = new Map(Object.entries(fields).map(([key, field]) => [field.id, { key, field }]))
  const message: { [field: string]: unknown } = {}
  for (const [key, field] of Object.entries(fields)) message[key] = defaultOf(types, field)
  const reader = new Reader(bytes)
  while (!reader.isAtEnd) {
    const tag = reader.number()
    const known = byNumber.get(tag >>> 3)
    // One of another type than is described is unknown as well.
    if (known === undefined || (tag & 7) !== wireTypeOf(types, known.field)) reader.skip(tag & 7)
    else read(types, known.field, reader, message, known.key)
  }
  return message
}

/** A field that is undefined or null is left out. Throws RangeError for an enum value that is not described. */
export function encodeMessage(types: Types, name: string, message: Message): Buffer {
  const parts = Object.entries(messageType(types, name).fields).flatMap(([key, field]) =>
    valuesOf(field, message[key]).flatMap((value) => [
      varint(BigInt(field.id * 8 + wireTypeOf(types, field))),
      encodeValue(types, field, value),
    ]),
  )
  return Buffer.concat(parts)
}

function valuesOf(field: Field, value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return []
  if (field.keyType !== undefined) return Object.entries(value).map(([key, text]) => ({ key, value: text }))
  return field.rule === 'repeated' && Array.isArray(value) ? value : [value]
}

function encodeValue(types: Types, field: Field, value: unknown): Buffer {
  if (field.keyType !== undefined) return withLength(encodeMessage({ Entry: ENTRY }, 'Entry', value as Message))
  switch (field.type) {
    case 'string':
      return withLength(Buffer.from(String(value), 'utf8'))
    case 'bool':
      return varint(value === true ? 1n : 0n)
    case 'int32':
    case 'int64':
      return varint(BigInt.asUintN(64, BigInt(value as string | number)))
    default: {
      const type = types[field.type]
      if (type === undefined || !('values' in type))
        return withLength(encodeMessage(types, field.type, value as Message))
      const number = type.values[String(value)]
      if (number === undefined) throw new RangeError(`${field.type} has no value ${String(value)}`)
      return varint(BigInt(number))
    }
  }
}

function read(types: Types, field: Field, reader: Reader, message: { [field: string]: unknown }, key: string): void {
  if (field.keyType !== undefined) {
    const entry = decodeMessage({ Entry: ENTRY }, 'Entry', reader.bytes())
    // Not by assignment: a key may be `__proto__`.
    const define = { value: entry['value'], enumerable: true, configurable: true, writable: true }
    Object.defineProperty(message[key], String(entry['key']), define)
  } else if (field.rule === 'repeated') (message[key] as unknown[]).push(readValue(types, field, reader))
  else message[key] = readValue(types, field, reader)
}

function readValue(types: Types, { type }: Field, reader: Reader): unknown {
  switch (type) {
    case 'string':
      return reader.text()
    case 'bool':
      return reader.varint() !== 0n
    case 'int32':
      return Number(BigInt.asIntN(32, reader.varint()))
    case 'int64':
      return String(BigInt.asIntN(64, reader.varint()))
    default: {
      const described = types[type]
      if (described === undefined || !('values' in described)) return decodeMessage(types, type, reader.bytes())
      return enumName(described.values, Number(BigInt.asIntN(32, reader.varint())))
    }
  }
}

/** A value of a later version as its number. */
function enumName(values: { readonly [name: string]: number }, number: number): string {
  return Object.keys(values).find((name) => values[name] === number) ?? String(number)
}

function defaultOf(types: Types, field: Field): unknown {
  if (field.keyType !== undefined) return {}
  if (field.rule === 'repeated') return []
  if (field.type === 'string') return ''
  if (field.type === 'bool') return false
  if (field.type === 'int32') return 0
  if (field.type === 'int64') return '0'
  const type = types[field.type]
  return type !== undefined && 'values' in type ? enumName(type.values, 0) : null
}

/** Each repeated field of messages.ts has texts or messages, which are never packed. */
function wireTypeOf(types: Types, { type, keyType }: Field): number {
  if (keyType !== undefined || type === 'string') return WIRE.bytes
  if (type === 'bool' || type === 'int32' || type === 'int64') return WIRE.varint
  const described = types[type]
  return described !== undefined && 'values' in described ? WIRE.varint : WIRE.bytes
}

/** A map is a repeated message of this form. */
const ENTRY: MessageType = { fields: { key: { type: 'string', id: 1 }, value: { type: 'string', id: 2 } } }

function messageType(types: Types, name: string): MessageType {
  const type = types[name]
  if (type === undefined || !('fields' in type)) throw new Error(`the message ${name} is not described`)
  return type
}

function withLength(bytes: Buffer): Buffer {
  return Buffer.concat([varint(BigInt(bytes.length)), bytes])
}

function varint(value: bigint): Buffer {
  const bytes: number[] = []
  let rest = value
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
  return Buffer.from([...bytes, Number(rest)])
}

class Reader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  varint(): bigint {
    let value = 0n
    for (let count = 0; count < MOST_VARINT_BYTES; count += 1) {
      const byte = this.#take(1)[0] ?? 0
      value |= BigInt(byte & 127) << BigInt(count * 7)
      if (byte < 128) return BigInt.asUintN(64, value)
    }
    throw new RangeError('a number has more than ten bytes')
  }

  number(): number {
    const value = this.varint()
    if (value > 0xffff_ffffn) throw new RangeError(`${value} is too large for a tag or a length`)
    return Number(value)
  }

  bytes(): Buffer {
    return this.#take(this.number())
  }

  text(): string {
    return this.bytes().toString('utf8')
  }

  skip(wireType: number): void {
    if (wireType === WIRE.varint) this.varint()
    else if (wireType === WIRE.fixed64) this.#take(8)
    else if (wireType === WIRE.bytes) this.bytes()
    else if (wireType === WIRE.fixed32) this.#take(4)
    else throw new RangeError(`the wire type ${wireType} is not one of proto3`)
  }

  #take(length: number): Buffer {
    const end = this.#at + length
    if (end > this.#bytes.length) throw new RangeError('the message ends in the midst of a field')
    const taken = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return taken
  }
}
