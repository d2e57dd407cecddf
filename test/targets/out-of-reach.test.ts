// A target that works by itself (`auto`) loses its mount, as when a profile with fewer rights follows one with more:
// what the agent left there and has to change is told, what is as it should be is not.
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import type { DesiredState } from '../../agent/model/desired-state.ts'
import type { NodeFiles } from '../../agent/model/ports.ts'
import { type AgentState, EMPTY_STATE } from '../../agent/model/state.ts'
import type { Target } from '../../agent/model/target.ts'
import { CONTAINERS_TARGET, DOCKER_TARGET } from '../../agent/targets/certs-d/target.ts'
import { FAMILIES } from '../../agent/targets/system-trust/families-observe.ts'
import { SYSTEM_TRUST } from '../../agent/targets/system-trust/target.ts'
import { scratchNode } from '../fixtures/scratch/carry-out.ts'
import { anchor, desired, makeCa, registry, targetInput } from '../fixtures/scratch/sample.ts'

const [ca, distribution] = [makeCa('Corp Root'), makeCa('Distribution Root')]
const capabilities = ['pull', 'resolve'] as const
const mirrors = [{ url: 'https://mirror.example.net', anchors: ['corp'], capabilities, overridePath: false }]
const wanted = desired({
  anchors: [anchor('corp', ca)],
  registries: [{ ...registry('harbor.example.net', 'corp'), mirrors }],
})
const nothing = desired()

type Place = {
  readonly name: string
  readonly target: Target
  /** Files of the node before; a folder where the name ends with a slash. */
  readonly node: { readonly [path: string]: string }
}

function store(name: 'rhel' | 'suse' | 'photon'): Place {
  const { bundle, sources } = FAMILIES[name] ?? { bundle: '' }
  const folder = sources === undefined ? {} : { [`${sources}/`]: '' }
  return { name, target: SYSTEM_TRUST as Target, node: { [bundle]: distribution.pem, ...folder } }
}

const PLACES: readonly Place[] = [
  store('rhel'),
  store('suse'),
  store('photon'),
  { name: 'docker', target: DOCKER_TARGET as Target, node: { '/etc/docker/': '' } },
  { name: 'containers', target: CONTAINERS_TARGET as Target, node: { '/etc/containers/registries.conf.d/': '' } },
]

async function planOn(target: Target, wish: DesiredState, state: AgentState, files: NodeFiles) {
  const input = targetInput(wish, state.owned)
  // These targets look at the node's files alone.
  const observe = target.observe as (input: object, ports: object) => Promise<unknown>
  return target.plan(input, await observe(input, { files }))
}

for (const { name, target, node: tree } of PLACES)
  t.test(`${name}: what cannot be reached any more is told where it has to change`, async (t) => {
    const node = scratchNode(t.testdir({ var: { lib: {} } }))
    for (const [path, text] of Object.entries(tree)) {
      const full = join(node.root, path)
      mkdirSync(path.endsWith('/') ? full : dirname(full), { recursive: true })
      if (!path.endsWith('/')) writeFileSync(full, text)
    }
    const readOnly: NodeFiles = { ...node.files, isWritable: async () => false }
    const first = await planOn(target, wanted, EMPTY_STATE, readOnly)
    t.match(first, { changes: [], problems: [] }, 'a target that was never there is no fault')
    const state = await node.carryOut((await planOn(target, wanted, EMPTY_STATE, node.files)).changes, EMPTY_STATE)
    t.ok(Object.keys(state.owned).length > 0)
    const same = await planOn(target, wanted, state, readOnly)
    t.match(same, { changes: [], problems: [] }, 'what is as it should be needs no rights')
    const { changes, problems } = await planOn(target, nothing, state, readOnly)
    t.same(changes, [])
    t.match(problems, [{ code: 'TARGET_READ_ONLY' }])
    const files = Object.keys(state.owned).filter((path) => state.owned[path]?.sha256 !== '')
    for (const path of files) t.match(problems.map(({ message }) => message).join(), path, `${path} is named`)
  })
