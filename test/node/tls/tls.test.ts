// The TLS look on real servers: what was served is seen byte for byte in every protocol version, and every way to fail
// has a name and an end.
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net'
import type { TlsOptions } from 'node:tls'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import type { TlsLookOptions, TlsSight } from '../../../agent/model/ports.ts'
import { tlsProbe } from '../../../agent/node/tls/tls.ts'
import { readTranscript } from '../../../agent/node/tls/tls-transcript.ts'
import {
  alternativeNames,
  basicConstraints,
  build,
  ecPair,
  keyPem,
  type Pair,
  toPem,
} from '../../fixtures/pki/certificate-builder.ts'

const probe = tlsProbe()
const DAY = 86_400_000
const dates = { notBefore: new Date(Date.now() - DAY), notAfter: new Date(Date.now() + DAY) }

function certificate(subject: string, key: Pair, issuer: string, signer: Pair): Buffer {
  const extensions = [alternativeNames([{ dns: 'localhost' }]), basicConstraints(subject !== 'leaf')]
  return build({ subject, issuer, key, signer, ...dates, extensions })
}

const [leafKey, middleKey, rootKey] = [ecPair(), ecPair(), ecPair()]
const leaf = certificate('leaf', leafKey, 'middle', middleKey)
const middle = certificate('middle', middleKey, 'root', rootKey)
const crossed = certificate('middle', middleKey, 'other root', ecPair())
const root = certificate('root', rootKey, 'root', rootKey)
/** In an order, and with company, that no library would put together by itself. */
const SERVED = [leaf, root, crossed, middle, root]
const CHAIN = { cert: SERVED.map(toPem).join(''), key: keyPem(leafKey) }

async function listen(t: Test, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    if ('closeAllConnections' in server && typeof server.closeAllConnections === 'function')
      server.closeAllConnections()
  })
  return (server.address() as AddressInfo).port
}

async function look(
  port: number,
  options: Partial<TlsLookOptions> = {},
  serverName?: string | null,
): Promise<TlsSight> {
  const target = { host: '127.0.0.1', port, ...(serverName === undefined ? {} : { serverName }) }
  return await probe.inspect(target, { timeoutMs: 5_000, request: { path: '/v2/' }, ...options })
}

function answering(options: TlsOptions): Server {
  const server = createHttpsServer({ ...CHAIN, ...options }, (request, response) => {
    // Always the same: two answers that are compared may come in different seconds.
    const date = 'Fri, 27 Nov 2026 00:00:00 GMT'
    response.writeHead(401, { date, 'www-authenticate': 'Bearer realm="x"', 'x-path': request.url ?? '' })
    response.end(JSON.stringify(request.headers))
  })
  return server.on('tlsClientError', () => undefined)
}

t.test('has the same answer, and the same end, where only the answer is wanted', async (t) => {
  for (const [name, options] of Object.entries({ 'TLSv1.2': { maxVersion: 'TLSv1.2' }, 'TLSv1.3': {} } as const)) {
    const port = await listen(t, answering(options))
    const whole = await look(port)
    const short = await look(port, { isAnswerOnly: true })
    t.same(short.answer, whole.answer, name)
    t.equal(short.answer?.status, 401)
    t.same([short.chain.length, whole.chain.length], [0, SERVED.length])
  }
  const silent = await listen(
    t,
    createTcpServer((socket) => void socket.on('error', () => undefined).resume()),
  )
  t.equal((await look(silent, { isAnswerOnly: true, timeoutMs: 200 })).failure?.kind, 'timeout')
  const plain = await listen(t, createHttpServer())
  t.ok((await look(plain, { isAnswerOnly: true })).failure)
})

t.test('sees the chain exactly as it was served, in every version, cipher and key exchange', async (t) => {
  const table: { readonly [name: string]: TlsOptions } = {
    'TLSv1.2': { maxVersion: 'TLSv1.2' },
    'TLSv1.3': {},
    'TLSv1.3 AES-256': { ciphers: 'TLS_AES_256_GCM_SHA384' },
    'TLSv1.3 ChaCha20': { ciphers: 'TLS_CHACHA20_POLY1305_SHA256' },
    'TLSv1.3 after a second hello': { ecdhCurve: 'P-384' },
    'TLSv1.3 with an optional client certificate': { requestCert: true, rejectUnauthorized: false },
    'TLSv1.2 with an optional client certificate': {
      requestCert: true,
      rejectUnauthorized: false,
      maxVersion: 'TLSv1.2',
    },
  }
  for (const [name, options] of Object.entries(table)) {
    const sight = await look(await listen(t, answering(options)))
    t.equal(sight.failure, undefined, name)
    t.same(sight.chain, SERVED, name)
    t.equal(sight.protocol, name.slice(0, 7))
    t.equal(sight.address, '127.0.0.1')
    t.equal(sight.wantsClientCertificate, options.requestCert === true, name)
    t.match(sight.answer, { status: 401, headers: { 'www-authenticate': 'Bearer realm="x"', 'x-path': '/v2/' } }, name)
  }
})

t.test('sends the name, the path and the headers asked for, and no more', async (t) => {
  const names: (string | false)[] = []
  const server = answering({})
  server.on('secureConnection', (socket: { readonly servername: string | false }) => names.push(socket.servername))
  const port = await listen(t, server)
  const plain = await look(port)
  t.same(Object.keys(JSON.parse(plain.answer?.body.toString() ?? '{}')).sort(), [
    'accept',
    'connection',
    'host',
    'user-agent',
  ])
  const asked = await look(port, { request: { path: '/v2/x?y=1', headers: { range: 'bytes=0-0' } } }, 'reg.example.net')
  t.equal(asked.answer?.headers['x-path'], '/v2/x?y=1')
  t.match(JSON.parse(asked.answer?.body.toString() ?? '{}'), { range: 'bytes=0-0', host: `127.0.0.1:${port}` })
  await look(port, {}, null)
  t.same(names, [false, 'reg.example.net', false], 'an address is never sent as a name')
})

t.test('sees the chain of a server that turns clients away, before and after the handshake', async (t) => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const sight = await look(
      await listen(t, answering({ requestCert: true, rejectUnauthorized: true, ca: toPem(root), maxVersion })),
    )
    t.same(sight.chain, SERVED, maxVersion)
    t.equal(sight.wantsClientCertificate, true)
    t.match(sight.failure, {
      kind: 'alert',
      text: maxVersion === 'TLSv1.3' ? 'certificate required' : 'handshake failure',
    })
  }
})

t.test('names each way to fail', async (t) => {
  const tcp = (act: (socket: import('node:net').Socket) => void) =>
    createTcpServer((socket) => {
      socket.on('error', () => undefined)
      act(socket)
    })
  const table: readonly (readonly [string, Server, string, RegExp])[] = [
    ['plain HTTP', createHttpServer((_, response) => response.end()), 'not-tls', /^HTTP\/1\.1 400/],
    ['another protocol', tcp((socket) => socket.write('SSH-2.0-OpenSSH\r\n')), 'not-tls', /^SSH-2\.0/],
    ['closed', tcp((socket) => socket.end()), 'closed', /./],
    ['reset', tcp((socket) => socket.once('data', () => socket.resetAndDestroy())), 'closed', /ECONNRESET/],
    ['silent', tcp((socket) => socket.resume()), 'timeout', /in time/],
    [
      'only TLS 1.1',
      answering({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' }),
      'alert',
      /protocol version/,
    ],
    ['half a record', tcp((socket) => socket.write(Buffer.from('1603030100', 'hex'))), 'timeout', /in time/],
    ['endless bytes', tcp((socket) => flood(socket)), 'not-tls', /^AAAA/],
  ]
  for (const [name, server, kind, text] of table) {
    const sight = await look(await listen(t, server), { timeoutMs: kind === 'timeout' ? 150 : 5_000 })
    t.equal(sight.failure?.kind, kind, `${name}: ${sight.failure?.text}`)
    t.match(sight.failure?.text, text, name)
    t.same(sight.chain, [], name)
  }
  const closed = await listen(t, createTcpServer())
  const server = createTcpServer()
  const port = await listen(t, server)
  server.close()
  t.not(port, closed)
  t.equal((await look(port)).failure?.kind, 'refused')
  const nowhere = await probe.inspect(
    { host: 'nowhere.invalid', port: 443 },
    { timeoutMs: 5_000, request: { path: '/' } },
  )
  t.equal(nowhere.failure?.kind, 'dns')
})

function flood(socket: import('node:net').Socket): void {
  const chunk = Buffer.alloc(65_536, 65)
  const more = () => {
    while (socket.writable && socket.write(chunk));
  }
  socket.on('drain', more)
  more()
}

t.test('tells a server that shakes hands and then says nothing, and reads an answer up to a bound', async (t) => {
  const mute = createHttpsServer(CHAIN, () => undefined)
  const sight = await look(await listen(t, mute), { timeoutMs: 300 })
  t.equal(sight.failure, undefined)
  t.same(sight.chain, SERVED)
  t.equal(sight.answerFailure?.kind, 'timeout')
  const endless = createHttpsServer(CHAIN, (_, response) => {
    response.writeHead(200)
    const more = () => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536)));
    }
    response.on('drain', more).on('error', () => undefined)
    more()
  })
  const full = await look(await listen(t, endless))
  t.equal(full.answer?.body.length, 64 * 1024)
})

t.test('ends at once when it is told to', async (t) => {
  const port = await listen(
    t,
    createTcpServer((socket) => socket.on('error', () => undefined).resume()),
  )
  const stop = new AbortController()
  setTimeout(() => stop.abort(), 20)
  const started = Date.now()
  const sight = await look(port, { signal: stop.signal })
  t.equal(sight.failure?.kind, 'timeout')
  t.ok(Date.now() - started < 4_000)
})

t.test('reads nothing wrong out of damaged handshakes', async (t) => {
  t.same(readTranscript(Buffer.alloc(0), undefined), { chain: [], wantsClientCertificate: false })
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
    fc.tuple(fc.constantFrom(20, 21, 22, 23), fc.uint8Array({ maxLength: 80 })).map(([type, body]) => {
      const header = Buffer.from([type, 3, 3, body.length >> 8, body.length & 0xff])
      return Buffer.concat([header, body])
    }),
  )
  const secret = fc.option(
    fc.uint8Array({ minLength: 32, maxLength: 48 }).map((bytes) => Buffer.from(bytes)),
    { nil: undefined },
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 6 }), secret, (pieces, key) => {
      return Array.isArray(readTranscript(Buffer.concat(pieces), key).chain)
    }),
    { numRuns: 2_000 },
  )
})

t.test('fetches no issuer from this machine, and only over plain HTTP', async (t) => {
  let asked = 0
  const server = createHttpServer((_, response) => {
    asked += 1
    response.end('certificate')
  })
  const port = await listen(t, server)
  for (const host of [
    '127.0.0.1',
    'localhost',
    '[::ffff:127.0.0.1]',
    '0.0.0.0',
    '2130706433',
    '127.1',
    '[::1]',
    '169.254.169.254',
  ]) {
    t.equal(await probe.fetch(`http://${host}:${port}/ca.crt`, { timeoutMs: 500 }), undefined, host)
  }
  for (const url of ['https://example.invalid/', 'file:///etc/passwd', 'ftp://example.invalid/', 'nonsense']) {
    t.equal(await probe.fetch(url, { timeoutMs: 500 }), undefined, url)
  }
  t.equal(asked, 0)
})
