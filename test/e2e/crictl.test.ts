// /etc/crictl.yaml on a real node: it leads to a socket at an unusual place, doctor says when it leads elsewhere, and
// the agent repairs it only when asked. crictl itself is in no Debian suite that the fixtures come from: what it would
// read is read here.
import t from 'tap'
import { AgentOnNode, BY_SIGNAL, newestToTest, startPrivateRegistry } from '../fixtures/e2e/agent-on-node.ts'
import { defaultConfig, startSandboxNode, withConfigPath } from '../fixtures/node/sandbox-node.ts'

const HOST = 'harbor.example.net'
const FILE = '/etc/crictl.yaml'
const SOCKET = '/run/unusual/containerd.sock'

t.test('crictl.yaml', async (t) => {
  const generation = newestToTest()
  const config = '/etc/containerd/config.toml'
  const node = await startSandboxNode({
    generation,
    config: withConfigPath(defaultConfig(generation)),
    places: { config, socket: SOCKET, arguments: ['-c', config, '-a', SOCKET] },
  })
  t.teardown(() => node.dispose())
  const { registry, authority } = await startPrivateRegistry(node, HOST)
  const agent = await AgentOnNode.on(node)
  const configure = (enabled: boolean) =>
    agent.configure(
      {
        registries: [{ host: HOST, ca: 'ca.pem' }],
        targets: { crictl: { enabled }, systemTrust: { enabled: false } },
        ...BY_SIGNAL,
      },
      { 'ca.pem': authority.pem },
    )
  await configure(false)

  await node.writeFile(
    FILE,
    `runtime-endpoint: unix://${SOCKET}\nimage-endpoint: unix:///run/other.sock\ntimeout: 10\n`,
  )
  const before = await node.readFile(FILE)
  t.equal((await agent.apply()).code, 0, 'the endpoint is found from there')
  t.match(await node.pull(registry.reference()), { ok: true })
  t.equal(await node.readFile(FILE), before)
  const sick = await agent.command('doctor')
  t.equal(sick.code, 3)
  t.match(sick.stdout, /warning.*crictl\.yaml: image-endpoint names \/run\/other\.sock.*\n.*targets\.crictl/)

  await configure(true)
  t.equal((await agent.apply()).code, 0)
  t.match(await node.readFile(FILE), new RegExp(`^image-endpoint: unix://${SOCKET} `, 'm'))
  t.notMatch((await agent.command('doctor')).stdout, /crictl/)

  t.equal((await agent.command('uninstall')).code, 0)
  t.equal(await node.readFile(FILE), before)

  await node.writeFile(FILE, 'timeout: 10\n')
  const unnamed = await agent.command('doctor', '--containerd-address', SOCKET)
  t.match(unnamed.stdout, /info.*crictl\.yaml: names no runtime-endpoint/)
})
