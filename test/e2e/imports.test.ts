// config.toml that imports a file that imports another one: containerd reads all three, so the agent must judge by all three.
import t from 'tap'
import { defaultConfig, startSandboxNode, withConfigPath } from '../node/sandbox-node.ts'
import { AgentOnNode, BY_SIGNAL, generationsToTest, startPrivateRegistry } from './agent-on-node.ts'

const HOST = 'harbor.example.net'
const CONFIG = '/etc/containerd/config.toml'

for (const generation of generationsToTest())
  t.test(`containerd ${generation.version}`, { timeout: 90_000 }, async (t) => {
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
  })
