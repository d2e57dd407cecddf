import { once } from 'node:events'
import { linkSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { AgentError } from '../../../agent/model/errors.ts'
import { Secret } from '../../../agent/model/secret.ts'
import { connectCri } from '../../../agent/node/cri/client.ts'
import {
  generations,
  listening,
  sanitisedConfig,
  shortFolder,
  startContainerd,
  untilCriAnswers,
} from '../../fixtures/node/private-containerd.ts'

const SOON = { timeoutMs: 20_000 }

async function timed(work: Promise<void>): Promise<number> {
  const started = performance.now()
  await work
  return performance.now() - started
}

/** Accepts and says nothing, like a registry whose load balancer has lost it. */
async function silentServer(test: {
  teardown(work: () => unknown): unknown
}): Promise<{ port: number; server: Server }> {
  const sockets = new Set<{ destroy(): unknown }>()
  const server = createServer((socket) => sockets.add(socket.on('error', () => undefined)))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  test.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const address = server.address()
  return { server, port: typeof address === 'object' && address !== null ? address.port : 0 }
}

const PASSWORD = 'plain words+of/a-person'
const BASIC = Buffer.from(`robot:${PASSWORD}`).toString('base64')

/** Wants a login, and repeats in its answer what it was sent. */
async function repeatingRegistry(test: {
  teardown(work: () => unknown): unknown
}): Promise<{ readonly port: number; sent(): string }> {
  let sent = ''
  const server = createHttpServer(({ headers: { authorization } }, response) => {
    if (authorization === undefined) return response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end()
    sent = authorization
    return response.writeHead(418, `refused ${authorization.split(' ')[1]} of ${encodeURIComponent(PASSWORD)}`).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  test.teardown(() => server.close())
  const address = server.address()
  return { port: typeof address === 'object' && address !== null ? address.port : 0, sent: () => sent }
}

const all = generations()
t.ok(all.length > 0, 'there is a containerd to test with')

for (const generation of all) {
  const { expected } = generation
  t.test(`containerd ${generation.label}`, async (t) => {
    const folder = shortFolder(t)
    const daemon = await startContainerd(t, generation, folder, sanitisedConfig(generation, folder))
    const cri = connectCri(daemon.socket)
    t.teardown(() => cri.close())
    await untilCriAnswers(cri)

    t.test('tells its version', async (t) => {
      const version = await cri.version(SOON)
      t.equal(version.runtimeName, 'containerd')
      t.match(version.runtimeVersion, generation.version)
    })

    t.test('tells what it loaded, as far as this version does', async (t) => {
      const status = await cri.status(SOON)
      t.match(status, { runtimeReady: true, networkReady: false })
      t.equal(status.loadedConfigPath, expected.statusShowsRegistry ? `${folder}/certs.d` : undefined)
      t.same(status.deprecations, expected.reportsDeprecations ? (status.deprecations ?? 'missing') : undefined)
      t.equal(status.loadedLegacy, false)
      t.equal(typeof status.sandboxImage, expected.statusShowsRegistry ? 'string' : 'undefined')
    })

    t.test('gives a failing pull as containerd says it', async (t) => {
      const result = await cri.pullImage('127.0.0.1:1/probe:none', SOON)
      t.match(result, { ok: false, status: 'UNKNOWN', text: /127\.0\.0\.1:1.*connection refused/ })
    })

    t.test('hands on no login that a registry repeats in its answer', async (t) => {
      const { port, sent } = await repeatingRegistry(t)
      const credentials = { kind: 'password', username: 'robot', password: new Secret(PASSWORD) } as const
      const result = await cri.pullImage(`127.0.0.1:${port}/x:1`, SOON, credentials)
      t.ok(sent().includes(BASIC), 'the registry got the login')
      t.match(result, { ok: false, text: /refused \[redacted\] of \[redacted\]/ })
      for (const form of [BASIC, PASSWORD, encodeURIComponent(PASSWORD)]) t.notOk(JSON.stringify(result).includes(form))
    })

    t.test('ends a pull at its deadline', async (t) => {
      const { port } = await silentServer(t)
      const started = performance.now()
      const result = await cri.pullImage(`127.0.0.1:${port}/probe:none`, { timeoutMs: 150 })
      t.match(result, { ok: false, status: /^(DEADLINE_EXCEEDED|CANCELLED)$/ })
      t.ok(performance.now() - started < 5_000)
    })

    t.test('ends a pull when the signal says so, with its reason', async (t) => {
      const { port, server } = await silentServer(t)
      const abort = new AbortController()
      const pull = cri.pullImage(`127.0.0.1:${port}/probe:none`, { timeoutMs: 10_000, signal: abort.signal })
      await once(server, 'connection')
      abort.abort(new Error('the agent stops'))
      await t.rejects(pull, { message: 'the agent stops' })
      await t.rejects(cri.version({ timeoutMs: 1000, signal: abort.signal }), { message: 'the agent stops' })
    })

    t.test('knows no image and no container yet', async (t) => {
      t.equal(await cri.imageExists('127.0.0.1:1/probe:none', SOON), false)
      t.same(await cri.imageDigests(SOON), [])
      t.same(await cri.runningContainers(SOON), [])
      await t.rejects(cri.containerStart('no-such-id', SOON), {
        code: 'CRI_CALL_FAILED',
        message: /ContainerStatus.*NOT_FOUND/,
      })
    })

    t.test('is reached again at once after each restart of the daemon', async (t) => {
      let tookMs = 0
      for (const round of [1, 2, 3]) {
        await daemon.restart()
        await t.rejects(cri.version(SOON), { code: 'CRI_UNREACHABLE' }, `round ${round}: nobody is there yet`)
        const [answered, listened] = await Promise.all([untilCriAnswers(cri), timed(listening(daemon.socket))])
        tookMs += answered - listened
      }
      // From the moment the daemon listens: gRPC's own first pause after a failure is a second, 0.8 s at least.
      t.ok(tookMs < 3 * 800, `three times: ${Math.round(tookMs)} ms`)
    })

    t.test('says that the socket does not exist when it is stopped', async (t) => {
      await daemon.stop()
      await t.rejects(cri.version(SOON), {
        code: 'CRI_UNREACHABLE',
        message: `no containerd at ${daemon.socket}: the socket does not exist`,
      })
    })
  })

  t.test(`containerd ${generation.label} with legacy sections shows them`, async (t) => {
    const folder = shortFolder(t)
    const registry = `[plugins."${expected.registryPlugin}".registry.mirrors."r.test"]\nendpoint = ["https://r.test"]`
    const config = sanitisedConfig(generation, folder, registry)
    const { socket } = await startContainerd(t, generation, folder, config)
    const cri = connectCri(socket)
    t.teardown(() => cri.close())
    await untilCriAnswers(cri)
    const status = await cri.status(SOON)
    t.equal(status.loadedLegacy, true)
    t.equal(status.loadedConfigPath, expected.statusShowsRegistry ? '' : undefined)
    if (expected.reportsDeprecations) t.match(status.deprecations, ['io.containerd.deprecation/cri-registry-mirrors'])
  })

  t.test(`containerd ${generation.label} without CRI is CRI_NOT_LOADED`, async (t) => {
    const folder = shortFolder(t)
    const config = sanitisedConfig(
      generation,
      folder,
      `config_path = "/x"\n[plugins."${expected.registryPlugin}".registry.mirrors."r.test"]\nendpoint = ["https://r.test"]`,
    )
    const { socket } = await startContainerd(t, generation, folder, config.replace(/^required_plugins.*$/m, ''))
    const cri = connectCri(socket)
    t.teardown(() => cri.close())
    let seen: unknown
    // Between the socket and the first answer nothing else may be seen but "not there".
    do {
      seen = await cri.version(SOON).catch((error: unknown) => error)
    } while (seen instanceof AgentError && seen.code === 'CRI_UNREACHABLE')
    t.match(seen, {
      code: 'CRI_NOT_LOADED',
      message: `containerd at ${socket} runs without its CRI plugin: unknown service runtime.v1.RuntimeService`,
    })
  })
}

t.test('a socket that nobody listens on says so', async (t) => {
  const folder = shortFolder(t)
  const socket = join(folder, 'c.sock')
  const server = createServer().listen(socket)
  await once(server, 'listening')
  // Closing removes the file; a second name is what a daemon that was killed leaves.
  linkSync(socket, join(folder, 'stale.sock'))
  server.close()
  await once(server, 'close')
  const cri = connectCri(join(folder, 'stale.sock'))
  t.teardown(() => cri.close())
  await t.rejects(cri.version(SOON), {
    code: 'CRI_UNREACHABLE',
    message: /nothing listens on the socket \(ECONNREFUSED\)/,
  })
})

t.test('a daemon that accepts and never answers is unreachable after the deadline', async (t) => {
  const folder = shortFolder(t)
  const socket = join(folder, 'c.sock')
  const server = createServer((connection) => {
    connection.on('error', () => undefined)
    t.teardown(() => connection.destroy())
  }).listen(socket)
  await once(server, 'listening')
  const cri = connectCri(socket)
  await t.rejects(cri.version({ timeoutMs: 200 }), {
    code: 'CRI_UNREACHABLE',
    message: /does not answer Version in time/,
  })
  cri.close()
  server.close()
})

t.test('a path that is too long for a socket is refused before anything is tried', async (t) => {
  t.throws(() => connectCri(`/${'x'.repeat(107)}`), { code: 'CRI_UNREACHABLE', message: /longer than 107 bytes/ })
})
