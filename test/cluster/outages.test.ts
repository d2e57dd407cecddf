// What only a fault shows: an API server that is away, refuses, forgets or ends watches at once. A stand-in plays it,
// since the real one cannot be told to; test/cluster/fleet.test.ts has the real one.
import { writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { fleetApi } from '../../agent/cluster/fleet-api.ts'
import { digestOfConfigMap } from '../../agent/config/config-digest.ts'
import { scratchFolder } from '../fixtures/cluster/kubernetes.ts'
import { SILENT } from '../fixtures/scratch/carry-out.ts'

const NODES = '/api/v1/nodes'

type Fault = (request: IncomingMessage, response: ServerResponse, url: URL) => boolean
type Stream = { readonly path: string; readonly response: ServerResponse }

class StandIn {
  nodes: readonly string[] = ['n1', 'n2']
  version = 1
  /** Answers instead of the server where it returns true. */
  fault: Fault = () => false
  connections = 0
  readonly requests: string[] = []
  readonly patched = new Map<string, number>()
  readonly #streams = new Set<Stream>()
  readonly #server = createServer((request, response) => this.#answer(request, response))

  async start(t: Test) {
    this.#server.on('connection', () => {
      this.connections += 1
    })
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => {
      this.#server.closeAllConnections()
      this.#server.close()
    })
    const server = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
    const kubeconfig = join(scratchFolder(t), 'kubeconfig')
    writeFileSync(
      kubeconfig,
      JSON.stringify({
        clusters: [{ name: 'c', cluster: { server, 'insecure-skip-tls-verify': true } }],
        users: [{ name: 'u', user: { token: 'x' } }],
        contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
        'current-context': 'x',
      }),
    )
    return fleetApi({ kubeconfig, namespace: 'registry-trust', digestOf: digestOfConfigMap, log: SILENT })
  }

  /** Whatever was there before is gone without a word. */
  become(...nodes: readonly string[]): void {
    this.nodes = nodes
    this.version += 1
  }

  isWatched(): boolean {
    return [...this.#streams].some(({ path }) => path === NODES)
  }

  /** What the watch of Nodes is told. */
  tell(type: string, object: object): void {
    for (const { path, response } of this.#streams)
      if (path === NODES) response.write(`${JSON.stringify({ type, object })}\n`)
  }

  breakConnections(): void {
    this.#server.closeAllConnections()
  }

  lists(): number {
    return this.requests.filter((line) => line === `GET ${NODES}`).length
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '', 'http://api')
    const isWatch = url.searchParams.get('watch') === 'true'
    this.requests.push(`${isWatch ? 'WATCH' : request.method} ${url.pathname}`)
    if (this.fault(request, response, url)) return
    response.setHeader('content-type', 'application/json')
    if (request.method === 'PATCH') {
      this.patched.set(url.pathname, (this.patched.get(url.pathname) ?? 0) + 1)
      request.resume().on('end', () => response.end('{"metadata":{}}'))
    } else if (isWatch && Number(url.searchParams.get('resourceVersion')) < this.version) {
      // It keeps no history.
      statusOf(410)(request, response, url)
    } else if (isWatch) {
      const stream = { path: url.pathname, response }
      this.#streams.add(stream)
      response.on('close', () => this.#streams.delete(stream))
      response.flushHeaders()
    } else {
      const items = url.pathname === NODES ? this.nodes.map(nodeOf) : []
      response.end(JSON.stringify({ metadata: { resourceVersion: `${this.version}` }, items }))
    }
  }
}

function nodeOf(name: string) {
  return { metadata: { name, uid: `uid-${name}`, resourceVersion: '2' }, spec: {}, status: {} }
}

const podOf = (name: string) => ({ name, uid: name, node: 'n1', ip: '', port: 1, note: '', isLeaving: false })

async function watched(t: Test, standIn: StandIn) {
  const api = await standIn.start(t)
  const view = api.watch(() => undefined)
  t.teardown(() => view.close())
  const sees = async (names: string) => await until(() => [...view.nodes().keys()].sort().join(' ') === names)
  return { api, view, sees }
}

async function until(holds: () => boolean): Promise<boolean> {
  for (let waited = 0; waited < 10_000; waited += 20) {
    if (holds()) return true
    await sleep(20)
  }
  return false
}

const statusOf = (code: number): Fault => {
  const body = JSON.stringify({ kind: 'Status', status: 'Failure', code, message: 'as the test wants it' })
  return (_, response) => {
    response.writeHead(code, { 'content-type': 'application/json', 'retry-after': '1' }).end(body)
    return true
  }
}

t.jobs = 6

t.test('requests share connections: a hundred patches make no hundred handshakes', async (t) => {
  const standIn = new StandIn()
  const api = await standIn.start(t)
  for (let round = 0; round < 10; round += 1) {
    const names = Array.from({ length: 10 }, (_, index) => `pod-${round}-${index}`)
    await Promise.all(names.map((name) => api.annotatePod(podOf(name), '{}')))
  }
  t.equal(standIn.patched.size, 100)
  t.ok(standIn.connections <= 40, `${standIn.connections} connections`)
})

t.test('a watch that is too old (410, as an answer or as an event) is read anew', async (t) => {
  const standIn = new StandIn()
  const { sees } = await watched(t, standIn)
  t.ok(await sees('n1 n2'))
  t.ok(await until(() => standIn.isWatched()))
  standIn.become('n2', 'n3')
  standIn.tell('ERROR', { kind: 'Status', code: 410, message: 'too old resource version' })
  t.ok(await sees('n2 n3'), 'what was deleted meanwhile is gone')
  t.ok(await until(() => standIn.isWatched()))
  standIn.become('n4')
  standIn.breakConnections()
  t.ok(await sees('n4'))
  t.equal(standIn.lists(), 3)
})

t.test('what happens while the server is away is seen when it is back, and nobody storms it', async (t) => {
  const standIn = new StandIn()
  const { view, sees } = await watched(t, standIn)
  t.ok(await sees('n1 n2'))
  standIn.fault = (request) => {
    request.socket.destroy()
    return true
  }
  const before = standIn.requests.length
  standIn.breakConnections()
  await sleep(2_000)
  const asked = standIn.requests.length - before
  t.ok(asked >= 3 && asked <= 18, `${asked} requests of three watches in 2 s`)
  t.same([...view.nodes().keys()].sort(), ['n1', 'n2'], 'what was known stays known')
  standIn.become('n2', 'n9')
  standIn.fault = () => false
  t.ok(await sees('n2 n9'))
})

for (const [what, fault] of [
  ['a server with too much to do (429)', statusOf(429)],
  ['a server that has no leader (500)', statusOf(500)],
  [
    'a server that ends each watch at once',
    (_, response, url) => {
      if (url.searchParams.get('watch') !== 'true') return false
      response.writeHead(200, { 'content-type': 'application/json' }).end()
      return true
    },
  ],
] as const satisfies readonly (readonly [string, Fault])[])
  t.test(`${what} is asked less and less often`, async (t) => {
    const standIn = new StandIn()
    const { sees } = await watched(t, standIn)
    t.ok(await sees('n1 n2'))
    standIn.fault = fault
    const before = standIn.requests.length
    standIn.breakConnections()
    await sleep(2_000)
    const asked = standIn.requests.length - before
    t.ok(asked >= 3 && asked <= 18, `${asked} requests of three watches in 2 s`)
    standIn.fault = () => false
    standIn.become('n1', 'n2', 'n5')
    t.ok(await sees('n1 n2 n5'), 'and what it says afterwards is seen')
  })
