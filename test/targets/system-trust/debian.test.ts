import { readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { DesiredState } from '../../../agent/model/desired-state.ts'
import { type AgentState, EMPTY_STATE } from '../../../agent/model/state.ts'
import { subjectHash } from '../../../agent/pki/certificate/subject-hash.ts'
import { planSystemTrust } from '../../../agent/targets/system-trust/debian.ts'
import { LOCAL_ANCHORS, observeSystemTrust, SYSTEM_CERTS } from '../../../agent/targets/system-trust/debian-observe.ts'
import { type ScratchNode, scratchNode, treeOf } from '../../fixtures/scratch/carry-out.ts'
import { anchor, desired, makeCa, targetInput } from '../../fixtures/scratch/sample.ts'

const caA = makeCa('Corp Root A')
const caB = makeCa('Corp Root B')
const distribution = makeCa('Distribution Root')
const BUNDLE = `${SYSTEM_CERTS}/ca-certificates.crt`

async function planOn(node: ScratchNode, wanted: DesiredState, state: AgentState) {
  const input = targetInput(wanted, state.owned)
  return planSystemTrust(input, await observeSystemTrust(input, node.files))
}

async function reconcile(node: ScratchNode, wanted: DesiredState, state: AgentState): Promise<AgentState> {
  return node.carryOut((await planOn(node, wanted, state)).changes, state)
}

function debian(bundle = distribution.pem, local: { [name: string]: string } = {}) {
  return {
    var: { lib: {} },
    etc: { ssl: { certs: { 'ca-certificates.crt': bundle } } },
    usr: { local: { share: { 'ca-certificates': local } } },
  }
}

const read = (node: ScratchNode, path: string) => readFileSync(join(node.root, path), 'utf8')

t.test('on Debian an anchor becomes source, link, hash link and bundle entry', async (t) => {
  const node = scratchNode(t.testdir(debian()))
  await reconcile(node, desired({ anchors: [anchor('corp', caA)] }), EMPTY_STATE)
  t.match(treeOf(node.root), {
    [`${LOCAL_ANCHORS}/corp.crt`]: /^file 644/,
    [`${SYSTEM_CERTS}/corp.pem`]: `link ${LOCAL_ANCHORS}/corp.crt`,
    [`${SYSTEM_CERTS}/${subjectHash(caA.pem)}.0`]: 'link corp.pem',
  })
  t.equal(read(node, BUNDLE), distribution.pem + caA.pem)
})

t.test('nothing is left to do afterwards, and removal leaves the tree as before', async (t) => {
  const node = scratchNode(t.testdir(debian()))
  const before = treeOf(node.root)
  const wanted = desired({ anchors: [anchor('corp', caA), anchor('lab', caB)] })
  const state = await reconcile(node, wanted, EMPTY_STATE)
  t.same(await planOn(node, wanted, state), { changes: [], problems: [] })
  const after = await reconcile(node, desired(), state)
  t.same(treeOf(node.root), before)
  t.same(after.owned, {})
})

t.test('whatever of ours is removed or overwritten by others is put back', async (t) => {
  const node = scratchNode(t.testdir(debian()))
  const wanted = desired({ anchors: [anchor('corp', caA)] })
  const state = await reconcile(node, wanted, EMPTY_STATE)
  const good = treeOf(node.root)
  const paths = [`${LOCAL_ANCHORS}/corp.crt`, `${SYSTEM_CERTS}/corp.pem`, `${SYSTEM_CERTS}/${subjectHash(caA.pem)}.0`]
  for (const path of paths) {
    rmSync(join(node.root, path))
    await reconcile(node, wanted, state)
    t.same(treeOf(node.root), good, `${path} removed`)
  }
  writeFileSync(join(node.root, paths[0] ?? ''), 'garbage')
  await reconcile(node, wanted, state)
  t.same(treeOf(node.root), good, 'the source overwritten')
  writeFileSync(join(node.root, BUNDLE), distribution.pem)
  await reconcile(node, wanted, state)
  t.same(treeOf(node.root), good, 'the bundle without it')
})

t.test('in the bundle local anchors stand in the order of their file names', async (t) => {
  const node = scratchNode(t.testdir(debian(distribution.pem + caB.pem, { 'mine.crt': caB.pem })))
  await reconcile(node, desired({ anchors: [anchor('corp', caA)] }), EMPTY_STATE)
  t.equal(read(node, BUNDLE), distribution.pem + caA.pem + caB.pem)
})

t.test('a bundle without its final newline stays parseable', async (t) => {
  const node = scratchNode(t.testdir(debian(distribution.pem.trimEnd())))
  await reconcile(node, desired({ anchors: [anchor('corp', caA)] }), EMPTY_STATE)
  t.equal(read(node, BUNDLE), distribution.pem + caA.pem)
})

t.test('an anchor of two certificates becomes two files: rehash skips files with more than one', async (t) => {
  const node = scratchNode(t.testdir(debian()))
  await reconcile(node, desired({ anchors: [anchor('corp', caA, caB)] }), EMPTY_STATE)
  t.equal(read(node, `${LOCAL_ANCHORS}/corp.crt`), caA.pem)
  t.equal(read(node, `${LOCAL_ANCHORS}/corp-2.crt`), caB.pem)
})

t.test('the file name pattern of TKG nodes', async (t) => {
  const node = scratchNode(t.testdir(debian()))
  const base = desired({ anchors: [anchor('corp', caA)] })
  const targets = { ...base.targets, systemTrust: { enabled: 'auto' as const, fileName: 'tkg-{name}.pem' } }
  await reconcile(node, { ...base, targets }, EMPTY_STATE)
  t.match(treeOf(node.root), { [`${SYSTEM_CERTS}/tkg-corp.pem`]: `link ${LOCAL_ANCHORS}/tkg-corp.crt` })
})

t.test('a certificate that the system store has already is not added again', async (t) => {
  const node = scratchNode(t.testdir(debian(distribution.pem + caA.pem)))
  t.same(await planOn(node, desired({ anchors: [anchor('corp', caA)] }), EMPTY_STATE), { changes: [], problems: [] })
})

t.test("someone else's file of that name is left alone and reported", async (t) => {
  const node = scratchNode(t.testdir(debian(distribution.pem, { 'corp.crt': caB.pem })))
  const plan = await planOn(node, desired({ anchors: [anchor('corp', caA), anchor('lab', caB)] }), EMPTY_STATE)
  t.match(plan.problems, [{ code: 'FILE_FOREIGN', message: /ca-certificates\/corp\.crt exists/ }])
  t.notOk(plan.changes.some(({ subject }) => subject === 'corp'))
})

t.test('a hash link of another certificate with the same subject is kept: ours takes the next number', async (t) => {
  const node = scratchNode(t.testdir(debian()))
  const other = makeCa('Corp Root A')
  writeFileSync(join(node.root, SYSTEM_CERTS, 'old.pem'), other.pem)
  symlinkSync('old.pem', join(node.root, SYSTEM_CERTS, `${subjectHash(caA.pem)}.0`))
  await reconcile(node, desired({ anchors: [anchor('corp', caA)] }), EMPTY_STATE)
  t.match(treeOf(node.root), {
    [`${SYSTEM_CERTS}/${subjectHash(caA.pem)}.0`]: 'link old.pem',
    [`${SYSTEM_CERTS}/${subjectHash(caA.pem)}.1`]: 'link corp.pem',
  })
})

t.test('elsewhere an anchor is a regular file with a hash link', async (t) => {
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc: { ssl: { certs: {} } } }))
  const before = treeOf(node.root)
  const state = await reconcile(node, desired({ anchors: [anchor('corp', caA)] }), EMPTY_STATE)
  t.equal(read(node, `${SYSTEM_CERTS}/corp.pem`), caA.pem)
  t.match(treeOf(node.root), { [`${SYSTEM_CERTS}/${subjectHash(caA.pem)}.0`]: 'link corp.pem' })
  await reconcile(node, desired(), state)
  t.same(treeOf(node.root), before)
})

t.test('an anchor that is replaced leaves nothing of the old certificate', async (t) => {
  const node = scratchNode(t.testdir(debian()))
  const state = await reconcile(node, desired({ anchors: [anchor('corp', caA)] }), EMPTY_STATE)
  const next = desired({ anchors: [anchor('corp', caB)] })
  const after = await reconcile(node, next, state)
  t.equal(read(node, BUNDLE), distribution.pem + caB.pem)
  t.notOk(Object.keys(treeOf(node.root)).includes(`${SYSTEM_CERTS}/${subjectHash(caA.pem)}.0`))
  t.same(await planOn(node, next, after), { changes: [], problems: [] })
})

t.test('a broken anchor keeps what it put into the store', async (t) => {
  const node = scratchNode(t.testdir(debian()))
  const state = await reconcile(node, desired({ anchors: [anchor('corp', caA)] }), EMPTY_STATE)
  t.same(await planOn(node, desired({ anchors: [anchor('corp')] }), state), { changes: [], problems: [] })
})

t.test(
  'without a folder for certificates nothing is done, and it is a problem only where the target is switched on',
  async (t) => {
    const node = scratchNode(t.testdir({ var: { lib: {} }, etc: {} }))
    const wanted = desired({ anchors: [anchor('corp', caA)] })
    t.same(await planOn(node, wanted, EMPTY_STATE), { changes: [], problems: [] })
    const targets = { ...wanted.targets, systemTrust: { enabled: 'on' as const, fileName: '{name}.pem' } }
    t.match(await planOn(node, { ...wanted, targets }, EMPTY_STATE), { problems: [{ code: 'TARGET_READ_ONLY' }] })
  },
)

for (const [title, damage] of [
  ['removes', (path: string) => rmSync(path)],
  ['changes', (path: string) => writeFileSync(path, caB.pem)],
] as const) {
  t.test(`a source that somebody ${title} is put back although the bundle still holds its certificate`, async (t) => {
    const node = scratchNode(t.testdir(debian()))
    const wanted = desired({ anchors: [anchor('corp', caA)] })
    const state = await reconcile(node, wanted, EMPTY_STATE)
    const whole = treeOf(node.root)
    damage(join(node.root, `${LOCAL_ANCHORS}/corp.crt`))
    await reconcile(node, wanted, state)
    t.same(treeOf(node.root), whole)
  })

  t.test(`an anchor whose source somebody ${title} leaves the bundle when it is withdrawn`, async (t) => {
    const node = scratchNode(t.testdir(debian()))
    const state = await reconcile(node, desired({ anchors: [anchor('corp', caA)] }), EMPTY_STATE)
    damage(join(node.root, `${LOCAL_ANCHORS}/corp.crt`))
    await reconcile(node, desired(), state)
    t.equal(read(node, BUNDLE), distribution.pem)
  })
}
