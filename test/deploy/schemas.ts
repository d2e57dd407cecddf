// Checks objects against the published Kubernetes API, offline: values by the compiled validators of the package kubernetes-models, unknown
// fields (which those let pass) by its types and the TypeScript compiler.
import { execFile } from 'node:child_process'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { DaemonSet } from 'kubernetes-models/apps/v1/DaemonSet'
import { Deployment } from 'kubernetes-models/apps/v1/Deployment'
import { Lease } from 'kubernetes-models/coordination.k8s.io/v1/Lease'
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy'
import { ClusterRoleBinding } from 'kubernetes-models/rbac.authorization.k8s.io/v1/ClusterRoleBinding'
import { Role } from 'kubernetes-models/rbac.authorization.k8s.io/v1/Role'
import { RoleBinding } from 'kubernetes-models/rbac.authorization.k8s.io/v1/RoleBinding'
import { ConfigMap } from 'kubernetes-models/v1/ConfigMap'
import { Namespace } from 'kubernetes-models/v1/Namespace'
import { Pod } from 'kubernetes-models/v1/Pod'
import { ServiceAccount } from 'kubernetes-models/v1/ServiceAccount'
import type { KubernetesObject } from './objects.ts'

const run = promisify(execFile)

type Model = new (data: never) => { validate(): void }

const MODELS: { readonly [kind: string]: { readonly model: Model; readonly from: string } } = {
  'apps/v1 DaemonSet': { model: DaemonSet, from: 'apps/v1/DaemonSet' },
  'apps/v1 Deployment': { model: Deployment, from: 'apps/v1/Deployment' },
  'coordination.k8s.io/v1 Lease': { model: Lease, from: 'coordination.k8s.io/v1/Lease' },
  'networking.k8s.io/v1 NetworkPolicy': { model: NetworkPolicy, from: 'networking.k8s.io/v1/NetworkPolicy' },
  'rbac.authorization.k8s.io/v1 ClusterRoleBinding': {
    model: ClusterRoleBinding,
    from: 'rbac.authorization.k8s.io/v1/ClusterRoleBinding',
  },
  'rbac.authorization.k8s.io/v1 Role': { model: Role, from: 'rbac.authorization.k8s.io/v1/Role' },
  'rbac.authorization.k8s.io/v1 RoleBinding': { model: RoleBinding, from: 'rbac.authorization.k8s.io/v1/RoleBinding' },
  'v1 ConfigMap': { model: ConfigMap, from: 'v1/ConfigMap' },
  'v1 Namespace': { model: Namespace, from: 'v1/Namespace' },
  'v1 Pod': { model: Pod, from: 'v1/Pod' },
  'v1 ServiceAccount': { model: ServiceAccount, from: 'v1/ServiceAccount' },
}

/** Kinds of operators, which Kubernetes itself does not describe. */
const NOT_KUBERNETES = /^(monitoring\.coreos\.com|security\.openshift\.io|(triggers\.)?tekton\.dev)\//

export function isDescribed({ apiVersion }: KubernetesObject): boolean {
  return !NOT_KUBERNETES.test(apiVersion)
}

/** What is wrong with the values of one object, or undefined. */
export function invalid(object: KubernetesObject): string | undefined {
  const { model: Described } = modelOf(object)
  try {
    new Described(object as never).validate()
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** Every field that Kubernetes does not know, in the compiler's words; empty: none. */
export async function unknownFields(objects: readonly KubernetesObject[]): Promise<string> {
  const root = join(import.meta.dirname, '../..')
  const lines = objects.map((object, index) => {
    const { from } = modelOf(object)
    const type = `import('kubernetes-models/${from}').I${object.kind}`
    return `export const object${index}: ${type} = ${JSON.stringify(object, null, 1)}`
  })
  const file = join(root, `dist/objects-${process.pid}.ts`)
  await mkdir(join(root, 'dist'), { recursive: true })
  await writeFile(file, lines.join('\n'))
  try {
    const flags = ['--noEmit', '--strict', '--skipLibCheck', '--module', 'nodenext', '--moduleResolution', 'nodenext']
    await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), ...flags, file], {
      cwd: root,
      maxBuffer: 1 << 24,
    })
    return ''
  } catch (error) {
    return typeof error === 'object' && error !== null && 'stdout' in error ? String(error.stdout) : String(error)
  } finally {
    await rm(file)
  }
}

function modelOf({ apiVersion, kind }: KubernetesObject): { readonly model: Model; readonly from: string } {
  const found = MODELS[`${apiVersion} ${kind}`]
  if (found === undefined) throw new Error(`${apiVersion} ${kind} is not in the list of this file`)
  return found
}
