// config.toml that imports a file that imports another one: containerd reads all three, so the agent must judge by all
// three.
import t from 'tap'
import { AgentOnNode, BY_SIGNAL, sampledGenerations, startPrivateRegistry } from '../fixtures/e2e/agent-on-node.ts'
import { defaultConfig, startSandboxNode, withConfigPath } from '../fixtures/node/sandbox-node.ts'

const HOST = 'harbor.example.net'
const CONFIG = '/etc/containerd/config.toml'

for (const generation of sampledGenerations())
  t.test(`containerd ${generation.version}`, { timeout: 240_000 }, async (t) => {
    const whole = defaultConfig(generation)
    const version = /^version = \d/m.exec(whole)?.[0] ?? ''
    const main = `${version}\nimports = ["/etc/containerd/conf.d/*.toml"]\n`
    const node = await startSandboxNode({ generation, config: main, startContainerd: false })
    t.teardown(() => node.dispose())
    await node.writeFile('/etc/containerd/conf.d/10-site.toml', `${version}\nimports = ["../site/registry.toml"]\n`)
    const withoutImports = whole.replace(/^imports = .*\n/m, '')
    await node.writeFile('/etc/containerd/site/registry.toml', withConfigPath(withoutImports))
    await node.startContainerd()
    const { registry, authority } = await startPrivateRegistry(node, HOST)
    const agent = await AgentOnNode.on(node)
    await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL }, { 'ca.pem': authority.pem })
    t.match(await node.pull(registry.reference()), { ok: false, message: /x509/ })

    const { code, report } = await agent.apply()
    t.equal(code, 0, JSON.stringify(report))
    t.match(report, { outcome: 'applied', restarts: [], rehearsal: { verdict: 'passed' } })
    t.match(await node.pull(registry.reference()), { ok: true })
    t.equal(await node.readFile(CONFIG), main, 'config_path is set already, if not here')
    t.equal(await node.restarts(), 0)

    await agent.configure({ mode: 'audit', registries: [{ host: HOST, ca: 'ca.pem' }] })
    const daemon = await agent.startDaemon()
    t.same((await daemon.until(({ state }) => state === 'audit')).drift, [])
    const elsewhere = withConfigPath(withoutImports, '/etc/elsewhere/certs.d')
    // What is imported by imported files comes last, and wins.
    await node.writeFile('/etc/containerd/site/late.toml', elsewhere)
    await node.writeFile('/etc/containerd/conf.d/20-late.toml', `${version}\nimports = ["../site/late.toml"]\n`)
    const { drift } = await daemon.until((status) => status.drift.length > 0)
    t.ok(drift.length > 0, 'a file that comes later is seen at once, not only by the next resync')
  })
