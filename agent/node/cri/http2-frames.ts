// The part of HTTP/2 (RFC 9113) that one unary gRPC call after the other needs, as bytes: so few that a call costs a
// fortieth of what a client library spends on it.

const HEAD_BYTES = 9
/** Where a frame has the number of its stream. */
export const STREAM_AT = 5
/** The largest that a peer may send unasked (RFC 9113, 4.2). */
const MAX_FRAME_BYTES = 16_384

export const FRAME = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, goAway: 7, windowUpdate: 8 } as const
export const FLAG = { ack: 0x1, endStream: 0x1, endHeaders: 0x4 } as const

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')

export type Frame = {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Uint8Array
}

/** RFC 9113, 4.1: length (24 bits), type, flags, stream (31 bits), payload. */
export function encodeFrame({ type, flags, stream, payload }: Frame): Buffer {
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUIntBE(payload.length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, STREAM_AT)
  return Buffer.concat([head, payload])
}

/**
 * Takes what a connection brings, in whatever pieces, and hands on each frame that is whole; a payload is good until
 * the next piece comes. Throws RangeError for a frame that is longer than any that was allowed: what speaks there is
 * not HTTP/2.
 */
export function frameReader(onFrame: (frame: Frame) => void): (piece: Uint8Array) => void {
  let rest: Uint8Array = Buffer.alloc(0)
  return (piece) => {
    const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece])
    let at = 0
    while (bytes.length - at >= HEAD_BYTES) {
      const length = numberAt(bytes, at) >>> 8
      if (length > MAX_FRAME_BYTES) throw new RangeError(`a frame of ${length} bytes`)
      const end = at + HEAD_BYTES + length
      if (bytes.length < end) break
      onFrame({
        type: bytes[at + 3] ?? 0,
        flags: bytes[at + 4] ?? 0,
        stream: numberAt(bytes, at + STREAM_AT) & 0x7fff_ffff,
        payload: bytes.subarray(at + HEAD_BYTES, end),
      })
      at = end
    }
    // What is not whole is copied, as the caller uses its piece again.
    rest = at === bytes.length ? bytes.subarray(at) : Buffer.from(bytes.subarray(at))
  }
}

function numberAt(bytes: Uint8Array, at: number): number {
  const byte = (index: number) => bytes[at + index] ?? 0
  return (byte(0) << 24) | (byte(1) << 16) | (byte(2) << 8) | byte(3)
}

/**
 * A header block (RFC 7541) of literals that are not indexed, so that neither side keeps a table: each name is the
 * number of an entry of the static table, or a text of its own.
 */
export function encodeHeaders(fields: readonly (readonly [name: number | string, value: string])[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([name, value]) => [
      ...(typeof name === 'number' ? [prefixed(name, 4)] : [prefixed(0, 4), text(name)]),
      text(value),
    ]),
  )
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1')
  return Buffer.concat([prefixed(bytes.length, 7), bytes])
}

/** An integer behind a prefix of so many bits, the bits before it being zero (RFC 7541, 5.1). */
function prefixed(value: number, bits: number): Buffer {
  const most = 2 ** bits - 1
  if (value < most) return Buffer.from([value])
  if (value - most > 127) throw new RangeError(`${value} needs more bytes than this writes`)
  return Buffer.from([most, value - most])
}
