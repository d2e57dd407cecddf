// `when`: what counts on this node, what is left out, and that nothing is concluded from what is not known.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { judgeCondition } from '../../agent/config/condition.ts'
import { renderNote } from '../../agent/config/fleet-note.ts'
import { forNode, forThisNode } from '../../agent/config/for-node.ts'
import type { Condition, DesiredState, NodeFacts } from '../../agent/model/desired-state.ts'
import { EMPTY_STATE } from '../../agent/model/state.ts'
import { nodeFiles } from '../../agent/node/files/files.ts'
import { inputFiles } from '../../agent/node/files/input-files.ts'
import { observeNodeFacts, osReleaseId, readLabels } from '../../agent/reconcile/observe/node-facts.ts'
import { planTargets } from '../../agent/reconcile/plan/plan.ts'
import { SYSTEM_TRUST } from '../../agent/targets/system-trust/target.ts'
import { desiredOf, loadFiles, wrongWith } from '../fixtures/config/fixture.ts'
import { createKey, createRoot } from '../fixtures/pki/openssl.ts'
import { scratchNode } from '../fixtures/scratch/carry-out.ts'

const folder = t.testdir()
const key = createKey(folder)
const [root, lab] = [createRoot(folder, key, '/CN=Corp'), createRoot(folder, key, '/CN=Lab')]

const TRUST = `anchors:
  corp: { file: root.pem }
  gpu: { file: lab.pem, when: { nodes: ['gpu-*'] } }
registries:
  - { host: a.net, anchors: [corp, gpu] }
  - { host: b.net, anchors: [gpu], when: { containerd: '>=1.7 <2.1', arch: [amd64] } }
targets:
  docker: { when: { os: [debian, ubuntu] } }
  systemTrust: { when: { labels: { pool: '*' } } }
restart: { when: { nodes: ['gpu-*'] } }
policy: { forbidAnchorsFor: [] }
`
const HERE: NodeFacts = { name: 'gpu-1', os: 'debian', arch: 'amd64', containerd: '1.7.24', labels: { pool: 'a' } }

let count = 0
async function load(text: string) {
  const at = join(folder, `case-${count++}`)
  mkdirSync(at)
  return loadFiles(at, { 'root.pem': root, 'lab.pem': lab, 'trust.yaml': text })
}

const shape = ({ anchors, registries, targets, restart }: DesiredState) => ({
  anchors: anchors.map(({ name, certificates }) => `${name} ${certificates.length}`),
  registries: registries.map(
    ({ host, anchors: names, problems = [] }) => `${host} ${names.join('+')} ${problems.length}`,
  ),
  docker: targets.docker.enabled,
  restart: restart.strategy,
})

t.test('everything that holds counts, and nothing is told', async (t) => {
  const here = forNode(desiredOf(await load(TRUST)), HERE)
  t.same(shape(here), {
    anchors: ['corp 1', 'gpu 1'],
    registries: ['a.net corp+gpu 0', 'b.net gpu 0'],
    docker: 'auto',
    restart: 'auto',
  })
  t.same(here.warnings, undefined)
})

t.test('what does not hold is left out, with one line for each reason', async (t) => {
  const all = desiredOf(await load(TRUST))
  const here = forNode(all, { ...HERE, name: 'cpu-1', os: 'flatcar', containerd: '2.1.9' })
  t.same(shape(here), { anchors: ['corp 1'], registries: ['a.net corp 0'], docker: 'off', restart: 'never' })
  t.same(
    here.warnings?.map(({ code, message }) => [code, message]),
    [
      ['NOT_FOR_THIS_NODE', 'left out on this node: anchor gpu, restart: when.nodes is gpu-*, and this node is cpu-1'],
      [
        'NOT_FOR_THIS_NODE',
        'left out on this node: registry b.net: when.containerd is >=1.7 <2.1, and this node has 2.1.9',
      ],
      [
        'NOT_FOR_THIS_NODE',
        'left out on this node: targets.docker: when.os is debian, ubuntu, and this node has flatcar',
      ],
    ],
  )
  t.not(here.generation, all.generation, 'other things are written, so it is another generation')
})

t.test('what cannot be judged keeps what it put on the node, and is told as a problem', async (t) => {
  const here = forNode(desiredOf(await load(TRUST)), { name: 'gpu-1', arch: 'amd64' })
  t.same(shape(here).registries, ['a.net corp+gpu 0', 'b.net gpu 1'])
  t.match(here.registries[1]?.problems, [{ code: 'CONDITION_UNKNOWN', message: /the version of containerd/ }])
  t.same(here.frozen, ['system-trust', 'docker'])
  const node = scratchNode(t.testdir({ var: {}, etc: { ssl: { certs: {} } } }))
  const facts = {} as never
  const observedWith = async (desired: DesiredState, owned = EMPTY_STATE.owned) =>
    planTargets({
      desired,
      owned,
      observed: [[SYSTEM_TRUST, await SYSTEM_TRUST.observe({ desired, owned, facts }, node)]],
    })
  const known = forNode(desiredOf(await load(TRUST)), HERE)
  const state = await node.carryOut((await observedWith(known)).plan.changes, EMPTY_STATE)
  t.not(Object.keys(state.owned).length, 0)
  const { plan } = await observedWith({ ...here, anchors: [] }, state.owned)
  t.same(plan.changes, [], 'nothing that is installed is taken away')
  t.match(plan.problems, [{ code: 'CONDITION_UNKNOWN' }])
})

t.test('a fact that decides against it makes the unknown ones unimportant', (t) => {
  t.match(judgeCondition({ nodes: ['a'], containerd: '>=1.7' }, { name: 'b' }), { holds: 'no' })
  t.match(judgeCondition({ nodes: ['b'], containerd: '>=1.7' }, { name: 'b' }), { holds: 'unknown' })
  t.end()
})

t.test('versions of containerd', (t) => {
  const holds = (containerd: string, version: string) => judgeCondition({ containerd }, { containerd: version }).holds
  for (const [range, version, expected] of [
    ['>=1.7', '1.7.0', 'yes'],
    ['>=1.7', '1.6.20~ds1', 'no'],
    ['<=2.1', 'v2.1.9-k3s1', 'yes'],
    ['<2.1', '2.1.0', 'no'],
    ['=1.6', '1.6.33', 'yes'],
    ['>=1.6 <2', '1.10.1', 'yes'],
    ['> 2', '2.1.0', 'no'],
    ['>=1.7', 'devel', 'unknown'],
  ] as const)
    t.equal(holds(range, version), expected, `${version} in ${range}`)
  t.end()
})

t.test('patterns of node names are those of a shell, and cost no more than their length', (t) => {
  const asRegExp = (pattern: string) =>
    new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*').replaceAll('?', '.')}$`)
  fc.assert(
    fc.property(
      fc.stringMatching(/^[ab*?.]{1,8}$/),
      fc.stringMatching(/^[ab.]{0,8}$/),
      (pattern, name) =>
        (judgeCondition({ nodes: [pattern] }, { name }).holds === 'yes') === asRegExp(pattern).test(name),
    ),
    { numRuns: 2000 },
  )
  const started = process.cpuUsage()
  judgeCondition({ nodes: [`${'*a'.repeat(120)}b`] }, { name: 'a'.repeat(253) })
  t.ok(process.cpuUsage(started).user < 1_000_000)
  t.end()
})

t.test('facts come from os-release and from the file of the downward API', (t) => {
  t.equal(osReleaseId('NAME="Debian"\nID=debian\n'), 'debian')
  t.equal(osReleaseId('ID="rhel"\nID_LIKE="fedora"'), 'rhel')
  t.equal(osReleaseId('NAME=x'), 'linux')
  t.same(
    { ...readLabels('pool="a"\ntopology.kubernetes.io/zone="b-1"\n\nbroken\n__proto__="x"') },
    {
      pool: 'a',
      'topology.kubernetes.io/zone': 'b-1',
      ['__proto__']: 'x',
    },
  )
  t.end()
})

t.test('labels come from the note of the fleet component, which tells those that it is asked for alone', async (t) => {
  const folder = t.testdir({ 'registry-trust.io': {} })
  const note = { config: 'a'.repeat(64), nodes: 3, labels: { pool: 'gpu', rack: null } }
  writeFileSync(join(folder, 'registry-trust.io/fleet'), renderNote(note))
  writeFileSync(join(folder, 'labels'), 'pool="cpu"\n')
  const ports = {
    files: nodeFiles({ root: '/' }),
    inputs: inputFiles({ freshMs: 0 }),
    connectCri: () => t.fail('asks nothing'),
  }
  const about = { name: 'n', arch: 'x64', address: 'none' }
  const factsWith = (more: { readonly fleetFolder?: string; readonly labelsFile: string | undefined }) =>
    observeNodeFacts(new Set(['labels']), { ...about, ...more }, ports as never)
  const facts = await factsWith({ fleetFolder: folder, labelsFile: undefined })
  const judge = (labels: { readonly [key: string]: string }) => judgeCondition({ labels }, facts).holds
  t.equal(judge({ pool: 'gpu' }), 'yes')
  t.equal(judge({ pool: '*' }), 'yes')
  t.equal(judge({ pool: 'cpu' }), 'no')
  t.equal(judge({ rack: '*' }), 'no', 'the node has none')
  t.equal(judge({ zone: 'b' }), 'unknown', 'nobody told')
  t.equal(judge({ zone: 'b', pool: 'cpu' }), 'no', 'another one decides')
  t.match(judgeCondition({ labels: { zone: 'b' } }, facts).why, /label zone .*fleet\.nodeLabels does not name it/)
  const own = await factsWith({ fleetFolder: folder, labelsFile: join(folder, 'labels') })
  t.equal(judgeCondition({ labels: { pool: 'cpu' } }, own).holds, 'yes', 'a file of the user comes first')
  const none = await factsWith({ fleetFolder: join(folder, 'gone'), labelsFile: undefined })
  t.equal(judgeCondition({ labels: { pool: 'cpu' } }, none).holds, 'unknown')
})

t.test('facts are asked only where something needs them', async (t) => {
  const asked: string[] = []
  const ask = (text: string) =>
    forThisNode(
      () => load(text),
      async (needed) => {
        asked.push([...needed].sort().join())
        return HERE
      },
    )()
  await ask('registries: []')
  t.same(asked, [])
  await ask(TRUST)
  t.same(asked, ['arch,containerd,labels,name,os'])
})

t.test('what counts here is the same object until the configuration or a fact is another', async (t) => {
  let [loaded, facts] = [await load(TRUST), HERE]
  const here = forThisNode(
    async () => loaded,
    async () => ({ ...facts }),
  )
  const desired = async () => {
    const result = await here()
    return result.ok ? result.desired : undefined
  }
  const first = await desired()
  t.equal(await desired(), first)
  facts = { ...HERE, os: 'ubuntu' }
  const second = await desired()
  t.not(second, first)
  loaded = await load(TRUST)
  t.not(await desired(), second)
})

t.test('a condition that cannot be meant is refused', async (t) => {
  const wrong = async (when: object) =>
    wrongWith(await load(`registries: [{ host: a.net, when: ${JSON.stringify(when)} }]`))
  const conditions: readonly (Condition | object)[] = [{}, { containerd: 'new' }, { arch: ['x64'] }, { node: ['a'] }]
  for (const when of conditions) t.match(await wrong(when), [{ code: 'CONFIG_INVALID' }], JSON.stringify(when))
})
