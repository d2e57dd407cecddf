// Profile `hosts`: without any socket of the node the agent writes host directories and proves them by the rehearsal.
import { join } from 'node:path'
import t from 'tap'
import { AgentOnNode, oldestToTest, sampledGenerations, startPrivateRegistry } from '../fixtures/e2e/agent-on-node.ts'
import type { FixtureNode } from '../fixtures/node/fixture-node.ts'
import type { Generation } from '../fixtures/node/generations.ts'
import { defaultConfig, startSandboxNode, withConfigPath } from '../fixtures/node/sandbox-node.ts'

const HOST = 'harbor.example.net'

for (const generation of sampledGenerations()) {
  t.test(`containerd ${generation.version}: trusted without a socket`, async (t) => {
    const node = await startSandboxNode({ generation, config: withConfigPath(defaultConfig(generation)) })
    t.teardown(() => node.dispose())
    await installBinary(node, generation)
    const { registry, authority } = await startPrivateRegistry(node, HOST)
    const agent = await AgentOnNode.on(node)
    const targets = { targets: { systemTrust: { enabled: false } } }
    await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }], ...targets }, { 'ca.pem': authority.pem })
    const applied = await agent.apply('--containerd-address', 'none')
    t.equal(applied.code, 0, JSON.stringify(applied.report))
    t.match(applied.report, {
      outcome: 'applied',
      rehearsal: { verdict: 'passed' },
      findings: [{ finding: { code: 'trusted' } }],
    })
    t.match(await node.pull(registry.reference()), { ok: true }, 'the live containerd pulls too')
    const daemon = await agent.startDaemon('--containerd-address', 'none')
    const status = await daemon.until(({ state }) => state === 'converged')
    t.match(status.registries, [{ state: 'rehearsed', finding: { code: 'trusted' } }])
    t.equal((await daemon.get('/readyz')).status, 200)
  })
}

const generation = oldestToTest()

t.test('without config_path nothing is edited: the restart that is needed is reported', async (t) => {
  const node = await startSandboxNode({ generation })
  t.teardown(() => node.dispose())
  await installBinary(node, generation)
  const { authority } = await startPrivateRegistry(node, HOST)
  const agent = await AgentOnNode.on(node)
  await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }] }, { 'ca.pem': authority.pem })
  const config = await node.readFile('/etc/containerd/config.toml')
  const applied = await agent.apply('--containerd-address', 'none')
  t.equal(applied.code, 6)
  t.match(applied.report.restartPending, /config_path is not set.*no socket/)
  t.equal(await node.readFile('/etc/containerd/config.toml'), config)
})

/** The agent looks where packages put the binary; on a fixture node it is on PATH only. */
async function installBinary(node: FixtureNode, { bin }: Generation): Promise<void> {
  const place =
    'if [ -e /usr/bin/containerd ]; then mount --bind "$1" /usr/bin/containerd; else mount -t tmpfs tmpfs /usr/local/bin && ln -s "$1" /usr/local/bin/containerd; fi'
  await node.run(['sh', '-c', place, 'sh', join(bin, 'containerd')])
}
