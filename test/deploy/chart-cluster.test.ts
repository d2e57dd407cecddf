// A release of the chart on Kubernetes' own API server library, with helm itself: installed, changed, rolled back and
// removed, beside objects that are not its own; and the two scripts of the chart's hooks. There are no controllers: the
// tests write what those would.
import t, { type Test } from 'tap'
import type { Kubernetes } from '../fixtures/cluster/kubernetes.ts'
import { onKubernetes } from '../fixtures/cluster/test-cluster.ts'
import { defineCustomKinds } from '../fixtures/deploy/custom-kinds.ts'
import {
  CHART,
  type HelmAnswer,
  helm,
  helmUnavailable,
  testWithHelm,
  type Values,
  withValues,
} from '../fixtures/deploy/helm.ts'
import { startHook } from '../fixtures/deploy/hook-script.ts'
import { OVERLAYS, parseObjects } from '../fixtures/deploy/objects.ts'

t.setTimeout(480_000)

const CONFIG = { 'trust.yaml': 'registries: []\n' }
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

async function names(kubernetes: Kubernetes, kinds: string, namespace: string): Promise<readonly string[]> {
  const { stdout, stderr, status } = await kubernetes.kubectl(['get', kinds, '-n', namespace, '-o', 'json'])
  if (status !== 0) throw new Error(stderr)
  const { items } = JSON.parse(stdout) as { items: { kind: string; metadata: { name: string } }[] }
  return items
    .filter(({ metadata }) => !metadata.name.startsWith('sh.helm.') && metadata.name !== 'kube-root-ca.crt')
    .map(({ kind, metadata }) => `${kind} ${metadata.name}`)
    .toSorted()
}

const DAEMON_SET = '/apis/apps/v1/namespaces/registry-trust/daemonsets/registry-trust'
const KINDS = 'configmaps,daemonsets,networkpolicies,serviceaccounts,secrets'

cluster.test('install, upgrade, rollback, uninstall leave what is not of the release', async (t, kubernetes) => {
  const { helm: run, deploy } = operator(kubernetes, 'registry-trust', 'trust')
  t.match(await deploy('install', { config: CONFIG }, '--create-namespace'), { status: 0, stdout: /rollout status/ })
  await kubernetes.kubectl([
    'create',
    'secret',
    'generic',
    'registry-trust-credentials',
    '-n',
    'trust',
    '--from-literal=a=b',
  ])
  const installed = await names(kubernetes, KINDS, 'trust')
  t.same(installed, [
    'ConfigMap registry-trust',
    'DaemonSet registry-trust',
    'NetworkPolicy registry-trust',
    'Secret registry-trust-credentials',
    'ServiceAccount registry-trust',
  ])

  const bare = await deploy('upgrade', { profile: 'hosts-proof' })
  t.match(bare, { status: 1, stderr: /there is no configuration: .*--reset-then-reuse-values/ })
  t.same(await names(kubernetes, KINDS, 'trust'), installed, 'a forgotten configuration deletes nothing')

  t.match(await deploy('upgrade', { profile: 'hosts-proof' }, '--reset-then-reuse-values'), { status: 0 })
  const containers = async () =>
    (
      await kubernetes.kubectl([
        'get',
        'ds',
        'registry-trust',
        '-n',
        'trust',
        '-o',
        'jsonpath={..initContainers[*].command[4]}',
      ])
    ).stdout
  t.equal(await containers(), 'cri-proxy')
  t.match(await deploy('upgrade', { createNamespace: false }, '--reset-then-reuse-values'), { status: 0 })
  t.match(await run(['rollback', 'registry-trust', '1']), { status: 0 })
  t.equal(await containers(), 'sidecar')

  t.match(await run(['uninstall', 'registry-trust']), { status: 0 })
  t.same(await names(kubernetes, KINDS, 'trust'), ['Secret registry-trust-credentials'])
})

cluster.test('every profile installs, and the server knows every field', async (t, kubernetes) => {
  const { deploy } = operator(kubernetes, 'each', 'each')
  await kubernetes.kubectl(['create', 'namespace', 'each'])
  for (const profile of OVERLAYS) {
    const values = { config: CONFIG, profile }
    const { stdout } = await withValues(
      values,
      async (file) => await helm(['template', 'each', CHART, '-n', 'each', ...file]),
    )
    await defineCustomKinds(
      kubernetes,
      parseObjects(stdout).filter((object) => object !== null),
    )
    t.match(await deploy('install', values, '--dry-run=server'), { status: 0 }, profile)
  }
})

cluster.test('two releases stand side by side, and one goes without the other', async (t, kubernetes) => {
  const [a, b] = [operator(kubernetes, 'pool-a', 'pools'), operator(kubernetes, 'pool-b', 'pools')]
  const pool = (name: string) => ({ config: CONFIG, nodeSelector: { pool: name } })
  t.match(await a.deploy('install', pool('a'), '--create-namespace'), { status: 0 })
  t.match(await b.deploy('install', pool('b')), { status: 0 })
  t.same(await names(kubernetes, 'daemonsets', 'pools'), [
    'DaemonSet pool-a-registry-trust',
    'DaemonSet pool-b-registry-trust',
  ])
  t.match(await a.helm(['uninstall', 'pool-a']), { status: 0 })
  t.same(await names(kubernetes, KINDS, 'pools'), [
    'ConfigMap pool-b-registry-trust',
    'DaemonSet pool-b-registry-trust',
    'NetworkPolicy pool-b-registry-trust',
    'ServiceAccount pool-b-registry-trust',
  ])
})

cluster.test('a namespace that admits no hostPath volume is refused before anything is made', async (t, kubernetes) => {
  await kubernetes.kubectl(['create', 'namespace', 'strict'])
  await kubernetes.kubectl(['label', 'namespace', 'strict', 'pod-security.kubernetes.io/enforce=baseline'])
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
    await names(kubernetes, `${KINDS},jobs,roles,rolebindings`, 'registry-trust'),
    [],
    'and nothing of the hook is left',
  )
})
