// A node without containerd: docker, podman, skopeo and curl need none, so apply, healing and uninstall do not either.
import { join } from 'node:path'
import t from 'tap'
import { AgentOnNode, contents, newestToTest, startPrivateRegistry } from '../fixtures/e2e/agent-on-node.ts'
import { Builders } from '../fixtures/node/builders.ts'
import { createAuthority } from '../fixtures/node/certificates.ts'
import type { ExecResult } from '../fixtures/node/namespaces.ts'
import { type SandboxNode, startSandboxNode } from '../fixtures/node/sandbox-node.ts'

const HOST = 'harbor.example.net'
const FOLDERS = ['/etc/docker', '/etc/containers', '/etc/ssl/certs', '/usr/local/share/ca-certificates']
const DOCKERS_OWN = '/run/docker/containerd/containerd.sock'
const CA_OF_DOCKER = `/etc/docker/certs.d/${HOST}:5000/ca.crt`

t.test('docker, podman, skopeo and curl on a node without containerd', { timeout: 240_000 }, async (t) => {
  const generation = newestToTest()
  const node = await startSandboxNode({ generation, startContainerd: false })
  t.teardown(() => node.dispose())
  const { registry, authority } = await startPrivateRegistry(node, HOST, { port: 5000 })
  const builders = await Builders.on(node)
  await startContainerdOfDocker(node, generation.bin)
  await builders.startDockerd(DOCKERS_OWN)
  const image = registry.reference()
  const programs: { readonly [name: string]: () => Promise<ExecResult> } = {
    skopeo: () => builders.skopeo('inspect', `docker://${image}`),
    podman: () => builders.podman('pull', image),
    docker: () => builders.docker('pull', image),
    curl: () => node.exec(['curl', '--silent', '--show-error', '--fail', `https://${registry.host}/v2/`]),
  }
  const refused = async (when: string) => {
    for (const [name, run] of Object.entries(programs)) {
      const { code, stdout, stderr } = await run()
      t.not(code, 0, `${name} is refused ${when}`)
      t.match(stdout + stderr, /unknown authority|unable to get local issuer/, `${name} names the cause ${when}`)
    }
  }
  const works = async (when: string) => {
    for (const [name, run] of Object.entries(programs)) {
      const { code, stdout, stderr } = await run()
      t.equal(code, 0, `${name} works ${when}: ${stdout}${stderr}`.slice(0, 400))
    }
  }
  await refused('before')
  const before = await contents(node, ...FOLDERS)
  const agent = await AgentOnNode.on(node)
  const registries = [{ host: registry.host, ca: 'corp-root.pem' }]
  await agent.configure({ registries }, { 'corp-root.pem': authority.pem })

  // Nobody said that there is no containerd: what needs none is written, and the rest is told.
  const missed = await agent.apply()
  t.equal(missed.code, 1)
  t.match(missed.report, { outcome: 'no-containerd', problems: [{ code: 'CONTAINERD_NOT_FOUND' }] })
  t.match(missed.report.problems[0]?.remedy, /targets\.containerd\.enabled: false/)
  t.match(missed.report.findings, [{ host: registry.host, finding: { code: 'trusted' } }], 'proved by a handshake')
  t.same([...new Set(missed.report.changes.map(({ target }) => target))], ['system-trust', 'docker', 'containers'])
  await works('without a word on containerd')

  await agent.configure({ registries, targets: { containerd: { enabled: false } } })
  const told = await agent.apply()
  t.equal(told.code, 0, JSON.stringify(told.report))
  t.match(told.report, { outcome: 'unchanged', problems: [] })

  const foldersAlone = { registries, targets: { containerd: { enabled: false }, systemTrust: { enabled: false } } }
  await agent.configure(foldersAlone)
  t.equal((await agent.apply()).code, 0)
  const other = await createAuthority(node.scratch, 'Another Root')
  await agent.configure(foldersAlone, { 'corp-root.pem': other.pem })
  t.match((await agent.apply()).report.problems, [{ code: 'ANCHOR_WOULD_ORPHAN' }])
  const kept = await node.readFile(CA_OF_DOCKER)
  t.ok(kept.includes(authority.pem) && kept.includes(other.pem), 'both stay until the new one verifies')
  await agent.configure({ registries, targets: { containerd: { enabled: false } } }, { 'corp-root.pem': authority.pem })
  t.equal((await agent.apply()).code, 0)
  t.equal(await node.readFile(CA_OF_DOCKER), authority.pem)

  const daemon = await agent.startDaemon()
  const status = await daemon.until(({ state }) => state === 'converged')
  t.match(status.registries, [{ host: registry.host, state: 'trusted' }])
  t.equal((await daemon.get('/readyz')).status, 200)
  await node.run(['rm', CA_OF_DOCKER])
  await node.run(['sh', '-c', `until test -e '${CA_OF_DOCKER}'; do sleep 0.05; done`])
  const { code, stderr } = await builders.docker('pull', image)
  t.equal(code, 0, `docker works after the daemon put back what was deleted: ${stderr}`)
  await daemon.service.stop()

  const uninstalled = await agent.command('uninstall', '--json')
  t.equal(uninstalled.code, 0, uninstalled.stdout + uninstalled.stderr)
  t.equal(await contents(node, ...FOLDERS), before, 'every byte is as before')
  await builders.podman('rmi', '--all', '--force')
  await builders.docker('rmi', '--force', image)
  await refused('after uninstall')
})

/** As dockerd starts it where no unit does: at a place of its own, without the CRI plugin. */
async function startContainerdOfDocker(node: SandboxNode, bin: string): Promise<void> {
  const config = '/run/docker/containerd/containerd.toml'
  await node.writeFile(config, 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
  const places = ['--root', '/run/docker/containerd/daemon', '--state', '/run/docker/containerd/state']
  await node.start([join(bin, 'containerd'), '--config', config, '--address', DOCKERS_OWN, ...places])
  await node.run(['sh', '-c', `until test -S ${DOCKERS_OWN}; do sleep 0.05; done`])
}
