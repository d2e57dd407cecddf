// The manifests on Kubernetes' own server library (test/fixtures/cluster/kubernetes.ts): applied as they are shipped,
// and the rights that they give. A third of the overlays each day, all of them with REGISTRY_TRUST_FULL=1; about each
// profile the server is asked in every run, by scripts/e2e-cluster.
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { kubernetesApi } from '../../agent/cluster/kubernetes-api.ts'
import { publishAll } from '../../agent/cluster/publish.ts'
import type { Publication } from '../../agent/model/cluster.ts'
import { applyAll } from '../fixtures/cluster/applying.ts'
import type { Answer, Kubernetes, Tree } from '../fixtures/cluster/kubernetes.ts'
import { onKubernetes } from '../fixtures/cluster/test-cluster.ts'
import { defineCustomKinds } from '../fixtures/deploy/custom-kinds.ts'
import { DAEMONSET_FOLDER, OVERLAYS, parseObjects, render } from '../fixtures/deploy/objects.ts'
import { SILENT } from '../fixtures/scratch/carry-out.ts'
import { anchor, desired, makeCa, registry } from '../fixtures/scratch/sample.ts'
import { partOf } from '../fixtures/turn.ts'

const ROOT = join(import.meta.dirname, '../..')
const BY_NAME = OVERLAYS.map((name) => `overlays/${name}`)
const OTHERS = ['base', 'example', 'overlays/fleet', 'fleet', 'publish', 'tekton', 'monitoring']
const FOLDERS = [...OTHERS, ...BY_NAME]
const CONFIG_MAPS = '/api/v1/namespaces/builds/configmaps'

t.setTimeout(480_000)
const kubernetes = onKubernetes(t)

const NAMESPACES = ['registry-trust', 'builds', 'tekton-pipelines']

async function makeNamespaces(on: Kubernetes, names = NAMESPACES): Promise<void> {
  for (const name of names) await on.request('POST', '/api/v1/namespaces', { metadata: { name } })
}

// First: what is there already, and was not applied by kubectl, it warns of.
kubernetes.test('kubectl applies a shipped folder, and again without a change', async (t, on) => {
  await makeNamespaces(on, ['builds', 'tekton-pipelines'])
  // A folder that is for a cluster with the agent on it may come without the one that brings the namespace.
  const namespace = join(DAEMONSET_FOLDER, 'base/namespace.yaml')
  t.match(await on.kubectl(['apply', '-f', namespace]), { status: 0, stderr: '' })
  for (const folder of partOf(FOLDERS, 10)) {
    await defineCustomKinds(on, await render(folder))
    const apply = ['apply', '--validate=strict', '-k', join(DAEMONSET_FOLDER, folder)]
    t.match(await on.kubectl(apply), { status: 0, stderr: '' }, folder)
    const second = await on.kubectl(apply)
    t.match(second, { status: 0, stderr: '' }, folder)
    t.notMatch(second.stdout, /created|configured/, folder)
  }
})

kubernetes.test(
  'every shipped folder is accepted as it stands, and applying it again changes nothing',
  async (t, on) => {
    const overlays = readdirSync(join(DAEMONSET_FOLDER, 'overlays'))
    t.same([...OVERLAYS, 'fleet'].toSorted(), overlays.toSorted(), 'every overlay')
    for (const folder of [...OTHERS, ...partOf(BY_NAME, 3)]) {
      const objects = await render(folder)
      await defineCustomKinds(on, objects)
      const [first, second] = [await applyAll(on, objects), await applyAll(on, objects)]
      first.forEach(({ status, body }, index) => {
        t.ok(status === 200 || status === 201, `${folder}: ${JSON.stringify(body)}`)
        t.equal(versionOf(second[index]), versionOf(first[index]), `${folder}: ${objects[index]?.kind} is as it was`)
      })
      t.equal(first.length, objects.length)
    }
  },
)

function versionOf(answer: Answer | undefined): unknown {
  return (answer?.body['metadata'] as Tree | undefined)?.['resourceVersion']
}

kubernetes.test('a field that Kubernetes does not know is refused by the server', async (t, on) => {
  await makeNamespaces(on)
  const daemonSet = parseObjects(JSON.stringify((await render('base')).find(({ kind }) => kind === 'DaemonSet')))[0]
  const wrong = JSON.stringify(daemonSet).replace('"dnsPolicy"', '"dnsPolcy"')
  writeFileSync(join(on.folder, 'wrong.json'), wrong)
  const unknown = /unknown field|field not declared in schema/
  const refused = await on.kubectl(['apply', '--validate=strict', '-f', 'wrong.json'])
  t.match(refused, { status: 1, stderr: unknown })
  const [answer] = await applyAll(on, parseObjects(wrong))
  t.notMatch(answer, { status: /^20/ })
  t.match(answer?.body['message'], unknown)
})

kubernetes.test(
  'with the shipped rights `publish` does its whole work, and nothing else can be done',
  async (t, on) => {
    await makeNamespaces(on)
    const inTekton = (kind: string) => `/${kind}/namespaces/tekton-pipelines`
    const put = async (path: string, body: { readonly [key: string]: unknown }) =>
      t.equal((await on.request('POST', path, body)).status, 201, path)
    await put(`${inTekton('api/v1')}/configmaps`, { metadata: { name: 'config-registry-cert' } })
    await put(`${inTekton('apis/apps/v1')}/deployments`, {
      metadata: { name: 'tekton-pipelines-controller' },
      spec: { selector: {}, template: { spec: { containers: [{ name: 'c', image: 'c' }] } } },
    })
    for (const { status, body } of await applyAll(on, await render('publish')))
      t.ok(status === 200 || status === 201, JSON.stringify(body))

    const ca = makeCa('Corp Root')
    const source = 'trust.yaml'
    const common = { namespace: 'builds', restart: [], source } as const
    const publications: readonly Publication[] = [
      { ...common, name: 'registry-trust-ca', key: 'ca-bundle.crt', format: 'bundle' },
      { ...common, name: 'registry-trust-certs', key: '', format: 'certs.d' },
      {
        namespace: 'tekton-pipelines',
        name: 'config-registry-cert',
        key: 'cert',
        format: 'bundle',
        restart: [{ namespace: 'tekton-pipelines', name: 'tekton-pipelines-controller' }],
        source,
      },
    ]
    const api = kubernetesApi({ kubeconfig: on.kubeconfig('publisher'), log: SILENT })
    const lease = { namespace: 'registry-trust', name: 'registry-trust-publish' }
    t.equal(await api.holdLease(lease, 'the Pod', 30), true)
    const registries = [registry('harbor.example.net', 'corp')]
    const corp = { ...desired({ anchors: [anchor('corp', ca)], registries }), publish: publications }
    const results = await publishAll(corp, api)
    t.same(
      results.map(({ result, problem }) => problem?.message ?? result),
      ['written', 'written', 'written'],
    )
    t.same(results.at(-1)?.restarted, ['tekton-pipelines/tekton-pipelines-controller'])
    let told = 0
    const watching = api.watch(publications, () => {
      told += 1
    })
    t.teardown(() => watching.close())
    const isWatched = () =>
      on.audit().filter(({ verb, user }) => verb === 'watch' && user.endsWith(':registry-trust-publish')).length
    while (isWatched() < 3) await sleep(50)
    await on.request('PUT', `${CONFIG_MAPS}/registry-trust-ca`, { metadata: { name: 'registry-trust-ca' }, data: {} })
    while (told === 0) await sleep(20)

    const refused = async (method: string, path: string, body?: { readonly [key: string]: unknown }) =>
      t.equal((await on.request(method, path, body, 'publisher')).status, 403, `${method} ${path}`)
    t.equal((await on.request('GET', `${CONFIG_MAPS}/registry-trust-ca`, undefined, 'publisher')).status, 200)
    await refused('GET', CONFIG_MAPS)
    await refused('GET', `${CONFIG_MAPS}/kube-root-ca.crt`)
    await refused('POST', CONFIG_MAPS, { metadata: { name: 'other' } })
    await refused('DELETE', `${CONFIG_MAPS}/registry-trust-ca`)
    await refused('GET', '/api/v1/namespaces/builds/secrets')
    await refused('GET', '/api/v1/namespaces/registry-trust/configmaps/registry-trust')
    await refused('GET', '/api/v1/nodes')
    await refused('PATCH', `${inTekton('apis/apps/v1')}/deployments/tekton-pipelines-webhook`, {})
    await refused('POST', '/apis/coordination.k8s.io/v1/namespaces/registry-trust/leases', {
      metadata: { name: 'other' },
    })
    const other = { ...publications[0], namespace: 'builds', name: 'other' } as Publication
    t.match(await publishAll({ ...corp, publish: [other] }, api), [{ problem: { code: 'CLUSTER_FORBIDDEN' } }])
  },
)

// Not covered: its steps on nodes (install, proof, rotation, drift, uninstall), since no kubelet is here; their
// manifests are judged by the server in the dry runs. Fuse, condition, taint and Events: test/cluster/fleet.test.ts.
kubernetes.test('scripts/e2e-cluster, which runs against any real cluster, passes against it', async (t, on) => {
  const { status, stdout, stderr } = await on.sh('./scripts/e2e-cluster', ROOT)
  t.match({ status, stdout, stderr }, { status: 0, stdout: /PASSED/, stderr: '' })
  t.match(stdout, /^publish: drift is healed, and nothing of others touched +ok/m)
  for (const profile of ['full', 'fleet', 'uninstall', 'k3s'])
    t.match(stdout, new RegExp(`^profile ${profile}: the API server takes it \\(dry run\\) +ok`, 'm'))
  t.match(stdout, /^the right to take the startup taint off: .* +ok/m)
  t.match(stdout, /^the story on the nodes \(needs --registry, --ca, --image\) +not run/m)
})

kubernetes.test('scripts/e2e-cluster refuses what it cannot use, and a step that fails ends it', async (t, on) => {
  const refusals: { readonly [args: string]: RegExp } = {
    '--registry harbor.example.net': /--registry, --ca and --image go together/,
    '--registry h --image a:1 --ca package.json': /package\.json is not a PEM certificate/,
    '--timeout soon': /--timeout soon is not a number of seconds/,
    '--timeout': /--timeout needs a value/,
    '--fast yes': /there is no --fast/,
  }
  for (const [args, says] of Object.entries(refusals))
    t.match(await on.sh(`./scripts/e2e-cluster ${args}`, ROOT), { status: 64, stdout: '', stderr: says }, args)
  const space = { metadata: { name: 'registry-trust' } }
  await on.request('POST', '/api/v1/namespaces', space)
  const folder = t.testdir({ 'ca.pem': makeCa('of the registry').pem })
  const given = `--registry harbor.example.net --image registry-trust:1 --ca ${join(folder, 'ca.pem')}`
  const there = await on.sh(`./scripts/e2e-cluster ${given}`, ROOT)
  t.match(there, {
    status: 1,
    stderr: /FAILED: nothing of the product is installed yet\nthe namespace registry-trust exists/,
  })
  t.match(there.stdout, /^nothing of the product is installed yet +FAILED/m)
  const { body } = await on.request('GET', '/api/v1/namespaces/registry-trust')
  t.notOk((body['metadata'] as { readonly deletionTimestamp?: string }).deletionTimestamp, 'and leaves it alone')
})
