// A file or folder of ours that cannot be read for a moment (a disk error, a mount that hangs) is not gone, not changed
// and not somebody else's: nothing beside it is touched, nothing is forgotten, it is told by its name, and the rest of
// the node is done.
import { posix } from 'node:path'
import t from 'tap'
import type { DesiredState, Mirror } from '../../agent/model/desired-state.ts'
import { problem } from '../../agent/model/errors.ts'
import type { ContainerdFacts } from '../../agent/model/observed-state.ts'
import type { FileState, NodeFiles } from '../../agent/model/ports.ts'
import { type AgentState, EMPTY_STATE } from '../../agent/model/state.ts'
import { makePlan } from '../../agent/reconcile/run/planning.ts'
import { type ScratchNode, scratchNode } from '../fixtures/scratch/carry-out.ts'
import { anchor, containerdFacts, desired, makeCa, registry } from '../fixtures/scratch/sample.ts'

const CONFIG = '/etc/containerd/config.toml'
const HOST = 'harbor.example.net'
const OTHER = 'other.example.net:5000'
const [caA, caB] = [makeCa('Corp Root A'), makeCa('Corp Root B')]
const anchors = [anchor('a', caA), anchor('b', caB)]
const { targets } = desired()
const MIRROR: Mirror = {
  url: 'https://mirror.example.net',
  anchors: ['b'],
  capabilities: ['pull', 'resolve'],
  overridePath: false,
}
const one = desired({
  anchors,
  registries: [{ ...registry(HOST, 'a'), mirrors: [MIRROR] }],
})
const legacy: DesiredState = {
  ...one,
  registries: [registry(HOST, 'a')],
  targets: { ...targets, containerd: { enabled: 'auto', layout: 'legacy' } },
}
const unreadable: FileState = { kind: 'unreadable', reason: 'EIO: i/o error' }

async function planOn(
  { files, store }: Pick<ScratchNode, 'files' | 'store'>,
  wanted: DesiredState,
  state: AgentState,
  seen: Partial<ContainerdFacts> = {},
) {
  const facts = containerdFacts({
    status: { runtimeReady: true, networkReady: true, loadedConfigPath: '/etc/containerd/certs.d' },
    config: await files.readFollowing(CONFIG),
    ...seen,
  })
  const input = { desired: wanted, state, facts, unverified: new Set<string>(), migrateAll: false }
  return (await makePlan(input, { files, store })).plan
}

/** The files of a node of which one path cannot be read. */
function without(files: NodeFiles, path: string): NodeFiles {
  return {
    ...files,
    read: async (asked) => (asked === path ? unreadable : files.read(asked)),
    readSettled: async (asked, isWhole) => (asked === path ? unreadable : files.readSettled(asked, isWhole)),
    readFollowing: async (asked) => (asked === path ? unreadable : files.readFollowing(asked)),
  }
}

const plural = (wanted: DesiredState): DesiredState => ({
  ...wanted,
  registries: [...wanted.registries, registry(OTHER, 'b')],
})
const bare = (wanted: DesiredState): DesiredState => ({ ...wanted, anchors: [], registries: [] })

for (const [name, installed] of Object.entries({ 'host directories': one, 'layout: legacy': legacy }))
  t.test(name, async (t) => {
    const etc = {
      containerd: { 'config.toml': 'version = 2\n' },
      docker: {},
      containers: { 'registries.conf.d': {} },
      ssl: { certs: { 'ca-certificates.crt': makeCa('Public Root').pem } },
    }
    const node = scratchNode(t.testdir({ var: { lib: {} }, usr: { local: { share: { 'ca-certificates': {} } } }, etc }))
    const state = await node.carryOut((await planOn(node, installed, EMPTY_STATE)).changes, EMPTY_STATE)
    t.same((await planOn(node, installed, state)).changes, [], 'installed')
    const paths = Object.keys(state.owned).filter((path) => posix.basename(path) !== 'certs.d')
    t.ok(paths.length > 10, paths.join(' '))
    for (const path of paths)
      await t.test(path, async (t) => {
        const { target, subject, sha256 } = state.owned[path] as AgentState['owned'][string]
        const files = without(node.files, path)
        const folder = sha256 === '' ? path : posix.dirname(path)
        for (const wanted of [installed, plural(installed), bare(installed)]) {
          const { changes, problems } = await planOn({ files, store: node.store }, wanted, state)
          t.match(
            problems.filter(({ message }) => message.includes(path)),
            [{ code: /^(NODE_FILE|CONTAINERD_CONFIG)_UNREADABLE$/, message: 'EIO: i/o error' }],
            'told once',
          )
          const touched = changes.filter(({ path: at, forgets }) => [at, ...forgets].includes(path))
          t.same(touched, [], 'neither touched nor forgotten')
          const isHostFolder = target !== 'system-trust' && subject !== '' && !folder.includes('registry-trust/')
          const beside = changes.filter(({ path: at }) => isHostFolder && posix.dirname(at) === folder)
          t.same(beside, [], 'nor what lies beside it')
        }
        const { changes } = await planOn({ files, store: node.store }, plural(installed), state)
        const isDone = changes.some(({ path: at }) => at.includes(OTHER))
        t.ok(isDone, 'another registry is done all the same')
      })
  })

t.test('an imported file of config.toml that cannot be read: config.toml is left as it is', async (t) => {
  const etc = { containerd: { 'config.toml': 'version = 2\nimports = ["a.toml"]\n', 'a.toml': '' } }
  const node = scratchNode(t.testdir({ var: { lib: {} }, etc }))
  const status = { runtimeReady: true, networkReady: true, loadedConfigPath: '' }
  const isEdit = ({ path }: { readonly path: string }) => path === CONFIG
  t.ok((await planOn(node, one, EMPTY_STATE, { status })).changes.some(isEdit), 'config_path is to be set')
  const unseenImport = problem('NODE_FILE_UNREADABLE', '/etc/containerd/a.toml cannot be read: EIO')
  const { changes, problems } = await planOn(node, one, EMPTY_STATE, { status, unseenImport })
  t.notOk(changes.some(isEdit))
  t.same(problems, [unseenImport])
})
