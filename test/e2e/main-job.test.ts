// The main job on each containerd generation: a pull fails with unknown authority, `apply` fixes the node, the same
// pull works. What needs no restart is tried on one of them a day, and on all with REGISTRY_TRUST_FULL=1.
import t from 'tap'
import {
  AgentOnNode,
  BY_SIGNAL,
  contents,
  fingerprint,
  generationsToTest,
  startPrivateRegistry,
  TRUST_FOLDERS,
} from '../fixtures/e2e/agent-on-node.ts'
import { startSandboxNode } from '../fixtures/node/sandbox-node.ts'
import { partOf } from '../fixtures/turn.ts'

const HOST = 'harbor.example.net'
const UNKNOWN_AUTHORITY = /x509: certificate signed by unknown authority/

for (const generation of generationsToTest()) {
  t.test(`containerd ${generation.version}, from its default config`, async (t) => {
    const node = await startSandboxNode({ generation, runContainers: true })
    t.teardown(() => node.dispose())
    const { registry, authority } = await startPrivateRegistry(node, HOST)
    const container = await node.runContainer()
    const containerBefore = await container.facts()
    const configBefore = await node.readFile('/etc/containerd/config.toml')
    const treeBefore = await contents(node, ...TRUST_FOLDERS)
    const agent = await AgentOnNode.on(node)
    await agent.configure(
      { registries: [{ host: HOST, ca: 'corp-root.pem' }], ...BY_SIGNAL },
      { 'corp-root.pem': authority.pem },
    )

    const before = await node.pull(registry.reference())
    t.match(before, { ok: false, message: UNKNOWN_AUTHORITY }, 'the pull fails with unknown authority')

    const planned = await agent.plan()
    t.equal(planned.code, 2, 'plan says that changes are due')
    t.match(planned.plan, { restart: { required: true }, rehearsal: { verdict: 'passed' } })
    t.equal(await contents(node, ...TRUST_FOLDERS), treeBefore, 'plan wrote nothing')

    const applied = await agent.apply()
    t.equal(applied.code, 0, JSON.stringify(applied.report.problems))
    t.match(applied.report, { outcome: 'applied', findings: [{ host: HOST, finding: { code: 'trusted' } }] })
    t.equal(applied.report.restarts.length, 1, 'one restart')
    t.match(await node.pull(registry.reference()), { ok: true }, 'the same pull works')
    t.equal(await node.restarts(), 1)
    t.match(
      await container.facts(),
      { pid: containerBefore.pid, startedAt: containerBefore.startedAt, state: 'CONTAINER_RUNNING' },
      'the container ran on',
    )
    const configAfter = (await node.readFile('/etc/containerd/config.toml')).split('\n')
    const changedLines = configBefore.split('\n').filter((line, index) => line !== configAfter[index])
    t.equal(changedLines.length, 1, 'one line of config.toml changed')
    t.match(changedLines[0], /^\s*config_path = (""|'')$/)

    const written = await fingerprint(node, ...TRUST_FOLDERS, '/var/lib/registry-trust')
    const again = await agent.apply()
    t.equal(again.code, 0)
    t.match(again.report, { outcome: 'unchanged', changes: [], restarts: [] })
    const after = await fingerprint(node, ...TRUST_FOLDERS, '/var/lib/registry-trust')
    t.equal(withoutLock(after), withoutLock(written), 'the second apply wrote nothing')

    await agent.configure({ registries: [], ...BY_SIGNAL })
    t.equal((await agent.apply()).code, 0)
    await node.writeFile('/etc/containerd/config.toml', configBefore)
    t.equal(await contents(node, ...TRUST_FOLDERS), treeBefore, 'removal restored everything but the one-time edit')
    await node.stopContainerd()
    await node.startContainerd()
    t.match(
      await node.pull(registry.reference()),
      { ok: false, message: UNKNOWN_AUTHORITY },
      'and containerd trusts it no more',
    )
  })
}

for (const generation of partOf(generationsToTest(), 3))
  t.test(
    `containerd ${generation.version}, without a config file: each CA is trusted for its own host only`,
    async (t) => {
      const node = await startSandboxNode({ generation, config: 'none' })
      t.teardown(() => node.dispose())
      const a = await startPrivateRegistry(node, 'a.example.net', { byAddress: true })
      const b = await startPrivateRegistry(node, 'b.example.net', { port: 8443 })
      const agent = await AgentOnNode.on(node)
      const files = { 'a.pem': a.authority.pem, 'b.pem': b.authority.pem }
      const trust = { targets: { systemTrust: { enabled: false } }, ...BY_SIGNAL }
      await agent.configure(
        {
          registries: [
            { host: a.registry.host, ca: 'a.pem' },
            { host: b.registry.host, ca: 'a.pem' },
          ],
          ...trust,
        },
        files,
      )
      const crossed = await agent.apply()
      t.equal(crossed.code, 3, 'a registry with the wrong CA is not proved')
      t.match(crossed.report.findings, [{ finding: { code: 'trusted' } }, { finding: { code: 'unknown-authority' } }])
      t.match(await node.pull(a.registry.reference()), { ok: true })
      t.match(
        await node.pull(b.registry.reference()),
        { ok: false, message: UNKNOWN_AUTHORITY },
        "a's CA does not open b",
      )
      t.match(
        await node.pull(a.registry.referenceByAddress()),
        { ok: false, message: UNKNOWN_AUTHORITY },
        'the address of a is another host',
      )

      await agent.configure({
        registries: [
          { host: a.registry.host, ca: 'a.pem' },
          { host: b.registry.host, ca: 'b.pem' },
          { host: a.registry.address, ca: 'a.pem' },
        ],
        ...trust,
      })
      t.equal((await agent.apply()).code, 0)
      t.match(await node.pull(b.registry.reference()), { ok: true })
      t.match(await node.pull(a.registry.referenceByAddress()), { ok: true }, 'a registry by its address')
      t.equal(await node.restarts(), 1)
    },
  )

for (const generation of partOf(generationsToTest(), 3))
  t.test(`containerd ${generation.version}, config_path already set: no restart`, async (t) => {
    const plugin = generation.expected.registryPlugin
    const config = `version = ${generation.expected.configVersion}\n[plugins."${plugin}".registry]\n  config_path = "/etc/containerd/certs.d"\n`
    const node = await startSandboxNode({ generation, config })
    t.teardown(() => node.dispose())
    const { registry, authority } = await startPrivateRegistry(node, HOST, { port: 5000 })
    const agent = await AgentOnNode.on(node)
    await agent.configure(
      { registries: [{ host: registry.host, ca: 'corp-root.pem' }] },
      { 'corp-root.pem': authority.pem },
    )
    const pid = await node.containerdPid()
    t.match(await node.pull(registry.reference()), { ok: false, message: UNKNOWN_AUTHORITY })
    const applied = await agent.apply()
    t.equal(applied.code, 0, JSON.stringify(applied.report))
    t.match(await node.pull(registry.reference()), { ok: true })
    t.equal(await node.containerdPid(), pid, 'containerd was not restarted')
    t.equal(await node.restarts(), 0)
    t.equal(await node.readFile('/etc/containerd/config.toml'), config)
  })

/** The lock is held by files that come and go in the state folder. */
function withoutLock(listing: string): string {
  return listing
    .split('\n')
    .filter((line) => !line.startsWith('/var/lib/registry-trust '))
    .join('\n')
}
