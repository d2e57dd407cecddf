// Lets the API server of the tests take objects of operators that are not there (Prometheus, Tekton, OpenShift): a CustomResourceDefinition
// for each of their kinds that allows every field. What those operators would refuse is not seen here.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Kubernetes } from '../cluster/kubernetes.ts'
import type { KubernetesObject } from './objects.ts'

const OPERATORS = /^(monitoring\.coreos\.com|security\.openshift\.io|tekton\.dev|triggers\.tekton\.dev)\/(.+)$/
const CLUSTER_WIDE = ['SecurityContextConstraints']
const ESTABLISH_MS = 15_000

export async function defineCustomKinds(kubernetes: Kubernetes, objects: readonly KubernetesObject[]): Promise<void> {
  const defined = new Map<string, object>()
  for (const { apiVersion, kind } of objects) {
    const [, group, version] = OPERATORS.exec(apiVersion) ?? []
    if (group === undefined || version === undefined) continue
    const plural = kind.toLowerCase().replace(/s?$/, 's')
    defined.set(`${plural}.${group}`, {
      group,
      names: { kind, plural, singular: kind.toLowerCase() },
      scope: CLUSTER_WIDE.includes(kind) ? 'Cluster' : 'Namespaced',
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
        },
      ],
    })
  }
  const folder = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
  for (const [name, spec] of defined) {
    const { status, body } = await kubernetes.request('POST', folder, {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name },
      spec,
    })
    if (status !== 201 && status !== 409) throw new Error(`${name}: ${status} ${JSON.stringify(body)}`)
  }
  const deadline = Date.now() + ESTABLISH_MS
  for (const name of defined.keys())
    while (
      !JSON.stringify((await kubernetes.request('GET', `${folder}/${name}`)).body).includes(
        '"Established","status":"True"',
      )
    )
      if (Date.now() > deadline) throw new Error(`${name} is not served`)
      else await sleep(20)
}
