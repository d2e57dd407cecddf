import t from 'tap'
import { sampledGenerations } from '../fixtures/e2e/agent-on-node.ts'
import { type Place, placeOn, type Served, serve } from '../fixtures/e2e/served.ts'
import { createAuthority, issueServer } from '../fixtures/node/certificates.ts'
import { tinyImage } from '../fixtures/node/image.ts'
import type { FixtureRegistry } from '../fixtures/node/registry.ts'
import { type FaultServer, startFaultServer } from '../fixtures/node/tls-servers.ts'

const HOST = 'harbor.example.net'
const MIRROR = 'mirror.example.net'
const SECOND = 'second.example.net'

/** How many requests for the manifest of the image came. */
async function asked(registry: FixtureRegistry, image = 'hello'): Promise<number> {
  return (await registry.accessLog()).filter(({ url }) => url.startsWith(`/v2/library/${image}/`)).length
}

for (const generation of sampledGenerations()) {
  t.test(`containerd ${generation.version}`, { timeout: 240_000 }, async (t) => {
    const place = await placeOn(t, generation)
    const { node, agent } = place
    const upstream = await serve(place, HOST)
    const mirror = await serve(place, MIRROR, 5001)
    const second = await serve(place, SECOND, 5002)
    const files = {
      'upstream.pem': upstream.authority.pem,
      'mirror.pem': mirror.authority.pem,
      'second.pem': second.authority.pem,
    }
    const anchors = { mirror: { file: 'mirror.pem' }, second: { file: 'second.pem' } }
    const at = (served: Served, name: string) => ({ url: `https://${served.registry.host}`, anchors: [name] })
    const only = (image: string) => tinyImage(`only ${image}`)
    const apply = async (registry: object, more: object = {}) => {
      const trust = {
        anchors,
        registries: [{ host: HOST, ca: 'upstream.pem', ...registry }],
        targets: { systemTrust: { enabled: false } },
      }
      await agent.configure({ ...trust, ...more }, files)
      return agent.apply()
    }
    const pull = (image: string) => node.pull(`${HOST}/library/${image}:1`)
    await upstream.registry.store('library/upstream-only', '1', only('upstream'))
    await second.registry.store('library/second-only', '1', only('second'))

    t.test('the first mirror serves, and nobody else is asked', async (t) => {
      const mirrors = [at(mirror, 'mirror'), at(second, 'second')]
      const { code, report } = await apply({ mirrors })
      t.equal(code, 0, JSON.stringify(report))
      const others = () => Promise.all([asked(second.registry), asked(upstream.registry)])
      const before = await others()
      t.match(await pull('hello'), { ok: true })
      t.ok((await asked(mirror.registry)) > 0, 'the mirror was asked')
      t.same(await others(), before, 'the others were not')
    })

    t.test('what a mirror lacks the next one serves, and the registry itself comes last', async (t) => {
      t.match(await pull('second-only'), { ok: true })
      t.ok((await asked(mirror.registry, 'second-only')) > 0)
      t.ok((await asked(second.registry, 'second-only')) > 0)
      t.equal(await asked(upstream.registry, 'second-only'), 0)
      t.match(await pull('upstream-only'), { ok: true })
      t.ok((await asked(second.registry, 'upstream-only')) > 0)
      t.ok((await asked(upstream.registry, 'upstream-only')) > 0)
    })

    t.test('without fallback the registry itself is never asked', async (t) => {
      const { code, report } = await apply({ mirrors: [at(mirror, 'mirror'), at(second, 'second')], fallback: false })
      t.equal(code, 0, JSON.stringify(report))
      const before = (await upstream.registry.accessLog()).length
      t.match(await pull('upstream-only'), { ok: false, code: 'NOT_FOUND' })
      t.match(await pull('second-only'), { ok: true })
      t.equal((await upstream.registry.accessLog()).length, before)
    })

    t.test('a mirror that may only pull is not asked what a tag means', async (t) => {
      await apply({ mirrors: [{ ...at(mirror, 'mirror'), capabilities: ['pull'] }] })
      const atMirror = (await mirror.registry.accessLog()).length
      const atUpstream = (await upstream.registry.accessLog()).length
      await node.removeImage(`${HOST}/library/hello:1`)
      t.match(await pull('hello'), { ok: true })
      const toMirror = (await mirror.registry.accessLog()).slice(atMirror)
      const heads = toMirror.filter(({ method, url }) => method === 'HEAD' && url.includes('/manifests/1'))
      t.same(heads, [], 'the mirror was not asked for the tag')
      const toUpstream = (await upstream.registry.accessLog()).slice(atUpstream)
      t.ok(
        toUpstream.some(({ method }) => method === 'HEAD'),
        'the registry was',
      )
    })

    t.test('a mirror with a path of its own, and a header', async (t) => {
      const server = await startPathServer(place)
      const url = `https://${server.host}/proxy/v2`
      const { code, report } = await apply(
        { mirrors: [{ url, anchors: ['path'], overridePath: true, headers: { 'X-Cluster': 'blue' } }] },
        {
          anchors: { ...anchors, path: { file: 'path.pem' } },
        },
      )
      t.equal(code, 0, JSON.stringify(report))
      t.match(await pull('with-path'), { ok: false, code: 'NOT_FOUND' })
      const requests = await server.requests()
      const [first] = requests.filter(({ url }) => url.includes('with-path'))
      t.comment(JSON.stringify(requests))
      t.match(first, { url: /^\/proxy\/v2\/library\/with-path\/manifests\/1/, headers: { 'x-cluster': 'blue' } })
    })
  })
}

async function startPathServer({ node, pki, agent }: Place): Promise<FaultServer> {
  const host = 'path.example.net'
  const authority = await createAuthority(pki, 'Root of path')
  await agent.configure('registries: []', { 'path.pem': authority.pem })
  const certificate = await issueServer(authority, pki, [host])
  const body = '{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'
  return startFaultServer(node, {
    host,
    fault: 'answer',
    certificate,
    answer: { status: 404, headers: { 'content-type': 'application/json' }, body },
  })
}
