// Unary gRPC methods, served over HTTP/2 on a connection-oriented socket (grpc/doc/PROTOCOL-HTTP2.md). A call that is
// not named is UNIMPLEMENTED; one that its caller gives up is told so by its signal.
import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import type { CallOptions } from '../../model/ports.ts'
import { percentEncoded, type RpcStatus, STATUS, timeoutMs, withoutPrefix, withPrefix } from './grpc-format.ts'

const HEADERS = { ':status': 200, 'content-type': 'application/grpc' } as const

export type Failure = { readonly status: RpcStatus; readonly details: string }
/** Bytes in, bytes out; what it throws goes through `failureOf`. */
export type UnaryMethod = (request: Buffer, options: CallOptions) => Promise<Buffer>

export type UnaryServerOptions = {
  /** By their paths: `/package.Service/Method`. */
  readonly methods: ReadonlyMap<string, UnaryMethod>
  readonly failureOf: (thrown: unknown) => Failure
  readonly mostRequestBytes: number
  /** HTTP/2 itself makes a caller wait with more. */
  readonly mostStreams: number
  /** For a caller that gives none: a call must end some day. */
  readonly defaultTimeoutMs: number
  readonly longestTimeoutMs: number
}

export type UnaryServer = {
  /** To be listened with. */
  readonly listener: Http2Server
  /** Ends each connection, whatever is under way. */
  close(): Promise<void>
}

export function unaryServer(options: UnaryServerOptions): UnaryServer {
  const sessions = new Set<ServerHttp2Session>()
  const listener = createServer({ settings: { maxConcurrentStreams: options.mostStreams, enablePush: false } })
  listener.on('session', (session) => {
    sessions.add(session)
    // A peer that breaks its connection, or HTTP/2, harms only itself.
    session.on('error', () => undefined)
    session.on('close', () => sessions.delete(session))
  })
  listener.on('stream', (stream, headers) => {
    stream.on('error', () => undefined)
    const method = options.methods.get(String(headers[':path']))
    if (headers[':method'] !== 'POST' || !String(headers['content-type']).startsWith('application/grpc'))
      stream.respond({ ':status': 415 }, { endStream: true })
    else if (method === undefined)
      refuse(stream, { status: 'UNIMPLEMENTED', details: `there is no method ${headers[':path']}` })
    else serve(stream, method, headers['grpc-timeout'], options)
  })
  return {
    listener,
    close: () =>
      new Promise((resolve) => {
        listener.close(() => resolve())
        for (const session of sessions) session.close()
        setImmediate(() => {
          for (const session of sessions) session.destroy()
        })
      }),
  }
}

function serve(stream: ServerHttp2Stream, method: UnaryMethod, timeout: unknown, options: UnaryServerOptions): void {
  const { defaultTimeoutMs, longestTimeoutMs, mostRequestBytes, failureOf } = options
  const withinMs = Math.min(longestTimeoutMs, Math.max(1, timeoutMs(timeout) ?? defaultTimeoutMs))
  const given = new AbortController()
  const giveUp = (failure: Failure) => {
    given.abort()
    refuse(stream, failure)
  }
  const late = () => giveUp({ status: 'DEADLINE_EXCEEDED', details: `not within ${Math.round(withinMs)} ms` })
  const timer = setTimeout(late, withinMs)
  stream.on('close', () => {
    clearTimeout(timer)
    given.abort()
  })
  const pieces: Buffer[] = []
  let received = 0
  stream.on('data', (piece: Buffer) => {
    received += piece.length
    if (received <= mostRequestBytes) pieces.push(piece)
    else giveUp({ status: 'RESOURCE_EXHAUSTED', details: `the request has more than ${mostRequestBytes} bytes` })
  })
  stream.on('end', () => {
    const request = withoutPrefix(Buffer.concat(pieces))
    if (given.signal.aborted) return
    if (request === undefined) return giveUp({ status: 'INTERNAL', details: 'the request is not one message' })
    method(request, { timeoutMs: withinMs, signal: given.signal }).then(
      (reply) => answer(stream, reply),
      (thrown: unknown) => refuse(stream, failureOf(thrown)),
    )
  })
}

function answer(stream: ServerHttp2Stream, reply: Buffer): void {
  if (isOver(stream)) return
  stream.respond(HEADERS, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
  stream.end(withPrefix(reply))
}

function refuse(stream: ServerHttp2Stream, { status, details }: Failure): void {
  if (isOver(stream)) return
  const told = { 'grpc-status': `${STATUS.indexOf(status)}`, 'grpc-message': percentEncoded(details) }
  stream.respond({ ...HEADERS, ...told }, { endStream: true })
  // What the caller still sends is not read.
  if (!stream.readableEnded) stream.close()
}

function isOver(stream: ServerHttp2Stream): boolean {
  return stream.closed || stream.destroyed || stream.headersSent
}
