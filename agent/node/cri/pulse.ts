// Whether containerd still answers (port RuntimePulse). Its end shows in its connection, at no cost. A containerd that
// hangs keeps the connection, so the smallest call of CRI goes over it all the time, as bytes that are made once.
import { connect, type Socket } from 'node:net'
import type { RuntimePulse } from '../../model/ports.ts'
import { encodeFrame, encodeHeaders, FLAG, FRAME, type Frame, frameReader, PREFACE, STREAM_AT } from './http2-frames.ts'
import { RUNTIME_PACKAGE } from './messages.ts'

/** An answer has until the next question: what hangs is noticed within two of these. */
const EVERY_MS = 900

/**
 * A ping is answered after this many questions. The gRPC library of containerd sends one with each answer as long as
 * the last one was answered (it measures the bandwidth), and each wakes this process once more. Who pings to know
 * whether the peer is alive sees that by the questions.
 */
const QUESTIONS_PER_PING = 10
/** Of pings that wait for their answer. */
const MOST_PINGS = 8

/** More than the frames of an answer have. */
const READ_BYTES = 4_096
const GREETING = Buffer.concat([
  PREFACE,
  // No pushes, and no table of headers to be kept (RFC 9113, 6.5.2: ENABLE_PUSH, HEADER_TABLE_SIZE).
  encodeFrame({
    type: FRAME.settings,
    flags: 0,
    stream: 0,
    payload: Buffer.from([0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]),
  }),
])

/** Numbers of the static table (RFC 7541, appendix A): :authority 1, :method 3, :path 4, :scheme 6, content-type 31. */
const CALL_HEADERS = encodeHeaders([
  [3, 'POST'],
  [6, 'http'],
  [4, `/${RUNTIME_PACKAGE}.RuntimeService/Version`],
  [1, 'localhost'],
  [31, 'application/grpc'],
  ['te', 'trailers'],
])
/** A gRPC message: not compressed, of no bytes. */
const EMPTY_MESSAGE = Buffer.alloc(5)

/** `pathOf`: the socket's path as this process sees it; `everyMs`: for tests. */
export function criPulse(
  pathOf: (socket: string) => string,
  { everyMs = EVERY_MS }: { readonly everyMs?: number } = {},
): RuntimePulse {
  return (socket, onLost) => follow(pathOf(socket), everyMs, onLost)
}

/**
 * Behind the cri-proxy: the proxy follows containerd, and ends this connection when it has lost it. Nothing is ever
 * sent.
 */
export function proxiedPulse(pulseSocket: string): RuntimePulse {
  return (_, onLost) => ended(connect(pulseSocket), onLost)
}

type Following = ReturnType<RuntimePulse>

/** Calls back once, unless it was closed before. */
function ended(connection: Socket, onLost: (reason: string) => void): Following & { lose(reason: string): void } {
  let isOver = false
  const end = () => {
    const wasOver = isOver
    isOver = true
    connection.destroy()
    return !wasOver
  }
  const lose = (reason: string) => {
    if (end()) onLost(reason)
  }
  connection.on('error', ({ message }) => lose(message))
  connection.on('close', () => lose('the connection was closed'))
  connection.resume()
  return { lose, close: () => void end() }
}

function follow(path: string, everyMs: number, onLost: (reason: string) => void): Following {
  const call = callBytes()
  let isUnderWay = false
  let hasMessage = false
  let consumed = 0
  const pings: Buffer[] = []
  let questions = 0

  // One timer that is never set anew: each cancelled one would wake the process once more.
  const beat = setInterval(() => {
    if (isUnderWay) return setImmediate(unlessAnswered, call.stream())
    isUnderWay = true
    hasMessage = false
    connection.write(call.next(consumed))
    consumed = 0
    questions += 1
    if (pings.length > 0 && questions >= QUESTIONS_PER_PING) answerPings()
  }, everyMs)
  const answerPings = () => {
    connection.write(Buffer.concat(pings.splice(0)))
    questions = 0
  }
  // A process that was held up itself has the answer, but has not read it yet.
  const unlessAnswered = (stream: number) => {
    if (isUnderWay && stream === call.stream()) lose(`Version was not answered within ${everyMs} ms`)
  }
  const onFrame = ({ type, flags, stream, payload }: Frame) => {
    if (type === FRAME.data) consumed += payload.length
    if (stream === call.stream()) {
      // An answer without a message is an error: its trailers are all there is.
      if (type === FRAME.data && payload.length > 0) hasMessage = true
      if (type !== FRAME.reset && (type > FRAME.headers || (flags & FLAG.endStream) === 0)) return
      isUnderWay = false
      if (!hasMessage) lose('Version was answered with an error')
      return
    }
    if (type === FRAME.goAway) return lose('the connection is being closed')
    if ((flags & FLAG.ack) !== 0) return
    if (type === FRAME.settings) connection.write(acknowledgement(type))
    if (type === FRAME.ping) pings.push(acknowledgement(type, payload))
    if (pings.length >= MOST_PINGS) answerPings()
  }
  const read = frameReader(onFrame)
  const callback = (length: number, bytes: Uint8Array): boolean => {
    try {
      read(bytes.subarray(0, length))
    } catch (error) {
      lose(`no HTTP/2: ${String(error)}`)
    }
    return true
  }
  // A buffer of its own spares the machinery of streams at each beat.
  const connection = connect({ path, onread: { buffer: Buffer.alloc(READ_BYTES), callback } })
  const { lose, close } = ended(connection, (reason) => {
    clearInterval(beat)
    onLost(reason)
  })
  connection.write(GREETING)
  return {
    close() {
      clearInterval(beat)
      close()
    },
  }
}

/**
 * A call and, before it, how much may be sent again, as what was read is read: else the peer had to fall silent after
 * 64 KiB of answers. Made once; each call is the same but for the numbers.
 */
function callBytes() {
  const update = encodeFrame({ type: FRAME.windowUpdate, flags: 0, stream: 0, payload: Buffer.alloc(4) })
  const headers = encodeFrame({ type: FRAME.headers, flags: FLAG.endHeaders, stream: 0, payload: CALL_HEADERS })
  const data = encodeFrame({ type: FRAME.data, flags: FLAG.endStream, stream: 0, payload: EMPTY_MESSAGE })
  const bytes = Buffer.concat([update, headers, data])
  // An own number of a client is odd, and higher than every one before (RFC 9113, 5.1.1).
  let stream = -1
  return {
    stream: () => stream,
    /** To be written before the next one is made. */
    next(consumed: number): Buffer {
      stream += 2
      bytes.writeUInt32BE(Math.max(1, consumed), update.length - 4)
      bytes.writeUInt32BE(stream, update.length + STREAM_AT)
      bytes.writeUInt32BE(stream, update.length + headers.length + STREAM_AT)
      return bytes
    },
  }
}

/** Of a ping with the same payload, of settings without any (RFC 9113, 6.5 and 6.7). */
function acknowledgement(type: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  return encodeFrame({ type, flags: FLAG.ack, stream: 0, payload: Buffer.from(payload) })
}
