// `doctor` and `explain` on a real node: what containerd ignores without a word is named, what a pull uses is shown in
// order.
import t from 'tap'
import { BY_SIGNAL, sampledGenerations } from '../fixtures/e2e/agent-on-node.ts'
import { nodeWithRegistry } from '../fixtures/e2e/registry-node.ts'
import { defaultConfig, withConfigPath } from '../fixtures/node/sandbox-node.ts'

const HOST = 'harbor.example.net'
const CERTS = '/etc/containerd/certs.d'

for (const generation of sampledGenerations())
  t.test(`containerd ${generation.version}`, async (t) => {
    const { node, registry, authority, agent } = await nodeWithRegistry(t, HOST, {
      generation,
      config: withConfigPath(defaultConfig(generation)),
    })
    const trust = {
      registries: [{ host: HOST, ca: 'ca.pem' }],
      targets: { systemTrust: { enabled: false } },
      ...BY_SIGNAL,
    }
    await agent.configure(trust, { 'ca.pem': authority.pem })

    await node.writeFile(`${CERTS}/${HOST}/host.toml`, '[host]\n')
    await node.writeFile(`${CERTS}/broken.example.net/hosts.toml`, 'server = \n')
    await node.run(['mkdir', `${CERTS}/empty.example.net`])
    const sick = await agent.command('doctor', '--json')
    t.equal(sick.code, 3)
    const { ailments } = JSON.parse(sick.stdout) as {
      ailments: { severity: string; where: string; what: string; remedy: string }[]
    }
    const places = ailments.map(({ where }) => where)
    for (const place of [
      `${CERTS}/${HOST}/host.toml`,
      `${CERTS}/broken.example.net/hosts.toml:2`,
      `${CERTS}/empty.example.net`,
      HOST,
    ])
      t.ok(
        places.some((one) => one.startsWith(place)),
        `${place} is named in ${places.join(' ')}`,
      )
    t.same(
      ailments.map(({ severity }) => severity),
      ['error', 'warning', 'info'].flatMap((kind) =>
        ailments.map(({ severity }) => severity).filter((severity) => severity === kind),
      ),
      'errors first',
    )
    t.ok(ailments.every(({ remedy }) => remedy.length > 10))

    const before = await agent.command('explain', registry.reference(), '--json')
    t.equal(before.code, 3)
    t.match(JSON.parse(before.stdout), { host: HOST, hostsFile: null, finding: { code: 'unknown-authority' } })

    await node.run(['rm', '-r', `${CERTS}/${HOST}`, `${CERTS}/broken.example.net`, `${CERTS}/empty.example.net`])
    t.equal((await agent.apply()).code, 0)
    const after = await agent.command('explain', registry.reference(), '--json')
    t.equal(after.code, 0, after.stdout)
    t.match(JSON.parse(after.stdout), {
      hostsFile: `${CERTS}/${HOST}/hosts.toml`,
      endpoints: [{ url: `https://${HOST}`, ca: [`${CERTS}/${HOST}/ca.crt`], skipVerify: false }],
      finding: { code: 'trusted' },
    })
    const well = await agent.command('doctor')
    t.notMatch(well.stdout, /^error/m, well.stdout)
  })
