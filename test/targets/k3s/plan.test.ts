// registries.yaml of k3s and RKE2 as a target on a scratch root. (What their starts make of it is tested with a real
// containerd, test/e2e.)
import { chmodSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type DesiredState, nothingDesired } from '../../../agent/model/desired-state.ts'
import type { ContainerdFacts } from '../../../agent/model/observed-state.ts'
import type { NodeFiles } from '../../../agent/model/ports.ts'
import { type AgentState, EMPTY_STATE } from '../../../agent/model/state.ts'
import { observeK3s } from '../../../agent/targets/k3s/observe.ts'
import { planK3s } from '../../../agent/targets/k3s/plan.ts'
import { scratchNode, treeOf } from '../../fixtures/scratch/carry-out.ts'
import { anchor, containerdFacts, desired, makeCa, registry, targetInput } from '../../fixtures/scratch/sample.ts'

const [ca, next] = [makeCa('Corp Root'), makeCa('Next Root')]
const wanted = desired({
  anchors: [anchor('corp', ca)],
  registries: [registry('a.net', 'corp'), registry('b.net:5000', 'corp')],
})
const CA_FILE = '/etc/rancher/k3s/registry-trust/a.net/ca.crt'

function factsOf(layout: string, config = ''): ContainerdFacts {
  return containerdFacts({
    socket: '/run/k3s/containerd/containerd.sock',
    version: 'v2.1.9',
    configFile: '/var/lib/rancher/k3s/agent/etc/containerd/config.toml',
    config: { kind: 'file', bytes: Buffer.from(config), mode: 0o600, uid: 0, gid: 0, mtimeMs: 0 },
    layout,
    defaultCertsDirectory: '/var/lib/rancher/k3s/agent/etc/containerd/certs.d',
    isConfigGenerated: true,
  })
}

function start(t: Test, registries?: string) {
  const root = t.testdir({ etc: { rancher: { k3s: {} } }, var: { lib: {} } })
  const file = join(root, 'etc/rancher/k3s/registries.yaml')
  if (registries !== undefined) writeFileSync(file, registries, { mode: 0o640 })
  const node = scratchNode(root)
  const plan = async (
    state: AgentState,
    now: DesiredState = wanted,
    facts = factsOf('k3s'),
    files: NodeFiles = node.files,
  ) => {
    const input = targetInput(now, state.owned)
    return planK3s(input, await observeK3s(input, facts, files))
  }
  return { root, node, plan, file }
}

t.test('the CA first, then the file that names it; in reverse when it leaves', async (t) => {
  const { root, node, plan, file } = start(t, 'configs:\n  "a.net":\n    auth: {username: u, password: p}\n')
  chmodSync(file, 0o640)
  const before = treeOf(root)
  const first = await plan(EMPTY_STATE)
  t.same(first.problems, [])
  t.same([...first.named.keys()], ['a.net', 'b.net:5000'])
  t.match(first.changes.at(-1), { path: '/etc/rancher/k3s/registries.yaml', action: 'edit' })
  const state = await node.carryOut(first.changes, EMPTY_STATE)
  t.equal(readFileSync(join(root, CA_FILE), 'utf8'), ca.pem)
  t.equal(statSync(file).mode & 0o777, 0o640, 'its mode is kept')
  t.same((await plan(state)).changes, [], 'a second plan is empty')

  writeFileSync(file, 'configs:\n  "a.net":\n    auth: {username: u, password: p}\n')
  t.match((await plan(state)).changes, [{ action: 'edit', drift: 'changed' }], 'overwritten by somebody: healed')
  const healed = await node.carryOut((await plan(state)).changes, state)

  const last = await plan(healed, nothingDesired(wanted))
  t.match(last.changes[0], { path: '/etc/rancher/k3s/registries.yaml' })
  t.same((await node.carryOut(last.changes, healed)).owned, {})
  t.same(treeOf(root), before)
})

t.test('a new file is for root alone, and goes with us', async (t) => {
  const { root, node, plan, file } = start(t)
  const before = treeOf(root)
  const state = await node.carryOut((await plan(EMPTY_STATE)).changes, EMPTY_STATE)
  t.equal(statSync(file).mode & 0o777, 0o600)
  await node.carryOut((await plan(state, nothingDesired(wanted))).changes, state)
  t.same(treeOf(root), before)
})

t.test('another CA changes the CA file alone', async (t) => {
  const { node, plan } = start(t)
  const state = await node.carryOut((await plan(EMPTY_STATE)).changes, EMPTY_STATE)
  const { changes } = await plan(state, { ...wanted, anchors: [anchor('corp', next)] })
  t.same(
    changes.map(({ path }) => path),
    ['a.net', 'b.net:5000'].map((host) => `/etc/rancher/k3s/registry-trust/${host}/ca.crt`),
  )
})

t.test('a host that asks for more than trust is left to hosts.toml, which k3s does not touch then', async (t) => {
  const mirrors = [{ url: 'https://m.net', anchors: [], capabilities: ['pull'] as const, overridePath: false }]
  const { plan } = start(t)
  const { named } = await plan(EMPTY_STATE, {
    ...wanted,
    registries: [{ ...registry('a.net', 'corp'), mirrors }, registry('b.net:5000', 'corp')],
  })
  t.same([...named.keys()], ['b.net:5000'])
})

t.test('an anchor that is broken now keeps what it has', async (t) => {
  const { node, plan } = start(t)
  const state = await node.carryOut((await plan(EMPTY_STATE)).changes, EMPTY_STATE)
  const { changes, named } = await plan(state, { ...wanted, anchors: [anchor('corp')] })
  t.same(changes, [])
  t.equal(named.size, 2)
})

t.test('someone else’s ca_file stays and is a warning; the others are served', async (t) => {
  const { plan } = start(t, 'configs:\n  a.net:\n    tls:\n      ca_file: /theirs.pem\n')
  const { named, problems, warnings, changes } = await plan(EMPTY_STATE)
  t.same([...named.keys()], ['b.net:5000'])
  t.same(problems, [])
  t.match(warnings, [{ code: 'K3S_REGISTRIES_FOREIGN', message: /a\.net names \/theirs\.pem/ }])
  t.notOk(JSON.stringify(changes.map(({ path }) => path)).includes('a.net/'), 'no CA is written for it')
})

t.test('a file that cannot be read is left, with what we put there earlier', async (t) => {
  const { node, plan } = start(t)
  const state = await node.carryOut((await plan(EMPTY_STATE)).changes, EMPTY_STATE)
  const unreadable = { kind: 'unreadable', reason: 'EIO: i/o error' } as const
  const isIt = (path: string) => path === '/etc/rancher/k3s/registries.yaml'
  const files: NodeFiles = {
    ...node.files,
    read: async (path) => (isIt(path) ? unreadable : node.files.read(path)),
    readFollowing: async (path) => (isIt(path) ? unreadable : node.files.readFollowing(path)),
    readSettled: async (path, isWhole) => (isIt(path) ? unreadable : node.files.readSettled(path, isWhole)),
  }
  for (const now of [wanted, nothingDesired(wanted)]) {
    const { changes, problems } = await plan(state, now, factsOf('k3s'), files)
    t.same(changes, [])
    t.match(problems, [{ code: 'NODE_FILE_UNREADABLE', message: /registries\.yaml: .*EIO: i\/o error/ }])
  }
})

t.test('a file that cannot be edited is left, with what we put there earlier', async (t) => {
  const { node, plan, file } = start(t)
  const state = await node.carryOut((await plan(EMPTY_STATE)).changes, EMPTY_STATE)
  writeFileSync(file, 'configs:\n\tpassword: hunter2\n')
  for (const now of [wanted, nothingDesired(wanted)]) {
    const { changes, problems } = await plan(state, now)
    t.same(changes, [])
    t.match(problems, [{ code: 'K3S_REGISTRIES_UNSUPPORTED', message: /registries\.yaml: line 2/ }])
    t.notMatch(problems[0]?.message, /hunter2/)
  }
  rmSync(file)
  symlinkSync('/elsewhere', file)
  t.match(await plan(state), { changes: [], problems: [{ message: /is a link/ }] })
})

t.test('a running containerd does not lose a CA file that its configuration names', async (t) => {
  const { node, plan } = start(t)
  const state = await node.carryOut((await plan(EMPTY_STATE)).changes, EMPTY_STATE)
  const { changes, problems } = await plan(state, nothingDesired(wanted), factsOf('k3s', `ca_file = "${CA_FILE}"\n`))
  t.match(problems, [{ code: 'K3S_RESTART_DUE' }])
  t.notOk(changes.some(({ path }) => CA_FILE.startsWith(path)))
  t.ok(changes.some(({ path }) => path.endsWith('/b.net:5000')))
})

t.test('disable-default-registry-endpoint is seen wherever it is set', async (t) => {
  const text = 'mirrors:\n  a.net:\n    endpoint: ["https://m.net"]\n'
  for (const place of ['config.yaml', 'config.yaml.d/10-own.yaml']) {
    const { root, plan } = start(t, text)
    mkdirSync(join(root, 'etc/rancher/k3s/config.yaml.d'))
    writeFileSync(join(root, 'etc/rancher/k3s', place), 'token: x\ndisable-default-registry-endpoint: true\n')
    const { named, problems } = await plan(EMPTY_STATE)
    t.same([...named.keys()], ['b.net:5000'], place)
    t.match(problems, [{ message: /a\.net has only mirrors/ }])
  }
})

t.test('options of k3s in its unit and its configuration: another file is told, and nothing is written', async (t) => {
  const { root, plan } = start(t)
  writeFileSync(join(root, 'etc/rancher/k3s/config.yaml'), 'private-registry: "/opt/registries.yaml" # ours\n')
  t.match(await plan(EMPTY_STATE), {
    changes: [],
    problems: [{ code: 'K3S_REGISTRIES_UNSUPPORTED', message: /k3s reads \/opt\/registries\.yaml/ }],
  })
  rmSync(join(root, 'etc/rancher/k3s/config.yaml'))
  const unit = {
    name: 'k3s.service',
    loadState: 'loaded',
    activeState: 'active',
    subState: 'running',
    mainPid: 1,
    killMode: 'process',
    execStart: [
      '/usr/local/bin/k3s',
      'server',
      '--private-registry',
      '/opt/other.yaml',
      '--disable-default-registry-endpoint',
    ],
    environment: {},
    restarts: 0,
    result: 'success',
    hasJob: false,
    exitStatus: 0,
  }
  t.match(await plan(EMPTY_STATE, wanted, { ...factsOf('k3s'), unit }), {
    changes: [],
    problems: [{ message: /\/opt\/other\.yaml/ }],
  })
  const mirrored = start(t, 'mirrors:\n  a.net:\n    endpoint: ["https://m.net"]\n')
  const flagged = { ...unit, execStart: ['k3s', 'server', '--disable-default-registry-endpoint'] }
  t.match((await mirrored.plan(EMPTY_STATE, wanted, { ...factsOf('k3s'), unit: flagged })).problems, [
    { message: /a\.net has only mirrors/ },
  ])
  const usual = { ...unit, execStart: ['k3s', 'agent', '--private-registry=/etc/rancher/k3s/registries.yaml'] }
  t.same((await plan(EMPTY_STATE, wanted, { ...factsOf('k3s'), unit: usual })).problems, [])
})

t.test('not on other nodes, not when switched off, not where the folder is missing or a link', async (t) => {
  const { root, plan } = start(t)
  const off = (target: 'k3s' | 'containerd') => ({
    ...wanted,
    targets: { ...wanted.targets, [target]: { ...wanted.targets[target], enabled: 'off' as const } },
  })
  t.same((await plan(EMPTY_STATE, wanted, factsOf('plain'))).changes, [])
  t.same((await plan(EMPTY_STATE, off('k3s'))).changes, [])
  t.same((await plan(EMPTY_STATE, off('containerd'))).changes, [])
  t.same((await plan(EMPTY_STATE, wanted, factsOf('rke2'))).changes, [])
  rmSync(join(root, 'etc/rancher/k3s'), { recursive: true })
  t.same((await plan(EMPTY_STATE)).changes, [])
  symlinkSync('/var/lib', join(root, 'etc/rancher/k3s'))
  t.same((await plan(EMPTY_STATE)).changes, [])
})
