// What containerd does only when it is in trouble: a server of HTTP/2 that answers as it is told stands for it.
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type UnaryCalls, unaryCalls } from '../../../agent/node/cri/unary-calls.ts'
import { shortFolder } from '../../fixtures/node/private-containerd.ts'

type Answer = (stream: ServerHttp2Stream, number: number, headers: IncomingHttpHeaders) => void

const SOON = { timeoutMs: 5_000 }
const OK = { ':status': 200, 'content-type': 'application/grpc' }
const NOTHING = Buffer.alloc(0)

async function serverThat(t: Test, answer: Answer): Promise<{ calls: UnaryCalls; sessions: number }> {
  const socket = join(shortFolder(t), 'c.sock')
  const server = createServer()
  const made = { calls: unaryCalls(socket, {}), sessions: 0 }
  let number = 0
  server.on('session', () => {
    made.sessions += 1
  })
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined)
    number += 1
    answer(stream, number, headers)
  })
  server.listen(socket)
  await once(server, 'listening')
  t.teardown(() => {
    made.calls.close()
    server.close()
  })
  return made
}

function reply(stream: ServerHttp2Stream, body: Buffer, trailers: object = { 'grpc-status': '0' }): void {
  stream.respond(OK, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ ...trailers }))
  stream.end(body)
}

function message(text: string): Buffer {
  const prefix = Buffer.alloc(5)
  prefix.writeUInt32BE(Buffer.byteLength(text), 1)
  return Buffer.concat([prefix, Buffer.from(text)])
}

const WRONG: readonly { readonly says: string; readonly answer: Answer; readonly is: object }[] = [
  {
    says: 'an error without a message, its text percent-encoded',
    answer: (stream) =>
      stream.respond({ ...OK, 'grpc-status': '5', 'grpc-message': 'no %E2%98%83 50% %zz' }, { endStream: true }),
    is: { status: 'NOT_FOUND', details: 'no ☃ 50% %zz' },
  },
  {
    says: 'an error after a message',
    answer: (stream) => reply(stream, message('x'), { 'grpc-status': '13', 'grpc-message': 'late' }),
    is: { status: 'INTERNAL', details: 'late' },
  },
  {
    says: 'a status that does not exist',
    answer: (stream) => reply(stream, NOTHING, { 'grpc-status': '99' }),
    is: { status: 'UNKNOWN' },
  },
  { says: 'no message', answer: (stream) => reply(stream, NOTHING), is: { status: 'INTERNAL' } },
  {
    says: 'half a message',
    answer: (stream) => reply(stream, message('half').subarray(0, 7)),
    is: { status: 'INTERNAL', details: 'the reply of 7 bytes is not one message' },
  },
  {
    says: 'a compressed message',
    answer: (stream) => reply(stream, Buffer.from([1, 0, 0, 0, 1, 65])),
    is: { status: 'INTERNAL', details: /not one message/ },
  },
  {
    says: 'more than 16 MiB',
    answer: (stream) => reply(stream, Buffer.alloc(17 * 1024 * 1024)),
    is: { status: 'RESOURCE_EXHAUSTED' },
  },
  {
    says: 'HTTP without gRPC',
    answer: (stream) => stream.respond({ ':status': 503 }, { endStream: true }),
    is: { status: 'UNAVAILABLE', details: 'answered with HTTP status 503' },
  },
  { says: 'the stream is reset', answer: (stream) => stream.close(11), is: { status: 'RESOURCE_EXHAUSTED' } },
  { says: 'the stream is cancelled', answer: (stream) => stream.close(8), is: { status: 'CANCELLED' } },
  {
    says: 'the connection breaks',
    answer: (stream) => stream.session?.socket.destroy(),
    is: { status: 'UNAVAILABLE', details: 'the connection was closed' },
  },
]

for (const { says, answer, is } of WRONG)
  t.test(`${says}: told as that, and the next call is answered`, async (t) => {
    const { calls } = await serverThat(t, (stream, number) =>
      number === 1 ? answer(stream, number, {}) : reply(stream, message('well')),
    )
    await t.rejects(calls.call('/a/B', NOTHING, SOON), { name: 'RpcError', ...is })
    t.equal(String(await calls.call('/a/B', NOTHING, SOON)), 'well')
  })

t.test('what the peer has not begun is asked once more, and not a third time', async (t) => {
  const refusing = await serverThat(t, (stream, number) =>
    number === 1 ? stream.close(7) : reply(stream, message('well')),
  )
  t.equal(String(await refusing.calls.call('/a/B', NOTHING, SOON)), 'well')
  let asked = 0
  const stubborn = await serverThat(t, (stream) => {
    asked += 1
    stream.close(7)
  })
  await t.rejects(stubborn.calls.call('/a/B', NOTHING, SOON), { message: /^UNAVAILABLE/ })
  t.equal(asked, 2)
})

t.test(
  'calls share a connection; after GOAWAY what is under way ends on it, and what is new has another',
  async (t) => {
    const held: ServerHttp2Stream[] = []
    const made = await serverThat(t, (stream, number) => {
      if (number === 3) held.push(stream)
      else reply(stream, message(String(number)))
    })
    const ask = () => made.calls.call('/a/B', NOTHING, SOON).then(String)
    t.same(await Promise.all([ask(), ask()]), ['1', '2'])
    const third = ask()
    while (held[0] === undefined) await new Promise(setImmediate)
    t.equal(made.sessions, 1)
    held[0].session?.goaway()
    await new Promise((resolve) => setTimeout(resolve, 50))
    t.equal(await ask(), '4')
    t.equal(made.sessions, 2)
    reply(held[0], message('3'))
    t.equal(await third, '3')
  },
)

t.test('a call sends its deadline and its message, and tells the peer when it is given up', async (t) => {
  const seen = Promise.withResolvers<object>()
  const { calls } = await serverThat(t, (stream, _, headers) => {
    const pieces: Buffer[] = []
    stream.on('data', (piece: Buffer) => pieces.push(piece))
    stream.on('close', () => seen.resolve({ headers, body: Buffer.concat(pieces), code: stream.rstCode }))
  })
  await t.rejects(calls.call('/a/B', Buffer.from('ask'), { timeoutMs: 150 }), { message: /^DEADLINE/ })
  t.match(await seen.promise, { headers: { ':path': '/a/B', 'grpc-timeout': '150m' }, body: message('ask'), code: 8 })
})
