import { once } from 'node:events'
import { createServer as createHttpServer, get } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer, type Server } from 'node:net'
import t, { type Test } from 'tap'
import { addressToReach, formatAddress, parseAddress } from '../../agent/http/address.ts'
import { fetchStatus } from '../../agent/http/client.ts'
import { SAMPLE } from '../fixtures/http/sample-status.ts'
import { startFixture } from '../fixtures/http/served-page.ts'

t.test('addresses are read as people write them', async (t) => {
  const table: readonly (readonly [string, string, number])[] = [
    [':9461', '', 9461],
    ['127.0.0.1:0', '127.0.0.1', 0],
    ['localhost:80', 'localhost', 80],
    ['[::]:9461', '::', 9461],
    ['[::1]:65535', '::1', 65535],
    ['[fe80::1%eth0]:1', 'fe80::1%eth0', 1],
  ]
  for (const [text, host, port] of table) t.strictSame(parseAddress(text), { host, port }, text)
  t.equal(formatAddress({ host: '::1', port: 1 }), '[::1]:1')
  t.equal(formatAddress({ host: 'a', port: 1 }), 'a:1')
})

t.test('what is no address is refused with the forms that are', async (t) => {
  for (const text of [
    '',
    '9461',
    'host',
    ':',
    ':65536',
    '::1:80',
    'http://a:80',
    'a:80/x',
    'u@a:80',
    'a b:80',
    '[::1]',
  ]) {
    t.throws(() => parseAddress(text), { code: 'USAGE', message: /write HOST:PORT, :PORT or \[IPV6\]:PORT/ }, text)
  }
})

t.test('a server on every address is reached over loopback', async (t) => {
  for (const host of ['', '0.0.0.0', '::', '0:0:0:0:0:0:0:0'])
    t.equal(addressToReach({ host, port: 1 }).host, '127.0.0.1', host)
  for (const host of ['::1', '10.0.0.1', 'node']) t.equal(addressToReach({ host, port: 1 }).host, host)
})

t.test('the client reads the status from a server that listens on every address', async (t) => {
  const { server } = startFixture(t)
  const { port } = await server.listen(':0')
  t.strictSame(await fetchStatus({ address: `:${port}` }), SAMPLE)
  t.strictSame(await fetchStatus({ address: `127.0.0.1:${port}` }), SAMPLE)
})

t.test('a port in use is told as such', async (t) => {
  const other = await listeningTcp(t, () => {})
  const { server } = startFixture(t)
  await t.rejects(server.listen(`127.0.0.1:${other}`), {
    code: 'LISTEN_FAILED',
    message: `cannot listen on 127.0.0.1:${other}: another process listens there`,
  })
})

t.test('an address of another machine is told as such', async (t) => {
  const { server } = startFixture(t)
  await t.rejects(server.listen('192.0.2.1:0'), { code: 'LISTEN_FAILED', message: /does not have the address/ })
})

t.test('close lets a request under way finish and takes no new one', async (t) => {
  const inside = Promise.withResolvers<void>()
  const go = Promise.withResolvers<void>()
  const text = async (): Promise<string> => {
    inside.resolve()
    await go.promise
    return 'late 1\n'
  }
  const { server } = startFixture(t, { metrics: { contentType: 'text/plain', text } })
  const { port } = await server.listen('127.0.0.1:0')
  const answer = download(port, '/metrics')
  await inside.promise
  const closed = server.close()
  await t.rejects(download(port, '/livez'), { code: 'ECONNREFUSED' })
  go.resolve()
  t.equal(await answer, 'late 1\n')
  await closed
})

t.test('close does not wait longer than its limit for a client that stalls', async (t) => {
  const { server } = startFixture(t, { closeTimeoutMs: 30 })
  const { port } = await server.listen('127.0.0.1:0')
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.write('GET /livez HTTP/1.1\r\nhost: a\r\n')
  const ended = once(socket, 'close')
  const started = performance.now()
  await server.close()
  t.ok(performance.now() - started < 4_500)
  await ended
})

t.test('without an agent the client says that nothing listens there', async (t) => {
  const port = await listeningTcp(t, () => {})
  await closeAll(t)
  await t.rejects(fetchStatus({ address: `:${port}` }), {
    code: 'DAEMON_UNREACHABLE',
    message: `no status from the agent at http://127.0.0.1:${port}/status: nothing listens there`,
  })
})

t.test('a server that is not an agent, hangs, fails or floods is told apart', async (t) => {
  const html = await listeningHttp(t, 200, '<html>')
  await t.rejects(fetchStatus({ address: `:${html}` }), {
    code: 'DAEMON_UNREACHABLE',
    message: /not a registry-trust agent/,
  })
  const json = await listeningHttp(t, 200, '{"node":1}')
  await t.rejects(fetchStatus({ address: `:${json}` }), { message: /not a registry-trust agent/ })
  const failing = await listeningHttp(t, 503, '{"code":"X","message":"starting"}')
  await t.rejects(fetchStatus({ address: `:${failing}` }), { message: /HTTP 503: starting$/ })
  const large = await listeningHttp(t, 200, 'x'.repeat(17 * 1024 * 1024))
  await t.rejects(fetchStatus({ address: `:${large}` }), { message: /longer than 16777216 bytes/ })
  const hanging = await listeningTcp(t, () => {})
  await t.rejects(fetchStatus({ address: `:${hanging}`, timeoutMs: 30 }), {
    code: 'DAEMON_UNREACHABLE',
    message: /no answer in time/,
  })
  const resetting = await listeningTcp(t, (server) => server.on('connection', (socket) => socket.destroy()))
  await t.rejects(fetchStatus({ address: `:${resetting}` }), { message: /the connection was cut/ })
})

t.test('the client obeys its signal', async (t) => {
  const hanging = await listeningTcp(t, () => {})
  const controller = new AbortController()
  const asked = fetchStatus({ address: `:${hanging}`, signal: controller.signal })
  controller.abort()
  await t.rejects(asked, { code: 'DAEMON_UNREACHABLE' })
})

const open = new Map<Test, Server[]>()

async function listeningTcp(t: Test, setUp: (server: Server) => void): Promise<number> {
  const server = createTcpServer()
  setUp(server)
  return started(t, server)
}

async function listeningHttp(t: Test, status: number, body: string): Promise<number> {
  const server = createHttpServer((_request, response) => response.writeHead(status).end(body))
  return started(t, server)
}

async function started(t: Test, server: Server): Promise<number> {
  const sockets = new Set<{ destroy(): unknown }>()
  server.on('connection', (socket) => sockets.add(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  open.set(t, [...(open.get(t) ?? []), server])
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

async function closeAll(t: Test): Promise<void> {
  for (const server of open.get(t) ?? []) await new Promise((resolve) => server.close(resolve))
}

function download(port: number, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ port, path, host: '127.0.0.1', agent: false }, (response) => {
      response.setEncoding('utf8')
      let body = ''
      response.on('data', (chunk: string) => {
        body += chunk
      })
      response.on('end', () => resolve(body))
    }).on('error', reject)
  })
}
