// What the fleet component does in the cluster (port FleetApi), through @kubernetes/client-node. The rule: every write
// changes the one field that it is for, and nothing is written that others could have changed meanwhile without the
// server noticing.
import {
  ApiException,
  CoordinationV1Api,
  CoreV1Api,
  type KubeConfig,
  type KubernetesObject,
  PatchStrategy,
  setHeaderOptions,
  type V1ConfigMap,
  type V1Node,
  type V1Pod,
} from '@kubernetes/client-node'
import { FIELD_MANAGER } from '../model/cluster.ts'
import {
  FLEET_ANNOTATION,
  FLEET_CONFIG_MAP,
  FLEET_LEASE,
  RECORD_ANNOTATION,
  RESUME_ANNOTATION,
  WOKEN_ANNOTATION,
} from '../model/fleet.ts'
import {
  CONDITION_TYPE,
  type FleetApi,
  type FleetView,
  type SeenConfig,
  type SeenNode,
  type SeenPod,
  STARTUP_TAINT,
  type StoredLease,
  type WaitingPod,
} from '../model/fleet-cluster.ts'
import type { Log } from '../model/ports.ts'
import { absentAsUndefined, credentialsFrom, microTime, named } from './kubernetes-api.ts'
import { reflect } from './reflector.ts'
import { keyOfPod, waitingPod } from './waiting-pods.ts'

const AGENT_PORT = 9461
const LABELS = 'app.kubernetes.io/name=registry-trust,app.kubernetes.io/component=agent'
const CONTROL_PLANE = 'node-role.kubernetes.io/control-plane'
const ZONE = 'topology.kubernetes.io/zone'

export type FleetApiOptions = {
  readonly kubeconfig?: string | undefined
  readonly namespace: string
  readonly digestOf: (map: V1ConfigMap) => string
  readonly log: Log
}

export function fleetApi({ kubeconfig, namespace, digestOf, log }: FleetApiOptions): FleetApi {
  const config = credentialsFrom(kubeconfig)
  const core = config.makeApiClient(CoreV1Api)
  const leases = config.makeApiClient(CoordinationV1Api)
  const merge = setHeaderOptions('Content-Type', PatchStrategy.MergePatch)
  const strategic = setHeaderOptions('Content-Type', PatchStrategy.StrategicMergePatch)
  const jsonPatch = setHeaderOptions('Content-Type', PatchStrategy.JsonPatch)
  const lease = { namespace, name: FLEET_LEASE }
  const fieldManager = FIELD_MANAGER

  return {
    watch: (onChange) => watchAll({ config, core, namespace, digestOf, log, onChange }),
    async readLease() {
      const found = await named('Lease', () => absentAsUndefined(leases.readNamespacedLease(lease)))
      if (found === undefined) return undefined
      const { holderIdentity = '', leaseDurationSeconds = 15 } = found.spec ?? {}
      const { resourceVersion = '', annotations = {} } = found.metadata ?? {}
      const record = annotations[RECORD_ANNOTATION] ?? ''
      return { holder: holderIdentity, seconds: leaseDurationSeconds, version: resourceVersion, record }
    },
    writeLease: (wish) =>
      named(`Lease ${namespace}/${FLEET_LEASE}`, () => conflictAsUndefined(writeLease(leases, namespace, wish))),
    async annotatePod({ name, uid }, note) {
      const body = { metadata: { uid, annotations: { [FLEET_ANNOTATION]: note } } }
      const patch = () => core.patchNamespacedPod({ namespace, name, body, fieldManager }, merge)
      const done = await named(`Pod ${namespace}/${name}`, () => conflictAsUndefined(absentAsUndefined(patch())))
      return done !== undefined
    },
    async setCondition(name, { status, reason, message }, isNew) {
      const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z')
      const times = { lastHeartbeatTime: now, ...(isNew ? { lastTransitionTime: now } : {}) }
      const condition = { type: CONDITION_TYPE, status, reason, message, ...times }
      const body = { status: { conditions: [condition] } }
      await named(`Node ${name}`, () => core.patchNodeStatus({ name, body, fieldManager }, strategic))
    },
    async removeStartupTaint(name) {
      const node = await named(`Node ${name}`, () => core.readNode({ name }))
      const taints = node.spec?.taints ?? []
      const index = taints.findIndex(({ key }) => key === STARTUP_TAINT)
      if (index < 0) return
      // The test makes the server refuse it when the list has changed meanwhile.
      const path = `/spec/taints/${index}`
      const body = [
        { op: 'test', path: `${path}/key`, value: STARTUP_TAINT },
        { op: 'remove', path },
      ]
      await named(`Node ${name}`, () => core.patchNode({ name, body, fieldManager }, jsonPatch))
    },
    async tell({ node, nodeUid, type, reason, message }) {
      const now = new Date()
      const involvedObject = { kind: 'Node', name: node, uid: nodeUid === '' ? node : nodeUid, apiVersion: 'v1' }
      const times = { firstTimestamp: now, lastTimestamp: now, count: 1 }
      const source = { component: 'registry-trust-fleet' }
      const metadata = { generateName: 'registry-trust-', namespace: 'default' }
      const body = { metadata, involvedObject, type, reason, message: message.slice(0, 1000), source, ...times }
      await named(`Event of Node ${node}`, () => core.createNamespacedEvent({ namespace: 'default', body }))
    },
    watchWaiting(onChange) {
      const fieldSelector = 'status.phase=Pending'
      const pods = reflect<WaitingPod>({
        ...{ config, log, onChange, path: '/api/v1/pods', selectors: { fieldSelector } },
        list: (page) => core.listPodForAllNamespaces({ fieldSelector, ...page }),
        keep: waitingPod,
        keyOf: keyOfPod,
      })
      return { pods: () => pods.objects, problem: pods.problem, close: pods.close }
    },
    async wake({ namespace: where, name, uid }) {
      const body = { metadata: { uid, annotations: { [WOKEN_ANNOTATION]: new Date().toISOString() } } }
      const patch = () => core.patchNamespacedPod({ namespace: where, name, body, fieldManager }, merge)
      const done = await named(`Pod ${where}/${name}`, () => conflictAsUndefined(absentAsUndefined(patch())))
      return done !== undefined
    },
    async resume(value) {
      const body = { metadata: { annotations: { [RESUME_ANNOTATION]: value } } }
      const name = FLEET_CONFIG_MAP
      await named(`ConfigMap ${namespace}/${name}`, () =>
        core.patchNamespacedConfigMap({ namespace, name, body, fieldManager }, merge),
      )
    },
  }
}

async function writeLease(leases: CoordinationV1Api, namespace: string, wish: StoredLease): Promise<string> {
  const { holder, seconds, version, record } = wish
  const spec = { holderIdentity: holder, leaseDurationSeconds: seconds, renewTime: microTime(Date.now()) }
  const metadata = { namespace, name: FLEET_LEASE, annotations: { [RECORD_ANNOTATION]: record } }
  // The version in the metadata makes the slower of two writers fail.
  const written =
    version === ''
      ? await leases.createNamespacedLease({ namespace, body: { metadata, spec } })
      : await leases.replaceNamespacedLease({
          namespace,
          name: FLEET_LEASE,
          body: { metadata: { ...metadata, resourceVersion: version }, spec },
        })
  return written.metadata?.resourceVersion ?? ''
}

type Watched = Pick<FleetApiOptions, 'namespace' | 'digestOf' | 'log'> & {
  readonly config: KubeConfig
  readonly core: CoreV1Api
  readonly onChange: () => void
}

function watchAll({ config, core, namespace, digestOf, log, onChange }: Watched): FleetView {
  const inNamespace = `/api/v1/namespaces/${encodeURIComponent(namespace)}`
  const pods = reflect<SeenPod>({
    ...{ config, log, onChange, path: `${inNamespace}/pods`, selectors: { labelSelector: LABELS } },
    list: (page) => core.listNamespacedPod({ namespace, labelSelector: LABELS, ...page }),
    keep: (object) => seenPod(object),
  })
  const nodes = reflect<SeenNode>({
    // A kubelet reports every few seconds; what matters of it can wait for the next turn.
    ...{ config, log, onChange: () => undefined, path: '/api/v1/nodes', selectors: {} },
    list: (page) => core.listNode({ ...page }),
    keep: (object) => seenNode(object),
  })
  const fieldSelector = `metadata.name=${FLEET_CONFIG_MAP}`
  const maps = reflect<SeenConfig>({
    ...{ config, log, onChange, path: `${inNamespace}/configmaps`, selectors: { fieldSelector } },
    list: (page) => core.listNamespacedConfigMap({ namespace, fieldSelector, ...page }),
    keep: (object) => ({
      digest: digestOf(object as V1ConfigMap),
      resume: object.metadata?.annotations?.[RESUME_ANNOTATION] ?? '',
    }),
  })
  const all = [pods, nodes, maps]
  return {
    isSynced: () => all.every((one) => one.isSynced()),
    pods: () => pods.objects,
    nodes: () => nodes.objects,
    config: () => maps.objects.get(FLEET_CONFIG_MAP),
    close() {
      for (const one of all) one.close()
    },
  }
}

function seenPod(object: KubernetesObject): SeenPod {
  const { metadata, spec, status } = object as V1Pod
  const ports = spec?.containers?.flatMap((container) => container.ports ?? []) ?? []
  const portNamed = (wanted: string) => ports.find(({ name }) => name === wanted)
  return {
    name: metadata?.name ?? '',
    uid: metadata?.uid ?? '',
    node: spec?.nodeName ?? '',
    ip: status?.podIP ?? '',
    port: (portNamed('https') ?? portNamed('http'))?.containerPort ?? AGENT_PORT,
    note: metadata?.annotations?.[FLEET_ANNOTATION] ?? '',
    isLeaving: metadata?.deletionTimestamp !== undefined,
  }
}

function seenNode(object: KubernetesObject): SeenNode {
  const { metadata, spec, status } = object as V1Node
  const labels = metadata?.labels ?? {}
  const condition = status?.conditions?.find(({ type }) => type === CONDITION_TYPE)
  return {
    name: metadata?.name ?? '',
    uid: metadata?.uid ?? '',
    zone: labels[ZONE] ?? '',
    isControlPlane: labels[CONTROL_PLANE] !== undefined,
    labels,
    isReady: status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true,
    isCordoned: spec?.unschedulable === true,
    isTainted: spec?.taints?.some(({ key }) => key === STARTUP_TAINT) === true,
    condition:
      condition === undefined
        ? undefined
        : { status: condition.status, reason: condition.reason ?? '', message: condition.message ?? '' },
  }
}

async function conflictAsUndefined<T>(request: Promise<T>): Promise<T | undefined> {
  try {
    return await request
  } catch (thrown) {
    if (thrown instanceof ApiException && thrown.code === 409) return undefined
    throw thrown
  }
}
