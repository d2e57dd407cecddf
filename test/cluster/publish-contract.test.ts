// Contract test: what `publish` does with the Kubernetes API, against the documented API over real HTTP and against
// Kubernetes' own server library with a real etcd (test/fixtures/cluster/test-cluster.ts). The latter needs what
// scripts/install-fixtures builds.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { kubernetesApi } from '../../agent/cluster/kubernetes-api.ts'
import { publishAll } from '../../agent/cluster/publish.ts'
import { restartDue } from '../../agent/cluster/readers.ts'
import type { Publication } from '../../agent/model/cluster.ts'
import { type TestCluster, testClusters } from '../fixtures/cluster/test-cluster.ts'
import { SILENT } from '../fixtures/scratch/carry-out.ts'
import { anchor, desired, makeCa, registry } from '../fixtures/scratch/sample.ts'

const ca = makeCa('Corp Root')
const next = makeCa('Next Root')
const TEKTON_MAP = '/api/v1/namespaces/tekton-pipelines/configmaps/config-registry-cert'
const CONTROLLER = '/apis/apps/v1/namespaces/tekton-pipelines/deployments/tekton-pipelines-controller'
const tekton: Publication = {
  ...{
    namespace: 'tekton-pipelines',
    name: 'config-registry-cert',
    key: 'cert',
    format: 'bundle',
    source: 'trust.yaml:1:1',
  },
  restart: [{ namespace: 'tekton-pipelines', name: 'tekton-pipelines-controller' }],
}
const corp = { ...desired({ anchors: [anchor('corp', ca)] }), publish: [tekton] }

const LEASE = '/apis/coordination.k8s.io/v1/namespaces/registry-trust/leases/registry-trust-publish'

t.setTimeout(480_000)
const clusters = testClusters(t)

/** With Tekton as it is before anybody publishes anything. */
async function tektonOn(cluster: TestCluster) {
  await cluster.put(TEKTON_MAP, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'config-registry-cert' },
    data: { _example: 'theirs' },
  })
  const labels = { app: 'controller' }
  await cluster.put(CONTROLLER, {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'tekton-pipelines-controller' },
    spec: {
      replicas: 1,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels, annotations: { other: 'theirs' } },
        spec: { containers: [{ name: 'controller', image: 'controller:1' }] },
      },
    },
  })
  return kubernetesApi({ kubeconfig: cluster.kubeconfig, log: SILENT })
}

async function rollout(cluster: TestCluster) {
  const { spec } = (await cluster.get(CONTROLLER)) as {
    readonly spec: { readonly template: { readonly metadata: { readonly annotations: { [name: string]: string } } } }
  }
  return spec.template.metadata.annotations
}
async function dataOf(cluster: TestCluster, path = TEKTON_MAP) {
  return ((await cluster.get(path)) as { readonly data: { readonly [key: string]: string } }).data
}

clusters.each(
  "Tekton's ConfigMap gets the anchors under our own field manager, and its controller is restarted",
  async (t, cluster) => {
    const api = await tektonOn(cluster)
    t.match(await publishAll(corp, api), [
      { result: 'written', restarted: ['tekton-pipelines/tekton-pipelines-controller'] },
    ])
    t.same(await dataOf(cluster), { _example: 'theirs', cert: ca.pem })
    t.match(await rollout(cluster), { other: 'theirs', 'registry-trust.io/content': /^[0-9a-f]{64}$/ })
    t.same(await cluster.managers(TEKTON_MAP), ['registry-trust'])
    t.same(await cluster.managers(CONTROLLER), ['registry-trust'])
  },
)

clusters.each('a second run writes nothing and restarts nothing', async (t, cluster) => {
  const api = await tektonOn(cluster)
  await publishAll(corp, api)
  const [annotations, written] = [await rollout(cluster), cluster.count('patch')]
  t.ok(written > 0)
  t.match(await publishAll(corp, api), [{ result: 'unchanged', restarted: [] }])
  t.same(await rollout(cluster), annotations)
  t.equal(cluster.count('patch'), written)
})

clusters.each(
  'new content restarts once more; drift is healed, and no restart follows: its readers have the right content',
  async (t, cluster) => {
    const api = await tektonOn(cluster)
    await publishAll(corp, api)
    const first = await rollout(cluster)
    const both = { ...corp, anchors: [anchor('corp', ca, next)] }
    t.match(await publishAll(both, api), [{ result: 'written', restarted: [/controller/] }])
    t.equal((await dataOf(cluster))['cert'], ca.pem + next.pem)
    const second = await rollout(cluster)
    t.notSame(second, first)
    const map = (await cluster.get(TEKTON_MAP)) as { readonly data: object }
    await cluster.put(TEKTON_MAP, { ...map, data: { ...map.data, cert: 'broken' } })
    t.match(await publishAll(both, api), [{ result: 'written', restarted: [] }])
    t.equal((await dataOf(cluster))['cert'], ca.pem + next.pem)
    t.same(await rollout(cluster), second)
  },
)

clusters.each('what is there already by another hand is taken over without a restart', async (t, cluster) => {
  const api = await tektonOn(cluster)
  const metadata = { name: 'config-registry-cert' }
  await cluster.put(TEKTON_MAP, { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { cert: ca.pem } })
  t.match(await publishAll(corp, api), [{ result: 'unchanged', restarted: [] }])
  t.same(await rollout(cluster), { other: 'theirs' })
  const written = cluster.count('patch')
  await publishAll(corp, api)
  t.equal(cluster.count('patch'), written)
})

clusters.each('a run that was cut short between ConfigMap and restart is finished by the next', async (t, cluster) => {
  const api = await tektonOn(cluster)
  await cluster.denyRollouts()
  t.match(await publishAll(corp, api), [
    { result: 'failed', problem: { code: 'CLUSTER_FORBIDDEN', message: /answered 403/ } },
  ])
  t.equal((await dataOf(cluster))['cert'], ca.pem)
  t.same(await rollout(cluster), { other: 'theirs' })
  await cluster.allowRollouts()
  t.match(await publishAll(corp, api), [{ restarted: [/controller/] }])
  t.match(await publishAll(corp, api), [{ result: 'unchanged', restarted: [] }])
})

clusters.each('a Deployment that does not exist is an error, not a new Deployment', async (t, cluster) => {
  const api = await tektonOn(cluster)
  const restart = [{ namespace: 'tekton-pipelines', name: 'other' }]
  t.match(await publishAll({ ...corp, publish: [{ ...tekton, restart }] }, api), [
    { result: 'failed', problem: { code: 'CLUSTER_FAILED', message: /answered 404/ } },
  ])
  t.equal(await cluster.get('/apis/apps/v1/namespaces/tekton-pipelines/deployments/other'), undefined)
})

clusters.each(
  'a tree by hosts: a port as HOST..PORT, a host that is gone loses its key, foreign keys stay',
  async (t, cluster) => {
    const api = await tektonOn(cluster)
    const certs: Publication = {
      namespace: 'builds',
      name: 'registry-trust-certs',
      format: 'certs.d',
      key: '',
      restart: [],
      source: 'x',
    }
    const path = '/api/v1/namespaces/builds/configmaps/registry-trust-certs'
    const two = [registry('a.example.net', 'corp'), registry('b.example.net:5000', 'corp')]
    await publishAll({ ...corp, registries: two, publish: [certs] }, api)
    t.same(await dataOf(cluster, path), { 'a.example.net': ca.pem, 'b.example.net..5000': ca.pem })
    const map = (await cluster.get(path)) as { readonly data: object }
    await cluster.put(path, { ...map, data: { ...map.data, theirs: 'stays' } })
    await publishAll({ ...corp, registries: two.slice(1), publish: [certs] }, api)
    t.same(await dataOf(cluster, path), { 'b.example.net..5000': ca.pem, theirs: 'stays' })
  },
)

/** A Pod of the controller as a rollout or a failed node makes it: with the annotations of the template at that time. */
async function startPod(cluster: TestCluster, name: string) {
  await sleep(1_100)
  await cluster.put(`/api/v1/namespaces/tekton-pipelines/pods/${name}`, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: 'controller' }, annotations: await rollout(cluster) },
    spec: { containers: [{ name: 'controller', image: 'controller:1' }] },
  })
  await sleep(1_100)
}

/** Tekton's own manifest in place of what was published: no anchors, no annotations. */
const spoil = async (cluster: TestCluster) =>
  await cluster.put(TEKTON_MAP, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'config-registry-cert' },
    data: { _example: 'theirs' },
  })

clusters.each('a reader that started while the content was wrong is restarted, and only then', async (t, cluster) => {
  const api = await tektonOn(cluster)
  await publishAll(corp, api)
  await startPod(cluster, 'first')
  const first = await rollout(cluster)
  const map = (await cluster.get(TEKTON_MAP)) as { readonly data: object }
  await cluster.put(TEKTON_MAP, { ...map, data: { ...map.data, cert: 'broken' } })
  t.match(await publishAll(corp, api), [{ result: 'written', restarted: [] }], 'it has read the right one before')
  t.same(await rollout(cluster), first)
  await spoil(cluster)
  await startPod(cluster, 'second')
  const later = { now: () => Date.now() + 900_000 }
  t.match(await publishAll(corp, api, later), [{ result: 'written', restarted: [/controller/] }])
  const second = await rollout(cluster)
  t.notSame(second, first, 'the template differs, so that it does roll out')
  t.match(await publishAll(corp, api, later), [{ result: 'unchanged', restarted: [] }], 'once')
  t.same(await rollout(cluster), second)
})

clusters.each(
  'whoever keeps spoiling the content does not have its readers restarted without end',
  async (t, cluster) => {
    const api = await tektonOn(cluster)
    await publishAll(corp, api)
    await spoil(cluster)
    await startPod(cluster, 'second')
    t.match(await publishAll(corp, api), [{ restarted: [], postponed: [/controller/] }])
    await sleep(1_100)
    await spoil(cluster)
    await sleep(1_100)
    t.match(await publishAll(corp, api), [{ postponed: [/controller/] }], 'what was due stays due')
    t.match(await publishAll(corp, api, { now: () => Date.now() + 601_000 }), [{ restarted: [/controller/] }])
  },
)

clusters.each('a reader that is younger than new content needs no restart', async (t, cluster) => {
  const api = await tektonOn(cluster)
  await cluster.denyRollouts()
  await publishAll(corp, api)
  await startPod(cluster, 'young')
  await cluster.allowRollouts()
  t.match(await publishAll(corp, api), [{ result: 'unchanged', restarted: [] }])
})

t.test('where Pods may not be listed, a correction restarts the reader once', async (t) => {
  const at = Date.parse('2026-01-02T03:04:05Z')
  const writes = [{ manager: 'registry-trust', isApply: true, isData: true, at }]
  const found = { data: {}, annotations: { 'registry-trust.io/wrong-from': '2026-01-02T03:04:00Z' }, writes }
  const question = { digest: 'd', isSettled: false, found, now: at }
  const before = { 'registry-trust.io/content': 'd' }
  t.equal(restartDue({ pods: undefined, template: before }, question), 'now')
  const after = { ...before, 'registry-trust.io/content-since': '2026-01-02T03:04:05.000Z' }
  t.equal(restartDue({ pods: undefined, template: after }, question), 'no')
})

clusters.each('a broken anchor takes nothing away', async (t, cluster) => {
  const api = await tektonOn(cluster)
  await publishAll(corp, api)
  t.match(await publishAll({ ...corp, anchors: [anchor('corp')] }, api), [{ result: 'held' }])
  t.equal((await dataOf(cluster))['cert'], ca.pem)
})

clusters.each('one holder of the lease at a time; it passes on when it is over', async (t, cluster) => {
  const api = await tektonOn(cluster)
  const lease = { namespace: 'registry-trust', name: 'registry-trust-publish' }
  t.equal(await api.holdLease(lease, 'a', 1), true)
  t.equal(await api.holdLease(lease, 'b', 1), false)
  t.equal(await api.holdLease(lease, 'a', 1), true, 'renewed')
  const held = (await cluster.get(LEASE)) as { readonly spec: object }
  await cluster.put(LEASE, { ...held, spec: { ...held.spec, renewTime: '2020-01-01T00:00:00.000000Z' } })
  t.equal(await api.holdLease(lease, 'b', 1), false, 'a holder whose clock is years behind renews it all the same')
  await sleep(1_200)
  t.equal(await api.holdLease(lease, 'b', 1), true, 'nobody was seen to renew it for a second')
  t.equal(await api.holdLease(lease, 'a', 1), false)
})

clusters.each('a lease that is released is free at once, and only its holder can release it', async (t, cluster) => {
  const api = await tektonOn(cluster)
  const lease = { namespace: 'registry-trust', name: 'registry-trust-publish' }
  t.equal(await api.holdLease(lease, 'a', 30), true)
  await api.releaseLease(lease, 'b')
  t.equal(await api.holdLease(lease, 'b', 30), false)
  await api.releaseLease(lease, 'a')
  t.equal(await api.holdLease(lease, 'b', 30), true)
})

clusters.each('of several that want a lease that is over at the same moment, one gets it', async (t, cluster) => {
  const api = await tektonOn(cluster)
  const lease = { namespace: 'registry-trust', name: 'registry-trust-publish' }
  const metadata = { name: lease.name }
  await cluster.put(LEASE, { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata, spec: {} })
  const names = ['a', 'b', 'c', 'd', 'e']
  const got = await Promise.all(names.map(async (name) => await api.holdLease(lease, name, 30)))
  t.equal(got.filter(Boolean).length, 1, got.join())
  t.match(await cluster.get(LEASE), { spec: { holderIdentity: names[got.indexOf(true)] } })
})

clusters.each('a change of a watched ConfigMap is told', async (t, cluster) => {
  const api = await tektonOn(cluster)
  let told = 0
  const watching = api.watch([tekton], () => {
    told += 1
  })
  t.teardown(() => watching.close())
  while (cluster.count('watch') === 0) await sleep(10)
  // what was there already when the watch began may be told as well
  await sleep(50)
  const before = told
  const metadata = { name: 'config-registry-cert' }
  await cluster.put(TEKTON_MAP, { kind: 'ConfigMap', apiVersion: 'v1', metadata, data: {} })
  while (told === before) await sleep(10)
  t.ok(told > before)
})

// Keep it the last one: the server is gone afterwards.
clusters.each('an API server that does not answer is named as such', async (t, cluster) => {
  const api = await tektonOn(cluster)
  await cluster.close()
  t.match(await publishAll(corp, api), [{ result: 'failed', problem: { code: 'CLUSTER_UNREACHABLE' } }])
})
