import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { DesiredState, Switch } from '../../../agent/model/desired-state.ts'
import { type AgentState, EMPTY_STATE } from '../../../agent/model/state.ts'
import { planMirrors, renderMirrors } from '../../../agent/targets/certs-d/containers-mirrors.ts'
import { observeCertsTree } from '../../../agent/targets/certs-d/observe.ts'
import { planCertsTree } from '../../../agent/targets/certs-d/plan.ts'
import { type CertsTree, CONTAINERS, DOCKER } from '../../../agent/targets/certs-d/tree.ts'
import { type ScratchNode, scratchNode, treeOf } from '../../fixtures/scratch/carry-out.ts'
import { anchor, desired, makeCa, registry, targetInput } from '../../fixtures/scratch/sample.ts'

const caA = makeCa('Corp Root A')
const caB = makeCa('Corp Root B')
const HOST = 'harbor.example.net:5000'
const FOLDER = `/etc/docker/certs.d/${HOST}`
const corp = desired({ anchors: [anchor('corp', caA)], registries: [registry(HOST, 'corp')] })

async function planOn(node: ScratchNode, wanted: DesiredState, state: AgentState, tree: CertsTree = DOCKER) {
  const input = targetInput(wanted, state.owned)
  return planCertsTree(tree, input, await observeCertsTree(tree, input, node.files))
}

async function reconcile(node: ScratchNode, wanted: DesiredState, state: AgentState, tree: CertsTree = DOCKER) {
  return node.carryOut((await planOn(node, wanted, state, tree)).changes, state)
}

function switched(wanted: DesiredState, target: 'docker' | 'containers', enabled: Switch): DesiredState {
  return { ...wanted, targets: { ...wanted.targets, [target]: { enabled } } }
}

const WITH_DOCKER = { var: { lib: {} }, etc: { docker: {} } }
const read = (node: ScratchNode, path: string) => readFileSync(join(node.root, path), 'utf8')
const write = (node: ScratchNode, path: string, text: string) => writeFileSync(join(node.root, path), text)

t.test('a declared host gets its folder with ca.crt, port and all', async (t) => {
  const node = scratchNode(t.testdir(WITH_DOCKER))
  await reconcile(node, corp, EMPTY_STATE)
  t.equal(read(node, `${FOLDER}/ca.crt`), caA.pem)
  t.match(treeOf(node.root), { [FOLDER]: 'folder 755 0:0', [`${FOLDER}/ca.crt`]: /^file 644 0:0/ })
})

t.test('several anchors of a host stand in one file, in the order declared', async (t) => {
  const node = scratchNode(t.testdir(WITH_DOCKER))
  const wanted = desired({
    anchors: [anchor('corp', caA), anchor('next', caB)],
    registries: [registry(HOST, 'next', 'corp')],
  })
  await reconcile(node, wanted, EMPTY_STATE)
  t.equal(read(node, `${FOLDER}/ca.crt`), caB.pem + caA.pem)
})

t.test('"*" is for containerd alone: no folder of that name, and its mirrors are told and not written', async (t) => {
  const node = scratchNode(t.testdir(WITH_DOCKER))
  const mirrors = [{ url: 'https://m.lab', anchors: ['corp'], capabilities: ['pull', 'resolve'], overridePath: false }]
  const all = { ...registry('*', 'corp'), mirrors } as DesiredState['registries'][number]
  const wanted = desired({ anchors: [anchor('corp', caA)], registries: [all] })
  t.same((await planOn(node, wanted, EMPTY_STATE)).changes, [])
  t.equal(renderMirrors(wanted), undefined)
  const absent = { kind: 'absent' } as const
  const on = { ...wanted, targets: { ...wanted.targets, containers: { enabled: 'on' } } } as DesiredState
  const own = { ...registry(HOST, 'corp'), mirrors } as DesiredState['registries'][number]
  const both = { ...on, registries: [all, own] }
  const plan = planMirrors({ desired: both, owned: {} }, { isWritable: true, folder: absent, file: absent })
  t.match(plan.warnings, [{ message: /the mirror https:\/\/m\.lab of \* cannot be configured for podman/ }])
  t.notMatch(renderMirrors(both), /"\*"/)
})

t.test('a second plan is empty, and removal leaves the tree as before', async (t) => {
  const node = scratchNode(t.testdir(WITH_DOCKER))
  const before = treeOf(node.root)
  const state = await reconcile(node, corp, EMPTY_STATE)
  t.same(await planOn(node, corp, state), { changes: [], problems: [] })
  const after = await reconcile(node, desired(), state)
  t.same(treeOf(node.root), before)
  t.same(after.owned, {})
})

t.test('switching the target off removes what it wrote', async (t) => {
  const node = scratchNode(t.testdir(WITH_DOCKER))
  const before = treeOf(node.root)
  const state = await reconcile(node, corp, EMPTY_STATE)
  await reconcile(node, switched(corp, 'docker', 'off'), state)
  t.same(treeOf(node.root), before)
})

t.test('where the folder of the tool does not exist, auto does nothing and on makes it', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: {} }))
  const before = treeOf(node.root)
  t.same(await planOn(node, corp, EMPTY_STATE), { changes: [], problems: [] })
  const state = await reconcile(node, switched(corp, 'docker', 'on'), EMPTY_STATE)
  t.equal(read(node, `${FOLDER}/ca.crt`), caA.pem)
  await reconcile(node, switched(desired(), 'docker', 'on'), state)
  t.same(treeOf(node.root), before, 'and takes it away again')
})

t.test('a folder that the tool has put something into since is not removed', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: {} }))
  const state = await reconcile(node, switched(corp, 'docker', 'on'), EMPTY_STATE)
  write(node, '/etc/docker/daemon.json', '{}')
  await reconcile(node, desired(), state)
  t.equal(read(node, '/etc/docker/daemon.json'), '{}')
  t.notOk(treeOf(node.root)['/etc/docker/certs.d'])
})

t.test('a changed, removed or replaced file of ours is put back', async (t) => {
  const node = scratchNode(t.testdir(WITH_DOCKER))
  const state = await reconcile(node, corp, EMPTY_STATE)
  write(node, `${FOLDER}/ca.crt`, caB.pem)
  t.match((await planOn(node, corp, state)).changes, [
    { action: 'update', drift: 'changed', reason: 'its content differs' },
  ])
  await reconcile(node, corp, state)
  t.equal(read(node, `${FOLDER}/ca.crt`), caA.pem)
  rmSync(join(node.root, FOLDER), { recursive: true })
  await reconcile(node, corp, state)
  t.equal(read(node, `${FOLDER}/ca.crt`), caA.pem)
})

t.test("someone else's ca.crt stays and ours lies beside it; theirs alone stays behind", async (t) => {
  const node = scratchNode(
    t.testdir({ var: { lib: {} }, etc: { docker: { 'certs.d': { [HOST]: { 'ca.crt': caB.pem } } } } }),
  )
  const before = treeOf(node.root)
  const state = await reconcile(node, corp, EMPTY_STATE)
  t.equal(read(node, `${FOLDER}/ca.crt`), caB.pem)
  t.equal(read(node, `${FOLDER}/registry-trust.crt`), caA.pem)
  await reconcile(node, desired(), state)
  t.same(treeOf(node.root), before)
})

t.test("someone else's ca.crt that holds the anchors already is left alone", async (t) => {
  const theirs = `# corp\r\n${caB.pem}${caA.pem}`.replaceAll('\n', '\r\n')
  const node = scratchNode(
    t.testdir({ var: { lib: {} }, etc: { docker: { 'certs.d': { [HOST]: { 'ca.crt': theirs } } } } }),
  )
  t.same(await planOn(node, corp, EMPTY_STATE), { changes: [], problems: [] })
})

t.test('a file changed by others is not removed with the registry but reported', async (t) => {
  const node = scratchNode(t.testdir(WITH_DOCKER))
  const state = await reconcile(node, corp, EMPTY_STATE)
  write(node, `${FOLDER}/ca.crt`, caB.pem)
  const plan = await planOn(node, desired(), state)
  t.match(plan.problems, [{ code: 'FILE_CHANGED_BY_OTHERS' }])
  await node.carryOut(plan.changes, state)
  t.equal(read(node, `${FOLDER}/ca.crt`), caB.pem)
})

t.test('a client certificate that someone put beside our CA stays when the registry goes', async (t) => {
  const node = scratchNode(t.testdir(WITH_DOCKER))
  const state = await reconcile(node, corp, EMPTY_STATE)
  write(node, `${FOLDER}/client.cert`, 'theirs')
  await reconcile(node, desired(), state)
  t.equal(read(node, `${FOLDER}/client.cert`), 'theirs')
  t.notOk(treeOf(node.root)[`${FOLDER}/ca.crt`])
})

t.test('a broken anchor holds what its host has', async (t) => {
  const node = scratchNode(t.testdir(WITH_DOCKER))
  const state = await reconcile(node, corp, EMPTY_STATE)
  t.same(await planOn(node, { ...corp, anchors: [anchor('corp')] }, state), { changes: [], problems: [] })
})

t.test('a link in place of the host folder is left alone and reported', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: { docker: { 'certs.d': {} } }, elsewhere: {} }))
  symlinkSync('/elsewhere', join(node.root, FOLDER))
  const plan = await planOn(node, corp, EMPTY_STATE)
  t.same(plan.changes, [])
  t.match(plan.problems, [{ code: 'FILE_FOREIGN', message: /is a link in place of a folder/ }])
})

t.test('a new folder for the containers tools must not hide what they read in the folder of docker', async (t) => {
  const dockers = {
    docker: { 'certs.d': { [HOST]: { 'client.cert': 'theirs', 'client.key': 'theirs' } } },
    containers: {},
  }
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: dockers }))
  t.same(
    await planOn(node, corp, EMPTY_STATE, CONTAINERS),
    { changes: [], problems: [] },
    'the CA comes with docker’s folder',
  )
  const alone = await planOn(node, switched(corp, 'docker', 'off'), EMPTY_STATE, CONTAINERS)
  t.same(alone.changes, [])
  t.match(alone.problems, [{ code: 'FILE_FOREIGN', message: /would hide client\.cert, client\.key/ }])
})

t.test('a folder of docker that holds ours alone hides nothing: both trees get their own', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: { docker: {}, containers: {} } }))
  const state = await reconcile(node, corp, EMPTY_STATE)
  const both = await reconcile(node, corp, state, CONTAINERS)
  t.equal(read(node, `/etc/containers/certs.d/${HOST}/ca.crt`), caA.pem)
  t.same(await planOn(node, corp, both), { changes: [], problems: [] })
  t.same(await planOn(node, corp, both, CONTAINERS), { changes: [], problems: [] })
})

t.test('a file in place of the folder of the tool: reported where the target is on, nothing otherwise', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: { docker: 'a file' } }))
  mkdirSync(join(node.root, '/etc/containers'))
  t.same(await planOn(node, corp, EMPTY_STATE), { changes: [], problems: [] })
  t.match((await planOn(node, switched(corp, 'docker', 'on'), EMPTY_STATE)).problems, [{ code: 'TARGET_READ_ONLY' }])
})

t.test('while the new anchors do not verify the registry, the old ones stay beside them', async (t) => {
  const node = scratchNode(t.testdir(WITH_DOCKER))
  const state = await reconcile(node, corp, EMPTY_STATE)
  const next = desired({ anchors: [anchor('next', caB)], registries: [registry(HOST, 'next')] })
  const input = { desired: next, owned: state.owned, unverified: new Set([HOST]) }
  const plan = planCertsTree(DOCKER, input, await observeCertsTree(DOCKER, input, node.files))
  const both = await node.carryOut(plan.changes, state)
  t.equal(read(node, `${FOLDER}/ca.crt`), caB.pem + caA.pem)
  await reconcile(node, next, both)
  t.equal(read(node, `${FOLDER}/ca.crt`), caB.pem)
})
