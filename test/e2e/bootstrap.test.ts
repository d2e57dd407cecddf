// A node that was set up with the output of `bootstrap` trusts before the agent is there; the agent finds its work done,
// takes it for its own, and takes it away again.
import { posix } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import {
  AgentOnNode,
  BY_SIGNAL,
  contents,
  generationsToTest,
  startPrivateRegistry,
} from '../fixtures/e2e/agent-on-node.ts'
import { defaultConfig, type SandboxNode, startSandboxNode, withConfigPath } from '../fixtures/node/sandbox-node.ts'

const HOST = 'harbor.example.net'
const FOLDERS = ['/etc/ssl/certs', '/usr/local/share/ca-certificates']
const CERTS_D = '/etc/containerd/certs.d'

type CloudConfig = {
  readonly write_files: readonly { readonly path: string; readonly permissions: string; readonly content: string }[]
  readonly runcmd: readonly (readonly string[])[]
}

t.test(
  'cloud-init: pulls before the agent, adopted by it, and gone after uninstall',
  { timeout: 240_000 },
  async (t) => {
    const generation = generationsToTest().at(-1)
    if (generation === undefined) throw new Error('no containerd to test with')
    const node = await startSandboxNode({ generation, config: withConfigPath(defaultConfig(generation)) })
    t.teardown(() => node.dispose())
    const { registry, authority } = await startPrivateRegistry(node, HOST, { port: 5000 })
    const agent = await AgentOnNode.on(node)
    // What the system's own tool makes of this machine's store is no work of ours.
    await node.run(['update-ca-certificates'])
    const before = await contents(node, ...FOLDERS)
    await agent.configure(
      { registries: [{ host: registry.host, ca: 'ca.pem' }], ...BY_SIGNAL },
      { 'ca.pem': authority.pem },
    )
    const { code, stdout, stderr } = await agent.command('bootstrap', '--for', 'cloud-init')
    t.equal(code, 0, stderr)
    t.match(stderr, /config_path/, 'what it takes besides is said')
    t.match(await node.pull(registry.reference()), { ok: false })
    await asCloudInit(node, stdout)
    t.match(await node.pull(registry.reference()), { ok: true }, 'pulls without an agent')
    const curl = ['curl', '--silent', '--show-error', '--fail', `https://${registry.host}/v2/`]
    t.equal((await node.exec(curl)).code, 0, 'the system store has it too')

    const applied = await agent.apply()
    t.match(
      applied.report.problems.map(({ code: one }) => one),
      ['OWNERSHIP_ADOPTED'],
    )
    t.same(applied.report.changes, [], 'nothing is left to do')
    t.equal((await agent.command('uninstall')).code, 0)
    t.equal(await contents(node, ...FOLDERS), before, 'what was bootstrapped goes with the agent')
    t.not((await node.exec(['test', '-e', CERTS_D])).code, 0, 'the host directories too')
  },
)

/** What cloud-init does with the two modules, as its documentation says; cloud-init itself is not run. */
async function asCloudInit(node: SandboxNode, text: string): Promise<void> {
  const { write_files: files, runcmd } = parse(text) as CloudConfig
  for (const { path, permissions, content } of files) {
    await node.run(['mkdir', '-p', posix.dirname(path)])
    await node.writeFile(path, content)
    await node.run(['chmod', permissions, path])
  }
  for (const argv of runcmd) await node.run(argv)
}
