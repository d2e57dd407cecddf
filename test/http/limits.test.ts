// What a flood of connections, a long page and a renewed certificate do to the server: probes are answered all along.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { get } from 'node:http'
import { get as getSecure } from 'node:https'
import { connect, type Socket } from 'node:net'
import t from 'tap'
import { agentClient } from '../../agent/cluster/agent-client.ts'
import { fetchStatus } from '../../agent/http/client.ts'
import { createServer, type ServerOptions } from '../../agent/http/server.ts'
import type { NodeStatus } from '../../agent/model/status.ts'
import { blockedBy } from '../fixtures/blocked-by.ts'
import { SAMPLE, SUMMARY, UNTRUSTED } from '../fixtures/http/sample-status.ts'
import { createKey, createRoot, issue, readIn } from '../fixtures/pki/openssl.ts'

/** What a page of a thousand registries may take on a busy machine. */
const PAGE_MS = 20_000
const OK = { ready: true, checks: [] }
const SILENT = { debug() {}, info() {}, warn() {}, error() {} } as unknown as ServerOptions['log']

function optionsFor(status: NodeStatus = SAMPLE, more: Partial<ServerOptions> = {}): ServerOptions {
  return {
    status: () => status,
    summary: () => SUMMARY,
    metrics: { contentType: 'text/plain', text: async () => '' },
    readiness: () => OK,
    liveness: () => OK,
    onReconcile() {},
    onProve() {},
    onLogLevel: () => 0,
    log: SILENT,
    ...more,
  } as ServerOptions
}

function ask(
  port: number,
  path: string,
  timeoutMs = 1_000,
): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const request = get({ host: '127.0.0.1', port, path, agent: false, timeout: timeoutMs }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }))
      response.on('error', reject)
    })
    request.on('timeout', () => request.destroy(new Error(`no answer within ${timeoutMs} ms`)))
    request.on('error', reject)
  })
}

async function open(port: number, from: string): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, localAddress: from })
  socket.on('error', () => undefined)
  await new Promise((resolve) => socket.once('connect', resolve))
  return socket
}

for (const [what, peers] of [
  ['one peer', 1],
  ['many peers', 40],
] as const) {
  t.test(`600 idle connections of ${what} keep no probe out`, async (t) => {
    const server = createServer(optionsFor())
    const { port } = await server.listen('127.0.0.1:0')
    t.teardown(() => server.close())
    const sockets: Socket[] = []
    for (let count = 0; count < 600; count += 1) sockets.push(await open(port, `127.0.1.${1 + (count % peers)}`))
    // Half of them have begun a request that never ends.
    for (const [index, socket] of sockets.entries())
      if (index % 2 === 0) socket.write('GET /livez HTTP/1.1\r\nhost: x\r\n')
    for (let count = 0; count < 35; count += 1) t.equal((await ask(port, '/livez')).status, 200)
    for (const socket of sockets) socket.destroy()
  })
}

/** By another process: reading nine megabytes is not what is measured. */
async function download(port: number, path: string): Promise<void> {
  const child = spawn('curl', ['-fsS', '-o', '/dev/null', `http://127.0.0.1:${port}${path}`], { stdio: 'ignore' })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`curl ends with ${code}`)
}

const VERBOSE: NodeStatus = {
  ...SAMPLE,
  registries: Array.from({ length: 1_000 }, (_, index) => ({
    ...UNTRUSTED,
    host: `r${index}.example.net`,
    finding: {
      ...UNTRUSTED.finding,
      message: 'm'.repeat(1_000),
      evidence: { text: 't<"&'.repeat(250), notes: Array.from({ length: 10 }, () => 'n'.repeat(300)) },
    },
  })),
}

t.test('the page and the JSON of 1000 verbose registries hold up nothing else', async (t) => {
  const server = createServer(optionsFor(VERBOSE))
  const { port } = await server.listen('127.0.0.1:0')
  t.teardown(() => server.close())
  for (const path of ['/', '/status']) {
    await ask(port, path, PAGE_MS)
    const times: number[] = []
    for (let count = 0; count < 3; count += 1) times.push(await blockedBy(() => download(port, path)))
    t.comment(`${path}: ${times.map(Math.round).join(', ')} ms`)
    t.ok(Math.max(...times) < 50, path)
  }
  t.same(
    JSON.parse((await ask(port, '/status', PAGE_MS)).body),
    JSON.parse(JSON.stringify(VERBOSE)),
    'the same as it is at once',
  )
  const page = (await ask(port, '/', PAGE_MS)).body
  t.match(page, /r999\.example\.net[\s\S]*<\/html>\s*$/)
})

t.test(
  'a status that takes long is made for all visitors, whatever they look at, and anew after a command',
  async (t) => {
    let made = 0
    const status = () => {
      made += 1
      for (const since = performance.now(); performance.now() - since < 60; );
      return SAMPLE
    }
    const server = createServer(optionsFor(SAMPLE, { status, token: async () => 'secret' }))
    t.teardown(() => server.close())
    const paths = ['/', '/?refresh=off', '/status', '/status/registries/harbor.example.net', '/openapi.json']
    for (let visitor = 0; visitor < 50; visitor++) await server.inject(paths[visitor % paths.length] ?? '/')
    // Kept for half a second, in which a loaded machine may not get through.
    t.ok(made <= 5, `made ${made} times for 50 visitors`)
    const before = made
    const command = { method: 'POST', url: '/reconcile', headers: { authorization: 'Bearer secret' } } as const
    t.equal((await server.inject(command)).statusCode, 202)
    await server.inject('/status')
    t.equal(made, before + 1)
  },
)

t.test('a second address serves health alone', async (t) => {
  const server = createServer(optionsFor(SAMPLE, { isHealthOnly: true }))
  const { port } = await server.listen('127.0.0.1:0')
  t.teardown(() => server.close())
  t.equal((await ask(port, '/readyz')).status, 200)
  for (const path of ['/status', '/metrics', '/']) t.equal((await ask(port, path)).status, 404)
})

t.test('HTTPS: a renewed certificate is served without a restart, a broken one leaves the last', async (t) => {
  const folder = t.testdir()
  const key = createKey(folder)
  const make = (name: string) => ({
    cert: Buffer.from(createRoot(folder, key, `/CN=${name}`)),
    key: readIn(folder, key),
  })
  let pair = make('first')
  const errors: string[] = []
  const log = { ...SILENT, error: (message: string) => errors.push(message) } as unknown as ServerOptions['log']
  const { keepCertificate } = await import('../../agent/http/certificate.ts')
  const server = createServer(optionsFor(SAMPLE, { certificate: async () => pair, log }))
  const { port } = await server.listen('127.0.0.1:0')
  t.teardown(() => server.close())
  const served = () =>
    new Promise<string>((resolve, reject) =>
      getSecure({ host: '127.0.0.1', port, path: '/livez', rejectUnauthorized: false, agent: false }, (response) => {
        const { subject } = (response.socket as import('node:tls').TLSSocket).getPeerCertificate()
        response.resume().on('end', () => resolve(String(subject.CN)))
      }).on('error', reject),
    )
  t.equal(await served(), 'first')
  const address = `127.0.0.1:${port}`
  t.match(await fetchStatus({ address, certificate: pair.cert.toString() }), { node: SAMPLE.node })
  await t.rejects(
    fetchStatus({ address, certificate: make('another').cert.toString() }),
    'another certificate is not trusted',
  )
  const pod = { name: 'p', uid: 'u', node: SAMPLE.node, ip: '127.0.0.1', port, note: '', isLeaving: false }
  const asFleet = (cert: Buffer) => agentClient({ certificate: async () => cert.toString() }).ask(pod, undefined)
  t.match(await asFleet(pair.cert), { kind: 'summary' }, 'the fleet component trusts it too')
  await t.rejects(asFleet(make('another').cert), 'and no other one')

  let secured = ''
  const target = {
    setSecureContext({ cert }: { cert: Buffer }) {
      secured = cert.toString()
    },
  }
  const kept = await keepCertificate(target, async () => pair, { log, everyMs: 20 })
  pair = { ...pair, cert: Buffer.from('no certificate') }
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.same(errors, ['certificate-unusable'], 'told once')
  pair = make('second')
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.equal(secured, pair.cert.toString())
  kept.close()
  await t.rejects(
    createServer(optionsFor(SAMPLE, { certificate: async () => ({ ...pair, key: Buffer.from('x') }) })).listen(
      '127.0.0.1:0',
    ),
    { code: 'LISTEN_FAILED' },
  )
})

t.test('status trusts the very certificate that it is given, not what else its issuer signed', async (t) => {
  const folder = t.testdir()
  const key = createKey(folder)
  const root = createRoot(folder, key, '/CN=issuer')
  const chain = (name: string) => `${issue(folder, key, root, `/CN=${name}`, ['basicConstraints=CA:FALSE'])}${root}`
  const [served, other] = [chain('served'), chain('other')]
  const certificate = async () => ({ cert: Buffer.from(served), key: readIn(folder, key) })
  const server = createServer(optionsFor(SAMPLE, { certificate }))
  const { port } = await server.listen('127.0.0.1:0')
  t.teardown(() => server.close())
  const address = `127.0.0.1:${port}`
  t.match(await fetchStatus({ address, certificate: served }), { node: SAMPLE.node })
  await t.rejects(fetchStatus({ address, certificate: other }), { code: 'DAEMON_UNREACHABLE' })
  await t.rejects(fetchStatus({ address, certificate: 'no certificate' }), { code: 'DAEMON_UNREACHABLE' })
  await t.rejects(fetchStatus({ address }), { code: 'DAEMON_UNREACHABLE' }, 'plain HTTP gets no answer')
})
