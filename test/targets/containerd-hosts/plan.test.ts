import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { DesiredState } from '../../../agent/model/desired-state.ts'
import { type AgentState, EMPTY_STATE } from '../../../agent/model/state.ts'
import { observeHosts } from '../../../agent/targets/containerd-hosts/observe.ts'
import { planHosts, planMovedFolders } from '../../../agent/targets/containerd-hosts/plan.ts'
import { type ScratchNode, scratchNode, treeOf } from '../../fixtures/scratch/carry-out.ts'
import { anchor, desired, makeCa, registry, targetInput } from '../../fixtures/scratch/sample.ts'

const CERTS = '/etc/containerd/certs.d'
const caA = makeCa('Corp Root A')
const caB = makeCa('Corp Root B')

async function planOn(node: ScratchNode, wanted: DesiredState, state: AgentState) {
  const input = targetInput(wanted, state.owned)
  return planHosts(input, await observeHosts(input, CERTS, '2.1.9', node.files))
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

t.test('extra keys are written where this containerd reads them, and told where it does not', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: { containerd: {} } }))
  const extra = { dial_timeout: '5s', dail_timeout: '5s' }
  const wanted = { ...harbor, registries: harbor.registries.map((one) => ({ ...one, extra })) }
  const plan = await planOn(node, wanted, EMPTY_STATE)
  t.match(plan.problems, [{ code: 'HOSTS_KEY_UNSUPPORTED', message: 'extra.dail_timeout' }])
  const state = await node.carryOut(plan.changes, EMPTY_STATE)
  const hosts = readFileSync(join(node.root, CERTS, 'harbor.example.net:5000', 'hosts.toml'), 'utf8')
  t.match(hosts, '\nca = "ca.crt"\ndial_timeout = "5s"\n\n[host]\n')
  t.notMatch(hosts, 'dail_timeout')
  t.same((await planOn(node, wanted, state)).changes, [], 'the second plan is empty')
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

const HOST = 'harbor.example.net:5000'

/** A node on which someone else keeps a folder for the host. */
function nodeWith(t: Test, hostsToml: string, others: object = {}): ScratchNode {
  const folder = { 'hosts.toml': hostsToml, 'theirs.pem': 'x' }
  return scratchNode(t.testdir({ var: { lib: {} }, etc: { containerd: { 'certs.d': { [HOST]: folder, ...others } } } }))
}

const hostsPath = (node: ScratchNode) => join(node.root, CERTS, HOST, 'hosts.toml')

t.test(
  'a foreign hosts.toml keeps every byte and gets our CA; without the registry the tree is as before',
  async (t) => {
    const theirs =
      '# ours\r\nserver = "https://harbor.example.net:5000"\r\nca = \'theirs.pem\' # old\r\n[host."https://mirror.test"]\r\n'
    const node = nodeWith(t, theirs)
    chmodSync(hostsPath(node), 0o640)
    const before = treeOf(node.root)
    const plan = await planOn(node, harbor, EMPTY_STATE)
    t.match(plan, {
      problems: [],
      changes: [
        { action: 'create', path: `${CERTS}/${HOST}/registry-trust.crt` },
        { action: 'edit', path: `${CERTS}/${HOST}/hosts.toml`, owns: [{ kind: 'edited' }] },
      ],
    })
    const state = await node.carryOut(plan.changes, EMPTY_STATE)
    t.equal(
      readFileSync(hostsPath(node), 'utf8'),
      theirs.replace("'theirs.pem'", '["registry-trust.crt", \'theirs.pem\']'),
    )
    t.equal(readFileSync(join(node.root, CERTS, HOST, 'registry-trust.crt'), 'utf8'), caA.pem)
    t.equal(statSync(hostsPath(node)).mode & 0o777, 0o640)
    t.same(await planOn(node, harbor, state), { changes: [], problems: [] }, 'the second plan is empty')
    const after = await reconcile(node, desired(), state)
    t.same(treeOf(node.root), before)
    t.same(after.owned, {})
  },
)

t.test('what their owner changes in a merged file stays, ours is put back, and comes out at the end', async (t) => {
  const node = nodeWith(t, 'server = "https://harbor.example.net:5000"\n[host]\n')
  const state = await reconcile(node, harbor, EMPTY_STATE)
  const rewritten = '# new\nca = ["theirs.pem"]\n[host."https://mirror.test"]\n'
  writeFileSync(hostsPath(node), rewritten)
  const healed = await reconcile(node, harbor, state)
  t.equal(readFileSync(hostsPath(node), 'utf8'), rewritten.replace('"]\n', '", "registry-trust.crt"]\n'))
  await reconcile(node, desired(), healed)
  t.equal(readFileSync(hostsPath(node), 'utf8'), rewritten)
  t.notOk(existsSync(join(node.root, CERTS, HOST, 'registry-trust.crt')))
})

t.test('while their folder was gone ours stood in for it: what they write in its place is theirs again', async (t) => {
  const theirs = 'server = "https://harbor.example.net:5000"\n[host."http://127.0.0.1:30020"]\n'
  const node = nodeWith(t, theirs)
  const state = await reconcile(node, harbor, EMPTY_STATE)
  const merged = readFileSync(hostsPath(node), 'utf8')
  rmSync(join(node.root, CERTS, HOST), { recursive: true })
  const inBetween = await reconcile(node, harbor, state)
  t.match(readFileSync(hostsPath(node), 'utf8'), /Managed by registry-trust-agent/)
  t.same(await planOn(node, harbor, inBetween), { changes: [], problems: [] })
  writeFileSync(join(node.root, CERTS, HOST, 'ca.crt'), 'garbage')
  const healed = await reconcile(node, harbor, inBetween)
  t.equal(readFileSync(join(node.root, CERTS, HOST, 'ca.crt'), 'utf8'), caA.pem, 'until then ours is healed')

  writeFileSync(hostsPath(node), theirs)
  const back = await reconcile(node, harbor, healed)
  t.equal(readFileSync(hostsPath(node), 'utf8'), merged)
  t.same(await planOn(node, harbor, back), { changes: [], problems: [] })
  const after = await reconcile(node, desired(), back)
  t.equal(readFileSync(hostsPath(node), 'utf8'), theirs)
  t.same(
    Object.keys(treeOf(join(node.root, CERTS))),
    [`/${HOST}`, `/${HOST}/hosts.toml`],
    'nothing of ours is left beside it',
  )
  t.same(Object.keys(after.owned), [`${CERTS}/${HOST}`], 'the folder, which the agent made, goes once it is empty')
})

t.test('a new CA changes the CA file beside a merged file alone', async (t) => {
  const node = nodeWith(t, '[host]\n')
  const state = await reconcile(node, harbor, EMPTY_STATE)
  const plan = await planOn(node, desired({ ...harbor, anchors: [anchor('a', caA, caB)] }), state)
  t.same(
    plan.changes.map(({ action, path }) => `${action} ${path}`),
    [`update ${CERTS}/${HOST}/registry-trust.crt`],
  )
})

t.test('a foreign hosts.toml that cannot be merged is left alone and reported', async (t) => {
  for (const [text, message] of [
    ['server = "x\n', /hosts\.toml: .*:1:.*; the trust anchors of harbor\.example\.net:5000 were not written/],
    [
      'server = "https://else.test"\n[host]\n',
      /hosts\.toml: never asks harbor\.example\.net:5000 itself, only else\.test/,
    ],
    [
      '# File generated by k3s. DO NOT EDIT.\nserver = "https://harbor.example.net:5000"\n',
      /written by k3s.*registries\.yaml/,
    ],
  ] as const) {
    const plan = await planOn(nodeWith(t, text), harbor, EMPTY_STATE)
    t.same(plan.changes, [])
    t.match(plan.problems, [{ code: 'HOSTS_FILE_FOREIGN', message }])
  }
})

t.test('a merged file that its owner broke keeps our CA beside it: containerd trusts the *.crt then', async (t) => {
  const node = nodeWith(t, '[host]\n')
  const state = await reconcile(node, harbor, EMPTY_STATE)
  writeFileSync(hostsPath(node), 'ca = [\n')
  const plan = await planOn(node, harbor, state)
  t.same(plan.changes, [])
  t.match(plan.problems, [{ code: 'HOSTS_FILE_FOREIGN' }])
  const gone = await planOn(node, desired(), state)
  t.match(gone.problems, [{ code: 'FILE_CHANGED_BY_OTHERS', message: /hosts\.toml:.*left unchanged/ }])
  const after = await node.carryOut(gone.changes, state)
  t.equal(readFileSync(hostsPath(node), 'utf8'), 'ca = [\n')
  t.same(after.owned, {})
})

t.test('a foreign file without [host] is merged, with a warning about old versions', async (t) => {
  const plan = await planOn(nodeWith(t, 'server = "https://harbor.example.net:5000"\n'), harbor, EMPTY_STATE)
  t.equal(plan.changes.length, 2)
  t.match(plan, { problems: [], warnings: [{ code: 'HOSTS_FILE_FOREIGN', message: /no \[host\] table/ }] })
})

t.test('an empty foreign hosts.toml counts as none, as for containerd', async (t) => {
  const plan = await planOn(nodeWith(t, ''), harbor, EMPTY_STATE)
  t.same(
    plan.changes.map(({ action, path }) => `${action} ${path}`),
    [`create ${CERTS}/${HOST}/registry-trust.crt`],
  )
})

t.test('beside Spegel our file says the same in a [host] table, which is all that Spegel takes over', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: { containerd: { 'certs.d': { _backup: {} } } } }))
  const state = await reconcile(node, harbor, EMPTY_STATE)
  const text = readFileSync(hostsPath(node), 'utf8')
  t.match(text, /^ca = "ca\.crt"\n\n\[host\."https:\/\/harbor\.example\.net:5000"\]\n {2}ca = "ca\.crt"\n$/m)
  t.same(await planOn(node, harbor, state), { changes: [], problems: [] })
})

t.test('a folder moved from config.toml is made first, and the CA of a declared host goes into it', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: { containerd: {} } }))
  const bytes = Buffer.from('server = "https://harbor.example.net:5000"\n\n[host."https://mirror.test"]\n')
  const moved = [HOST, '_default'].map((name) => ({ name, files: [{ name: 'hosts.toml', bytes, mode: 0o644 }] }))
  const input = targetInput(harbor)
  const first = planMovedFolders(moved, await observeHosts(input, CERTS, '2.1.9', node.files))
  const then = await planHosts(input, first.observed)
  const changes = [...first.changes, ...then.changes]
  t.same(
    changes.map(({ action, path }) => `${action} ${path.replace(CERTS, '')}`),
    [
      'create ',
      `create /${HOST}`,
      'create /_default',
      `create /${HOST}/registry-trust.crt`,
      `edit /${HOST}/hosts.toml`,
    ],
  )
  const state = await node.carryOut(changes, EMPTY_STATE)
  t.equal(readFileSync(hostsPath(node), 'utf8'), bytes.toString().replace('\n\n', '\nca = "registry-trust.crt"\n\n'))
  t.same(await planOn(node, harbor, state), { changes: [], problems: [] })
  await reconcile(node, desired(), state)
  t.same(readFileSync(hostsPath(node)), bytes, 'what was moved stays when the registry leaves')
  t.same(planMovedFolders([], first.observed).changes, [])
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
