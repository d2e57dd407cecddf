// `layout: legacy` as a plan on files: what is written before the restart and what goes only with it, which registries
// are refused, and that the node is as before when nothing is declared any more.
import { existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { DesiredState, Registry } from '../../../agent/model/desired-state.ts'
import type { Planned } from '../../../agent/model/plan.ts'
import type { RuntimeStatus } from '../../../agent/model/ports.ts'
import { Secret } from '../../../agent/model/secret.ts'
import { type AgentState, EMPTY_STATE } from '../../../agent/model/state.ts'
import { isHealing } from '../../../agent/reconcile/plan/drift.ts'
import { makePlan } from '../../../agent/reconcile/run/planning.ts'
import { type ScratchNode, scratchNode, treeOf } from '../../fixtures/scratch/carry-out.ts'
import { anchor, containerdFacts, desired, makeCa, registry } from '../../fixtures/scratch/sample.ts'

const CONFIG = '/etc/containerd/config.toml'
const FOLDER = '/etc/containerd/registry-trust'
const HOST = 'harbor.example.net'
const [caA, caB] = [makeCa('Corp Root A'), makeCa('Corp Root B')]
const ORIGINAL = '# ours\nversion = 2\n'

function legacy(...registries: readonly Registry[]): DesiredState {
  const { targets } = desired()
  const only = { ...targets, systemTrust: { ...targets.systemTrust, enabled: 'off' as const } }
  return desired({
    anchors: [anchor('a', caA), anchor('b', caB)],
    registries,
    targets: { ...only, containerd: { enabled: 'auto', layout: 'legacy' } },
  })
}

function auto(wanted: DesiredState): DesiredState {
  return { ...wanted, targets: { ...wanted.targets, containerd: { enabled: 'auto', layout: 'auto' } } }
}

type Seen = {
  readonly version?: string
  readonly loaded?: readonly string[]
  readonly unverified?: ReadonlySet<string>
  readonly migrateAll?: boolean
}

async function planOn(node: ScratchNode, wanted: DesiredState, state: AgentState, seen: Seen = {}): Promise<Planned> {
  const { version = '1.7.24', loaded, unverified = new Set(), migrateAll = false } = seen
  const status: RuntimeStatus = { runtimeReady: true, networkReady: true, loadedConfigPath: '' }
  const facts = containerdFacts({
    version,
    status: loaded === undefined ? status : { ...status, loadedTlsFiles: loaded },
    config: await node.files.readFollowing(CONFIG),
  })
  return makePlan({ desired: wanted, state, facts, unverified, migrateAll }, node)
}

const steps = ({ plan }: Planned) => plan.changes.map(({ target, action, path }) => `${target} ${action} ${path}`)

function nodeOf(t: Test): ScratchNode {
  return scratchNode(t.testdir({ var: { lib: {} }, etc: { containerd: { 'config.toml': ORIGINAL } } }))
}

async function carryOut(node: ScratchNode, wanted: DesiredState, state: AgentState, seen?: Seen): Promise<AgentState> {
  return node.carryOut((await planOn(node, wanted, state, seen)).plan.changes, state)
}

const harbor = legacy(registry(HOST, 'a'), registry('b.example.net:5000', 'b'))

t.test('the files come first, then one edit, and a second plan is empty', async (t) => {
  const node = nodeOf(t)
  const first = await planOn(node, harbor, EMPTY_STATE)
  t.same(steps(first), [
    `containerd-hosts create ${FOLDER}`,
    `containerd-hosts create ${FOLDER}/${HOST}`,
    `containerd-hosts create ${FOLDER}/b.example.net:5000`,
    `containerd-config edit ${CONFIG}`,
  ])
  t.match(first.plan, { restart: { required: true, reason: /reads that file only when it starts/ }, problems: [] })
  t.equal(first.plan.certsDirectory, undefined)
  t.same(
    first.legacyFiles?.map(({ path }) => path),
    [`${FOLDER}/${HOST}/ca.crt`, `${FOLDER}/b.example.net:5000/ca.crt`],
  )
  const state = await node.carryOut(first.plan.changes, EMPTY_STATE)
  t.equal(readFileSync(join(node.root, FOLDER, HOST, 'ca.crt'), 'utf8'), caA.pem)
  const files = first.legacyFiles?.map(({ path }) => path) ?? []
  for (const loaded of [undefined, files]) {
    const again = await planOn(node, harbor, state, loaded === undefined ? {} : { loaded })
    t.match(again.plan, { changes: [], problems: [], restart: { required: false } })
    t.same(again.plan.changes, [])
  }
  const notLoaded = await planOn(node, harbor, state, { loaded: files.slice(1) })
  t.match(notLoaded.plan.restart, { required: true, reason: /has not loaded .*harbor/ })
})

t.test('a rotation writes the CA file alone; the old CA stays until the new one verifies', async (t) => {
  const node = nodeOf(t)
  const state = await carryOut(node, harbor, EMPTY_STATE)
  const rotated = legacy(registry(HOST, 'b'), registry('b.example.net:5000', 'b'))
  const plan = await planOn(node, rotated, state)
  t.same(steps(plan), [`containerd-hosts update ${FOLDER}/${HOST}/ca.crt`])
  t.equal(plan.plan.restart.required, false)
  const careful = await planOn(node, rotated, state, { unverified: new Set([HOST]) })
  const [change] = careful.plan.changes
  t.equal(change?.after.kind === 'file' && change.after.bytes.toString('utf8'), caB.pem + caA.pem)
})

t.test('what goes, goes with the restart; then the node is as before', async (t) => {
  const node = nodeOf(t)
  const before = treeOf(node.root)
  const state = await carryOut(node, harbor, EMPTY_STATE)
  const one = await planOn(node, legacy(registry(HOST, 'a')), state)
  t.same(steps(one), [`containerd-config edit ${CONFIG}`, `containerd-config delete ${FOLDER}/b.example.net:5000`])
  t.equal(one.plan.restart.required, true)
  const left = await node.carryOut(one.plan.changes, state)
  const none = await node.carryOut((await planOn(node, legacy(), left)).plan.changes, left)
  t.same(treeOf(node.root), before)
  t.same(none.owned, {})
  t.same((await planOn(node, legacy(), none)).plan.changes, [])
})

t.test('a file that may still be read goes with a restart, one that is not without', async (t) => {
  const node = nodeOf(t)
  const state = await carryOut(node, harbor, EMPTY_STATE)
  writeFileSync(join(node.root, CONFIG), ORIGINAL)
  for (const [loaded, required] of [
    [undefined, true],
    [[`${FOLDER}/${HOST}/ca.crt`], true],
    [[], false],
  ] as const) {
    const { plan } = await planOn(node, legacy(), state, loaded === undefined ? {} : { loaded })
    t.equal(plan.restart.required, required, JSON.stringify(loaded))
    t.ok(plan.changes.every(({ target, action }) => target === 'containerd-config' && action === 'delete'))
  }
})

t.test('a client certificate is written for root alone and named', async (t) => {
  const node = nodeOf(t)
  const clientCertificate = { certificate: 'CERT\n', key: new Secret('KEY\n'), fingerprint: 'sha256:1' }
  await carryOut(node, legacy({ ...registry(HOST, 'a'), clientCertificate }), EMPTY_STATE)
  t.equal(statSync(join(node.root, FOLDER, HOST, 'client.key')).mode & 0o777, 0o600)
  t.match(readFileSync(join(node.root, CONFIG), 'utf8'), `key_file = "${FOLDER}/${HOST}/client.key"`)
})

t.test('what this layout cannot say is refused for that registry, the others are served', async (t) => {
  const node = nodeOf(t)
  const mirrors = [{ url: 'https://m.test', anchors: [], capabilities: ['pull'], overridePath: false } as const]
  const { plan } = await planOn(
    node,
    {
      ...legacy(
        { ...registry('m.example.net', 'a'), mirrors },
        { ...registry('s.example.net', 'a'), skipVerify: true },
        registry(HOST, 'a'),
      ),
      wildcard: registry('*', 'a'),
    },
    EMPTY_STATE,
  )
  t.match(plan.problems, [
    {
      code: 'LAYOUT_LEGACY_UNUSABLE',
      message: /^trust\.yaml:1:1: mirrors of m\.example\.net: .*nothing of this registry/,
    },
    { code: 'LAYOUT_LEGACY_UNUSABLE', message: /skipVerify of s\.example\.net/ },
    { code: 'LAYOUT_LEGACY_UNUSABLE', message: /the wildcard of \*/ },
  ])
  t.same(
    plan.changes.map(({ path }) => path),
    [FOLDER, `${FOLDER}/${HOST}`, CONFIG],
  )
})

t.test('something else in the place of our files: that registry keeps what it has', async (t) => {
  const node = nodeOf(t)
  const state = await carryOut(node, legacy(registry(HOST, 'a')), EMPTY_STATE)
  const path = join(node.root, FOLDER, 'b.example.net:5000')
  symlinkSync('/tmp', path)
  const { plan } = await planOn(node, harbor, state)
  t.match(plan.problems, [
    { code: 'FILE_FOREIGN', message: /b\.example\.net:5000: there is a link in place of a folder/ },
  ])
  t.same(plan.changes, [])
})

t.test('an anchor that is broken now keeps section and file, also when the layout changes', async (t) => {
  const node = nodeOf(t)
  const state = await carryOut(node, harbor, EMPTY_STATE)
  const held = { ...harbor, anchors: [anchor('a', caA), anchor('b')] }
  t.same((await planOn(node, held, state)).plan.changes, [])
  const waiting = await planOn(node, auto(held), state)
  t.same(waiting.plan.changes, [])
  t.match(waiting.plan.warnings, [{ message: /stay until the anchors of b\.example\.net:5000 can be read again/ }])
})

t.test('another layout later: the sections go, host directories come, as if legacy had never been', async (t) => {
  const tree = () => ({ var: { lib: {} }, etc: { containerd: { 'config.toml': ORIGINAL } } })
  const folder = t.testdir({ node: tree(), fresh: tree() })
  const [node, fresh] = [scratchNode(join(folder, 'node')), scratchNode(join(folder, 'fresh'))]
  const state = await carryOut(node, harbor, EMPTY_STATE)
  const moved = await planOn(node, auto(harbor), state)
  t.equal(moved.plan.restart.required, true)
  const after = await node.carryOut(moved.plan.changes, state)
  const direct = await carryOut(fresh, auto(harbor), EMPTY_STATE)
  t.same(treeOf(node.root), treeOf(fresh.root))
  t.same(Object.keys(after.owned).sort(), Object.keys(direct.owned).sort())
  t.notOk(existsSync(join(node.root, FOLDER)))
  t.same((await planOn(node, auto(harbor), after)).plan.problems, [])
})

t.test('containerd was upgraded to 2: refused with layout legacy, moved with layout auto', async (t) => {
  const node = nodeOf(t)
  const state = await carryOut(node, harbor, EMPTY_STATE)
  const refused = await planOn(node, harbor, state, { version: 'v2.1.9' })
  t.match(refused.plan, { changes: [], problems: [{ code: 'LAYOUT_LEGACY_UNUSABLE' }] })
  t.same(refused.plan.changes, [])
  await carryOut(node, auto(harbor), state, { version: 'v2.1.9' })
  t.match(readFileSync(join(node.root, CONFIG), 'utf8'), /config_path = "\/etc\/containerd\/certs\.d"/)
  t.notMatch(readFileSync(join(node.root, CONFIG), 'utf8'), /ca_file/)
})

t.test('an edit that waits for its restart is no damage, a section that someone took out is', async (t) => {
  const node = nodeOf(t)
  const state = await carryOut(node, legacy(registry(HOST, 'a')), EMPTY_STATE)
  const config = ({ plan }: Planned) => plan.changes.find(({ path }) => path === CONFIG)
  const waiting = config(await planOn(node, harbor, state))
  t.ok(waiting !== undefined && !isHealing(waiting, state, harbor))
  writeFileSync(join(node.root, CONFIG), ORIGINAL)
  const damaged = config(await planOn(node, legacy(registry(HOST, 'a')), state))
  t.ok(damaged !== undefined && isHealing(damaged, state, harbor))
})

t.test('migrate says that trust.yaml asks for the other layout', async (t) => {
  const node = nodeOf(t)
  const { plan } = await planOn(node, harbor, EMPTY_STATE, { migrateAll: true })
  t.match(plan.problems, [{ code: 'LAYOUT_LEGACY_UNUSABLE', message: /trust\.yaml asks for layout: legacy/ }])
})
