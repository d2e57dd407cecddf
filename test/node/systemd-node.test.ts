// Proves the systemd node: a real init, a real unit, a real bus, and containers that outlive a restart of containerd.
import t from 'tap'
import { createAuthority, issueServer } from './certificates.ts'
import { CONTAINERD_CONFIG } from './fixture-node.ts'
import { leftovers, tracesOf } from './leftovers.ts'
import { eachSystemdGeneration, newestSystemdGeneration, systemdNode } from './node-tests.ts'
import { startRegistry } from './registry.ts'
import { CERTS_D, defaultConfig, withConfigPath } from './sandbox-node.ts'
import { startSystemdNode } from './systemd-node.ts'

eachSystemdGeneration(
  t,
  'restarts containerd over D-Bus, and a running container does not notice',
  async (t, generation) => {
    const node = await systemdNode(t, { generation, runContainers: true })
    t.equal(await node.run(['systemctl', 'is-system-running']), 'running\n')
    const version = await node.criVersion()
    t.ok(version.ok && version.version.startsWith(generation.version), 'the generation asked for is the one that runs')
    t.equal(await node.unitProperty('KillMode'), 'process')

    const container = await node.runContainer()
    const facts = await container.facts()
    t.match(facts, { state: 'CONTAINER_RUNNING' })
    const pid = await node.containerdPid()
    const invocation = await node.unitProperty('InvocationID')
    t.match(
      await node.manager('RestartUnit', 'ss', 'containerd.service', 'replace'),
      /^o "\/org\/freedesktop\/systemd1\/job\/\d+"$/,
    )
    t.not(await node.restartedSince(pid), pid)
    t.not(await node.unitProperty('InvocationID'), invocation)
    t.same(await container.facts(), facts)
    t.equal(await node.restarts(), 0, 'a restart by hand is not counted')
  },
)

eachSystemdGeneration(t, 'pulls from a private registry once its CA is put in by hand', async (t, generation) => {
  const node = await systemdNode(t, { generation, config: withConfigPath(defaultConfig(generation)) })
  const ca = await createAuthority(node.scratch, 'Private Root')
  const certificate = await issueServer(ca, node.scratch, ['harbor.example.net'])
  const registry = await startRegistry(node, { host: 'harbor.example.net', certificate })
  t.match(await node.pull(registry.reference()), {
    ok: false,
    message: /x509: certificate signed by unknown authority/,
  })
  await node.writeFile(`${CERTS_D}/harbor.example.net/ca.crt`, ca.pem)
  await node.writeFile(
    `${CERTS_D}/harbor.example.net/hosts.toml`,
    'server = "https://harbor.example.net"\nca = "ca.crt"\n[host]\n',
  )
  t.match(await node.pull(registry.reference()), { ok: true })
})

newestSystemdGeneration(t, 'starts a killed containerd again, and tells it in NRestarts', async (t, generation) => {
  // Debian's unit waits five seconds before it does
  const files = { '/etc/systemd/system/containerd.service.d/fast.conf': '[Service]\nRestartSec=100ms\n' }
  const node = await systemdNode(t, { generation, files })
  const pid = await node.containerdPid()
  await node.manager('KillUnit', 'ssi', 'containerd.service', 'main', '9')
  t.not(await node.restartedSince(pid), pid)
  t.equal(await node.restarts(), 1)
  await node.stopContainerd()
  t.equal(await node.unitProperty('ActiveState'), 'inactive')
  t.match(await node.criVersion(), { ok: false, code: 'UNAVAILABLE' })
  await node.startContainerd()
  t.match(await node.criVersion(), { ok: true })
  t.match(await node.log(), /containerd successfully booted/)
})

newestSystemdGeneration(
  t,
  "takes the package's configuration, none, and folders of the machine",
  async (t, generation) => {
    const [packaged, bare] = await Promise.all([
      systemdNode(t, { generation, config: 'package', binds: [import.meta.dirname] }),
      systemdNode(t, { generation, config: 'none' }),
    ])
    t.match(await packaged.readFile(CONTAINERD_CONFIG), /^version = 2$/m)
    t.match(await packaged.run(['ls', import.meta.dirname]), /systemd-node\.test\.ts/)
    t.match(await packaged.readFile('/proc/sys/kernel/hostname'), new RegExp(`^${packaged.name}$`, 'm'))
    t.not(
      (await packaged.exec(['sh', '-c', 'echo 1 >/proc/sys/vm/overcommit_memory'])).code,
      0,
      'settings of the kernel are read-only',
    )
    t.not((await bare.exec(['test', '-e', CONTAINERD_CONFIG])).code, 0)
    t.match(await bare.criVersion(), { ok: true })
  },
)

eachSystemdGeneration(t, 'leaves no process, mount, namespace, cgroup or file behind', async (t, generation) => {
  const node = await startSystemdNode({ generation, runContainers: true })
  await node.runContainer()
  const traces = tracesOf(node)
  t.teardown(() => traces.close())
  t.not(leftovers(traces).length, 0, 'a living node is seen by the same look')
  await node.dispose()
  t.same(leftovers(traces), [])
})
