// k0s: config_path is set by a drop-in, k0s restarts containerd itself, and nothing is asked of its unit. And the other
// distributions that write config.toml themselves: the refusal names the place where a person can set it.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { layoutNamed } from '../../../agent/containerd/layouts.ts'
import { nothingDesired } from '../../../agent/model/desired-state.ts'
import type { ContainerdFacts } from '../../../agent/model/observed-state.ts'
import { type AgentState, EMPTY_STATE } from '../../../agent/model/state.ts'
import { makePlan } from '../../../agent/reconcile/run/planning.ts'
import { type ScratchNode, scratchNode, treeOf } from '../../fixtures/scratch/carry-out.ts'
import { anchor, desired, makeCa, registry } from '../../fixtures/scratch/sample.ts'

const CONFIG = '/etc/k0s/containerd.toml'
const DROP_IN = '/etc/k0s/containerd.d/registry-trust.toml'
const wanted = desired({
  anchors: [anchor('a', makeCa('Corp Root'))],
  registries: [registry('harbor.example.net', 'a')],
})
const managed = (version: number) =>
  `# k0s_managed=true\nversion = ${version}\nimports = ["/run/k0s/containerd-cri.toml"]\n`
const DROP_IN_OF = {
  2: '[plugins."io.containerd.grpc.v1.cri".registry]',
  3: '[plugins."io.containerd.cri.v1.images".registry]',
} as const

async function factsOn(
  node: ScratchNode,
  { layout = 'k0s', configFile = CONFIG, ...parts }: Partial<ContainerdFacts> = {},
): Promise<ContainerdFacts> {
  const drops = (await node.files.list('/etc/k0s/containerd.d')).map((name) => `/etc/k0s/containerd.d/${name}`)
  const imports = await Promise.all(
    drops.map(async (path) => {
      const state = await node.files.read(path)
      return { path, bytes: state.kind === 'file' ? state.bytes : Buffer.alloc(0) }
    }),
  )
  return {
    socket: '/run/k0s/containerd.sock',
    version: '2.1.9',
    status: { runtimeReady: true, networkReady: true },
    process: undefined,
    unit: undefined,
    missingSandboxImage: undefined,
    configFile,
    config: await node.files.readFollowing(configFile),
    imports,
    importFolders: [],
    layout,
    defaultCertsDirectory: layoutNamed(layout)?.certsDirectory ?? '',
    isConfigGenerated: true,
    ...parts,
  }
}

function nodeWith(t: Test, config: string, dropIns: { readonly [name: string]: string } = {}): ScratchNode {
  const root = t.testdir({
    var: { lib: {} },
    etc: { containerd: {}, k0s: { 'containerd.toml': config, 'containerd.d': dropIns } },
  })
  return scratchNode(root)
}

const plan = async (node: ScratchNode, facts: ContainerdFacts, what = wanted, state: AgentState = EMPTY_STATE) =>
  makePlan({ desired: what, state, facts }, node)

for (const version of [2, 3] as const)
  t.test(`k0s with a configuration of version ${version}: written, taken up, and gone`, async (t) => {
    const node = nodeWith(t, managed(version))
    const before = treeOf(node.root)
    const first = await plan(node, await factsOn(node))
    t.same(first.plan.problems, [])
    t.match(first.plan.restart, { required: true, byHand: /k0s restarts containerd by itself/ })
    const dropIn = first.plan.changes.find(({ path }) => path === DROP_IN)
    t.match(dropIn, { action: 'create', isInForce: true })
    t.equal(
      dropIn?.after.kind === 'file' && dropIn.after.bytes.toString(),
      `# Written by registry-trust-agent: containerd reads host directories from here.\nversion = ${version}\n\n${DROP_IN_OF[version]}\n  config_path = "/etc/containerd/certs.d"\n`,
    )
    t.notOk(
      first.plan.changes.some(({ path }) => path === CONFIG),
      'what k0s writes stays',
    )
    t.match(first.candidateConfig?.toString(), 'config_path = "/etc/containerd/certs.d"', 'rehearsed with it')
    const state = await node.carryOut(first.plan.changes, EMPTY_STATE)
    const facts = await factsOn(node)
    const second = await plan(node, facts, wanted, state)
    t.same(second.plan.changes, [])
    t.equal(second.plan.restart.required, false)
    const status = { runtimeReady: true, networkReady: true, loadedConfigPath: '' }
    const third = await plan(node, { ...facts, status }, wanted, state)
    t.match(third.plan.restart, { required: true, byHand: /k0s restarts containerd by itself/ }, 'still not by us')
    const removal = await plan(node, facts, nothingDesired(wanted), state)
    await node.carryOut(removal.plan.changes, state)
    t.same(treeOf(node.root), before)
  })

t.test('what k0s would not read, or containerd not load, is not written', async (t) => {
  const own = nodeWith(t, 'version = 2\n')
  const refused = await plan(own, await factsOn(own))
  t.match(refused.plan.problems, [
    { code: 'CONFIG_EDIT_UNSUPPORTED', message: /does not begin with "# k0s_managed=true".*set config_path = / },
  ])
  t.same(refused.plan.changes, [])
  const mirrors = `version = 2\n${DROP_IN_OF[2].replace('registry]', 'registry.mirrors."docker.io"]')}\nendpoint = ["https://m.example.net"]\n`
  const legacy = nodeWith(t, managed(2), { 'mirrors.toml': mirrors })
  const both = await plan(legacy, await factsOn(legacy, { version: '1.7.24' }))
  t.match(both.plan.problems, [
    { code: 'LEGACY_REGISTRY_CONFIG', message: /registry\.mirrors \(\/etc\/k0s\/containerd\.d\/mirrors\.toml:2\)/ },
  ])
  t.same(both.plan.changes, [])
})

t.test('k0s merges what others say of the runtime, also for a containerd that would not', async (t) => {
  const gvisor =
    '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runsc]\nruntime_type = "io.containerd.runsc.v1"\n'
  const node = nodeWith(t, managed(2), { 'zz-gvisor.toml': `version = 2\n${gvisor}` })
  const first = await plan(node, await factsOn(node, { version: '1.7.24' }))
  t.ok(first.plan.changes.some(({ path }) => path === DROP_IN))
  const state = await node.carryOut(first.plan.changes, EMPTY_STATE)
  const second = await plan(node, await factsOn(node, { version: '1.7.24' }), wanted, state)
  t.same([second.plan.changes, second.plan.restart.required, second.plan.problems], [[], false, []])
})

t.test('a drop-in of others that sets config_path decides, and stays', async (t) => {
  const text = `version = 3\n${DROP_IN_OF[3]}\nconfig_path = "/etc/k0s/containerd.d/certs.d"\n`
  const node = nodeWith(t, managed(3), { 'cri-registry.toml': text })
  const { plan: made } = await plan(node, await factsOn(node))
  t.equal(made.certsDirectory, '/etc/k0s/containerd.d/certs.d')
  t.notOk(made.changes.some(({ target }) => target === 'containerd-config'))
})

t.test('config_path stays while host directories of others need it', async (t) => {
  const node = nodeWith(t, managed(3))
  const first = await plan(node, await factsOn(node))
  const state = await node.carryOut(first.plan.changes, EMPTY_STATE)
  mkdirSync(join(node.root, '/etc/containerd/certs.d/docker.io'))
  writeFileSync(join(node.root, '/etc/containerd/certs.d/docker.io/hosts.toml'), '')
  const removal = await plan(node, await factsOn(node), nothingDesired(wanted), state)
  t.match(removal.plan.problems, [{ code: 'CONFIG_PATH_IN_USE', message: /docker\.io/ }])
  t.notOk(removal.plan.changes.some(({ path }) => path === DROP_IN))
})

t.test('where config.toml is generated and no drop-in counts, the place to set it is named', async (t) => {
  const cases = [
    ['microk8s', '/var/snap/microk8s/current/args/containerd.toml', /containerd-template\.toml/],
    ['k3s', '/var/lib/rancher/k3s/agent/etc/containerd/config.toml', /config\.toml\.tmpl/],
  ] as const
  for (const [layout, configFile, where] of cases) {
    const node = nodeWith(t, managed(3))
    mkdirSync(join(node.root, configFile, '..'), { recursive: true })
    writeFileSync(join(node.root, configFile), 'version = 3\n')
    const { plan: made } = await plan(node, await factsOn(node, { layout, configFile }))
    t.match(made.problems, [{ code: 'CONFIG_EDIT_UNSUPPORTED', message: where }])
    t.notOk(
      made.changes.some(({ target }) => target === 'containerd-config'),
      layout,
    )
  }
})

t.test('a config.toml in a read-only folder is not edited (Flatcar keeps it below /usr)', async (t) => {
  const node = nodeWith(t, managed(3))
  const configFile = '/usr/share/containerd/config.toml'
  mkdirSync(join(node.root, configFile, '..'), { recursive: true })
  writeFileSync(join(node.root, configFile), 'version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n')
  const files = {
    ...node.files,
    // Fake: root may write everywhere; stands for a read-only file system.
    isWritable: async (folder: string) => folder !== '/usr/share/containerd' && node.files.isWritable(folder),
  }
  const facts = await factsOn(node, { layout: 'plain', configFile, isConfigGenerated: false, imports: [] })
  const { plan: made } = await makePlan({ desired: wanted, state: EMPTY_STATE, facts }, { ...node, files })
  t.match(made.problems, [{ code: 'CONFIG_EDIT_UNSUPPORTED', message: /\/usr\/share\/containerd cannot be written/ }])
  t.notOk(made.changes.some(({ path }) => path === configFile))
})

t.test(
  'a config.toml of /etc in a read-only folder is planned: the write tells that it is mounted read-only',
  async (t) => {
    const configFile = '/etc/containerd/config.toml'
    const node = nodeWith(t, managed(3))
    writeFileSync(join(node.root, configFile), 'version = 2\n')
    // Fake, as above.
    const files = { ...node.files, isWritable: async (folder: string) => folder !== '/etc/containerd' }
    const facts = await factsOn(node, { layout: 'plain', configFile, isConfigGenerated: false, imports: [] })
    const { plan: made } = await makePlan({ desired: wanted, state: EMPTY_STATE, facts }, { ...node, files })
    t.ok(made.changes.some(({ path, action }) => path === configFile && action === 'edit'))
  },
)
