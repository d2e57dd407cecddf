// The rarer settings of a registry on each containerd generation: "*", client certificates.
import { readFile } from 'node:fs/promises'
import t from 'tap'
import { sampledGenerations } from '../fixtures/e2e/agent-on-node.ts'
import { placeOn, serve } from '../fixtures/e2e/served.ts'
import { createAuthority, issueClient, issueServer } from '../fixtures/node/certificates.ts'
import { startRegistry } from '../fixtures/node/registry.ts'
import { startFaultServer } from '../fixtures/node/tls-servers.ts'

const HOST = 'harbor.example.net'
const MIRROR = 'mirror.example.net'

for (const generation of sampledGenerations()) {
  t.test(`containerd ${generation.version}`, { timeout: 240_000 }, async (t) => {
    const place = await placeOn(t, generation)
    const { node, agent } = place

    t.test('"*" serves every host without a folder of its own, and no other', async (t) => {
      const [upstream, mirror] = [await serve(place, HOST), await serve(place, MIRROR, 5001)]
      const trust = {
        anchors: { mirror: { file: 'mirror.pem' } },
        policy: { allowWildcard: true },
        registries: [
          { host: '*', mirrors: [{ url: `https://${mirror.registry.host}`, anchors: ['mirror'] }] },
          { host: HOST, ca: 'upstream.pem' },
        ],
        targets: { systemTrust: { enabled: false } },
      }
      await agent.configure(trust, { 'upstream.pem': upstream.authority.pem, 'mirror.pem': mirror.authority.pem })
      const applied = await agent.apply()
      t.equal(applied.code, 0, JSON.stringify(applied.report))
      await node.setHost('elsewhere.example.net', '192.0.2.250')
      t.match(await node.pull('elsewhere.example.net/library/hello:1'), { ok: true }, 'served by the mirror')
      const before = (await mirror.registry.accessLog()).length
      t.match(await node.pull(upstream.registry.reference()), { ok: true })
      t.equal((await mirror.registry.accessLog()).length, before)
    })

    t.test(
      'a client certificate: refused without, accepted with; the key is for root alone and nowhere else',
      async (t) => {
        const { pki } = place
        const authority = await createAuthority(pki, 'Root of mutual')
        const host = 'mutual.example.net'
        await startFaultServer(node, {
          host,
          fault: 'client-certificate',
          certificate: await issueServer(authority, pki, [host]),
          clientAuthority: authority,
          answer: {
            status: 404,
            headers: { 'content-type': 'application/json' },
            body: '{"errors":[{"code":"MANIFEST_UNKNOWN"}]}',
          },
        })
        const trust = (more: object) => ({
          registries: [{ host, ca: 'mutual.pem', ...more }],
          targets: { systemTrust: { enabled: false } },
        })
        const first = await issueClient(authority, pki, 'node')
        const pem = async (file: string) => readFile(file, 'utf8')
        await agent.configure(trust({}), {
          'mutual.pem': authority.pem,
          'client.pem': first.pem,
          'client.key': await pem(first.keyFile),
        })
        t.match((await agent.apply()).report.findings, [{ finding: { code: 'client-certificate-required' } }])
        const clientCertificate = { certFile: 'client.pem', keyFile: 'client.key' }
        await agent.configure(trust({ clientCertificate }))
        const applied = await agent.apply()
        t.equal(applied.code, 0, JSON.stringify(applied.report))
        t.match(applied.report.findings, [{ finding: { code: 'trusted' } }])
        const key = `/etc/containerd/certs.d/${host}/client.key`
        t.equal((await node.run(['stat', '-c', '%a %u', key])).trim(), '600 0')

        const renewed = await issueClient(authority, pki, 'node-renewed')
        await agent.configure(trust({ clientCertificate }), {
          'client.pem': renewed.pem,
          'client.key': await pem(renewed.keyFile),
        })
        t.equal((await agent.apply()).code, 0)
        t.equal(await node.readFile(key), await pem(renewed.keyFile))
        await agent.configure({ registries: [] })
        t.equal((await agent.apply()).code, 0)
        const left = await node.exec([
          'grep',
          '-rl',
          'PRIVATE KEY',
          '/etc/containerd',
          '/var/lib/registry-trust',
          '/dev/shm',
          '/run',
        ])
        t.equal(left.stdout, '', 'no private key is left anywhere, backups included')
      },
    )

    t.test('extra: containerd obeys a key that it knows; one that none knows is told and not written', async (t) => {
      const host = 'extra.example.net:5003'
      const { registry, authority } = await serve(place, 'extra.example.net', 5003)
      const reads = /^(?:2\.[1-9]|[3-9])/.test(generation.version)
      const declare = (extra: object) =>
        agent.configure(
          { registries: [{ host, ca: 'extra.pem', extra }], targets: { systemTrust: { enabled: false } } },
          { 'extra.pem': authority.pem },
        )
      const toml = () => node.readFile(`/etc/containerd/certs.d/${host}/hosts.toml`)
      await declare({ dial_timeout: '20s' })
      const applied = await agent.apply()
      t.equal(applied.code, 0, JSON.stringify(applied.report))
      t.equal(/dial_timeout = ["']20s["']/.test(await toml()), reads)
      t.match(await node.pull(registry.reference()), { ok: true })
      const good = await toml()

      await declare({ dial_timeout: '1ns' })
      const slow = await agent.apply()
      t.match(
        slow.report.findings,
        [{ finding: { code: reads ? 'timeout' : 'trusted' } }],
        'containerd itself obeys it',
      )

      await declare({ dial_timeout: '20s', dail_timeout: '20s' })
      t.match((await agent.apply()).report.problems, [
        { code: 'HOSTS_KEY_UNSUPPORTED', message: /extra\.dail_timeout/ },
      ])
      t.equal(await toml(), good)
    })

    t.test('a fragment gets no CA before a forbidden host: neither by a mirror nor by the system store', async (t) => {
      const PUBLIC = 'public.example.net'
      const team = await serve(place, 'team-b.example.net', 5002)
      // Team B's own server, with a certificate of Team B's CA for the public name.
      const impostor = await startRegistry(node, {
        host: PUBLIC,
        certificate: await issueServer(team.authority, place.pki, [PUBLIC]),
      })
      const trust = { registries: [], policy: { forbidAnchorsFor: [PUBLIC] } }
      const fragment = (registries: readonly object[]) =>
        JSON.stringify({ anchors: { b: { file: 'b.pem' } }, registries })
      const own = { host: team.registry.host, anchors: ['b'] }
      const mirrored = { host: PUBLIC, mirrors: [{ url: `https://${team.registry.host}`, anchors: ['b'] }] }

      const files = { 'registries.d/b.pem': team.authority.pem }
      await agent.configure(trust, { ...files, 'registries.d/b.yaml': fragment([own, mirrored]) })
      const refused = await agent.apply()
      t.equal(refused.code, 3, 'what is refused is no success')
      t.match(refused.stderr, /ANCHOR_FORBIDDEN/)
      t.match(
        refused.stderr,
        /registries\.d\/b\.yaml:\d+:\d+: registries\[1\]\.mirrors\[0\]\.anchors are for a mirror of public/,
      )

      await agent.configure(trust, { 'registries.d/b.yaml': fragment([own]) })
      t.equal((await agent.apply()).code, 0)
      await node.stopContainerd()
      await node.startContainerd()
      t.match(await node.pull(team.registry.reference()), { ok: true }, 'its own registry is trusted')
      const asked = (await team.registry.accessLog()).length
      t.match(await node.pull(impostor.reference()), { ok: false, message: /x509|certificate/ })
      t.equal((await team.registry.accessLog()).length, asked, 'no mirror was asked')
      t.same(await impostor.accessLog(), [], 'and the impostor got no request')
      const curl = await node.exec(['curl', '--silent', '--max-time', '10', `https://${PUBLIC}/v2/`])
      t.equal(curl.code, 60, 'curl on the node does not trust it either')
      await agent.configure({ registries: [] }, { 'registries.d/b.yaml': undefined, 'registries.d/b.pem': undefined })
    })
  })
}
