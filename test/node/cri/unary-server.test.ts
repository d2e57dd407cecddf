// The ordinary calls are those of test/sidecar/cri-proxy.test.ts, by two clients; here is what a caller does wrong.
import { once } from 'node:events'
import { connect, type OutgoingHttpHeaders } from 'node:http2'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { percentDecoded, percentEncoded, timeoutMs, withPrefix } from '../../../agent/node/cri/grpc-format.ts'
import { unaryCalls } from '../../../agent/node/cri/unary-calls.ts'
import { type UnaryMethod, unaryServer } from '../../../agent/node/cri/unary-server.ts'
import { shortFolder } from '../../fixtures/node/private-containerd.ts'

const SOON = { timeoutMs: 5_000 }

async function serving(t: Test, method: UnaryMethod) {
  const socket = join(shortFolder(t), 's.sock')
  const server = unaryServer({
    methods: new Map([['/a/B', method]]),
    failureOf: (thrown) => ({ status: 'ABORTED', details: `ü % ${thrown}` }),
    mostRequestBytes: 1_000,
    mostStreams: 10,
    defaultTimeoutMs: 100,
    longestTimeoutMs: 300,
  })
  server.listener.listen(socket)
  await once(server.listener, 'listening')
  const calls = unaryCalls(socket, {})
  t.teardown(async () => {
    calls.close()
    await server.close()
  })
  return { socket, calls, server }
}

/** Sends just this, and gives the headers of the answer. */
async function raw(socket: string, headers: OutgoingHttpHeaders, body: Buffer): Promise<object> {
  const session = connect('http://x', { createConnection: () => createConnection(socket) })
  const stream = session.request({ ':method': 'POST', ':path': '/a/B', 'content-type': 'application/grpc', ...headers })
  stream.on('error', () => undefined)
  stream.end(body)
  const [answer] = await once(stream, 'response')
  session.destroy()
  return answer as object
}

t.test('a method that is not named, HTTP that is not gRPC and bytes that are no message', async (t) => {
  const { socket, calls } = await serving(t, async (bytes) => bytes)
  t.equal(String(await calls.call('/a/B', Buffer.from('echo'), SOON)), 'echo')
  await t.rejects(calls.call('/a/C', Buffer.alloc(0), SOON), { message: 'UNIMPLEMENTED: there is no method /a/C' })
  t.match(await raw(socket, { ':method': 'PUT' }, Buffer.alloc(0)), { ':status': 415 })
  t.match(await raw(socket, { 'content-type': 'text/html' }, Buffer.alloc(0)), { ':status': 415 })
  t.match(await raw(socket, {}, Buffer.from([0, 0, 0, 0, 9, 1])), { 'grpc-status': '13' })
  t.match(await raw(socket, {}, Buffer.from([1, 0, 0, 0, 0])), { 'grpc-status': '13' })
  t.match(await raw(socket, {}, withPrefix(Buffer.alloc(2_000))), { 'grpc-status': '8' })
  t.equal(String(await calls.call('/a/B', Buffer.from('echo'), SOON)), 'echo', 'and the next one is answered')
})

t.test('what fails is told with its text, whatever it holds', async (t) => {
  const { calls } = await serving(t, () => Promise.reject('50%'))
  await t.rejects(calls.call('/a/B', Buffer.alloc(0), SOON), { message: 'ABORTED: ü % 50%' })
})

t.test('a call ends at its deadline, at the default and at the longest, and when it is given up', async (t) => {
  const seen: { readonly timeoutMs: number; readonly signal: AbortSignal }[] = []
  const { socket, calls } = await serving(t, (_, { timeoutMs, signal }) => {
    if (signal !== undefined) seen.push({ timeoutMs, signal })
    return new Promise(() => undefined)
  })
  const empty = withPrefix(Buffer.alloc(0))
  for (const timeout of [{ 'grpc-timeout': '50m' }, {}, { 'grpc-timeout': '9H' }, { 'grpc-timeout': 'soon' }])
    t.match(await raw(socket, timeout, empty), { 'grpc-status': '4' })
  t.same(
    seen.map(({ timeoutMs }) => timeoutMs),
    [50, 100, 300, 100],
  )
  const given = new AbortController()
  const call = calls.call('/a/B', Buffer.alloc(0), { ...SOON, signal: given.signal })
  while (seen.length < 5) await sleep(5)
  given.abort(new Error('the agent stops'))
  await t.rejects(call, { message: 'the agent stops' })
  while (seen.at(-1)?.signal.aborted !== true) await sleep(5)
  t.ok(seen.every(({ signal }) => signal.aborted))
})

t.test('it ends with a call under way', async (t) => {
  const { calls, server } = await serving(t, () => new Promise(() => undefined))
  const ended = t.rejects(calls.call('/a/B', Buffer.alloc(0), SOON), { message: /^UNAVAILABLE|^CANCELLED/ })
  await sleep(50)
  await server.close()
  await ended
})

t.test('timeouts and texts of gRPC are read as its documents say', async (t) => {
  const read = ['2H', '3M', '4S', '5m', '6000u', '7000000n', '123456789m', '1x', '', undefined].map(timeoutMs)
  t.same(read, [7_200_000, 180_000, 4_000, 5, 6, 7, undefined, undefined, undefined, undefined])
  t.equal(percentEncoded('a b%\n☃~'), 'a b%25%0A%E2%98%83~')
  for (const text of ['', 'plain', '100%', '%41', 'ä\r\n', '\u{1F433}'])
    t.equal(percentDecoded(percentEncoded(text)), text)
})
