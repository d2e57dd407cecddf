// What gRPC puts into HTTP/2 (grpc/doc/PROTOCOL-HTTP2.md), for both ends. Pure.

/** In the order of their numbers (grpc/doc/statuscodes.md). */
export const STATUS = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
] as const
export type RpcStatus = (typeof STATUS)[number]

/** Before a message: whether it is compressed (1 byte), and its length (4 bytes). */
const PREFIX_BYTES = 5
/** Of each unit of the header grpc-timeout, in milliseconds. */
const UNITS: { readonly [unit: string]: number } = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 }

export function withPrefix(message: Buffer): Buffer {
  const prefix = Buffer.alloc(PREFIX_BYTES)
  prefix.writeUInt32BE(message.length, 1)
  return Buffer.concat([prefix, message])
}

/** Undefined unless it is one whole message that is not compressed; compression is never asked for. */
export function withoutPrefix(bytes: Buffer): Buffer | undefined {
  const isOne = bytes.length >= PREFIX_BYTES && bytes[0] === 0 && bytes.length === PREFIX_BYTES + bytes.readUInt32BE(1)
  return isOne ? bytes.subarray(PREFIX_BYTES) : undefined
}

/** Undefined where there is none, or one that is not a timeout. */
export function timeoutMs(header: unknown): number | undefined {
  const [, digits, unit = ''] = /^(\d{1,8})([HMSmun])$/.exec(String(header)) ?? []
  return digits === undefined ? undefined : Number(digits) * (UNITS[unit] ?? 1)
}

/** Status-Message: printable ASCII but `%` stays as it is. */
export function percentEncoded(text: string): string {
  return Buffer.from(text, 'utf8')
    .toString('latin1')
    .replaceAll(/[^ -$&-~]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)
}

/** Status-Message: what is no percent-encoding stays as it is. */
export function percentDecoded(text: string): string {
  const bytes = text.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(bytes, 'latin1').toString('utf8')
}
