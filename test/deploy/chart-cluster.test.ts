// A release of the chart on Kubernetes' own API server library, with helm itself: installed, changed, rolled back and
// removed, beside objects that are not its own; and the two scripts of the chart's hooks. There are no controllers: the
// tests write what those would.
import t, { type Test } from 'tap'
import type { RegistryStatus } from '../../agent/model/status.ts'
import { applyAll, listed } from '../fixtures/cluster/applying.ts'
import type { Kubernetes, Tree } from '../fixtures/cluster/kubernetes.ts'
import { onKubernetes } from '../fixtures/cluster/test-cluster.ts'
import { CONFIG, OTHER_NAMESPACES, sampled, valuesOf } from '../fixtures/deploy/chart-values.ts'
import { defineCustomKinds } from '../fixtures/deploy/custom-kinds.ts'
import {
  CHART,
  type HelmAnswer,
  helm,
  helmUnavailable,
  templated,
  testWithHelm,
  type Values,
  withValues,
} from '../fixtures/deploy/helm.ts'
import { startHook } from '../fixtures/deploy/hook-script.ts'
import { type KubernetesObject, OVERLAYS, type PodSpec, render } from '../fixtures/deploy/objects.ts'
import { runTestPod } from '../fixtures/deploy/test-pod.ts'
import { SAMPLE, TRUSTED, UNTRUSTED } from '../fixtures/http/sample-status.ts'

t.setTimeout(480_000)

const kubernetes = onKubernetes(t)
const cluster = {
  test(title: string, body: (t: Test, kubernetes: Kubernetes) => Promise<void>): void {
    const unavailable = helmUnavailable()
    if (unavailable === undefined) kubernetes.test(title, body)
    else testWithHelm(t, title, async () => undefined)
  },
}

type Operator = {
  helm(args: readonly string[]): Promise<HelmAnswer>
  /** Install or upgrade with these values alone. */
  deploy(verb: 'install' | 'upgrade', values: Values, ...more: readonly string[]): Promise<HelmAnswer>
}

function operator(kubernetes: Kubernetes, release: string, namespace: string): Operator {
  const env = { KUBECONFIG: kubernetes.kubeconfig('admin') }
  const own: Operator = {
    helm: async (args) => await helm([...args, '--namespace', namespace], env),
    deploy: async (verb, values, ...more) =>
      await withValues(values, async (file) => await own.helm([verb, release, CHART, ...file, ...more])),
  }
  return own
}

async function names(kubernetes: Kubernetes, kinds: readonly string[], namespace: string): Promise<readonly string[]> {
  return (await listed(kubernetes, kinds, namespace))
    .filter(({ metadata }) => !metadata.name.startsWith('sh.helm.') && metadata.name !== 'kube-root-ca.crt')
    .map(({ kind, metadata }) => `${kind} ${metadata.name}`)
    .toSorted()
}

/** What a release has made, without what the server itself writes. */
async function released(kubernetes: Kubernetes, namespace: string, release = namespace): Promise<unknown> {
  const items = await listed(kubernetes, KINDS, namespace, `app.kubernetes.io/instance=${release}`)
  return items.map(({ metadata: { name, labels, annotations }, kind, ...rest }) => ({
    ...{ kind, name, labels, annotations, data: rest['data'], spec: rest['spec'] },
  }))
}

function fullName(release: string): string {
  return `${release}-registry-trust`
}

type Proof = { readonly release: string; readonly namespace: string; readonly registry: RegistryStatus }

/** `helm test` passes where the registry is trusted, and fails where it is not. */
async function proves(t: Test, kubernetes: Kubernetes, { release, namespace, registry }: Proof): Promise<void> {
  const { helm: run } = operator(kubernetes, release, namespace)
  const pod = { namespace, name: `${fullName(release)}-test`, status: { ...SAMPLE, registries: [registry] } }
  const [answer, printed] = await Promise.all([run(['test', release]), runTestPod(t, kubernetes, pod)])
  t.equal(answer.status, registry === TRUSTED ? 0 : 1, printed + answer.stderr)
  t.match(printed, registry.state)
}

const DAEMON_SET = '/apis/apps/v1/namespaces/registry-trust/daemonsets/registry-trust'
const KINDS = [...['configmaps', 'daemonsets.apps', 'networkpolicies.networking.k8s.io', 'serviceaccounts', 'secrets']]
const RIGHTS = ['roles.rbac.authorization.k8s.io', 'rolebindings.rbac.authorization.k8s.io']

const IS_FULL = process.env['REGISTRY_TRUST_FULL'] === '1'
/** The one with most objects; all of them with REGISTRY_TRUST_FULL=1. */
const PROFILES = OVERLAYS.filter((profile) => IS_FULL || profile === 'openshift')

for (const profile of PROFILES)
  cluster.test(`${profile}: install, upgrade, rollback, test, uninstall`, async (t, kubernetes) => {
    const { helm: run, deploy } = operator(kubernetes, profile, profile)
    const values = { config: CONFIG, profile }
    // The chart makes the objects of the overlay: chart.test.ts, which lints profiles as well.
    await defineCustomKinds(kubernetes, await render(`overlays/${profile}`))
    t.match(await deploy('install', values, '--create-namespace'), { status: 0, stdout: /REVISION: 1\n/ })
    const installed = await released(kubernetes, profile)
    t.match(await deploy('upgrade', { ...values, podAnnotations: { changed: 'yes' } }), {
      status: 0,
      stdout: /REVISION: 2\n/,
    })
    t.notSame(await released(kubernetes, profile), installed)
    t.match(await run(['rollback', profile, '1']), { status: 0 })
    t.same(await released(kubernetes, profile), installed, 'as it was before the upgrade')

    const cleans = profile.startsWith('uninstall')
    if (cleans) t.match(await run(['test', profile]), { status: 0, stdout: /TEST SUITE: +None/ })
    else
      for (const registry of [UNTRUSTED, TRUSTED])
        await proves(t, kubernetes, { release: profile, namespace: profile, registry })
    t.match(await run(['uninstall', profile]), { status: 0 })
    const left = await names(kubernetes, [...KINDS, ...RIGHTS, 'pods', 'services', 'jobs.batch'], profile)
    t.same(left, cleans ? [] : [`Pod ${fullName(profile)}-test`], 'the Pod of helm test stays for its log')
  })

cluster.test('the server takes what any two values make together', async (t, kubernetes) => {
  for (const name of ['pool-a', ...OTHER_NAMESPACES]) await makeNamespace(kubernetes, name)
  let [taken, daemonSet]: [number, KubernetesObject | undefined] = [0, undefined]
  for (const combination of sampled(24)) {
    const values = valuesOf(combination)
    const objects = await templated(values, { name: 'pool-a', namespace: 'pool-a', hooks: true })
    await defineCustomKinds(kubernetes, objects)
    const answers = await applyAll(kubernetes, objects, { dryRun: true })
    t.equal(answers.length, objects.length, 'every object')
    for (const { status, body } of answers) t.ok(status === 200 || status === 201, JSON.stringify(body), { values })
    daemonSet ??= objects.find(({ kind }) => kind === 'DaemonSet')
    taken += 1
  }
  t.comment(`${taken} combinations`)
  t.ok(taken >= (IS_FULL ? 60 : 4))
  const misspelt = { ...daemonSet, spec: { ...(daemonSet?.['spec'] as object), selectr: {} } } as KubernetesObject
  const [refused] = await applyAll(kubernetes, [misspelt], { dryRun: true })
  t.match(refused?.body['message'], /\.spec\.selectr: field not declared in schema/)
})

async function makeNamespace(kubernetes: Kubernetes, name: string, labels: Tree = {}): Promise<void> {
  t.match(await kubernetes.request('POST', '/api/v1/namespaces', { metadata: { name, labels } }), { status: 201 })
}

cluster.test(
  'two releases side by side: each is changed, rolled back and removed without the other, and without what is not its own',
  async (t, kubernetes) => {
    const [a, b] = [operator(kubernetes, 'pool-a', 'pools'), operator(kubernetes, 'pool-b', 'pools')]
    const pool = (name: string) => ({ config: CONFIG, nodeSelector: { pool: name } })
    t.match(await a.deploy('install', pool('a'), '--create-namespace'), { status: 0, stdout: /rollout status/ })
    t.match(await b.deploy('install', pool('b')), { status: 0 })
    const secret = { metadata: { name: 'pool-a-registry-trust-credentials' }, stringData: { a: 'b' } }
    await kubernetes.request('POST', '/api/v1/namespaces/pools/secrets', secret)
    const ofEach = ['ConfigMap', 'DaemonSet', 'NetworkPolicy', 'ServiceAccount']
    const own = (name: string) => ofEach.map((kind) => `${kind} ${name}-registry-trust`)
    const foreign = 'Secret pool-a-registry-trust-credentials'
    const installed = [...own('pool-a'), ...own('pool-b'), foreign].toSorted()
    t.same(await names(kubernetes, KINDS, 'pools'), installed)
    const other = await released(kubernetes, 'pools', 'pool-b')

    const bare = await a.deploy('upgrade', { profile: 'hosts-proof' })
    t.match(bare, { status: 1, stderr: /there is no configuration: .*--reset-then-reuse-values/ })
    t.same(await names(kubernetes, KINDS, 'pools'), installed, 'a forgotten configuration deletes nothing')
    t.match(await a.deploy('upgrade', { profile: 'hosts-proof' }, '--reset-then-reuse-values'), { status: 0 })
    const program = async () => {
      const { body } = await kubernetes.request(
        'GET',
        '/apis/apps/v1/namespaces/pools/daemonsets/pool-a-registry-trust',
      )
      const { spec } = body as { readonly spec: { readonly template: { readonly spec: PodSpec } } }
      return spec.template.spec.initContainers?.map(({ command }) => command?.[4])
    }
    t.same(await program(), ['cri-proxy'])
    t.match(await a.deploy('upgrade', { createNamespace: false }, '--reset-then-reuse-values'), { status: 0 })
    t.match(await a.helm(['rollback', 'pool-a', '1']), { status: 0 })
    t.same(await program(), ['sidecar'])

    await proves(t, kubernetes, { release: 'pool-a', namespace: 'pools', registry: TRUSTED })
    t.match(await a.helm(['uninstall', 'pool-a']), { status: 0 })
    t.same(await released(kubernetes, 'pools', 'pool-b'), other, 'the other one is as before')
    t.same(await names(kubernetes, KINDS, 'pools'), [...own('pool-b'), foreign].toSorted())
  },
)

cluster.test('a namespace that admits no hostPath volume is refused before anything is made', async (t, kubernetes) => {
  await makeNamespace(kubernetes, 'strict', { 'pod-security.kubernetes.io/enforce': 'baseline' })
  const { deploy } = operator(kubernetes, 'registry-trust', 'strict')
  t.match(await deploy('install', { config: CONFIG }), {
    status: 1,
    stderr: /enforces the Pod Security level baseline.*kubectl label namespace strict/,
  })
  t.same(await names(kubernetes, KINDS, 'strict'), [])
  t.match(await deploy('install', { config: CONFIG, checkNamespace: false }), { status: 0 })
})

cluster.test('helm uninstall waits until every node is clean, and names those that are not', async (t, kubernetes) => {
  const { deploy, helm: run } = operator(kubernetes, 'registry-trust', 'registry-trust')
  const values = { config: CONFIG, uninstallHook: { enabled: true, timeoutSeconds: 5 } }
  t.match(await deploy('install', values, '--create-namespace'), { status: 0 })
  const observe = async (nodes: number, clean: number) => {
    const { body } = await kubernetes.request('GET', DAEMON_SET)
    const { generation: observedGeneration } = body['metadata'] as { generation: number }
    const counts = { desiredNumberScheduled: nodes, currentNumberScheduled: nodes, numberMisscheduled: 0 }
    const status = { ...counts, observedGeneration, updatedNumberScheduled: clean, numberReady: clean }
    t.match(await kubernetes.request('PUT', `${DAEMON_SET}/status`, { ...body, status }), { status: 200 })
  }
  await kubernetes.request('POST', '/api/v1/namespaces/registry-trust/pods', {
    ...{ apiVersion: 'v1', kind: 'Pod' },
    metadata: {
      name: 'dirty',
      labels: { 'app.kubernetes.io/name': 'registry-trust', 'app.kubernetes.io/instance': 'registry-trust' },
    },
    spec: { nodeName: 'node-2', containers: [{ name: 'done', image: 'x' }] },
  })

  const first = run(['uninstall', 'registry-trust'])
  const dirty = await startHook(t, kubernetes)
  await dirty.says('0 of 0 nodes are clean')
  await observe(2, 1)
  t.match(await dirty.ended(), { code: 1, stdout: /1 of 2 nodes are clean[\s\S]*\n {2}node-2: Pod dirty: / })
  t.match(await first, { status: 1, stderr: /registry-trust-uninstall not ready/ }, 'the release is still there')
  const { body } = await kubernetes.request('GET', DAEMON_SET)
  t.match(body, {
    spec: {
      template: { spec: { containers: [{ name: 'done' }] } },
      updateStrategy: { rollingUpdate: { maxUnavailable: '100%' } },
    },
  })

  const second = run(['uninstall', 'registry-trust'])
  const clean = await startHook(t, kubernetes)
  await clean.says('1 of 2 nodes are clean')
  await observe(2, 2)
  t.match(await clean.ended(), { code: 0, stdout: /2 of 2 nodes are clean/ })
  t.match(await second, { status: 0 })
  t.same(
    await names(kubernetes, [...KINDS, ...RIGHTS, 'jobs.batch'], 'registry-trust'),
    [],
    'and nothing of the hook is left',
  )
})
