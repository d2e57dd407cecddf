// daemonset/publish and daemonset/tekton as kubectl renders them: valid objects as far as that can be told without
// Tekton, rights on exactly the objects that `publish` asks for, and no flag that weakens verification.
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { stringify } from 'yaml'
import { PublishingCluster } from '../fixtures/cluster/published.ts'
import { type KubernetesObject, type PodSpec, render } from '../fixtures/deploy/objects.ts'
import { invalid, isDescribed, unknownFields } from '../fixtures/deploy/schemas.ts'
import { podOf, unknownTektonFields } from '../fixtures/deploy/tekton-fields.ts'
import type { TektonObject } from '../fixtures/deploy/tekton-objects.ts'
import { makeCa } from '../fixtures/scratch/sample.ts'

type Rule = {
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly resourceNames?: readonly string[]
  readonly verbs: readonly string[]
}

const ROOT = join(import.meta.dirname, '../..')
const publish = await render('publish')
const tekton = await render('tekton')
const customs = tekton.filter((object) => !isDescribed(object)) as unknown as readonly TektonObject[]
const tasks = customs.filter(({ kind }) => kind === 'Task')

t.setTimeout(480_000)

function only(objects: readonly KubernetesObject[], kind: string): KubernetesObject {
  const [found, ...others] = objects.filter((object) => object.kind === kind)
  if (found === undefined || others.length > 0) throw new Error(`${others.length + 1} objects of kind ${kind}`)
  return found
}

t.test('every object is valid, and Kubernetes knows every field, those of the Pods of the Tasks too', async (t) => {
  const described = [...publish, ...tekton.filter(isDescribed), ...tasks.map(podOf)]
  t.ok(described.length > 15, `${described.length} objects`)
  for (const object of described) t.equal(invalid(object), undefined, `${object.kind} ${object.metadata.name}`)
  t.equal(await unknownFields(described), '')
  for (const object of customs) t.same(unknownTektonFields(object), [], `${object.kind} ${object.metadata.name}`)
})

t.test('a field that Tekton does not have is found, in its own objects and in the Pod of a Task', async (t) => {
  const [task] = tasks
  if (task === undefined) throw new Error('no Task')
  const change = (from: string, to: string) => JSON.parse(JSON.stringify(task).replace(from, to)) as TektonObject
  t.same(unknownTektonFields(change('"workspaces":', '"workspace":')), ['spec.workspace'])
  t.match(await unknownFields([podOf(change('"volumeMounts":', '"volumeMount":'))]), /volumeMount/)
  t.match(invalid(podOf(change('"mountPath":', '"path":'))), /mountPath/)
})

t.test('every variable of a Task is declared there', async (t) => {
  for (const { metadata, spec } of tasks) {
    const declared = [
      ...(spec.params ?? []).map(({ name }) => `params.${name}`),
      ...(spec.results ?? []).map(({ name }) => `results.${name}.path`),
      ...(spec.workspaces ?? []).map(({ name }) => `workspaces.${name}.path`),
    ]
    const used = new Set(variablesOf({ ...spec, description: '' }))
    t.same(
      [...used].filter((name) => !declared.includes(name)),
      [],
      metadata.name,
    )
    t.same(
      declared.filter((name) => !used.has(name)),
      [],
      `${metadata.name} declares nothing in vain`,
    )
  }
})

t.test('from the push to the build every name and parameter is handed on', async (t) => {
  const [pipeline, listener, binding, template] = [
    'Pipeline',
    'EventListener',
    'TriggerBinding',
    'TriggerTemplate',
  ].map((kind) => only(tekton, kind) as TektonObject)
  const names = (list: readonly { readonly name: string }[] | undefined) => (list ?? []).map(({ name }) => name)
  t.match(listener?.spec, {
    triggers: [{ bindings: [{ ref: binding?.metadata.name }], template: { ref: template?.metadata.name } }],
  })
  t.same(names(template?.spec.params), names(binding?.spec.params))
  const [run] = template?.spec.resourcetemplates ?? []
  t.match(run?.spec, { pipelineRef: { name: pipeline?.metadata.name } })
  for (const variable of variablesOf(run))
    t.ok(names(template?.spec.params).includes(variable.replace('tt.params.', '')))
  t.same(names(run?.spec.params), names(pipeline?.spec.params))
  t.same(names(run?.spec.workspaces), names(pipeline?.spec.workspaces))
  for (const { taskRef, workspaces = [] } of pipeline?.spec.tasks ?? []) {
    const task = tasks.find(({ metadata }) => metadata.name === taskRef.name)
    t.same(names(workspaces), names(task?.spec.workspaces), taskRef.name)
  }
  const results = (pipeline?.spec.tasks ?? []).flatMap(({ name, taskRef }) =>
    names(tasks.find(({ metadata }) => metadata.name === taskRef.name)?.spec.results).map(
      (result) => `tasks.${name}.results.${result}`,
    ),
  )
  for (const variable of variablesOf(pipeline?.spec.results)) t.ok(results.includes(variable), variable)
})

t.test('publish: least privilege for its one container', async (t) => {
  const { spec } = only(publish, 'Deployment') as unknown as {
    readonly spec: { readonly replicas: number; readonly template: { readonly spec: PodSpec } }
  }
  t.equal(spec.replicas, 1)
  const { containers, volumes, ...pod } = spec.template.spec
  t.match(pod, { serviceAccountName: 'registry-trust-publish', hostNetwork: undefined, hostPID: undefined })
  t.match(pod.securityContext, { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } })
  t.equal(containers.length, 1)
  t.match(containers[0], {
    image: /^localhost\//,
    securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true },
    resources: { limits: { memory: String } },
  })
  t.same(containers[0]?.securityContext?.capabilities, { drop: ['ALL'] })
  t.notOk(volumes?.some(({ hostPath }) => hostPath !== undefined))
})

t.test(
  'publish may do exactly what it does, each right on one object by name, but for the list of Pods',
  { timeout: 240_000 },
  async (t) => {
    const rights = new Set<string>()
    t.notOk(publish.some(({ kind }) => /^ClusterRole/.test(kind)))
    for (const { kind, metadata, rules } of publish) {
      if (kind !== 'Role') continue
      for (const { apiGroups, resources, resourceNames = [], verbs } of rules as readonly Rule[]) {
        // A list is of a whole namespace, and `pods` of Tekton's is the one that is needed.
        if (resources.join() === 'pods') {
          t.same([metadata.namespace, verbs], ['tekton-pipelines', ['list']])
          rights.add(`list /pods ${metadata.namespace}`)
          continue
        }
        t.ok(resourceNames.length > 0, `${metadata.namespace}: ${resources.join()} are given by name`)
        for (const resource of resources)
          for (const name of resourceNames)
            for (const verb of verbs)
              rights.add(`${verb} ${[...apiGroups, resource].join('/')} ${metadata.namespace}/${name}`)
      }
    }

    const cluster = await PublishingCluster.start(t, t.testdir({}))
    for (const object of publish.filter(({ kind }) => kind === 'ConfigMap' || kind === 'Lease')) {
      const group = object.kind === 'Lease' ? '/apis/coordination.k8s.io/v1' : '/api/v1'
      const { namespace, name } = object.metadata
      cluster.server.put(`${group}/namespaces/${namespace}/${object.kind.toLowerCase()}s/${name}`, { ...object })
    }
    const configMaps = publish
      .filter(({ kind }) => kind === 'ConfigMap')
      .map(({ metadata: { namespace, name } }) => ({
        namespace,
        name,
        ...(name.endsWith('certs') && { format: 'certs.d' }),
      }))
    const trust = {
      registries: [{ host: 'harbor.example.net', ca: 'corp.pem' }],
      publish: { tekton: true, configMaps },
    }
    cluster.configure(trust, { 'corp.pem': makeCa('Corp Root').pem })
    cluster.watch(t)
    const asked = () => new Set(cluster.server.requests.map(({ verb, path }) => rightFor(verb, path)))
    const deadline = Date.now() + 60_000
    // A watch is of a collection: the field selector that names the one object is not in the path.
    const wanted = new Set([...rights].map((right) => right.replace(/^(watch \S+ [^/]+)\/.*/, '$1')))
    while (![...wanted].every((right) => asked().has(right)) && Date.now() < deadline) await sleep(20)
    t.same([...asked()].toSorted(), [...wanted].toSorted())
  },
)

t.test('the listener of the example has the rights that Tekton made for listeners, and none of its own', async (t) => {
  t.notOk(tekton.some(({ kind }) => kind === 'Role' || kind === 'ClusterRole'))
  t.same(
    tekton.flatMap(({ kind, roleRef, subjects }) => (/Binding$/.test(kind) && roleRef ? [{ roleRef, subjects }] : [])),
    ['roles', 'clusterroles'].map((suffix) => ({
      roleRef: {
        apiGroup: 'rbac.authorization.k8s.io',
        kind: 'ClusterRole',
        name: `tekton-triggers-eventlistener-${suffix}`,
      },
      subjects: [{ kind: 'ServiceAccount', name: 'on-push', namespace: 'builds' }],
    })),
  )
})

t.test('lint finds no flag that weakens verification in what is rendered', async (t) => {
  const folder = t.testdir({})
  const lint = (objects: readonly KubernetesObject[]) => {
    writeFileSync(join(folder, 'all.yaml'), objects.map((object) => stringify(object)).join('---\n'))
    return spawnSync(process.execPath, [join(ROOT, 'dist/registry-trust.cjs'), 'lint', folder], { encoding: 'utf8' })
  }
  t.match(lint([...publish, ...tekton]), { status: 0, stdout: '0 places in 1 file\n' })
  const weakened = JSON.parse(
    JSON.stringify(tekton).replace('"--digest-file', '"--skip-tls-verify","--digest-file'),
  ) as readonly KubernetesObject[]
  t.match(lint(weakened), { status: 3 })
})

function rightFor(verb: string, path: string): string {
  const [, group = '', namespace = '', resource = '', name] =
    /^\/(?:api|apis\/([^/]+))\/v1\/namespaces\/([^/]+)\/([^/]+)(?:\/([^/]+))?$/.exec(path) ?? []
  return `${verb} ${group}/${resource} ${namespace}${name === undefined ? '' : `/${name}`}`
}

function variablesOf(value: unknown): readonly string[] {
  return [...(JSON.stringify(value) ?? '').matchAll(/\$\(([a-z]+\.[^)]+)\)/g)].map((match) => match[1] ?? '')
}
