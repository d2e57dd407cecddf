// Legacy registry sections, as the field's guides have them: moved, verified, proved, and given back by uninstall.
import t from 'tap'
import {
  AgentOnNode,
  BY_SIGNAL,
  contents,
  oldestToTest,
  sampledGenerations,
  startPrivateRegistry,
  TRUST_FOLDERS,
} from '../fixtures/e2e/agent-on-node.ts'
import { nodeWithRegistry } from '../fixtures/e2e/registry-node.ts'
import { startSandboxNode } from '../fixtures/node/sandbox-node.ts'

const HOST = 'harbor.example.net'
const PLUGIN = 'io.containerd.grpc.v1.cri'

/** The example that guides for Harbor give: a mirror of itself, verification off, and a password in plain text. */
const HARBOR = `version = 2
# our node
[plugins."${PLUGIN}".registry]
  [plugins."${PLUGIN}".registry.mirrors]
    [plugins."${PLUGIN}".registry.mirrors."${HOST}"]
      endpoint = ["https://${HOST}"]
  [plugins."${PLUGIN}".registry.configs]
    [plugins."${PLUGIN}".registry.configs."${HOST}".tls]
      insecure_skip_verify = true
`

for (const generation of sampledGenerations()) {
  const isOne = generation.label.startsWith('1.')
  t.test(`containerd ${generation.version}: the Harbor example`, async (t) => {
    const node = await startSandboxNode({ generation, config: HARBOR })
    t.teardown(() => node.dispose())
    const { registry, authority } = await startPrivateRegistry(node, HOST)
    const before = await contents(node, ...TRUST_FOLDERS)
    t.equal((await node.pull(registry.reference())).ok, isOne, 'insecure on 1.x; 2.x ignores the setting')
    const agent = await AgentOnNode.on(node)
    await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL }, { 'ca.pem': authority.pem })
    const applied = await agent.apply()
    t.equal(applied.code, 0, JSON.stringify(applied.report))
    t.match(await node.pull(registry.reference()), { ok: true })
    const config = await node.readFile('/etc/containerd/config.toml')
    t.match(config, /# our node/)
    // 2.x ignores configs.*.tls anyway: it stays and is told.
    t.notMatch(config, isOne ? /endpoint|insecure/ : /endpoint/)
    const hosts = await node.readFile(`/etc/containerd/certs.d/${HOST}/hosts.toml`)
    t.notMatch(hosts, /skip_verify/, 'verification is on again')
    t.equal((await agent.apply()).report.outcome, 'unchanged')
    const gone = await agent.command('uninstall')
    t.equal(gone.code, 0, gone.stdout)
    t.equal(await contents(node, ...TRUST_FOLDERS), before, 'uninstall gives everything back')
  })
}

const generation = oldestToTest()

t.test(
  'a CA that does not verify the registry: the insecure setting stays, the registry works on, and it is said',
  async (t) => {
    const node = await startSandboxNode({ generation, config: HARBOR })
    t.teardown(() => node.dispose())
    const { registry } = await startPrivateRegistry(node, HOST)
    const other = await startPrivateRegistry(node, 'other.example.net')
    const agent = await AgentOnNode.on(node)
    await agent.configure(
      { registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL },
      { 'ca.pem': other.authority.pem },
    )
    const applied = await agent.apply()
    t.match(applied.report.problems, [{ code: 'ANCHOR_WOULD_ORPHAN', message: /harbor\.example\.net is trusted now/ }])
    t.match(await node.pull(registry.reference()), { ok: true })
    t.match(await node.readFile(`/etc/containerd/certs.d/${HOST}/hosts.toml`), /skip_verify = true/)
  },
)

t.test('migrate moves also what no declared registry needs', async (t) => {
  const { node, registry, agent } = await nodeWithRegistry(t, HOST, { generation, config: HARBOR })
  await agent.configure({ registries: [], ...BY_SIGNAL })
  t.equal((await agent.apply()).report.outcome, 'unchanged', 'apply leaves a node alone that declares nothing')
  const { code, stdout } = await agent.command('migrate')
  t.equal(code, 0, stdout)
  t.match(stdout, /insecure|verif/i, 'what stays insecure is said')
  t.match(await node.pull(registry.reference()), { ok: true })
  t.notMatch(await node.readFile('/etc/containerd/config.toml'), /endpoint|insecure/)
})

t.test('a rotation keeps the old CA beside the new one until the new one verifies what is served', async (t) => {
  const node = await startSandboxNode({ generation })
  t.teardown(() => node.dispose())
  const { registry, authority } = await startPrivateRegistry(node, HOST)
  const next = await startPrivateRegistry(node, 'next.example.net')
  const agent = await AgentOnNode.on(node)
  const trust = {
    registries: [{ host: HOST, ca: 'ca.pem' }],
    targets: { systemTrust: { enabled: false } },
    ...BY_SIGNAL,
  }
  await agent.configure(trust, { 'ca.pem': authority.pem })
  t.equal((await agent.apply()).code, 0)
  await agent.configure(trust, { 'ca.pem': next.authority.pem })
  const { plan } = await agent.plan()
  t.match(plan.problems, [{ code: 'ANCHOR_WOULD_ORPHAN' }], 'plan says so before anything is written')
  const early = await agent.apply()
  t.match(early.report.problems, [{ code: 'ANCHOR_WOULD_ORPHAN' }])
  t.match(await node.pull(registry.reference()), { ok: true }, 'the change came too early and broke nothing')
  const ca = await node.readFile(`/etc/containerd/certs.d/${HOST}/ca.crt`)
  t.ok(ca.includes(next.authority.pem.trim()) && ca.includes(authority.pem.trim()), 'both are there for the switch')
  const forced = await agent.apply('--allow-orphan')
  t.equal(forced.code, 3)
  t.match(await node.pull(registry.reference()), { ok: false }, 'unless a person says so')
})
