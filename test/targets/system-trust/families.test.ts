// Fixture trees of distributions that Debian's own tools cannot make: where sources and bundle are, and that the real
// openssl verifies with the bundle afterwards.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { DesiredState } from '../../../agent/model/desired-state.ts'
import { type AgentState, EMPTY_STATE } from '../../../agent/model/state.ts'
import { nodeFiles } from '../../../agent/node/files/files.ts'
import { planAnchorStore } from '../../../agent/targets/system-trust/families.ts'
import { FAMILIES, observeAnchorStore } from '../../../agent/targets/system-trust/families-observe.ts'
import { SYSTEM_TRUST } from '../../../agent/targets/system-trust/target.ts'
import { type ScratchNode, scratchNode, treeOf } from '../../fixtures/scratch/carry-out.ts'
import { anchor, desired, makeCa, targetInput } from '../../fixtures/scratch/sample.ts'

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

const mountAt = (path: string) => ({ path, isSourceDeleted: false, isReadOnly: true })

const OS_RELEASE: { readonly [name: string]: readonly [text: string, folders: readonly string[]] } = {
  'Red Hat Enterprise Linux 9': ['ID="rhel"\nID_LIKE="fedora"\n', ['/etc/pki/ca-trust']],
  'Amazon Linux 2023': ['NAME="Amazon Linux"\nID="amzn"\nID_LIKE="fedora"\n', ['/etc/pki/ca-trust']],
  'Azure Linux 3': ['ID=azurelinux\n', ['/etc/pki/ca-trust']],
  Rocky: ['ID="rocky"\nID_LIKE="rhel centos fedora"\n', ['/etc/pki/ca-trust']],
  'openSUSE Leap': ['ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', ['/etc/pki/trust', '/var/lib/ca-certificates']],
  SLES: ['ID="sles"\nID_LIKE="suse"\n', ['/etc/pki/trust', '/var/lib/ca-certificates']],
  Photon: ['ID=photon\n', ['/etc/pki/tls/certs']],
}

for (const [name, [text, folders]] of Object.entries(OS_RELEASE))
  t.test(`${name} in a Pod without its store: nothing is written where little reads it, and it is told`, async (t) => {
    const root = t.testdir({
      usr: { lib: { 'os-release': text } },
      etc: { ssl: { certs: { 'ca-bundle.crt': '' } } },
      var: { lib: {} },
    })
    const mounts = [mountAt(join(root, '/usr')), mountAt(join(root, '/etc/ssl/certs'))]
    const files = nodeFiles({ root, mounts: () => mounts })
    const planned = async (enabled: 'auto' | 'on' | 'off', state: AgentState = EMPTY_STATE) => {
      const base = desired({ anchors: [anchor('corp', caA)] })
      const targets = { ...base.targets, systemTrust: { ...base.targets.systemTrust, enabled } }
      const input = targetInput({ ...base, targets }, state.owned)
      // This target looks at the node's files alone.
      const observe = SYSTEM_TRUST.observe as (input: object, ports: object) => ReturnType<typeof SYSTEM_TRUST.observe>
      const observed = await observe(input, { files })
      return SYSTEM_TRUST.plan(input, observed)
    }
    const { changes, problems, warnings } = await planned('auto')
    t.same([changes, problems], [[], []])
    t.match(warnings, [{ code: 'TARGET_NOT_MOUNTED', message: /components\/(rhel|suse|photon)/ }])
    for (const folder of folders) t.ok(warnings?.[0]?.message.includes(folder), folder)
    t.match((await planned('on')).problems, [{ code: 'TARGET_NOT_MOUNTED' }])
    t.same((await planned('off')).warnings ?? [], [])
    const path = '/etc/ssl/certs/corp.pem'
    const before = { target: 'system-trust', kind: 'whole', subject: 'corp', sha256: '0', before: { kind: 'absent' } }
    const earlier = await planned('auto', { ...EMPTY_STATE, owned: { [path]: before } } as unknown as AgentState)
    t.ok(
      earlier.changes.some((change) => change.path === path),
      'what an earlier version put there is kept up',
    )
  })

t.test('Debian in a Pod is asked for no other store', async (t) => {
  const root = t.testdir({ usr: { lib: { 'os-release': 'ID=debian\n' } }, etc: { ssl: { certs: {} } } })
  const files = nodeFiles({ root, mounts: () => [mountAt(join(root, '/usr'))] })
  const observed = await observeAnchorStore({ desired: desired(), owned: {} }, files)
  t.equal(observed.unseen, undefined)
})

for (const [name, folder] of [
  ['suse', '/var/lib/ca-certificates/pem'],
  ['rhel', '/etc/pki/ca-trust/extracted/pem/directory-hash'],
] as const)
  t.test(`${name}: a copy that the distribution's tool made of an anchor goes with the anchor`, async (t) => {
    const node = nodeOf(t, name)
    const at = join(node.root, folder)
    mkdirSync(at, { recursive: true })
    const anchors = [anchor('corp', caA), anchor('lab', caB)]
    const state = await reconcile(node, desired({ anchors }), EMPTY_STATE)
    // As p11-kit writes them: the certificate again, and a link by its subject's hash.
    for (const [file, pem] of [
      ['Corp_Root_A.pem', caA.pem],
      ['Corp_Root_B.pem', caB.pem],
      ['Distribution_Root.pem', distribution.pem],
    ] as const)
      writeFileSync(join(at, file), pem)
    symlinkSync('Corp_Root_A.pem', join(at, '6aadd444.0'))
    symlinkSync('Corp_Root_B.pem', join(at, '28fd04c9.0'))
    const copies = () => readdirSync(at).toSorted()
    const all = copies()
    const same = await reconcile(node, desired({ anchors }), state)
    t.same(copies(), all, 'they stay as long as the anchor is declared')
    const next = await reconcile(node, desired({ anchors: [anchor('lab', caB)] }), same)
    t.same(copies(), ['28fd04c9.0', 'Corp_Root_B.pem', 'Distribution_Root.pem'])
    await reconcile(node, desired({ anchors: [] }), next)
    t.same(copies(), ['Distribution_Root.pem'])
  })

t.test('a copy that cannot be removed is told', async (t) => {
  const node = nodeOf(t, 'suse')
  const folder = '/var/lib/ca-certificates/pem'
  mkdirSync(join(node.root, folder), { recursive: true })
  const state = await reconcile(node, desired({ anchors: [anchor('corp', caA)] }), EMPTY_STATE)
  writeFileSync(join(node.root, folder, 'Corp_Root_A.pem'), caA.pem)
  const files = { ...node.files, isWritable: async (path: string) => path !== folder && node.files.isWritable(path) }
  const input = { desired: desired({ anchors: [] }), owned: state.owned }
  const { problems } = planAnchorStore(input, await observeAnchorStore(input, files))
  t.match(problems, [{ code: 'TARGET_READ_ONLY', message: /pem\/Corp_Root_A\.pem: a copy of an anchor/ }])
})
