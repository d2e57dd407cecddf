// One contract, two servers: each case runs against the stand-in (test/cluster/api-server.ts: what the documentation says, in milliseconds) and
// against Kubernetes' own server library (test/cluster/kubernetes.ts), so that the stand-in is held to what Kubernetes does.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { createAuthority, issueServer } from '../node/certificates.ts'
import { ApiServer } from './api-server.ts'
import {
  type Kubernetes,
  kubeconfigOf,
  kubernetesUnavailable,
  scratchFolder,
  startKubernetes,
  type Tree,
} from './kubernetes.ts'

export const NAMESPACES = ['registry-trust', 'builds', 'tekton-pipelines'] as const
const ROLLOUTS = '/apis/rbac.authorization.k8s.io/v1/namespaces/tekton-pipelines/roles/rollouts'

export type TestCluster = {
  /** Of whoever publishes. */
  readonly kubeconfig: string
  /** As somebody else writes it. */
  put(path: string, object: object): Promise<void>
  get(path: string): Promise<Tree | undefined>
  /** Requests of the publisher so far, by Kubernetes' verb. */
  count(verb: 'patch' | 'watch', path?: string): number
  /** Those who applied something to the object, by the name of their field manager. */
  managers(path: string): Promise<readonly string[]>
  denyRollouts(): Promise<void>
  allowRollouts(): Promise<void>
  close(): Promise<void>
}

type Body = (t: Test, cluster: TestCluster) => Promise<void>

/** `each` makes one test for each server. */
export function testClusters(t: Test): { each(title: string, body: Body): void } {
  const real = onKubernetes(t)
  return {
    each(title, body) {
      t.test(`${title} (documented API)`, async (sub) => await body(sub, await standIn(sub)))
      real.test(`${title} (Kubernetes server library)`, async (sub, kubernetes) => {
        await body(sub, await emptied(kubernetes))
      })
    },
  }
}

/** A test that needs the API server, where there is none: said aloud, counted as skipped, and a failure with REGISTRY_TRUST_FULL=1. */
function withoutKubernetes(t: Test, title: string, reason: string): void {
  process.stderr.write(`# NOT TESTED: ${title}: ${reason}\n`)
  const isRequired = process.env['REGISTRY_TRUST_FULL'] === '1'
  t.test(title, isRequired ? {} : { skip: reason }, async (sub) => {
    sub.fail(reason)
  })
}

/** Tests on Kubernetes' server library alone: one server for all of a file. */
export function onKubernetes(t: Test): {
  test(title: string, body: (t: Test, kubernetes: Kubernetes) => Promise<void>): void
} {
  const unavailable = kubernetesUnavailable()
  let started: Promise<Kubernetes> | undefined
  return {
    test(title, body) {
      if (unavailable !== undefined) withoutKubernetes(t, title, unavailable)
      else
        t.test(title, async (sub) => {
          started ??= startKubernetes(t)
          await body(sub, await started)
        })
    },
  }
}

async function standIn(t: Test): Promise<TestCluster> {
  const folder = scratchFolder(t)
  const authority = await createAuthority(folder, 'Cluster')
  const { pem, keyFile } = await issueServer(authority, folder, ['127.0.0.1'])
  const server = new ApiServer({ cert: pem, key: readFileSync(keyFile, 'utf8') })
  const url = await server.listen()
  t.teardown(() => server.close())
  const kubeconfig = join(folder, 'kubeconfig')
  writeFileSync(kubeconfig, kubeconfigOf(url, authority.pem, 'fixture'))
  const rollouts = 'PATCH /apis/apps/v1/namespaces/tekton-pipelines/deployments/'
  return {
    kubeconfig,
    put: async (path, object) => server.put(path, object as { [key: string]: unknown }),
    get: async (path) => server.get(path),
    count: (verb, path) =>
      server.requests.filter((seen) => seen.verb === verb && (path === undefined || seen.path === path)).length,
    managers: async (path) => server.managers(path),
    denyRollouts: async () => void server.refuse.set(rollouts, 403),
    allowRollouts: async () => void server.refuse.delete(rollouts),
    close: () => server.close(),
  }
}

/** The same server for every case of a file: what the case before left is taken away. */
async function emptied(kubernetes: Kubernetes): Promise<TestCluster> {
  for (const namespace of NAMESPACES) {
    await kubernetes.request('POST', '/api/v1/namespaces', { metadata: { name: namespace } })
    for (const kind of [
      'api/v1/X/configmaps',
      'apis/apps/v1/X/deployments',
      'apis/coordination.k8s.io/v1/X/leases',
      'apis/rbac.authorization.k8s.io/v1/X/roles',
      'apis/rbac.authorization.k8s.io/v1/X/rolebindings',
    ])
      await kubernetes.request('DELETE', `/${kind.replace('X', `namespaces/${namespace}`)}`)
    await grant(kubernetes, namespace, 'publisher', [
      { apiGroups: [''], resources: ['configmaps'], verbs: ['get', 'list', 'watch', 'create', 'patch'] },
      { apiGroups: ['apps'], resources: ['deployments'], verbs: ['get'] },
      { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['get', 'create', 'update'] },
    ])
  }
  const rollouts = [{ apiGroups: ['apps'], resources: ['deployments'], verbs: ['patch'] }]
  await grant(kubernetes, 'tekton-pipelines', 'rollouts', rollouts)
  const before = kubernetes.audit().length
  const put = async (path: string, object: object) => await putAsSomebody(kubernetes, path, object as Tree)
  const get = async (path: string) => await found(kubernetes, path)
  return {
    kubeconfig: kubernetes.kubeconfig('publisher'),
    put,
    get,
    count: (verb, path) =>
      kubernetes
        .audit()
        .slice(before)
        .filter((seen) => seen.user !== 'admin' && seen.verb === verb && (path === undefined || seen.path === path))
        .length,
    managers: async (path) => {
      const { managedFields = [] } = ((await get(path))?.['metadata'] ?? {}) as {
        readonly managedFields?: readonly { readonly manager: string; readonly operation: string }[]
      }
      return managedFields.filter(({ operation }) => operation === 'Apply').map(({ manager }) => manager)
    },
    denyRollouts: async () => await put(ROLLOUTS, role('rollouts', [])),
    allowRollouts: async () => await put(ROLLOUTS, role('rollouts', rollouts)),
    close: () => kubernetes.stop(),
  }
}

async function found(kubernetes: Kubernetes, path: string): Promise<Tree | undefined> {
  const { status, body } = await kubernetes.request('GET', path)
  if (status === 404) return undefined
  if (status !== 200) throw new Error(`GET ${path}: ${status} ${JSON.stringify(body)}`)
  return body
}

async function putAsSomebody(kubernetes: Kubernetes, path: string, object: Tree): Promise<void> {
  const before = await found(kubernetes, path)
  const { managedFields: _, ...metadata } = object['metadata'] as Tree
  const { resourceVersion } = (before?.['metadata'] ?? {}) as { readonly resourceVersion?: string }
  const { resourceVersion: __, ...ownMetadata } = metadata
  const written = { ...object, metadata: { ...ownMetadata, ...(resourceVersion && { resourceVersion }) } }
  const { status, body } =
    before === undefined
      ? await kubernetes.request('POST', `${path.slice(0, path.lastIndexOf('/'))}?fieldManager=somebody`, written)
      : await kubernetes.request('PUT', `${path}?fieldManager=somebody`, written)
  if (status > 201) throw new Error(`${path}: ${status} ${JSON.stringify(body)}`)
}

function role(name: string, rules: readonly object[]): Tree {
  return { apiVersion: 'rbac.authorization.k8s.io/v1', kind: 'Role', metadata: { name }, rules }
}

async function grant(kubernetes: Kubernetes, namespace: string, name: string, rules: readonly object[]): Promise<void> {
  const folder = `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}`
  await putAsSomebody(kubernetes, `${folder}/roles/${name}`, role(name, rules))
  await putAsSomebody(kubernetes, `${folder}/rolebindings/${name}`, {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    metadata: { name },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name },
    subjects: [{ kind: 'ServiceAccount', name: 'registry-trust-publish', namespace: 'registry-trust' }],
  })
}
