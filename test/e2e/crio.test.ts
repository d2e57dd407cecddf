// A node whose runtime is CRI-O, with a CRI-O that the user brings (REGISTRY_TRUST_CRIO): it is found, trusts what is
// declared, proves it by its own pulls, and is given back as it was. Skipped by name where none is brought.
import t, { type Test } from 'tap'
import {
  AgentOnNode,
  contents,
  type Daemon,
  newestToTest,
  startPrivateRegistry,
} from '../fixtures/e2e/agent-on-node.ts'
import { createAuthority, issueServer } from '../fixtures/node/certificates.ts'
import { CRIO_SOCKET, Crio, crioVersion, noCrio } from '../fixtures/node/crio.ts'
import { type FixtureRegistry, startRegistry } from '../fixtures/node/registry.ts'

const HOST = 'harbor.example.net'
const FOLDERS = ['/etc/containers', '/etc/crio', '/etc/ssl/certs', '/usr/local/share/ca-certificates']
const UNKNOWN = { ok: false, message: /x509: certificate signed by unknown authority/ }
const skip = noCrio()
const name = `CRI-O ${skip === false ? crioVersion() : ''}`.trim()

t.test(
  `${name}: pulls after apply, through rotation, drift and mirrors, as before after uninstall`,
  { skip, timeout: 240_000 },
  async (t) => {
    const crio = await Crio.startNode({ generation: newestToTest() })
    const { node } = crio
    t.teardown(() => node.dispose())
    const { registry, authority } = await startPrivateRegistry(node, HOST, { port: 5000 })
    const mirror = await startPrivateRegistry(node, 'mirror.example.net', { port: 5001 })
    const image = registry.reference()
    t.match(await node.pull(image), UNKNOWN, 'CRI-O does not trust it before')
    const before = await contents(node, ...FOLDERS)
    const pid = crio.pid()
    const agent = await AgentOnNode.on(node)
    const trust = (more: object = {}) => ({
      anchors: { mirror: { file: 'mirror.pem' } },
      registries: [{ host: registry.host, ca: 'corp-root.pem', ...more }],
      targets: { systemTrust: { enabled: false } },
    })
    const files = { 'corp-root.pem': authority.pem, 'mirror.pem': mirror.authority.pem }
    await agent.configure(trust(), files)

    const planned = await agent.plan()
    t.equal(planned.code, 2, JSON.stringify(planned.plan))
    t.same([...new Set(planned.plan.changes.map(({ target }) => target))], ['containers'])
    const doctor = await agent.command('doctor')
    t.match(doctor.stdout, new RegExp(`^cri-o [0-9.]+, ${CRIO_SOCKET}`))
    t.match(doctor.stdout, /no trusted CA verifies the certificate of harbor\.example\.net:5000/)
    t.notMatch(doctor.stdout, /containerd/, 'nothing of a containerd that nobody has')

    const applied = await agent.apply()
    t.equal(applied.code, 0, JSON.stringify(applied.report))
    t.match(applied.report, { outcome: 'applied', problems: [], restarts: [] })
    t.match(applied.report.findings, [{ host: registry.host, finding: { code: 'trusted' } }])
    t.match(await node.pull(image), { ok: true }, 'CRI-O pulls')
    t.equal((await agent.apply()).report.outcome, 'unchanged')

    const daemon = await agent.startDaemon()
    const status = await daemon.until(({ state }) => state === 'converged')
    t.match(status, {
      runtime: { name: 'cri-o', socket: CRIO_SOCKET },
      registries: [{ state: 'trusted', lastProof: { by: 'live' } }],
    })
    t.match(
      (await daemon.get('/metrics')).body,
      /registry_trust_runtime_info\{runtime="cri-o",runtime_version="[0-9.]+"\} 1/,
    )
    t.equal((await daemon.get('/readyz')).status, 200)

    await t.test('a new root takes over while the old one is still trusted', async (t) => {
      await rotate(t, { crio, agent, daemon, registry, old: authority.pem, trust })
    })
    await t.test('what somebody deletes is put back', async (t) => {
      const path = `/etc/containers/certs.d/${registry.host}/ca.crt`
      await node.run(['rm', path])
      await node.run(['sh', '-c', `until test -e '${path}'; do sleep 0.05; done`])
      await node.removeImage(image).catch(() => undefined)
      t.match(await node.pull(image), { ok: true })
    })
    await t.test('a mirror is asked after a reload, which is told until then', async (t) => {
      await agent.configure(trust({ mirrors: [{ url: `https://${mirror.registry.host}`, anchors: ['mirror'] }] }))
      const told = await daemon.until(({ warnings }) => warnings.some(({ code }) => code === 'RELOAD_PENDING'))
      t.equal(told.state, 'converged', 'nothing else waits for it')
      t.equal(await asked(mirror.registry, () => node.pull(image)), 0, 'not before')
      await crio.reload()
      t.ok((await asked(mirror.registry, () => node.pull(image))) > 0, 'after `systemctl reload crio`')
    })
    await daemon.service.stop()
    t.equal(crio.pid(), pid, 'CRI-O was never restarted')

    const uninstalled = await agent.command('uninstall', '--json')
    t.equal(uninstalled.code, 0, uninstalled.stdout + uninstalled.stderr)
    t.equal(await contents(node, ...FOLDERS), before, 'every byte is as before')
    await crio.reload()
    t.match(await node.pull(registry.reference('library/hello:2')), UNKNOWN, 'not trusted after uninstall')
  },
)

t.test(`${name}: logs in, and never repeats a wrong password`, { skip, timeout: 240_000 }, async (t) => {
  const crio = await Crio.startNode({ generation: newestToTest() })
  const { node } = crio
  t.teardown(() => node.dispose())
  const authority = await createAuthority(node.scratch, 'Login Root')
  const certificate = await issueServer(authority, node.scratch, ['login.example.net'])
  const credentials = { username: 'puller', password: 'correct horse' }
  const registry = await startRegistry(node, { host: 'login.example.net', certificate, credentials })
  const agent = await AgentOnNode.on(node)
  const trust = {
    registries: [
      { host: registry.host, ca: 'root.pem', credentials: { usernameFile: 'user', passwordFile: 'password' } },
    ],
  }
  await agent.configure(trust, { 'root.pem': authority.pem, user: credentials.username, password: 'wrong' })
  const refused = await agent.apply()
  t.match(refused.report.findings, [{ finding: { code: 'login-refused' } }], 'trust is proved, the login is not')
  const withPassword = (await registry.accessLog()).filter(
    ({ status, url }) => status === 401 && url.startsWith('/v2/'),
  ).length
  t.ok(withPassword <= 6, `${withPassword} requests were refused`)
  await agent.configure(trust, { password: credentials.password })
  const accepted = await agent.apply()
  t.equal(accepted.code, 0, JSON.stringify(accepted.report))
  t.match(accepted.report.findings, [{ finding: { code: 'trusted' } }])
})

t.test(`${name}: what would take trust away is not written`, { skip, timeout: 240_000 }, async (t) => {
  const crio = await Crio.startNode({ generation: newestToTest() })
  const { node } = crio
  t.teardown(() => node.dispose())
  const { registry, authority } = await startPrivateRegistry(node, HOST)
  const agent = await AgentOnNode.on(node)
  await agent.configure({ registries: [{ host: HOST, ca: 'root.pem' }] }, { 'root.pem': authority.pem })
  t.equal((await agent.apply()).code, 0)
  const good = await contents(node, '/etc/containers')
  await t.test('the cri-proxy of a Pod passes its pulls on', async (t) => {
    const flags = ['--cri-proxy', '/run/registry-trust/cri.sock', '--containerd-address', CRIO_SOCKET]
    await node.run(['mkdir', '-p', '/run/registry-trust'])
    const proxy = await node.start(agent.argv('cri-proxy', ...flags))
    const seen = await agent.apply(...flags)
    t.match(seen.report, { outcome: 'unchanged', findings: [{ by: 'live', finding: { code: 'trusted' } }] })
    await proxy.stop()
  })
  const other = await createAuthority(node.scratch, 'Another Root')
  await agent.configure({ registries: [{ host: HOST, ca: 'root.pem' }] }, { 'root.pem': other.pem })
  const undone = await agent.apply()
  t.equal(undone.code, 4, 'the store of the node still verifies, and CRI-O has read it before')
  t.match(undone.report, { outcome: 'rolled-back', problems: [{ code: 'TRUST_LOST' }] })
  t.equal(await contents(node, '/etc/containers'), good)
  t.match(await node.pull(registry.reference()), { ok: true })

  const foldersAlone = { registries: [{ host: HOST, ca: 'root.pem' }], targets: { systemTrust: { enabled: false } } }
  await agent.configure(foldersAlone, { 'root.pem': authority.pem })
  t.equal((await agent.apply()).code, 0)
  await agent.configure(foldersAlone, { 'root.pem': other.pem })
  t.match((await agent.apply()).report.problems, [{ code: 'ANCHOR_WOULD_ORPHAN' }])
  t.match(await node.pull(registry.reference()), { ok: true })

  await crio.stop()
  const down = await agent.apply()
  t.equal(down.report.outcome, 'no-containerd')
  t.match(down.report.problems, [{ code: /CRI_UNREACHABLE|CONTAINERD_NOT_FOUND/ }])
})

type Rotation = {
  readonly crio: Crio
  readonly agent: AgentOnNode
  readonly daemon: Daemon
  readonly registry: FixtureRegistry
  readonly old: string
  readonly trust: (more?: object) => object
}

async function rotate(t: Test, { crio: { node }, agent, daemon, registry, old, trust }: Rotation): Promise<void> {
  const next = await createAuthority(node.scratch, 'Next Root')
  const before = (await daemon.status()).generation
  await agent.configure(trust(), { 'corp-root.pem': old + next.pem })
  await daemon.until(({ generation, state }) => generation !== before && state === 'converged')
  await registry.stop()
  const [host = '', port] = registry.host.split(':')
  const certificate = await issueServer(next, node.scratch, [host])
  const renewed = await startRegistry(node, { host, port: Number(port), certificate })
  t.match(await node.pull(renewed.reference()), { ok: true })
}

async function asked(registry: FixtureRegistry, work: () => Promise<unknown>): Promise<number> {
  const before = (await registry.accessLog()).length
  await work()
  return (await registry.accessLog()).length - before
}
