// Fixture trees of distributions that Debian's own tools cannot make: where sources and bundle are, and that the real
// openssl verifies with the bundle afterwards.
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { DesiredState } from '../../../agent/model/desired-state.ts'
import { type AgentState, EMPTY_STATE } from '../../../agent/model/state.ts'
import { planAnchorStore } from '../../../agent/targets/system-trust/families.ts'
import { FAMILIES, observeAnchorStore } from '../../../agent/targets/system-trust/families-observe.ts'
import { type ScratchNode, scratchNode, treeOf } from '../../fixtures/scratch/carry-out.ts'
import { anchor, desired, makeCa } from '../../fixtures/scratch/sample.ts'

const caA = makeCa('Corp Root A')
const caB = makeCa('Corp Root B')
const distribution = makeCa('Distribution Root')

type Name = 'rhel' | 'suse' | 'photon'
const familyOf = (name: Name) => FAMILIES[name] as (typeof FAMILIES)[string]

function nodeOf(t: Test, name: Name): ScratchNode {
  const { bundle, sources } = familyOf(name)
  type Folder = { [name: string]: Folder | string }
  const tree: Folder = { var: { lib: {} } }
  const put = (path: string, content: Folder | string) => {
    const parts = path.slice(1).split('/')
    const last = parts.pop() ?? ''
    let at = tree
    for (const part of parts) {
      at[part] ??= {}
      at = at[part] as Folder
    }
    at[last] = content
  }
  put(bundle, `# Distribution Root\n${distribution.pem}`)
  if (sources !== undefined) put(sources, {})
  return scratchNode(t.testdir(tree))
}

async function planOn(node: ScratchNode, wanted: DesiredState, state: AgentState) {
  const input = { desired: wanted, owned: state.owned }
  return planAnchorStore(input, await observeAnchorStore(input, node.files))
}

const reconcile = async (node: ScratchNode, wanted: DesiredState, state: AgentState) =>
  node.carryOut((await planOn(node, wanted, state)).changes, state)

/** With the bundle alone, as curl and git on that distribution do. */
function verifies(node: ScratchNode, bundle: string, pem: string): boolean {
  const file = join(node.root, 'candidate.pem')
  writeFileSync(file, pem)
  try {
    execFileSync('openssl', ['verify', '-no-CApath', '-no-CAstore', '-CAfile', join(node.root, bundle), file], {
      stdio: 'pipe',
    })
    return true
  } catch {
    return false
  }
}

for (const name of ['rhel', 'suse', 'photon'] as const) {
  t.test(`${name}: source and bundle, twice the same, and back`, async (t) => {
    const node = nodeOf(t, name)
    const { bundle, sources } = familyOf(name)
    const before = treeOf(node.root)
    const wanted = desired({ anchors: [anchor('corp', caA), anchor('lab', caB)] })
    const state = await reconcile(node, wanted, EMPTY_STATE)
    if (sources !== undefined) t.equal(readFileSync(join(node.root, sources, 'corp.pem'), 'utf8'), caA.pem)
    for (const { pem } of [caA, caB, distribution]) t.ok(verifies(node, bundle, pem))
    t.same(await planOn(node, wanted, state), { changes: [], problems: [] })
    const fewer = await reconcile(node, desired({ anchors: [anchor('lab', caB)] }), state)
    t.notOk(verifies(node, bundle, caA.pem))
    t.ok(verifies(node, bundle, caB.pem))
    await reconcile(node, desired(), fewer)
    const { '/candidate.pem': _, ...after } = treeOf(node.root)
    t.same(after, before)
  })

  t.test(
    `${name}: a source that somebody removes is put back, and its certificate leaves with its anchor`,
    async (t) => {
      const { bundle, sources } = familyOf(name)
      const node = nodeOf(t, name)
      const before = treeOf(node.root)
      const wanted = desired({ anchors: [anchor('corp', caA)] })
      const state = await reconcile(node, wanted, EMPTY_STATE)
      const whole = treeOf(node.root)
      const remove = () => sources !== undefined && rmSync(join(node.root, sources, 'corp.pem'))
      remove()
      const healed = await reconcile(node, wanted, state)
      t.same(treeOf(node.root), whole)
      remove()
      await reconcile(node, desired(), healed)
      t.notOk(verifies(node, bundle, caA.pem))
      const { '/candidate.pem': _, ...after } = treeOf(node.root)
      t.same(after, before)
    },
  )

  t.test(
    `${name}: the distribution's tool makes the bundle anew with our anchor in it, and there is nothing to do`,
    async (t) => {
      const node = nodeOf(t, name)
      const { bundle } = familyOf(name)
      const wanted = desired({ anchors: [anchor('corp', caA)] })
      const state = await reconcile(node, wanted, EMPTY_STATE)
      writeFileSync(join(node.root, bundle), `# Corp Root A\n${caA.pem}\n# Distribution Root\n${distribution.pem}`)
      t.same(await planOn(node, wanted, state), { changes: [], problems: [] })
    },
  )
}

t.test('the pattern of the file name counts here too', async (t) => {
  const node = nodeOf(t, 'rhel')
  const base = desired({ anchors: [anchor('corp', caA)] })
  await reconcile(
    node,
    { ...base, targets: { ...base.targets, systemTrust: { enabled: 'auto', fileName: 'tkg-{name}.pem' } } },
    EMPTY_STATE,
  )
  t.match(treeOf(node.root), { [`${familyOf('rhel').sources}/tkg-corp.pem`]: /^file/ })
})

t.test("someone else's source of that name is left alone and reported", async (t) => {
  const node = nodeOf(t, 'rhel')
  writeFileSync(join(node.root, `${familyOf('rhel').sources}/corp.pem`), caB.pem)
  const plan = await planOn(node, desired({ anchors: [anchor('corp', caA)] }), EMPTY_STATE)
  t.same(plan.changes, [])
  t.match(plan.problems, [{ code: 'FILE_FOREIGN' }])
})

t.test('a broken anchor keeps what it has', async (t) => {
  const node = nodeOf(t, 'suse')
  const state = await reconcile(node, desired({ anchors: [anchor('corp', caA)] }), EMPTY_STATE)
  t.same((await planOn(node, desired({ anchors: [anchor('corp')] }), state)).changes, [])
})

t.test('on Debian there is nothing to do here', async (t) => {
  const node = scratchNode(
    t.testdir({ var: { lib: {} }, etc: { ssl: { certs: { 'ca-certificates.crt': distribution.pem } } } }),
  )

  t.same(await planOn(node, desired({ anchors: [anchor('corp', caA)] }), EMPTY_STATE), { changes: [], problems: [] })
})
