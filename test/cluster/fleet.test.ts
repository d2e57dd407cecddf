// The fleet component as it is shipped (its bundle, its ServiceAccount's rights, its admission policies) on Kubernetes'
// own API server with a real etcd; the nodes are played by test/fixtures/fleet/agents.ts.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { digestOfConfigMap } from '../../agent/config/config-digest.ts'
import { type AuditLine, type Kubernetes, scratchFolder, type Tree } from '../fixtures/cluster/kubernetes.ts'
import { onKubernetes } from '../fixtures/cluster/test-cluster.ts'
import { render } from '../fixtures/deploy/objects.ts'
import { Agents, NAMESPACE } from '../fixtures/fleet/agents.ts'
import {
  addWaitingPod,
  type Component,
  declare,
  fleetOf,
  install,
  MAP,
  OVERLAY,
  startComponent,
  until,
  wokenAt,
} from '../fixtures/fleet/component.ts'
import { startPrometheus } from '../fixtures/monitoring/prometheus.ts'

const root = join(import.meta.dirname, '../..')
const LEASE = `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases/registry-trust-fleet`

/** More of them: FLEET_HAND_OVERS=20. */
const HAND_OVERS = Number(process.env['FLEET_HAND_OVERS'] ?? 2)
/** How long the API server answers nothing, on how many nodes, and the changes around it. */
const IS_FULL = process.env['REGISTRY_TRUST_FULL'] === '1'
const AWAY_SECONDS = IS_FULL ? 60 : 1
const AWAY_NODES = IS_FULL ? 6 : 3
const AWAY_CHANGES = IS_FULL ? ['during', 'after'] : ['during']
/** Long enough for the script to take the canary back. */
const FUSE_SOAK = 6
/** What six nodes, the Lease and three watches need at most after an outage. */
const MOST_REQUESTS_A_SECOND = 60

t.setTimeout(600_000)
const clusters = onKubernetes(t)

async function conditionOf(kubernetes: Kubernetes, node: string): Promise<Tree | undefined> {
  const { body } = await kubernetes.request('GET', `/api/v1/nodes/${node}`)
  const { status } = body as { status?: { conditions?: readonly Tree[] } }
  return status?.conditions?.find(({ type }) => type === 'RegistryTrustReady')
}

const WAITED_FOR = 'harbor.example.net/team/app:1'
const SETTINGS = `registries: [{host: harbor.example.net}]
restart: {permit: fleet}
fleet:
  startupTaint: remove
  wakePods: true
  rollout: {canary: 1, maxUnavailable: 2, soak: 1s, haltAfter: 1}
`

clusters.test(
  'a change is told, proved and said; restarts go in waves; a bad one halts; resume goes on',
  async (t, kubernetes) => {
    await install(kubernetes)
    await declare(kubernetes, 'first: 1')
    const bad = new Set<string>()
    const agents = new Agents(kubernetes, {
      count: 6,
      needsRestart: true,
      refuses: (generation) => bad.has(generation),
    })
    await agents.start(t)
    const component = await startComponent(t, kubernetes, 'one', SETTINGS)
    const settled = (states: { [state: string]: number }) => async () => {
      const { totals } = await fleetOf(component)
      return Object.entries(states).every(([state, count]) => totals.states[state] === count)
    }
    await until(settled({ trusted: 6 }), 'all six trust the first configuration', 60_000)
    t.ok(agents.mostRestarting <= 2, `${agents.mostRestarting} restarted at the same time`)
    t.equal([...agents.machines.values()].filter(({ restarts }) => restarts.length === 1).length, 6)
    await until(async () => (await conditionOf(kubernetes, 'n0'))?.['status'] === 'True', 'the condition is True')
    t.match(await conditionOf(kubernetes, 'n0'), { reason: 'Trusted', message: /The declared registry is trusted/ })
    await until(async () => {
      const { body } = await kubernetes.request('GET', '/api/v1/nodes/n0')
      return ((body as { spec: { taints?: readonly Tree[] } }).spec.taints ?? []).length === 0
    }, 'the startup taint is gone')

    // A Pod waits for an image that its node can pull by now, and one for an image that needs a login.
    const waits = await addWaitingPod(kubernetes, 'waits', 'n1', WAITED_FOR)
    const refused = await addWaitingPod(kubernetes, 'refused', 'n2', 'harbor.example.net/secret/app:1')
    const foreign = await addWaitingPod(kubernetes, 'foreign', 'n3', 'elsewhere.example.net/team/app:1')
    const begunMs = performance.now()
    await until(async () => (await wokenAt(kubernetes, waits)) !== undefined, 'the Pod that waits is touched')
    t.comment(`touched after ${Math.round(performance.now() - begunMs)} ms`)
    await until(async () => {
      const metrics = await (await fetch(`${component.url}/metrics`)).text()
      return /^registry_trust_fleet_pulls_refused_total 1$/m.test(metrics)
    }, 'the refused pull is counted')
    t.equal(await wokenAt(kubernetes, refused), undefined)
    t.equal(await wokenAt(kubernetes, foreign), undefined)
    t.same([agents.machines.get('n1')?.pulls, agents.machines.get('n3')?.pulls], [[WAITED_FOR], []])
    await until(async () => !/pull/.test(await noteOf(kubernetes, 'n1')), 'the note names no pull any more')

    const before = await kubernetes.request('GET', MAP)
    const next = 'second: 1'
    bad.add(digestOfConfigMap({ data: { 'trust.yaml': next } }).slice(-12))
    t.ok(before.status === 200)
    await declare(kubernetes, next)
    await until(async () => (await fleetOf(component)).rollout.halted !== null, 'the roll-out is halted')
    const haltedMs = performance.now()
    await t.test('a Prometheus that scrapes the component fires the alert with the shipped rules', async (t) => {
      const target = { job: 'registry-trust-fleet', address: new URL(component.url).host, labels: {} }
      const rules = readFileSync(join(root, 'daemonset/monitoring/rules.yaml'), 'utf8')
      const prometheus = await startPrometheus(t, { targets: [target], rules })
      const names = async () => (await prometheus.alerts()).map(({ labels }) => labels['alertname'])
      await until(async () => (await names()).includes('RegistryTrustFleetHalted'), 'the alert fires')
    })
    await sleep(Math.max(0, 2_000 - (performance.now() - haltedMs)))
    const halted = await fleetOf(component)
    t.match(halted.rollout, { halted: /one node failed/, grants: [] })
    t.match(halted.totals.states, { 'rolled-back': 1, 'restart-pending': 5 })
    t.match(await (await fetch(`${component.url}/metrics`)).text(), /^registry_trust_fleet_halted 1$/m)
    const failed = halted.rollout.failed[0] ?? ''
    await until(async () => (await conditionOf(kubernetes, failed))?.['status'] === 'False', 'its condition is False')
    await until(async () => {
      const { body } = await kubernetes.request('GET', '/api/v1/namespaces/default/events')
      return (body as { items: readonly Tree[] }).items.some(({ reason }) => reason === 'RolloutHalted')
    }, 'an Event tells of the halt')

    bad.clear()
    const args = ['fleet', 'resume', '--kubeconfig', kubernetes.kubeconfig('admin'), '--namespace', NAMESPACE]
    const resume = spawn(process.execPath, [join(root, 'dist/registry-trust.cjs'), ...args], { stdio: 'inherit' })
    t.same((await once(resume, 'exit'))[0], 0)
    await until(settled({ trusted: 5, 'rolled-back': 1 }), 'the other five followed', 60_000)
    t.ok(agents.mostRestarting <= 2)
    const page = await (await fetch(component.url)).text()
    t.match(page, /1 of 6 nodes is not healthy/)

    // The component ends, or is killed, at random moments of further roll-outs.
    agents.mostRestarting = 0
    let running = component
    let handedOver = 0
    for (let round = 0; handedOver < HAND_OVERS; round += 1) {
      const before = restartsOf(agents)
      await declare(kubernetes, `round-${round}: 1`)
      for (let turn = 0; turn < 2 && handedOver < HAND_OVERS; turn += 1) {
        await sleep(200 + Math.random() * 2_500)
        handedOver += 1
        await running.stop(handedOver % 4 === 0 ? 'SIGKILL' : 'SIGTERM')
        running = await startComponent(t, kubernetes, `next-${handedOver}`, SETTINGS)
      }
      const states = async () => (await fleetOf(running)).totals
      await until(async () => (await states()).current === 6, 'all have taken it up', 90_000)
      await until(async () => (await states()).states['trusted'] === 6, 'the roll-out ends', 90_000)
      const each = [...restartsOf(agents)].map(([name, count]) => count - (before.get(name) ?? 0))
      t.same(each, [1, 1, 1, 1, 1, 1], `round ${round}: every node restarted once`)
    }
    t.ok(
      agents.mostRestarting <= 2,
      `${agents.mostRestarting} restarted at the same time over ${handedOver} hand-overs`,
    )
    await running.stop()
  },
)

clusters.test(
  'an API server that answers nothing for a while, and an etcd that is killed: nothing is lost, and nobody storms it',
  async (t, kubernetes) => {
    const fleetPods = `/api/v1/namespaces/${NAMESPACE}/pods`
    await kubernetes.request('DELETE', fleetPods)
    for (let index = 0; index < 6; index += 1) await kubernetes.request('DELETE', `/api/v1/nodes/n${index}`)
    await declare(kubernetes, 'outage-first: 1')
    const agents = new Agents(kubernetes, { count: AWAY_NODES, needsRestart: true })
    await agents.start(t)
    const component = await startComponent(t, kubernetes, 'outage', SETTINGS)
    const isDone = (text: string) => async () => {
      const { totals, config } = await fleetOf(component)
      const isSeen = config === digestOfConfigMap({ data: { 'trust.yaml': text } })
      return isSeen && totals.current === AWAY_NODES && totals.states['trusted'] === AWAY_NODES
    }
    await until(isDone('outage-first: 1'), 'all trust the first configuration', 60_000)
    const outages: { readonly [what: string]: () => Promise<void> } = {
      'the API server answers nothing': async () => {
        kubernetes.signalServer('SIGSTOP')
        try {
          await sleep(AWAY_SECONDS * 1000)
          t.equal((await fetch(`${component.url}/livez`)).status, 200, 'it waits, and is not restarted for it')
        } finally {
          kubernetes.signalServer('SIGCONT')
        }
      },
      'etcd is killed': () => kubernetes.restartEtcd(),
    }
    for (const [what, happen] of Object.entries(outages)) {
      const before = restartsOf(agents)
      await untilDeclared(kubernetes, `during: ${what}`)
      await happen()
      const begun = kubernetes.audit().length
      const begunMs = performance.now()
      for (const when of AWAY_CHANGES) {
        await untilDeclared(kubernetes, `${when}: ${what}`)
        await until(isDone(`${when}: ${what}`), `${what}: the roll-out ${when} ends`, 120_000)
      }
      const seconds = (performance.now() - begunMs) / 1000
      const own = kubernetes.audit().slice(begun)
      const asked = own.filter(({ user }) => user.endsWith(':registry-trust-fleet')).length
      t.ok(asked / seconds <= MOST_REQUESTS_A_SECOND, `${what}: ${asked} requests in ${seconds.toFixed(1)} s`)
      const each = [...restartsOf(agents)].map(([name, count]) => count - (before.get(name) ?? 0))
      t.same(
        each,
        each.map(() => AWAY_CHANGES.length),
        `${what}: one restart for each change`,
      )
      t.comment(`${what}: ${asked} requests in ${seconds.toFixed(1)} s`)
    }
    t.ok(agents.mostRestarting <= 2, `${agents.mostRestarting} restarted at the same time`)
    await component.stop()
  },
)

clusters.test(
  "scripts/e2e-cluster sees fuse, startup taint, conditions and Events; the agents' and the DaemonSet's part is played",
  async (t, kubernetes) => {
    await kubernetes.request('DELETE', `/api/v1/namespaces/${NAMESPACE}/pods`)
    for (let index = 0; index < 6; index += 1) await kubernetes.request('DELETE', `/api/v1/nodes/n${index}`)
    const distrusted = new Set<string>()
    const agents = new Agents(kubernetes, {
      count: 2,
      needsRestart: true,
      distrusts: (config) => distrusted.has(config),
    })
    const component = await startComponent(t, kubernetes, 'story', SETTINGS.replace('soak: 1s', `soak: ${FUSE_SOAK}s`))
    const story = storyOf(t, kubernetes, component)
    await playDaemonSet(kubernetes, 2)
    await story.step('all_events >"$work/events.before"; declare_withdrawn')
    await agents.start(t)
    let seen = ''
    const looking = setInterval(async () => {
      const canary = story.rolledBack()
      if (canary !== undefined) agents.machines.get(canary)?.takeBack()
      const isSame = seen === agents.configOf()
      seen = agents.configOf()
      if (isSame) return
      const { body } = await kubernetes.request('GET', MAP)
      const { data = {} } = body as { readonly data?: { readonly [key: string]: string } }
      if (data['trust.yaml']?.includes('.invalid') === true) distrusted.add(digestOfConfigMap({ data }))
    }, 100)
    t.teardown(() => clearInterval(looking))
    const restarts = () => [...restartsOf(agents).values()].sort().join()
    await until(() => restarts() === '0,1', 'the canary restarts', 120_000)
    for (const step of ['eventually a_canary', 'take_canary_back', 'others_wait', 'go_on']) await story.step(step)
    t.equal(restarts(), '0,1', 'no other node has restarted')
    await until(() => restarts() === '1,2', 'then each of them restarts', 60_000)
    await story.step('eventually none_waits; eventually conditions_true')
    agents.needsRestart = false
    for (const step of ['startup_taint', 'trust_lost', 'trust_regained']) await story.step(step)
    const reason = (await conditionOf(kubernetes, 'n1'))?.['reason']
    t.equal(reason, 'Trusted')
    await component.stop()
  },
)

/** Steps of scripts/cluster-e2e/nodes.sh, with what scripts/e2e-cluster gives them. */
function storyOf(t: Test, kubernetes: Kubernetes, { url }: Component) {
  // The test's own folder holds the component's configuration.
  const work = scratchFolder(t)
  writeFileSync(join(work, 'ca.pem'), '')
  writeFileSync(join(work, 'withdrawn.pem'), '# withdrawn')
  const names = `root=${root} work=${work} ca=${work}/ca.pem patience=60 fuse_soak=${FUSE_SOAK}`
  const given = `${names} space=rt-e2e trust=registry-trust registry=harbor.example.net image=x`
  const program = readFileSync(join(root, 'scripts/e2e-cluster'), 'utf8')
  const eventually = /^eventually\(\) \{$.*?^\}$/ms.exec(program)?.[0]
  // No Pod runs here: what is asked through the API server's proxy is asked of the component, and the command in the
  // agent's Pod is left to the played agent.
  const played = [
    `fleet_metrics() { curl --silent ${url}/metrics; }`,
    'roll_back() { echo "$1" >"$work/rolled-back"; }',
  ]
  const begin = ['set -euo pipefail', ...given.split(' '), eventually, `. ${root}/scripts/cluster-e2e/nodes.sh`]
  return {
    async step(step: string): Promise<void> {
      const { status, stdout, stderr } = await kubernetes.sh([...begin, ...played, step].join('\n'), root)
      t.equal(status, 0, `${step}: ${stdout}${stderr}`)
    },
    /** The node that is to be rolled back now; told once. */
    rolledBack(): string | undefined {
      const file = join(work, 'rolled-back')
      if (!existsSync(file)) return undefined
      const node = readFileSync(file, 'utf8').trim()
      if (node !== '') rmSync(file)
      return node === '' ? undefined : node
    },
  }
}

/** As the controller of DaemonSets, which is not here, counts the Pods that it wants. */
async function playDaemonSet(kubernetes: Kubernetes, count: number): Promise<void> {
  const path = `/apis/apps/v1/namespaces/${NAMESPACE}/daemonsets`
  const labels = { 'app.kubernetes.io/name': 'registry-trust' }
  const template = { metadata: { labels }, spec: { containers: [{ name: 'agent', image: 'x' }] } }
  const body = { metadata: { name: 'registry-trust' }, spec: { selector: { matchLabels: labels }, template } }
  await kubernetes.request('POST', path, body)
  const status = {
    desiredNumberScheduled: count,
    currentNumberScheduled: count,
    numberReady: count,
    numberMisscheduled: 0,
  }
  const contentType = 'application/merge-patch+json'
  await kubernetes.request('PATCH', `${path}/registry-trust/status`, { status }, 'admin', contentType)
}

/** A server that is just coming back may refuse it for a moment. */
async function untilDeclared(kubernetes: Kubernetes, text: string): Promise<void> {
  const isTaken = () =>
    declare(kubernetes, text).then(
      () => true,
      () => false,
    )
  await until(isTaken, `${text} is declared`, 30_000)
}

async function noteOf(kubernetes: Kubernetes, node: string): Promise<string> {
  const { body } = await kubernetes.request('GET', `/api/v1/namespaces/${NAMESPACE}/pods/agent-${node}`)
  const { metadata } = body as { readonly metadata: { readonly annotations?: { readonly [name: string]: string } } }
  return metadata.annotations?.['registry-trust.io/fleet'] ?? ''
}

function restartsOf({ machines }: Agents): ReadonlyMap<string, number> {
  return new Map([...machines].map(([name, { restarts }]) => [name, restarts.length]))
}

clusters.test(
  'a component that ends hands over at once, one that is killed after the Lease is over',
  async (t, kubernetes) => {
    const holder = async () => ((await kubernetes.request('GET', LEASE)).body as { spec: Tree }).spec['holderIdentity']
    const first = await startComponent(t, kubernetes, 'one', SETTINGS)
    await until(async () => (await holder()) === 'one', 'the first leads')
    const second = await startComponent(t, kubernetes, 'two', SETTINGS)
    t.equal((await fetch(`${second.url}/readyz`)).status, 503)
    const begun = Date.now()
    await first.stop()
    await until(async () => (await holder()) === 'two', 'the second leads')
    t.ok(Date.now() - begun < 6_000, 'it was released')
    await second.stop('SIGKILL')
    const third = await startComponent(t, kubernetes, 'three', SETTINGS)
    await until(async () => (await fetch(`${third.url}/readyz`)).status === 200, 'the third leads', 40_000)
  },
)

/** `GROUP RESOURCE[/NAME] VERB` of every rule that the manifests give to the ServiceAccount; names where RBAC has them. */
async function granted(): Promise<readonly string[]> {
  const roles = (await render(OVERLAY)).filter(({ kind }) => kind === 'Role' || kind === 'ClusterRole')
  return roles
    .flatMap(({ rules = [] }) => rules as readonly Rule[])
    .flatMap(({ apiGroups, resources, verbs, resourceNames = [''] }) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) =>
          resourceNames.flatMap((name) => verbs.map((verb) => `${group} ${resource} ${name} ${verb}`)),
        ),
      ),
    )
}

type Rule = {
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
  readonly resourceNames?: readonly string[]
}

/** What the audit log has of it, in the same words. */
function done({ path, verb, query }: AuditLine, names: ReadonlySet<string>): string {
  const [, group = '', rest = ''] = /^\/(?:api|apis\/([^/]+))\/[^/]+\/(?:namespaces\/[^/]+\/)?(.*)$/.exec(path) ?? []
  const [resource, named, part] = rest.split('/')
  const field = /^metadata\.name=(.*)$/.exec(query.get('fieldSelector') ?? '')?.[1]
  const name = named ?? field ?? ''
  const full = part === undefined ? resource : `${resource}/${part}`
  return `${group} ${full} ${names.has(`${group} ${full} ${name}`) ? name : ''} ${verb}`
}

clusters.test(
  'what it may do is what it does: the audit log has each right, and nothing else',
  async (t, kubernetes) => {
    const rights = await granted()
    const names = new Set(rights.map((right) => right.slice(0, right.lastIndexOf(' '))))
    const own = kubernetes.audit().filter(({ user }) => user.endsWith(':registry-trust-fleet'))
    t.ok(own.length > 50)
    t.same([...new Set(own.map((line) => done(line, names)))].sort(), [...new Set(rights)].sort())
  },
)

clusters.test('the policies deny the neighbour of each right', async (t, kubernetes) => {
  await install(kubernetes)
  const pod = `/api/v1/namespaces/${NAMESPACE}/pods/agent-n1`
  const patch = async (path: string, type: 'merge' | 'strategic-merge', body: object) => {
    const contentType = `application/${type}-patch+json`
    const answer = await kubernetes.request('PATCH', path, { ...body }, 'fleet', contentType)
    return answer.status === 200 ? 'allowed' : String(answer.body['message'])
  }
  const onPod = (body: object) => patch(pod, 'merge', body)
  t.equal((await kubernetes.request('GET', pod)).status, 200)
  t.equal(await onPod({ metadata: { annotations: { 'registry-trust.io/fleet': '{}' } } }), 'allowed')
  t.match(await onPod({ metadata: { annotations: { other: 'x' } } }), /only the annotation registry-trust.io\/fleet/)
  t.match(await onPod({ metadata: { labels: { other: 'x' } } }), /no label, owner, finalizer or part of the spec/)
  t.match(await onPod({ metadata: { finalizers: ['a.b/c'] } }), /no label, owner, finalizer or part of the spec/)
  const owner = { apiVersion: 'v1', kind: 'Pod', name: 'x', uid: 'x' }
  t.match(await onPod({ metadata: { ownerReferences: [owner] } }), /no label, owner, finalizer or part of the spec/)
  t.match(await onPod({ metadata: { annotations: { 'registry-trust.io/fleet-2': 'x' } } }), /only the annotation/)
  t.match(await onPod({ spec: { activeDeadlineSeconds: 1 } }), /no label, owner, finalizer or part of the spec/)
  const other = { metadata: { name: 'other', annotations: {} }, spec: { containers: [{ name: 'x', image: 'x' }] } }
  await kubernetes.request('POST', `/api/v1/namespaces/${NAMESPACE}/pods`, other)
  const foreign = await patch(`/api/v1/namespaces/${NAMESPACE}/pods/other`, 'merge', {
    metadata: { annotations: { 'registry-trust.io/fleet': 'x' } },
  })
  t.match(foreign, /only Pods that wait may be changed/)
  const waiting = await addWaitingPod(kubernetes, 'neighbour', 'n1', 'x')
  const onWaiting = (body: object, path = waiting) => patch(path, 'merge', body)
  const touch = { metadata: { annotations: { 'registry-trust.io/image-pulled': 'x' } } }
  t.equal(await onWaiting(touch), 'allowed')
  t.match(await onPod(touch), /only the annotation registry-trust.io\/fleet/, 'not on an agent')
  for (const key of ['other', 'registry-trust.io/fleet'])
    t.match(await onWaiting({ metadata: { annotations: { [key]: 'x' } } }), /only the annotation .*image-pulled/, key)
  t.match(await onWaiting({ metadata: { labels: { a: 'b' } } }), /no label, owner, finalizer or part of the spec/)
  t.match(await onWaiting({ metadata: { finalizers: ['a.b/c'] } }), /no label, owner, finalizer or part of the spec/)
  t.match(await onWaiting({ spec: { activeDeadlineSeconds: 1 } }), /no label, owner, finalizer or part of the spec/)
  const runs = { status: { phase: 'Running' } }
  await kubernetes.request('PATCH', `${waiting}/status`, runs, 'admin', 'application/merge-patch+json')
  t.match(await onWaiting(touch), /only Pods that wait may be changed/)

  const onStatus = (body: object) => patch('/api/v1/nodes/n1/status', 'strategic-merge', body)
  const condition = (type: string) => ({
    status: { conditions: [{ type, status: 'False', reason: 'X', message: 'x' }] },
  })
  t.equal(await onStatus(condition('RegistryTrustReady')), 'allowed')
  t.match(await onStatus(condition('Ready')), /only the condition RegistryTrustReady/)
  t.match(await onStatus({ status: { capacity: { cpu: '1' } } }), /only the condition RegistryTrustReady/)
  for (const status of [
    { phase: 'Terminated' },
    { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] },
    { images: [{ names: ['x'], sizeBytes: 1 }] },
    { volumesInUse: ['x'] },
    { runtimeHandlers: [{ name: 'x' }] },
    { features: { supplementalGroupsPolicy: true } },
    { config: { lastKnownGood: {}, error: 'x' } },
  ])
    t.match(await onStatus({ status }), /only the condition RegistryTrustReady/, Object.keys(status)[0] ?? '')
  t.match(await onStatus({ metadata: { annotations: { a: 'b' } } }), /labels, annotations, owners and finalizers/)
  t.match(await onStatus({ metadata: { labels: { a: 'b' } } }), /labels, annotations, owners and finalizers/)

  const taints = (list: readonly object[]) => patch('/api/v1/nodes/n1', 'merge', { spec: { taints: list } })
  const [ours, theirs] = [
    { key: 'registry-trust.io/untrusted', effect: 'NoSchedule' },
    { key: 'a/b', effect: 'NoSchedule' },
  ]
  const tainted = { spec: { taints: [ours, theirs] } }
  await kubernetes.request('PATCH', '/api/v1/nodes/n1', tainted, 'admin', 'application/merge-patch+json')
  t.match(await taints([ours]), /only the taint registry-trust.io\/untrusted may be removed/)
  t.match(
    await taints([ours, theirs, { key: 'c/d', effect: 'NoSchedule' }]),
    /only the taint registry-trust.io\/untrusted/,
  )
  for (const body of [
    { spec: { unschedulable: true } },
    { spec: { providerID: 'x://y' } },
    { metadata: { labels: { a: 'b' } } },
    { metadata: { annotations: { a: 'b' } } },
  ])
    t.match(await patch('/api/v1/nodes/n1', 'merge', body), /only taints may be changed/, JSON.stringify(body))
  t.equal(await taints([theirs]), 'allowed')

  const inNamespace = `/api/v1/namespaces/${NAMESPACE}`
  const refused = [
    ['GET', `${inNamespace}/secrets`],
    ['DELETE', pod],
    ['GET', `${inNamespace}/configmaps/other`],
    ['DELETE', '/api/v1/nodes/n1'],
    ['POST', `${inNamespace}/configmaps`, { metadata: { name: 'x' } }],
  ] as const
  for (const [method, path, body] of refused)
    t.match(await kubernetes.request(method, path, body, 'fleet'), { status: 403 }, `${method} ${path}`)
})
