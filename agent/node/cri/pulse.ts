// Whether containerd still answers (port RuntimePulse). Its end is told by its connection, at no cost. A containerd
// that hangs keeps the connection, so the smallest call of CRI goes over it all the time, as bytes that are made once.
import { connect, type Socket } from 'node:net'
import type { RuntimePulse } from '../../model/ports.ts'
import { encodeFrame, encodeHeaders, FLAG, FRAME, type Frame, frameReader, PREFACE } from './http2-frames.ts'
import { RUNTIME_PACKAGE } from './messages.ts'

/** Together with the patience: what hangs is noticed within two seconds. */
const EVERY_MS = 1_200
const PATIENCE_MS = 650

const NOTHING = Buffer.alloc(0)
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

type Beat = { readonly everyMs: number; readonly patienceMs: number }

/** `pathOf`: the socket's path as this process sees it; `beat`: for tests. */
export function criPulse(
  pathOf: (socket: string) => string,
  { everyMs = EVERY_MS, patienceMs = PATIENCE_MS }: Partial<Beat> = {},
): RuntimePulse {
  return (socket, onLost) => follow(connect(pathOf(socket)), { everyMs, patienceMs }, onLost)
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

function follow(connection: Socket, { everyMs, patienceMs }: Beat, onLost: (reason: string) => void): Following {
  const { lose, close } = ended(connection, (reason) => {
    clearTimeout(timer)
    onLost(reason)
  })
  let stream = -1
  let isAnswered = false
  let consumed = 0

  const beat = () => {
    stream += 2
    isAnswered = false
    connection.write(Buffer.concat([...(consumed > 0 ? [windowUpdate(consumed)] : []), call(stream)]))
    consumed = 0
    timer = setTimeout(() => lose(`Version was not answered within ${patienceMs} ms`), patienceMs)
  }
  const answered = () => {
    clearTimeout(timer)
    if (!isAnswered) lose('Version was answered with an error')
    else timer = setTimeout(beat, everyMs)
  }
  const onFrame = ({ type, flags, stream: of, payload }: Frame) => {
    if (type === FRAME.goAway) return lose('the connection is being closed')
    if (type === FRAME.ping && (flags & FLAG.ack) === 0)
      connection.write(encodeFrame({ type, flags: FLAG.ack, stream: 0, payload }))
    if (type === FRAME.settings && (flags & FLAG.ack) === 0)
      connection.write(encodeFrame({ type, flags: FLAG.ack, stream: 0, payload: NOTHING }))
    if (type === FRAME.data) consumed += payload.length
    if (of !== stream) return
    // An answer without a message is an error: its trailers are all there is.
    if (type === FRAME.data && payload.length > 0) isAnswered = true
    const isEnd = (type === FRAME.data || type === FRAME.headers) && (flags & FLAG.endStream) !== 0
    if (isEnd || type === FRAME.reset) answered()
  }
  const read = frameReader(onFrame)
  connection.on('data', (chunk: Buffer) => {
    try {
      read(chunk)
    } catch (error) {
      lose(`no HTTP/2: ${String(error)}`)
    }
  })
  connection.write(GREETING)
  let timer = setTimeout(beat, everyMs)
  return {
    close() {
      clearTimeout(timer)
      close()
    },
  }
}

function call(stream: number): Buffer {
  return Buffer.concat([
    encodeFrame({ type: FRAME.headers, flags: FLAG.endHeaders, stream, payload: CALL_HEADERS }),
    encodeFrame({ type: FRAME.data, flags: FLAG.endStream, stream, payload: EMPTY_MESSAGE }),
  ])
}

/** What was read may be sent again: else the peer had to fall silent after 64 KiB of answers. */
function windowUpdate(bytes: number): Buffer {
  const payload = Buffer.alloc(4)
  payload.writeUInt32BE(bytes)
  return encodeFrame({ type: FRAME.windowUpdate, flags: 0, stream: 0, payload })
}
