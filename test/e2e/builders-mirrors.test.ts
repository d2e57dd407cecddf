// Mirrors for the containers tools, by the request logs of real registries: who was asked by skopeo and podman, and who
// was not.
import t from 'tap'
import { contents, newestToTest } from '../fixtures/e2e/agent-on-node.ts'
import { placeOn, serve } from '../fixtures/e2e/served.ts'
import { Builders } from '../fixtures/node/builders.ts'
import { tinyImage } from '../fixtures/node/image.ts'
import type { FixtureRegistry } from '../fixtures/node/registry.ts'

const HOST = 'harbor.example.net'

t.test(
  'skopeo and podman ask the mirror first, and the registry only where fallback allows it',
  { timeout: 240_000 },
  async (t) => {
    const generation = newestToTest()
    const place = await placeOn(t, generation)
    const { node, agent } = place
    const upstream = await serve(place, HOST)
    const mirror = await serve(place, 'mirror.example.net', 5001)
    const builders = await Builders.on(node)
    await upstream.registry.store('library/upstream-only', '1', tinyImage('upstream'))
    await node.run(['mkdir', '-p', '/etc/containers/registries.conf.d'])
    const before = await contents(node, '/etc/containers')
    const files = { 'upstream.pem': upstream.authority.pem, 'mirror.pem': mirror.authority.pem }
    const trust = (more: object) => ({
      anchors: { mirror: { file: 'mirror.pem' } },
      registries: [
        {
          host: HOST,
          ca: 'upstream.pem',
          mirrors: [{ url: `https://${mirror.registry.host}`, anchors: ['mirror'] }],
          ...more,
        },
      ],
      targets: { systemTrust: { enabled: false } },
    })
    const copy = (image: string) =>
      builders.skopeo('copy', `docker://${HOST}/library/${image}:1`, `dir:/run/builders/${image}`)
    const count = async (registry: FixtureRegistry, image: string) =>
      (await registry.accessLog()).filter(({ url }) => url.startsWith(`/v2/library/${image}/`)).length

    await agent.configure(trust({}), files)
    t.equal((await agent.apply()).code, 0)
    const upstreamBefore = await count(upstream.registry, 'hello')
    t.equal((await copy('hello')).code, 0)
    t.equal((await builders.podman('pull', `${HOST}/library/hello:1`)).code, 0)
    t.ok((await count(mirror.registry, 'hello')) > 0, 'the mirror served')
    t.equal(await count(upstream.registry, 'hello'), upstreamBefore, 'the registry was not asked')
    t.equal((await copy('upstream-only')).code, 0, 'what the mirror lacks comes from the registry')

    await agent.configure(trust({ fallback: false }))
    t.equal((await agent.apply()).code, 0)
    const asksBefore = (await upstream.registry.accessLog()).length
    t.equal((await copy('hello')).code, 0)
    t.not((await copy('upstream-only')).code, 0)
    t.equal((await upstream.registry.accessLog()).length, asksBefore, 'without fallback the registry is never asked')

    await agent.configure('registries: []')
    t.equal((await agent.apply()).code, 0)
    t.equal(await contents(node, '/etc/containers'), before, 'nothing is left')
  },
)
