// Contract test: `publish` against the documented Kubernetes API over real HTTP (test/cluster/api-server.ts), not against Kubernetes.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { kubernetesApi } from '../../agent/cluster/kubernetes-api.ts'
import type { Publication } from '../../agent/model/cluster.ts'
import { publishAll } from '../../agent/reconcile/publish.ts'
import { createAuthority, issueServer } from '../node/certificates.ts'
import { SILENT } from '../targets/carry-out.ts'
import { anchor, desired, makeCa, registry } from '../targets/sample.ts'
import { ApiServer } from './api-server.ts'

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

async function cluster(t: Test) {
  const folder = t.testdir({})
  const authority = await createAuthority(folder, 'Cluster')
  const { pem, keyFile } = await issueServer(authority, folder, ['127.0.0.1'])
  const server = new ApiServer({ cert: pem, key: readFileSync(keyFile, 'utf8') })
  const url = await server.listen()
  t.teardown(() => server.close())
  server.put(TEKTON_MAP, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'config-registry-cert' },
    data: { _example: 'theirs' },
  })
  server.put(CONTROLLER, {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'c' },
    spec: { replicas: 1, template: { metadata: { annotations: { other: 'theirs' } } } },
  })
  const kubeconfig = join(folder, 'kubeconfig')
  const parts = {
    clusters: [
      {
        name: 'c',
        cluster: { server: url, 'certificate-authority-data': Buffer.from(authority.pem).toString('base64') },
      },
    ],
    users: [{ name: 'u', user: { token: 'fixture' } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
  }
  writeFileSync(kubeconfig, JSON.stringify({ apiVersion: 'v1', kind: 'Config', 'current-context': 'x', ...parts }))
  return { server, api: kubernetesApi({ kubeconfig, log: SILENT }) }
}

const rollout = (server: ApiServer) => {
  const { template } = (
    server.get(CONTROLLER) as { spec: { template: { metadata: { annotations: { [name: string]: string } } } } }
  ).spec
  return template.metadata.annotations
}
const dataOf = (server: ApiServer, path = TEKTON_MAP) => (server.get(path) as { data: { [key: string]: string } }).data
const patches = (server: ApiServer) => server.requests.filter(({ method }) => method === 'PATCH').length

t.test(
  "Tekton's ConfigMap gets the anchors under our own field manager, and its controller is restarted",
  async (t) => {
    const { server, api } = await cluster(t)
    t.match(await publishAll(corp, api), [
      { result: 'written', restarted: ['tekton-pipelines/tekton-pipelines-controller'] },
    ])
    t.same(dataOf(server), { _example: 'theirs', cert: ca.pem })
    t.match(rollout(server), { other: 'theirs', 'registry-trust.io/content': /^[0-9a-f]{64}$/ })
    t.ok(
      server.requests.every(
        ({ method, contentType }) => method !== 'PATCH' || contentType === 'application/apply-patch+yaml',
      ),
    )
  },
)

t.test('a second run writes nothing and restarts nothing', async (t) => {
  const { server, api } = await cluster(t)
  await publishAll(corp, api)
  const [annotations, written] = [rollout(server), patches(server)]
  t.match(await publishAll(corp, api), [{ result: 'unchanged', restarted: [] }])
  t.same(rollout(server), annotations)
  t.equal(patches(server), written)
})

t.test(
  'new content restarts once more; drift is healed, and no restart follows: its readers have the right content',
  async (t) => {
    const { server, api } = await cluster(t)
    await publishAll(corp, api)
    const first = rollout(server)
    t.match(await publishAll({ ...corp, anchors: [anchor('corp', ca, next)] }, api), [
      { result: 'written', restarted: [/controller/] },
    ])
    t.equal(dataOf(server)['cert'], ca.pem + next.pem)
    t.notSame(rollout(server), first)
    const map = server.get(TEKTON_MAP) as { data: object }
    server.put(TEKTON_MAP, { ...map, data: { ...map.data, cert: 'broken' } })
    t.match(await publishAll({ ...corp, anchors: [anchor('corp', ca, next)] }, api), [{ result: 'written' }])
    t.equal(dataOf(server)['cert'], ca.pem + next.pem)
  },
)

t.test('what is there already by another hand is taken over without a restart', async (t) => {
  const { server, api } = await cluster(t)
  server.put(TEKTON_MAP, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'x' }, data: { cert: ca.pem } })
  t.match(await publishAll(corp, api), [{ result: 'unchanged', restarted: [] }])
  t.same(rollout(server), { other: 'theirs' })
  const written = patches(server)
  await publishAll(corp, api)
  t.equal(patches(server), written)
})

t.test('a run that was cut short between ConfigMap and restart is finished by the next', async (t) => {
  const { server, api } = await cluster(t)
  server.refuse.set(`PATCH ${CONTROLLER}`, 403)
  t.match(await publishAll(corp, api), [
    { result: 'failed', problem: { code: 'CLUSTER_FORBIDDEN', message: /answered 403/ } },
  ])
  t.equal(dataOf(server)['cert'], ca.pem)
  server.refuse.clear()
  t.match(await publishAll(corp, api), [{ restarted: [/controller/] }])
  t.match(await publishAll(corp, api), [{ result: 'unchanged', restarted: [] }])
})

t.test('a Deployment that does not exist is an error, not a new Deployment', async (t) => {
  const { server, api } = await cluster(t)
  const restart = [{ namespace: 'tekton-pipelines', name: 'other' }]
  t.match(await publishAll({ ...corp, publish: [{ ...tekton, restart }] }, api), [
    { result: 'failed', problem: { code: 'CLUSTER_FAILED' } },
  ])
  t.equal(server.get('/apis/apps/v1/namespaces/tekton-pipelines/deployments/other'), undefined)
})

t.test('a tree by hosts: a port as HOST..PORT, a host that is gone loses its key, foreign keys stay', async (t) => {
  const { server, api } = await cluster(t)
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
  t.same(dataOf(server, path), { 'a.example.net': ca.pem, 'b.example.net..5000': ca.pem })
  await publishAll({ ...corp, registries: two.slice(1), publish: [certs] }, api)
  t.same(dataOf(server, path), { 'b.example.net..5000': ca.pem })
})

t.test('a broken anchor takes nothing away', async (t) => {
  const { server, api } = await cluster(t)
  await publishAll(corp, api)
  t.match(await publishAll({ ...corp, anchors: [anchor('corp')] }, api), [{ result: 'held' }])
  t.equal(dataOf(server)['cert'], ca.pem)
})

t.test('one holder of the lease at a time; it passes on when it is over', async (t) => {
  const { api } = await cluster(t)
  const lease = { namespace: 'registry-trust', name: 'registry-trust-publish' }
  t.equal(await api.holdLease(lease, 'a', 30), true)
  t.equal(await api.holdLease(lease, 'b', 30), false)
  t.equal(await api.holdLease(lease, 'a', 0), true, 'renewed')
  await sleep(5)
  t.equal(await api.holdLease(lease, 'b', 30), true, 'taken over')
  t.equal(await api.holdLease(lease, 'a', 30), false)
})

t.test('a change of a watched ConfigMap is told', async (t) => {
  const { server, api } = await cluster(t)
  let told = 0
  const watching = api.watch([tekton], () => {
    told += 1
  })
  while (!server.requests.some(({ path }) => path.endsWith('/configmaps'))) await sleep(10)
  server.put(TEKTON_MAP, { kind: 'ConfigMap', apiVersion: 'v1', metadata: { name: 'config-registry-cert' }, data: {} })
  while (told === 0) await sleep(10)
  watching.close()
  t.ok(told > 0)
})

t.test('an API server that does not answer is named as such', async (t) => {
  const { server, api } = await cluster(t)
  await server.close()
  t.match(await publishAll(corp, api), [{ result: 'failed', problem: { code: 'CLUSTER_UNREACHABLE' } }])
})
