// state.json is lost, or the whole state folder: what the agent wrote is still its own, what is declared no more goes,
// and what is not certain is told.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { applyExit } from '../../../agent/cli/exit-codes.ts'
import type { Run } from '../../../agent/model/run.ts'
import { applyRun } from '../../../agent/reconcile/run/entry.ts'
import { uninstallRun } from '../../../agent/reconcile/run/leaving/uninstall.ts'
import { treeOf } from '../../fixtures/scratch/carry-out.ts'
import { layOut } from '../../fixtures/scratch/fault-scenes.ts'
import { anchor, desired, makeCa, registry } from '../../fixtures/scratch/sample.ts'
import { CONFIG, STATE, scratchPorts } from '../../fixtures/scratch/scratch-runtime.ts'

const BY_HAND = { address: undefined, byHand: true, consentUnrehearsed: false }
const [FIRST, SECOND, THEIRS] = [makeCa('First'), makeCa('Second'), makeCa('Theirs')]
const ONE = desired({
  generation: '111111111111',
  anchors: [anchor('corp', FIRST)],
  registries: [registry('a.example.net', 'corp')],
})
const TWO = desired({
  generation: '222222222222',
  anchors: [anchor('corp', FIRST), anchor('lab', SECOND)],
  registries: [registry('a.example.net', 'corp'), registry('b.example.net:5000', 'lab')],
})
const SOURCES = '/usr/local/share/ca-certificates'

async function installed(t: Test) {
  const root = join(t.testdir(), 'node')
  layOut(root)
  const before = treeOf(root)
  t.match(await applyRun(TWO, BY_HAND, scratchPorts(root)), { outcome: 'applied' })
  return { root, before, owned: await ownedIn(root) }
}

async function ownedIn(root: string): Promise<readonly string[]> {
  return Object.keys((await scratchPorts(root).store.load()).owned).sort()
}

/** All but config.toml, whose former text nobody knows any more. */
function others(tree: { readonly [path: string]: string }) {
  return Object.fromEntries(Object.entries(tree).filter(([path]) => path !== CONFIG))
}

const LOSSES: { readonly [name: string]: (root: string) => void } = {
  'state.json': (root) => rmSync(join(root, STATE, 'state.json')),
  'the state folder': (root) => rmSync(join(root, STATE), { recursive: true }),
}

for (const [name, lose] of Object.entries(LOSSES)) {
  t.test(`${name} is lost: apply owns the same paths again and changes nothing`, async (t) => {
    const { root, owned } = await installed(t)
    const tree = treeOf(root)
    lose(root)
    const run = await applyRun(TWO, BY_HAND, scratchPorts(root))
    t.match(run, { outcome: 'unchanged', problems: [{ code: 'OWNERSHIP_ADOPTED' }] })
    t.same(treeOf(root), tree)
    t.same(await ownedIn(root), owned)
    t.match((await applyRun(TWO, BY_HAND, scratchPorts(root))).problems, [], 'told once')
  })

  t.test(`${name} is lost and an anchor is withdrawn meanwhile: it goes everywhere`, async (t) => {
    const { root } = await installed(t)
    lose(root)
    await applyRun(ONE, BY_HAND, scratchPorts(root))
    await applyRun(ONE, BY_HAND, scratchPorts(root))
    const left = Object.keys(treeOf(root)).filter((path) => /lab|b\.example\.net/.test(path))
    t.same(left, [])
    const bundle = readFileSync(join(root, '/etc/ssl/certs/ca-certificates.crt'), 'utf8')
    t.notOk(bundle.includes(SECOND.pem), 'nor in the bundle')
    t.ok(bundle.includes(FIRST.pem))
  })

  t.test(`${name} is lost: uninstall finds what is the agent's, with the configuration and without`, async (t) => {
    for (const configured of [TWO, undefined]) {
      const { root, before } = await installed(t)
      lose(root)
      const run = await uninstallRun(configured, BY_HAND, scratchPorts(root))
      t.match(run, { outcome: 'applied' })
      t.same(others(treeOf(root)), others(before))
      t.notMatch(readFileSync(join(root, CONFIG), 'utf8'), /certs\.d/)
      t.notOk(existsSync(join(root, STATE)))
    }
  })
}

t.test('without a mark of the agent nothing is adopted: the same file may be one of the administrator', async (t) => {
  const root = join(t.testdir(), 'node')
  layOut(root)
  writeFileSync(join(root, SOURCES, 'corp.crt'), FIRST.pem)
  const before = treeOf(root)
  t.same((await uninstallRun(ONE, BY_HAND, scratchPorts(root))).problems, [])
  t.same(treeOf(root), before)
})

t.test('what is not certain is left and told', async (t) => {
  const { root } = await installed(t)
  writeFileSync(join(root, SOURCES, 'theirs.crt'), THEIRS.pem)
  rmSync(join(root, STATE), { recursive: true })
  const { problems } = await uninstallRun(TWO, BY_HAND, scratchPorts(root))
  t.match(
    problems.find(({ code }) => code === 'OWNERSHIP_UNSURE'),
    { message: /theirs\.crt$/ },
  )
  t.ok(existsSync(join(root, SOURCES, 'theirs.crt')))
})

/** The store of another distribution in place of Debian's. */
function asRhel(root: string): void {
  for (const path of ['/etc/ssl/certs', SOURCES]) rmSync(join(root, path), { recursive: true })
  for (const path of ['/etc/pki/ca-trust/source/anchors', '/etc/pki/ca-trust/extracted/pem', '/etc/pki/tls/certs'])
    mkdirSync(join(root, path), { recursive: true })
  writeFileSync(join(root, RHEL_BUNDLE), THEIRS.pem)
}

const RHEL_BUNDLE = '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem'

t.test('an anchor that is withdrawn after the loss goes from the store of RHEL too', async (t) => {
  const root = join(t.testdir(), 'node')
  layOut(root)
  asRhel(root)
  t.match(await applyRun(TWO, BY_HAND, scratchPorts(root)), { outcome: 'applied' })
  t.ok(readFileSync(join(root, RHEL_BUNDLE), 'utf8').includes(SECOND.pem))
  rmSync(join(root, STATE), { recursive: true })
  await applyRun(ONE, BY_HAND, scratchPorts(root))
  await applyRun(ONE, BY_HAND, scratchPorts(root))
  t.same(
    Object.keys(treeOf(root)).filter((path) => /lab|b\.example\.net/.test(path)),
    [],
  )
  const bundle = readFileSync(join(root, RHEL_BUNDLE), 'utf8')
  t.notOk(bundle.includes(SECOND.pem))
  t.ok(bundle.includes(FIRST.pem) && bundle.includes(THEIRS.pem))
})

/** Left by an earlier installation, with nothing on the node that tells what was there before. */
const TRACES: { readonly [path: string]: string } = {
  '/etc/containerd/registry-trust/old.example.net/ca.crt': SECOND.pem,
  '/etc/rancher/k3s/registry-trust/old.example.net/ca.crt': SECOND.pem,
  '/etc/rancher/k3s/registries.yaml':
    'configs:\n  old.example.net:\n    tls:\n      ca_file: /etc/rancher/k3s/registry-trust/old.example.net/ca.crt\n',
  '/etc/containers/registries.conf.d/50-registry-trust.conf': '# Managed by registry-trust-agent: changes\n',
  '/etc/docker/certs.d/old.example.net/registry-trust.crt': SECOND.pem,
}

async function withTraces(t: Test): Promise<string> {
  const root = join(t.testdir(), 'node')
  layOut(root)
  for (const [path, text] of Object.entries(TRACES)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  return root
}

const unsureIn = ({ problems }: Run) => problems.find(({ code }) => code === 'OWNERSHIP_UNSURE')?.message ?? ''

t.test(
  'what carries the name or the mark of the agent is named by every run, until a person has run one',
  async (t) => {
    const root = await withTraces(t)
    for (let run = 0; run < 3; run += 1) {
      const seen = await applyRun(ONE, { ...BY_HAND, byHand: false }, scratchPorts(root))
      for (const path of Object.keys(TRACES)) t.match(unsureIn(seen), path, `run ${run}`)
      t.equal(applyExit(seen, { anchors: [], registries: [] }), 3)
    }
    rmSync(join(root, '/etc/docker/certs.d'), { recursive: true })
    const fewer = await applyRun(ONE, { ...BY_HAND, byHand: false }, scratchPorts(root))
    t.notMatch(unsureIn(fewer), /docker/, 'what is gone is told no more')
    const byHand = await applyRun(ONE, BY_HAND, scratchPorts(root))
    t.match(unsureIn(byHand), /registries\.yaml/, 'also to that person')
    t.equal(applyExit(byHand, { anchors: [], registries: [] }), 3)
    const after = await applyRun(ONE, { ...BY_HAND, byHand: false }, scratchPorts(root))
    t.equal(unsureIn(after), '')
    t.equal(applyExit(after, { anchors: [], registries: [] }), 0)
  },
)

t.test('uninstall names what it leaves of an installation that nobody remembers', async (t) => {
  const root = await withTraces(t)
  const run = await uninstallRun(undefined, BY_HAND, scratchPorts(root))
  for (const path of Object.keys(TRACES)) t.match(unsureIn(run), path)
})

t.test('layout: legacy is lost: uninstall takes it out, or names what it leaves', async (t) => {
  const root = join(t.testdir(), 'node')
  layOut(root)
  const containerd = { enabled: 'auto', layout: 'legacy' } as const
  const legacy = { ...ONE, targets: { ...ONE.targets, containerd } }
  t.match(await applyRun(legacy, BY_HAND, scratchPorts(root)), { outcome: 'applied' })
  rmSync(join(root, STATE), { recursive: true })
  const run = await uninstallRun(legacy, BY_HAND, scratchPorts(root))
  const left = Object.keys(treeOf(root)).filter((path) => /registry-trust\/.+\/ca\.crt$/.test(path))
  const isNamedInConfig = readFileSync(join(root, CONFIG), 'utf8').includes('/registry-trust/')
  for (const path of [...left, ...(isNamedInConfig ? [CONFIG] : [])]) t.match(unsureIn(run), path)
  t.ok(!isNamedInConfig || left.length > 0, 'no file goes that config.toml still names')
})
