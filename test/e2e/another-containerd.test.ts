// `plan --with-containerd`: an upgrade that loses the registries is told before it, by the new program itself.
import { join } from 'node:path'
import t from 'tap'
import {
  AgentOnNode,
  BY_SIGNAL,
  contents,
  generationsToTest,
  startPrivateRegistry,
} from '../fixtures/e2e/agent-on-node.ts'
import { defaultConfig, startSandboxNode } from '../fixtures/node/sandbox-node.ts'

const HOST = 'harbor.example.net'
const CONFIG = '/etc/containerd/config.toml'

type Answer = {
  readonly version: string
  readonly now: { readonly verdict: string; readonly reason?: string; readonly proofs?: readonly object[] }
  readonly afterwards: { readonly verdict: string; readonly proofs?: readonly object[] }
  readonly changes: readonly { readonly path: string }[]
  readonly defects: readonly { readonly id: string }[]
}

const generations = generationsToTest()
const [first] = generations
const later = generations.find(({ label }) => label.startsWith('2.'))
if (first !== undefined && later !== undefined && first.label.startsWith('1.'))
  t.test(`containerd ${first.version} before an upgrade to ${later.version}`, { timeout: 240_000 }, async (t) => {
    const node = await startSandboxNode({ generation: first, config: legacyConfig('/etc/containerd/corp.pem') })
    t.teardown(() => node.dispose())
    const { registry, authority } = await startPrivateRegistry(node, HOST)
    await node.writeFile('/etc/containerd/corp.pem', authority.pem)
    await node.stopContainerd()
    await node.startContainerd()
    t.match(await node.pull(registry.reference()), { ok: true }, 'it pulls today')
    const agent = await AgentOnNode.on(node)
    const trust = { registries: [{ host: HOST, ca: 'ca.pem' }], targets: { systemTrust: { enabled: false } } }
    await agent.configure({ ...trust, ...BY_SIGNAL }, { 'ca.pem': authority.pem })
    const before = await contents(node, '/etc/containerd')
    const ask = async (bin: string) => {
      const { code, stdout, stderr } = await agent.command(
        'plan',
        '--json',
        '--with-containerd',
        join(bin, 'containerd'),
      )
      if (stdout === '') throw new Error(stderr)
      return { code, answer: JSON.parse(stdout) as Answer }
    }

    const same = await ask(first.bin)
    t.equal(same.code, 0, 'the same program trusts what it trusts')
    const upgrade = await ask(later.bin)
    t.equal(upgrade.code, 2, JSON.stringify(upgrade.answer))
    t.match(upgrade.answer.now, { verdict: 'passed', proofs: [{ host: HOST, finding: { code: 'unknown-authority' } }] })
    t.match(upgrade.answer.afterwards, { verdict: 'passed', proofs: [{ host: HOST, finding: { code: 'trusted' } }] })
    t.ok(upgrade.answer.changes.some(({ path }) => path === CONFIG))
    t.ok(upgrade.answer.defects.some(({ id }) => id === 'config-path-list'))
    t.equal(await contents(node, '/etc/containerd'), before, 'nothing was written')

    await node.writeFile(CONFIG, 'version = 3\n[plugins]\n[plugins]\n')
    const broken = await ask(later.bin)
    t.equal(broken.code, 1)
    t.match(broken.answer.now.verdict, /failed|not-rehearsed/)
    const missing = await agent.command('plan', '--with-containerd', '/opt/nothing/containerd')
    t.equal(missing.code, 1)
    t.match(missing.stderr + missing.stdout, /\/opt\/nothing\/containerd/)
  })

function legacyConfig(caFile: string): string {
  if (first === undefined) throw new Error('no containerd to test on')
  // A file of version 2 with the sections that containerd 2 reads past.
  return defaultConfig(first).replace(
    /^(\s*)\[plugins\."io\.containerd\.grpc\.v1\.cri"\.registry\.configs\]$/m,
    `$&\n$1  [plugins."io.containerd.grpc.v1.cri".registry.configs."${HOST}".tls]\n$1    ca_file = "${caFile}"`,
  )
}
