// What can be said about Tekton's objects without Tekton: no package has their schemas, so the fields that the examples may use are listed
// here by hand from its API reference, and a Task is turned into the Pod that the controller would make of it, which Kubernetes describes.
// https://tekton.dev/docs/pipelines/pipeline-api/ (tekton.dev/v1), https://tekton.dev/docs/triggers/ (triggers.tekton.dev/v1beta1)
import type { KubernetesObject } from './objects.ts'
import type { Step, TektonObject } from './tekton-objects.ts'

/** A field by its name; what its values hold where that is Tekton's own: an array's items, or an object's fields. */
type Shape = { readonly [field: string]: Shape | 'any' }

const ANY = 'any'
const PARAM: Shape = { name: ANY, value: ANY }
const PARAM_SPEC: Shape = { name: ANY, type: ANY, description: ANY, default: ANY, enum: ANY, properties: ANY }
const WORKSPACE_BINDING: Shape = {
  ...{ name: ANY, subPath: ANY, volumeClaimTemplate: ANY, persistentVolumeClaim: ANY, emptyDir: ANY },
  ...{ configMap: ANY, secret: ANY, projected: ANY, csi: ANY },
}
const PIPELINE_RUN: Shape = {
  apiVersion: ANY,
  kind: ANY,
  metadata: { name: ANY, generateName: ANY, labels: ANY, annotations: ANY },
  spec: {
    pipelineRef: { name: ANY },
    params: PARAM,
    timeouts: { pipeline: ANY, tasks: ANY, finally: ANY },
    taskRunTemplate: { serviceAccountName: ANY, podTemplate: ANY },
    taskRunSpecs: ANY,
    workspaces: WORKSPACE_BINDING,
  },
}

const SPECS: { readonly [kind: string]: Shape } = {
  'tekton.dev/v1 Task': {
    ...{ description: ANY, displayName: ANY, params: PARAM_SPEC, stepTemplate: ANY, steps: ANY, sidecars: ANY },
    ...{ volumes: ANY },
    results: { name: ANY, type: ANY, description: ANY, properties: ANY },
    workspaces: { name: ANY, description: ANY, mountPath: ANY, readOnly: ANY, optional: ANY },
  },
  'tekton.dev/v1 Pipeline': {
    ...{ description: ANY, displayName: ANY, params: PARAM_SPEC, finally: ANY },
    tasks: {
      ...{ name: ANY, displayName: ANY, description: ANY, runAfter: ANY, when: ANY, retries: ANY, timeout: ANY },
      taskRef: { name: ANY, kind: ANY },
      params: PARAM,
      workspaces: { name: ANY, workspace: ANY, subPath: ANY },
    },
    workspaces: { name: ANY, description: ANY, optional: ANY },
    results: { name: ANY, type: ANY, description: ANY, value: ANY },
  },
  'triggers.tekton.dev/v1beta1 EventListener': {
    serviceAccountName: ANY,
    triggers: {
      name: ANY,
      interceptors: { name: ANY, ref: { name: ANY, kind: ANY }, params: PARAM },
      bindings: { ref: ANY, kind: ANY, name: ANY, value: ANY },
      template: { ref: ANY },
      serviceAccountName: ANY,
    },
    resources: ANY,
  },
  'triggers.tekton.dev/v1beta1 TriggerBinding': { params: PARAM },
  'triggers.tekton.dev/v1beta1 TriggerTemplate': {
    params: { name: ANY, description: ANY, default: ANY },
    resourcetemplates: PIPELINE_RUN,
  },
}

/** Fields that Tekton's API does not have, by their paths; throws for a kind that is not in the list. */
export function unknownTektonFields(object: TektonObject): readonly string[] {
  const shape = SPECS[`${object.apiVersion} ${object.kind}`]
  if (shape === undefined) throw new Error(`${object.apiVersion} ${object.kind} is not in the list of this file`)
  return unknown(object.spec, shape, 'spec')
}

function unknown(value: unknown, shape: Shape | 'any', path: string): readonly string[] {
  if (shape === ANY) return []
  if (Array.isArray(value)) return value.flatMap((item, index) => unknown(item, shape, `${path}[${index}]`))
  if (typeof value !== 'object' || value === null) return [`${path} is no object`]
  return Object.entries(value).flatMap(([name, inner]) =>
    shape[name] === undefined ? [`${path}.${name}`] : unknown(inner, shape[name], `${path}.${name}`),
  )
}

/** The Pod of a Task, its variables unfilled: each step and sidecar a container, each workspace a volume. */
export function podOf({ metadata, spec }: TektonObject): KubernetesObject {
  const { steps = [], sidecars = [], stepTemplate = {}, volumes = [], workspaces = [] } = spec
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: metadata.name },
    spec: {
      containers: [...steps.map((step) => ({ ...stepTemplate, ...containerOf(step) })), ...sidecars.map(containerOf)],
      volumes: [...volumes, ...workspaces.map(({ name }) => ({ name: `workspace-${name}`, emptyDir: {} }))],
    },
  }
}

/** Tekton's own fields are left out; a step that asks for ports or probes, which it can't have, is refused by nobody but Tekton. */
function containerOf({ script: _script, ...container }: Step): object {
  return container
}
