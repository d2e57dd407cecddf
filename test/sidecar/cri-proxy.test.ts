// The proxy between the agent's own CRI client and a real containerd of each generation: what the agent needs comes
// through unchanged, and nothing else exists.
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js'
import t, { type Test } from 'tap'
import type { Registry } from '../../agent/model/desired-state.ts'
import type { CriClient, Log, RegistryCredentials } from '../../agent/model/ports.ts'
import { Secret } from '../../agent/model/secret.ts'
import { connectCri } from '../../agent/node/cri/client.ts'
import { startCriProxy } from '../../agent/sidecar/cri-proxy.ts'
import type { Declared } from '../../agent/sidecar/declared.ts'
import {
  generations,
  sanitisedConfig,
  shortFolder,
  startContainerd,
  untilCriAnswers,
} from '../fixtures/node/private-containerd.ts'

const SOON = { timeoutMs: 20_000 }
const HOST = '192.0.2.1:5000'
const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} }
const registry: Registry = { host: HOST, anchors: [], proof: { level: 'manifest', everyMs: 1 }, source: 'test' }
const declared: Declared = { current: async () => ({ registries: [registry], restart: undefined }) }

type Through = { readonly socket: string; readonly cri: CriClient }

async function proxied(t: Test, containerd: string, folder: string): Promise<Through> {
  return await proxyTo(t, connectCri(containerd), folder)
}

async function proxyTo(
  t: Test,
  upstream: CriClient,
  folder: string,
  options: { readonly declared?: Declared; readonly awaited?: readonly string[] } = {},
): Promise<Through> {
  const socket = join(folder, `proxy${Math.random().toString(36).slice(2, 6)}.sock`)
  const proxy = await startCriProxy({
    ...{ socket, cri: upstream, declared, log: SILENT, ...options },
    awaited: async () => options.awaited ?? [],
  })
  const cri = connectCri(socket)
  t.teardown(async () => {
    cri.close()
    await proxy.close()
    upstream.close()
  })
  return { socket, cri }
}

/** A call as an attacker would make it: raw bytes to any method. */
function raw(socket: string, path: string, bytes = Buffer.alloc(0)): Promise<Buffer | ServiceError> {
  const client = new Client(`unix:${socket}`, credentials.createInsecure())
  const pass = (value: Buffer) => value
  return new Promise((resolve) => {
    client.makeUnaryRequest(path, pass, pass, bytes, { deadline: Date.now() + 5_000 }, (error, reply) => {
      client.close()
      resolve(error ?? reply ?? Buffer.alloc(0))
    })
  })
}

for (const generation of generations())
  t.test(`containerd ${generation.label}`, async (t) => {
    const folder = shortFolder(t)
    const host = `[plugins."${generation.expected.registryPlugin}".registry]`
    const secret = generation.expected.statusShowsRegistry
      ? `[plugins."${generation.expected.registryPlugin}".registry.configs."${HOST}".auth]\nusername = "robot"\npassword = "hunter2"\n[plugins."${generation.expected.registryPlugin}".registry.configs."${HOST}".tls]\nca_file = "/etc/pki/ca.pem"\n`
      : ''
    const config = sanitisedConfig(generation, folder).replace(
      /\[plugins\."[^"]+"\.registry\]\n.*\n/,
      `${host}\n${secret}`,
    )
    const daemon = await startContainerd(t, generation, folder, config)
    const direct = connectCri(daemon.socket)
    t.teardown(() => direct.close())
    await untilCriAnswers(direct)
    const { socket, cri } = await proxied(t, daemon.socket, folder)

    t.test('answers as containerd itself does', async (t) => {
      t.same(await cri.version(SOON), await direct.version(SOON))
      t.same(await cri.status(SOON), await direct.status(SOON))
      t.same(await cri.runningContainers(SOON), [])
      t.same(await cri.activity(SOON), await direct.activity(SOON))
      t.same(await cri.imageDigests(SOON), [])
      t.equal(await cri.imageExists(`${HOST}/app:1`, SOON), false)
      await t.rejects(cri.containerStart('missing', SOON), { code: 'CRI_CALL_FAILED', message: /NOT_FOUND|not found/ })
    })

    t.test('lets a declared registry be asked, and gives its failure', async (t) => {
      const reference = `${HOST}/registry-trust/probe:does-not-exist`
      const through = await cri.pullImage(reference, { timeoutMs: 500 })
      t.match(through, { ok: false, status: /^(DEADLINE_EXCEEDED|UNKNOWN|CANCELLED|UNAVAILABLE)$/ })
    })

    t.test('refuses to pull what nothing declares', async (t) => {
      const refused = await cri.pullImage('198.51.100.1:5000/app:1', SOON)
      t.match(refused, {
        ok: false,
        status: 'PERMISSION_DENIED',
        text: /198\.51\.100\.1:5000 is not a declared registry/,
      })
      t.match(await cri.pullImage(`${HOST}/app:1`, SOON), { ok: false, status: 'PERMISSION_DENIED' })
    })

    t.test('no password of the loaded configuration comes through verbose Status', async (t) => {
      const verbose = Buffer.from([8, 1])
      const path = '/runtime.v1.RuntimeService/Status'
      const [straight, through] = [await raw(daemon.socket, path, verbose), await raw(socket, path, verbose)]
      if (!Buffer.isBuffer(straight) || !Buffer.isBuffer(through)) throw new Error('Status failed')
      t.equal(straight.includes('hunter2'), secret !== '', 'what containerd itself tells')
      t.notOk(through.includes('hunter2'))
      t.ok(through.length > 0)
    })

    for (const method of [
      'RuntimeService/RunPodSandbox',
      'RuntimeService/CreateContainer',
      'RuntimeService/StartContainer',
      'RuntimeService/ExecSync',
      'RuntimeService/Exec',
      'RuntimeService/Attach',
      'RuntimeService/StopContainer',
      'RuntimeService/RemoveContainer',
      'RuntimeService/ListPodSandbox',
      'RuntimeService/PodSandboxStatus',
      'RuntimeService/UpdateRuntimeConfig',
      'RuntimeService/GetContainerEvents',
      'ImageService/RemoveImage',
      'ImageService/ImageFsInfo',
    ])
      t.test(`${method} does not exist`, async (t) => {
        t.match(await raw(socket, `/runtime.v1.${method}`), { code: status.UNIMPLEMENTED })
      })

    t.test('credentials of the agent reach containerd with the pull, in both forms and never without', async (t) => {
      const seen: (RegistryCredentials | undefined)[] = []
      const upstream: CriClient = {
        ...direct,
        async pullImage(_reference, _options, credentials) {
          seen.push(credentials)
          return { ok: true, imageRef: 'sha256:x' }
        },
        close: () => undefined,
      }
      const through = await proxyTo(t, upstream, folder)
      const reference = `${HOST}/registry-trust/probe:does-not-exist`
      const password = { kind: 'password', username: 'robot$agent', password: new Secret('hunter2') } as const
      const token = { kind: 'identity-token', username: '', token: new Secret('refresh') } as const
      for (const credentials of [undefined, password, token])
        t.same(await through.cri.pullImage(reference, SOON, credentials), { ok: true, imageRef: 'sha256:x' })
      const [none, first, second] = seen
      t.equal(none, undefined)
      t.ok(first?.kind === 'password' && first.username === 'robot$agent' && first.password.reveal() === 'hunter2')
      t.ok(second?.kind === 'identity-token' && second.token.reveal() === 'refresh')
    })

    t.test('an image that a Pod waits for is pulled without a login, where it is wanted and not there', async (t) => {
      const seen: [string, RegistryCredentials | undefined][] = []
      let isPresent = false
      const upstream: CriClient = {
        ...direct,
        imageExists: async () => isPresent,
        async pullImage(reference, _options, credentials) {
          seen.push([reference, credentials])
          return { ok: true, imageRef: 'sha256:x' }
        },
        close: () => undefined,
      }
      const image = `${HOST}/team/app:1`
      const password = { kind: 'password', username: 'robot$agent', password: new Secret('hunter2') } as const
      const wanting: Declared = {
        current: async () => ({ registries: [registry], restart: undefined, wakePods: true }),
      }
      const awaited = [image, 'elsewhere.example.net/team/app:1']
      const wanted = await proxyTo(t, upstream, folder, { declared: wanting, awaited })
      t.match(await wanted.cri.pullImage(image, SOON, password), { ok: true })
      t.same(seen, [[image, undefined]])
      const denied = { ok: false, status: 'PERMISSION_DENIED' }
      for (const other of [`${HOST}/team/app:2`, 'elsewhere.example.net/team/app:1'])
        t.match(await wanted.cri.pullImage(other, SOON), denied, other)
      const unwanted = await proxyTo(t, upstream, folder, { awaited })
      t.match(await unwanted.cri.pullImage(image, SOON), denied, 'trust.yaml does not want it')
      isPresent = true
      t.match(await wanted.cri.pullImage(image, SOON), denied, 'it is there')
      isPresent = false
      const results = []
      for (let pull = 0; pull < 10; pull += 1) results.push(await wanted.cri.pullImage(image, SOON))
      t.match(results.at(-1), { ok: false, status: 'RESOURCE_EXHAUSTED' }, 'ten a minute')
      t.equal(seen.length, 10)
    })

    t.test('only its own user may open the socket', async (t) => {
      t.equal(statSync(socket).mode & 0o777, 0o600)
    })

    t.test('finds containerd again after a restart, and tells meanwhile that it is gone', async (t) => {
      await daemon.stop()
      await t.rejects(cri.version(SOON), { code: 'CRI_UNREACHABLE' })
      await daemon.restart()
      await untilCriAnswers(cri)
      t.match(await cri.version(SOON), { runtimeName: 'containerd' })
    })
  })

t.test('a containerd without its CRI plugin is told as such', async (t) => {
  const [generation] = generations()
  if (generation === undefined) throw new Error('no containerd')
  const folder = shortFolder(t)
  const daemon = await startContainerd(
    t,
    generation,
    folder,
    'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n',
  )
  const { cri } = await proxied(t, daemon.socket, folder)
  await t.rejects(cri.version(SOON), { code: 'CRI_NOT_LOADED' })
})
