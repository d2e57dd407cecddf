// Unary gRPC calls over HTTP/2 on a unix socket (grpc/doc/PROTOCOL-HTTP2.md): one connection, made at the first call
// and made anew after its end. Nothing is tried twice, but what the peer says that it has not begun.
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
} from 'node:http2'
import { createConnection } from 'node:net'
import type { CallOptions } from '../../model/ports.ts'
import { percentDecoded, type RpcStatus, STATUS, withoutPrefix, withPrefix } from './grpc-format.ts'

const MOST_REPLY_BYTES = 16 * 1024 * 1024
/** The header has eight digits at most. */
const MOST_TIMEOUT_MS = 99_999_999

/** grpc/doc/http-grpc-status-mapping.md */
const STATUS_OF_HTTP: { readonly [status: number]: RpcStatus } = {
  400: 'INTERNAL',
  401: 'UNAUTHENTICATED',
  403: 'PERMISSION_DENIED',
  404: 'UNIMPLEMENTED',
  429: 'UNAVAILABLE',
  502: 'UNAVAILABLE',
  503: 'UNAVAILABLE',
  504: 'UNAVAILABLE',
}

/** grpc/doc/PROTOCOL-HTTP2.md, Errors; every other number is INTERNAL. */
const STATUS_OF_RESET: { readonly [code: number]: RpcStatus } = {
  [constants.NGHTTP2_REFUSED_STREAM]: 'UNAVAILABLE',
  [constants.NGHTTP2_CANCEL]: 'CANCELLED',
  [constants.NGHTTP2_ENHANCE_YOUR_CALM]: 'RESOURCE_EXHAUSTED',
  [constants.NGHTTP2_INADEQUATE_SECURITY]: 'PERMISSION_DENIED',
}

/** A call that was answered with an error, or not answered. */
export class RpcError extends Error {
  readonly status: RpcStatus
  readonly details: string
  /** The peer promises that it has not begun with it. */
  readonly isUntouched: boolean

  constructor(status: RpcStatus, details: string, isUntouched = false) {
    super(`${status}: ${details}`)
    this.name = 'RpcError'
    this.status = status
    this.details = details
    this.isUntouched = isUntouched
  }
}

export type UnaryCalls = {
  /** Resolves with the message of the reply; rejects with RpcError, or with the reason of the signal. */
  call(path: string, message: Buffer, options: CallOptions): Promise<Buffer>
  /** Calls under way come to their end. */
  close(): void
}

type Connection = { readonly session: ClientHttp2Session; calls: number; failure: string | undefined }
type Call = { readonly path: string; readonly message: Buffer; readonly options: CallOptions }

/** `metadata` goes with each call. Nothing is connected before the first one. */
export function unaryCalls(socket: string, metadata: { readonly [name: string]: string }): UnaryCalls {
  let current: Connection | undefined

  const connected = (): Connection => {
    if (current !== undefined && !current.session.closed && !current.session.destroyed) return current
    // containerd answers nothing useful when the authority is a percent-encoded socket path.
    const session = connect('http://localhost', { createConnection: () => createConnection(socket) })
    const made: Connection = { session, calls: 0, failure: undefined }
    const forget = () => {
      if (current === made) current = undefined
    }
    session.on('error', ({ message }) => {
      made.failure = message
      forget()
    })
    // What is under way comes to its end, what is new goes to a new connection.
    session.on('goaway', forget)
    session.on('close', forget)
    current = made
    return made
  }

  return {
    async call(path, message, options) {
      options.signal?.throwIfAborted()
      const endsAt = performance.now() + options.timeoutMs
      const attempt = (timeoutMs: number) =>
        answer(connected(), metadata, { path, message, options: { ...options, timeoutMs } })
      try {
        return await attempt(options.timeoutMs)
      } catch (error) {
        const leftMs = endsAt - performance.now()
        if (!(error instanceof RpcError && error.isUntouched && leftMs > 0)) throw error
        return await attempt(leftMs)
      }
    },
    close() {
      current?.session.close()
      current = undefined
    },
  }
}

function answer(connection: Connection, metadata: object, { path, message, options }: Call): Promise<Buffer> {
  const { signal, timeoutMs } = options
  const { session } = connection
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const stream = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
    'grpc-timeout': `${Math.min(MOST_TIMEOUT_MS, Math.max(1, Math.ceil(timeoutMs)))}m`,
    ...metadata,
  })
  const giveUp = (reason: unknown) => {
    reject(reason)
    stream.close(constants.NGHTTP2_CANCEL)
  }
  const late = () => giveUp(new RpcError('DEADLINE_EXCEEDED', `no answer within ${Math.round(timeoutMs)} ms`))
  const timer = setTimeout(late, timeoutMs)
  const abort = () => giveUp(signal?.reason)
  signal?.addEventListener('abort', abort, { once: true })
  // A connection without a call must not keep a finished process alive.
  if (connection.calls++ === 0) session.ref()
  stream.once('close', () => {
    clearTimeout(timer)
    signal?.removeEventListener('abort', abort)
    if (--connection.calls === 0) session.unref()
  })
  readReply(stream, connection).then(resolve, giveUp)
  stream.end(withPrefix(message))
  return promise
}

/** Settles when the stream is closed, or fails at once where the reply is too long. */
function readReply(stream: ClientHttp2Stream, connection: Connection): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const pieces: Buffer[] = []
  let received = 0
  let headers: IncomingHttpHeaders = {}
  stream.on('response', (first) => {
    headers = first
  })
  // An answer without a message has its status among the headers.
  stream.on('trailers', (last) => {
    headers = { ...headers, ...last }
  })
  stream.on('data', (piece: Buffer) => {
    received += piece.length
    pieces.push(piece)
    if (received > MOST_REPLY_BYTES)
      reject(new RpcError('RESOURCE_EXHAUSTED', `the reply has more than ${MOST_REPLY_BYTES} bytes`))
  })
  stream.on('error', ({ message }) => {
    connection.failure ??= message
  })
  stream.on('close', () => {
    try {
      resolve(messageOf(headers, Buffer.concat(pieces), stream, connection))
    } catch (error) {
      reject(error)
    }
  })
  return promise
}

/** Throws RpcError for all but a whole message with the status OK. */
function messageOf(
  headers: IncomingHttpHeaders,
  bytes: Buffer,
  stream: ClientHttp2Stream,
  connection: Connection,
): Buffer {
  const told = headers['grpc-status']
  if (told === undefined) throw withoutStatus(Number(headers[':status']), stream, connection)
  const status = STATUS[Number(told)] ?? 'UNKNOWN'
  if (status !== 'OK') throw new RpcError(status, percentDecoded(String(headers['grpc-message'] ?? '')))
  const message = withoutPrefix(bytes)
  if (message === undefined) throw new RpcError('INTERNAL', `the reply of ${bytes.length} bytes is not one message`)
  return message
}

function withoutStatus(httpStatus: number, { rstCode }: ClientHttp2Stream, { session, failure }: Connection): RpcError {
  if (rstCode === constants.NGHTTP2_REFUSED_STREAM)
    return new RpcError('UNAVAILABLE', 'the connection is being closed', true)
  if (session.destroyed) return new RpcError('UNAVAILABLE', failure ?? 'the connection was closed')
  if (rstCode !== constants.NGHTTP2_NO_ERROR)
    return new RpcError(STATUS_OF_RESET[rstCode] ?? 'INTERNAL', `the stream was reset with the code ${rstCode}`)
  if (httpStatus !== 200)
    return new RpcError(STATUS_OF_HTTP[httpStatus] ?? 'UNKNOWN', `answered with HTTP status ${httpStatus}`)
  return new RpcError('UNKNOWN', 'the reply has no status')
}
