import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { DesiredState } from '../../agent/model/desired-state.ts'
import { type AgentState, EMPTY_STATE } from '../../agent/model/state.ts'
import { observeHosts, planHosts } from '../../agent/targets/containerd-hosts.ts'
import { type ScratchNode, scratchNode, treeOf } from './carry-out.ts'
import { anchor, desired, makeCa, registry } from './sample.ts'

const CERTS = '/etc/containerd/certs.d'
const caA = makeCa('Corp Root A')
const caB = makeCa('Corp Root B')

async function planOn(node: ScratchNode, wanted: DesiredState, state: AgentState) {
  const input = { desired: wanted, owned: state.owned }
  return planHosts(input, await observeHosts(input, CERTS, node.files))
}

async function reconcile(node: ScratchNode, wanted: DesiredState, state: AgentState): Promise<AgentState> {
  return node.carryOut((await planOn(node, wanted, state)).changes, state)
}

const harbor = desired({ anchors: [anchor('a', caA)], registries: [registry('harbor.example.net:5000', 'a')] })

t.test('a new registry gets a complete host directory, and the certs.d folder where there is none', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: { containerd: {} } }))
  const plan = await planOn(node, harbor, EMPTY_STATE)
  t.same(
    plan.changes.map(({ action, path }) => `${action} ${path}`),
    [`create ${CERTS}`, `create ${CERTS}/harbor.example.net:5000`],
  )
  await node.carryOut(plan.changes, EMPTY_STATE)
  const folder = join(node.root, CERTS, 'harbor.example.net:5000')
  t.equal(readFileSync(join(folder, 'ca.crt'), 'utf8'), caA.pem)
  const hosts = readFileSync(join(folder, 'hosts.toml'), 'utf8')
  t.match(hosts, /^server = "https:\/\/harbor\.example\.net:5000"\nca = "ca\.crt"\n\n\[host\]\n$/m)
})

t.test('the second plan is empty', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: { containerd: {} } }))
  const state = await reconcile(node, harbor, EMPTY_STATE)
  t.same(await planOn(node, harbor, state), { changes: [], problems: [] })
})

t.test('removing the registry leaves the tree as it was before', async (t) => {
  const node = scratchNode(
    t.testdir({
      var: { lib: {} },
      etc: { containerd: { 'certs.d': { 'other.example.net': { 'hosts.toml': 'server = "x"\n' } } } },
    }),
  )
  const before = treeOf(node.root)
  const state = await reconcile(node, harbor, EMPTY_STATE)
  t.not(JSON.stringify(treeOf(node.root)), JSON.stringify(before))
  const after = await reconcile(node, desired(), state)
  t.same(treeOf(node.root), before)
  t.same(after.owned, {})
})

t.test('the certs.d folder that the agent made goes with the last registry', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: { containerd: {} } }))
  const before = treeOf(node.root)
  const state = await reconcile(node, harbor, EMPTY_STATE)
  await reconcile(node, desired(), state)
  t.same(treeOf(node.root), before)
})

t.test('an empty host directory that was there before is there again afterwards', async (t) => {
  const node = scratchNode(
    t.testdir({ var: { lib: {} }, etc: { containerd: { 'certs.d': { 'harbor.example.net:5000': {} } } } }),
  )
  chmodSync(join(node.root, CERTS, 'harbor.example.net:5000'), 0o700)
  const before = treeOf(node.root)
  const state = await reconcile(node, harbor, EMPTY_STATE)
  await reconcile(node, desired(), state)
  t.same(treeOf(node.root), before)
})

t.test('a new CA changes the CA file alone', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: { containerd: {} } }))
  const state = await reconcile(node, harbor, EMPTY_STATE)
  const rotated = desired({ ...harbor, anchors: [anchor('a', caA, caB)] })
  const plan = await planOn(node, rotated, state)
  t.same(
    plan.changes.map(({ action, path }) => `${action} ${path}`),
    [`update ${CERTS}/harbor.example.net:5000/ca.crt`],
  )
  await node.carryOut(plan.changes, state)
  t.equal(readFileSync(join(node.root, CERTS, 'harbor.example.net:5000/ca.crt'), 'utf8'), caA.pem + caB.pem)
})

t.test('an anchor whose input is broken keeps what it put on the node', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: { containerd: {} } }))
  const state = await reconcile(node, harbor, EMPTY_STATE)
  const held = desired({ ...harbor, anchors: [anchor('a')] })
  t.same(await planOn(node, held, state), { changes: [], problems: [] })
})

t.test('damage by others is put right: deleted, altered, other mode', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: { containerd: {} } }))
  const state = await reconcile(node, harbor, EMPTY_STATE)
  const good = treeOf(node.root)
  const folder = join(node.root, CERTS, 'harbor.example.net:5000')
  for (const damage of [
    () => rmSync(join(folder, 'ca.crt')),
    () => rmSync(folder, { recursive: true }),
    () => rmSync(join(node.root, CERTS), { recursive: true }),
    () => writeFileSync(join(folder, 'ca.crt'), 'garbage'),
    () => writeFileSync(join(folder, 'hosts.toml'), ''),
    () => chmodSync(join(folder, 'hosts.toml'), 0o600),
  ]) {
    damage()
    await reconcile(node, harbor, state)
    t.same(treeOf(node.root), good, String(damage))
  }
})

t.test('a foreign hosts.toml is left alone and reported', async (t) => {
  const node = scratchNode(
    t.testdir({
      var: { lib: {} },
      etc: { containerd: { 'certs.d': { 'harbor.example.net:5000': { 'hosts.toml': '[host]\n' } } } },
    }),
  )
  const plan = await planOn(node, harbor, EMPTY_STATE)
  t.same(plan.changes, [])
  t.match(plan.problems, [
    { code: 'HOSTS_FILE_FOREIGN', message: /harbor\.example\.net:5000\/hosts\.toml: it was not written by this agent/ },
  ])
})

t.test("in a docker-style folder the CA goes beside the others' files", async (t) => {
  const node = scratchNode(
    t.testdir({
      var: { lib: {} },
      etc: { containerd: { 'certs.d': { 'harbor.example.net:5000': { 'ca.crt': caB.pem } } } },
    }),
  )
  const before = treeOf(node.root)
  const state = await reconcile(node, harbor, EMPTY_STATE)
  const folder = join(node.root, CERTS, 'harbor.example.net:5000')
  t.equal(readFileSync(join(folder, 'registry-trust.crt'), 'utf8'), caA.pem)
  t.equal(readFileSync(join(folder, 'ca.crt'), 'utf8'), caB.pem)
  await reconcile(node, desired(), state)
  t.same(treeOf(node.root), before)
})

t.test('the underscore spelling of a port is used where it is there: containerd prefers it', async (t) => {
  const node = scratchNode(
    t.testdir({ var: { lib: {} }, etc: { containerd: { 'certs.d': { 'harbor.example.net_5000_': {} } } } }),
  )
  await reconcile(node, harbor, EMPTY_STATE)
  t.match(treeOf(node.root), { [`${CERTS}/harbor.example.net_5000_/hosts.toml`]: /^file/ })
})

t.test('a file that a person changed after us stays when the registry leaves, and is reported', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: { containerd: {} } }))
  const state = await reconcile(node, harbor, EMPTY_STATE)
  const file = join(node.root, CERTS, 'harbor.example.net:5000/hosts.toml')
  writeFileSync(file, '# mine now\n')
  const plan = await planOn(node, desired(), state)
  t.match(plan.problems, [{ code: 'FILE_CHANGED_BY_OTHERS', message: /hosts\.toml/ }])
  const after = await node.carryOut(plan.changes, state)
  t.equal(readFileSync(file, 'utf8'), '# mine now\n')
  t.same(
    Object.keys(after.owned).filter((path) => path.endsWith('.toml')),
    [],
  )
})

t.test("a file that someone put into our folder survives the folder's removal", async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: { containerd: {} } }))
  const state = await reconcile(node, harbor, EMPTY_STATE)
  const folder = join(node.root, CERTS, 'harbor.example.net:5000')
  mkdirSync(join(folder, 'notes'))
  await reconcile(node, desired(), state)
  t.same(
    Object.keys(treeOf(node.root)).filter((path) => path.startsWith(`${CERTS}/`)),
    [`${CERTS}/harbor.example.net:5000`, `${CERTS}/harbor.example.net:5000/notes`],
  )
})
