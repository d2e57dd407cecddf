// The contract of targets: what one folder and one line give a place that trusts.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { foldersToWatch } from '../../agent/daemon/watch/watched-folders.ts'
import { examine } from '../../agent/diagnose/doctor.ts'
import { missingMounts } from '../../agent/diagnose/missing-mounts.ts'
import { TARGET_NAMES } from '../../agent/model/plan.ts'
import type { RunOptions } from '../../agent/model/run.ts'
import { planTargets } from '../../agent/reconcile/plan/plan.ts'
import { applyRun, planRun } from '../../agent/reconcile/run/entry.ts'
import { uninstallRun } from '../../agent/reconcile/run/leaving/uninstall.ts'
import { TARGETS } from '../../agent/targets/targets.ts'
import { anchor, desired, makeCa } from '../fixtures/scratch/sample.ts'
import { CONFIG, SOCKET, scratchPorts } from '../fixtures/scratch/scratch-runtime.ts'
import { tree } from '../fixtures/scratch/tree.ts'
import { FILE, MADE_UP } from '../fixtures/targets/made-up/target.ts'

const BY_HAND: RunOptions = { address: SOCKET, byHand: true, consentUnrehearsed: false }
const BY_ITSELF: RunOptions = { ...BY_HAND, byHand: false }
const wanted = desired({ anchors: [anchor('corp', makeCa('Corp Root'))] })

function nodeWithMadeUp(t: Test) {
  const root = t.testdir({ etc: { 'made-up': {}, containerd: { 'config.toml': 'version = 2\n' } }, var: { lib: {} } })
  const ports = { ...scratchPorts(root), targets: [...TARGETS, MADE_UP] }
  return { root, ports, file: join(root, FILE) }
}

t.test('the names of the targets are those that the status and the metrics know', async (t) => {
  t.same(TARGETS.flatMap(({ names }) => names).toSorted(), TARGET_NAMES.toSorted())
})

t.test('a made-up target is planned, written, seen to drift, healed and uninstalled', async (t) => {
  const { root, ports, file } = nodeWithMadeUp(t)
  const before = tree(join(root, 'etc'))
  const planned = await planRun(wanted, BY_HAND, ports)
  t.match(planned.planned?.plan.changes, [{ target: 'made-up', action: 'create', path: FILE, drift: 'missing' }])
  t.equal((await planRun(wanted, BY_HAND, scratchPorts(root))).planned?.plan.changes.length, 0, 'without the line')
  t.same(tree(join(root, 'etc')), before, 'a plan writes nothing')

  t.match(await applyRun(wanted, BY_HAND, ports), { outcome: 'applied', applied: [{ path: FILE }] })
  t.equal(readFileSync(file, 'utf8'), 'corp\n')
  t.match((await ports.store.load()).owned[FILE], { target: 'made-up', kind: 'whole' })
  t.equal((await applyRun(wanted, BY_HAND, ports)).outcome, 'unchanged')

  writeFileSync(file, 'someone else\n')
  t.match((await planRun(wanted, BY_ITSELF, ports)).planned?.plan.changes, [{ path: FILE, drift: 'changed' }])
  t.match(await applyRun(wanted, BY_ITSELF, ports), { outcome: 'applied', applied: [{ path: FILE, drift: 'changed' }] })
  t.equal(readFileSync(file, 'utf8'), 'corp\n')
  rmSync(file)
  t.match(await applyRun(wanted, BY_ITSELF, ports), { outcome: 'applied', applied: [{ path: FILE, drift: 'missing' }] })

  await uninstallRun(wanted, BY_HAND, ports)
  t.same(tree(join(root, 'etc')), before)
})

t.test('drift of a made-up target is told and not put right where trust.yaml says so', async (t) => {
  const { ports, file } = nodeWithMadeUp(t)
  const reported = { ...wanted, drift: { ...wanted.drift, heal: false } }
  await applyRun(reported, BY_HAND, ports)
  writeFileSync(file, 'someone else\n')
  const run = await applyRun(reported, BY_ITSELF, ports)
  t.match(run, { outcome: 'unchanged', planned: { leftOut: [{ path: FILE }] } })
  t.equal(readFileSync(file, 'utf8'), 'someone else\n')
})

t.test('its folder is watched, and a Pod that does not mount it is told so', async (t) => {
  const facts = { configFile: CONFIG, importFolders: [], layout: 'plain' }
  const folders = (targets: typeof TARGETS) =>
    foldersToWatch({ facts, certsDirectory: undefined, owned: {}, targets }).map(({ path }) => path)
  t.ok(folders([MADE_UP]).includes('/etc/made-up'))
  t.notOk(folders(TARGETS).includes('/etc/made-up'))

  const mount = (path: string) => ({ path, isSourceDeleted: false, isReadOnly: false })
  const request = {
    desired: wanted,
    facts: undefined,
    plan: undefined,
    hostPath: (path: string) => `/host${path}`.replace(/\/$/, ''),
    stateFolder: '/var/lib/registry-trust',
    hasRuntime: true,
    targets: [MADE_UP],
  }
  const mounts = [mount('/'), mount('/host/usr'), mount('/host/var/lib/registry-trust')]
  t.match(missingMounts({ ...request, mounts }), [
    { path: '/etc/made-up', what: /is not mounted from the node, which is needed for the made-up program/ },
  ])
  t.same(missingMounts({ ...request, mounts: [...mounts, mount('/host/etc/made-up')] }), [])
})

t.test('doctor tells what it finds there', async (t) => {
  const { root, ports, file } = nodeWithMadeUp(t)
  const request = { desired: wanted, problems: [], address: SOCKET, mounts: [], stateFolder: '/var/lib/rt' }
  const told = async () => (await examine(request, ports)).ailments.filter(({ where }) => where === FILE)
  t.match(await told(), [{ severity: 'info', what: 'it names other anchors' }])
  mkdirSync(join(root, 'etc/made-up'), { recursive: true })
  writeFileSync(file, 'corp\n', { mode: 0o644 })
  t.same(await told(), [])
})

t.test('the same input and observation give the same plan, and neither is changed', async (t) => {
  const { ports } = nodeWithMadeUp(t)
  const { facts } = await planRun(wanted, BY_HAND, ports)
  if (facts === undefined) throw new Error('the node was not observed')
  const input = { desired: wanted, owned: {}, facts }
  const observed = await Promise.all(
    ports.targets.map(async (target) => [target, await target.observe(input, ports)] as const),
  )
  const once = await planTargets({ desired: wanted, owned: {}, observed })
  t.ok(once.plan.changes.length > 0)
  t.same(await planTargets({ desired: wanted, owned: {}, observed: deepFrozen(observed) }), once)
})

/** Values alone: targets and buffers cannot be frozen. */
function deepFrozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return value
  if (value instanceof Map) value.forEach(deepFrozen)
  else Object.values(value).forEach(deepFrozen)
  return Object.freeze(value)
}

t.test('planning imports no port: neither the fold nor the part of a target that plans', async (t) => {
  const root = new URL('../../agent/', import.meta.url).pathname
  const filesIn = (folder: string) =>
    readdirSync(`${root}${folder}`, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => `${folder}/${file}`)
  const reads = /(^|\/|-)(observe(-[a-z]+)?|directories|examine|target|targets|bundle)\.ts$|^targets\/guards\//
  const planning = [...filesIn('targets').filter((file) => !reads.test(file)), ...filesIn('reconcile/plan')]
  t.ok(planning.length > 15, 'the files were found')
  const ports = (file: string) =>
    [
      ...readFileSync(`${root}${file}`, 'utf8').matchAll(
        /^import type \{([^}]*)\} from '[./]+model\/(?:run-)?ports\.ts'/gm,
      ),
    ]
      .flatMap(([, names = '']) => names.split(','))
      .map((name) => name.trim())
      .filter((name) => name !== '' && !VALUES.has(name))
      .map((name) => `${file} imports ${name}`)
  t.same(planning.flatMap(ports), [])
  t.match(
    ports('targets/containerd/observe.ts').concat(ports('targets/k3s/observe.ts')),
    [/NodeFiles/],
    'a port is seen',
  )
})

/** What ports answer with: no functions. */
const VALUES: ReadonlySet<string> = new Set(['FileState', 'RuntimeStatus'])
