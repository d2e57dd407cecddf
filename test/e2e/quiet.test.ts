// A restart of containerd waits for image pulls: one that ends soon is not interrupted, one that does not puts the
// restart off.
import t from 'tap'
import { connectCri } from '../../agent/node/cri/client.ts'
import { AgentOnNode, BY_SIGNAL, sampledGenerations, startPrivateRegistry } from '../fixtures/e2e/agent-on-node.ts'
import { issueServer } from '../fixtures/node/certificates.ts'
import { CONTAINERD_SOCKET } from '../fixtures/node/fixture-node.ts'
import type { Generation } from '../fixtures/node/generations.ts'
import { CERTS_D, startSandboxNode } from '../fixtures/node/sandbox-node.ts'
import { type Slowness, startSlowRegistry } from '../fixtures/node/slow-registry.ts'

const HOST = 'harbor.example.net'
const SLOW_HOST = 'slow.example.net'
const SOON = { timeoutMs: 20_000 }
const generations = sampledGenerations()

/**
 * containerd has loaded config_path, so that the slow registry can be pulled from, and its file no longer says so: a
 * restart is due.
 */
async function pullingNode(t: Tap, generation: Generation, slowness: Slowness) {
  const node = await startSandboxNode({ generation })
  t.teardown(() => node.dispose())
  const { registry, authority } = await startPrivateRegistry(node, HOST)
  const certificate = await issueServer(authority, node.scratch, [SLOW_HOST])
  const slow = await startSlowRegistry(node, { host: SLOW_HOST, certificate, ...slowness })
  // By the node's own roots: the registry's trust must not depend on what is about to change.
  await node.run(['sh', '-c', 'cat >>/etc/ssl/certs/ca-certificates.crt'], { input: authority.pem })
  await node.stopContainerd()
  await node.startContainerd()
  const agent = await AgentOnNode.on(node)
  const trust = {
    registries: [{ host: HOST, ca: 'ca.pem' }],
    targets: { systemTrust: { enabled: false } },
    ...BY_SIGNAL,
  }
  await agent.configure(trust, { 'ca.pem': authority.pem })
  const cri = connectCri(node.path(CONTAINERD_SOCKET))
  t.teardown(() => cri.close())
  return { node, agent, registry, slow, cri }
}

type Tap = { teardown(work: () => unknown): unknown }

for (const generation of generations)
  t.test(`containerd ${generation.label}: a pull under way ends before containerd is restarted`, async (t) => {
    const slowness = { layerBytes: 4 << 20, chunkBytes: 256 << 10, pauseMs: 150 }
    const { node, agent, slow, cri } = await pullingNode(t, generation, slowness)
    t.same(await cri.activity(SOON), { downloads: [], created: [] }, 'nothing is in flight')
    const pid = await node.containerdPid()
    const pulled = node.pull(slow.reference)
    await slow.service.waitFor(/^layer$/m)
    t.match(
      await cri.activity(SOON),
      { downloads: [{ startedAt: /^20\d\d-/, updatedAt: /^20\d\d-/ }] },
      'containerd tells the download',
    )
    const applied = await agent.apply()
    t.match(await pulled, { ok: true }, 'the pull was not interrupted')
    t.equal(applied.code, 0, JSON.stringify(applied.report))
    t.match(applied.report, { restarts: [{ result: 'ok' }] })
    t.not(await node.containerdPid(), pid)
    t.same(await cri.activity(SOON), { downloads: [], created: [] })
  })

t.test('a pull that does not end in time puts the restart off, and goes on', async (t) => {
  const [generation] = generations
  if (generation === undefined) throw new Error('no containerd to test on')
  const slowness = { layerBytes: 20 << 20, chunkBytes: 1 << 20, pauseMs: 900 }
  const { node, agent, slow } = await pullingNode(t, generation, slowness)
  const pid = await node.containerdPid()
  const config = await node.readFile('/etc/containerd/config.toml')
  const pulled = node.pull(slow.reference, { timeoutMs: 40_000 })
  await slow.service.waitFor(/^layer$/m)
  const applied = await agent.apply()
  t.equal(applied.code, 6, JSON.stringify(applied.report))
  t.match(applied.report, {
    outcome: 'deferred',
    restartPending: 'image pulls are in flight (1 download); waited 10 s for it to end',
  })
  t.equal(await node.containerdPid(), pid)
  t.equal(await node.readFile('/etc/containerd/config.toml'), config)
  t.match(await pulled, { ok: true })
  t.ok((await node.exec(['test', '-e', `${CERTS_D}/${HOST}/hosts.toml`])).code === 0, 'what needs no restart is there')
  t.equal((await agent.apply()).code, 0, 'afterwards it is made')
})
