// The Kubernetes API (port ClusterApi) through @kubernetes/client-node, which only `publish` loads. The rules: every
// write is a server-side apply as our own field manager; an error names the object and never repeats what the server
// sent in full.
// This room: the rim towards the API server: the client, and what is published to it.
// Begin here; then publish.ts and readers.ts (the ConfigMaps), fleet-api.ts and reflector.ts (what the fleet component
// sees and writes), agent-client.ts (how it asks an agent), fleet-reader.ts (how a person asks it).
// May touch: the API server, with the account of the Pod; no node.
import {
  ApiException,
  AppsV1Api,
  CoordinationV1Api,
  CoreV1Api,
  type KubeConfig,
  PatchStrategy,
  setHeaderOptions,
  type V1ConfigMap,
  type V1LabelSelector,
  V1MicroTime,
  type V1Pod,
  Watch,
} from '@kubernetes/client-node'
import { type ClusterApi, type ConfigMapState, type DeploymentName, FIELD_MANAGER } from '../model/cluster.ts'
import { AgentError } from '../model/errors.ts'
import type { Log } from '../model/ports.ts'
import { KeptConnections } from './kept-connections.ts'
import { LeaseObservations } from './lease-observations.ts'
import { watchWhile } from './watch-while.ts'

const RETRY_WATCH_MS = 1_000

export type KubernetesOptions = {
  /** A kubeconfig; absent: the service account of the Pod. */
  readonly kubeconfig?: string | undefined
  readonly log: Log
  /** For leases: milliseconds that never step. */
  readonly monotonic?: () => number
}

/** Throws AgentError CLUSTER_UNREACHABLE where there is neither a kubeconfig that can be read nor a service account. */
export function credentialsFrom(kubeconfig: string | undefined): KubeConfig {
  const config = new KeptConnections()
  try {
    if (kubeconfig === undefined) config.loadFromCluster()
    else config.loadFromFile(kubeconfig)
  } catch (error) {
    // The parser's own words could repeat a line of the file.
    const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : ''
    const where = kubeconfig ?? 'the service account of this Pod'
    throw new AgentError('CLUSTER_UNREACHABLE', `${where} cannot be read as access to the API server${code}`, {})
  }
  return config
}

export function kubernetesApi({ kubeconfig, log, monotonic = () => performance.now() }: KubernetesOptions): ClusterApi {
  const config = credentialsFrom(kubeconfig)
  const core = config.makeApiClient(CoreV1Api)
  const coordination = config.makeApiClient(CoordinationV1Api)
  const apps = config.makeApiClient(AppsV1Api)
  const asApply = setHeaderOptions('Content-Type', PatchStrategy.ServerSideApply)
  const observations = new LeaseObservations(monotonic)
  const how = { fieldManager: FIELD_MANAGER, force: true } as const

  return {
    async configMap({ namespace, name }) {
      const found = await named(`ConfigMap ${nameOf({ namespace, name })}`, () =>
        absentAsUndefined(core.readNamespacedConfigMap({ namespace, name })),
      )
      return found === undefined ? undefined : stateOf(found)
    },
    async applyConfigMap({ namespace, name, data, annotations }) {
      const metadata = { namespace, name, annotations, labels: { 'app.kubernetes.io/managed-by': FIELD_MANAGER } }
      const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data }
      return stateOf(
        await named(`ConfigMap ${nameOf({ namespace, name })}`, () =>
          core.patchNamespacedConfigMap({ namespace, name, body, ...how }, asApply),
        ),
      )
    },
    async reader({ namespace, name }) {
      const what = `Deployment ${nameOf({ namespace, name })}`
      const { spec } = await named(what, () => apps.readNamespacedDeployment({ namespace, name }))
      const template = spec?.template?.metadata?.annotations ?? {}
      const labelSelector = selectorText(spec?.selector)
      const listed = await named(`Pods of ${what}`, () => core.listNamespacedPod({ namespace, labelSelector })).catch(
        unlessForbidden,
      )
      return { template, pods: listed?.items.filter(isStaying).map(podStart) }
    },
    async annotatePods({ namespace, name }, annotations) {
      const what = `Deployment ${nameOf({ namespace, name })}`
      // An apply would create what is not there.
      await named(what, () => apps.readNamespacedDeployment({ namespace, name }))
      const spec = { template: { metadata: { annotations } } }
      const body = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { namespace, name }, spec }
      await named(what, () => apps.patchNamespacedDeployment({ namespace, name, body, ...how }, asApply))
    },
    watch(names, onChange) {
      const closing = new AbortController()
      for (const one of names) void keepWatching(config, one, onChange, closing.signal, log)
      return { close: () => closing.abort() }
    },
    async holdLease({ namespace, name }, holder, seconds) {
      const what = `Lease ${nameOf({ namespace, name })}`
      const now = new V1MicroTime()
      const found = await named(what, () => absentAsUndefined(coordination.readNamespacedLease({ namespace, name })))
      const { holderIdentity = '', renewTime, leaseDurationSeconds = seconds } = found?.spec ?? {}
      const isFree = holderIdentity === '' || holderIdentity === holder || renewTime === undefined
      const record = `${holderIdentity} ${String(renewTime)} ${found?.metadata?.resourceVersion}`
      if (!isFree && !observations.isOver(what, record, leaseDurationSeconds)) return false
      const spec = {
        ...found?.spec,
        holderIdentity: holder,
        leaseDurationSeconds: seconds,
        renewTime: now,
        acquireTime: holderIdentity === holder ? microTime(found?.spec?.acquireTime) : now,
      }
      try {
        // The resource version in the metadata makes the slower of two writers fail.
        if (found === undefined)
          await coordination.createNamespacedLease({ namespace, body: { metadata: { namespace, name }, spec } })
        else await coordination.replaceNamespacedLease({ namespace, name, body: { ...found, spec } })
        return true
      } catch (thrown) {
        if (thrown instanceof ApiException && thrown.code === 409) return false
        throw failure(what, thrown)
      }
    },
    async releaseLease({ namespace, name }, holder) {
      const what = `Lease ${nameOf({ namespace, name })}`
      const found = await named(what, () => absentAsUndefined(coordination.readNamespacedLease({ namespace, name })))
      if (found?.spec?.holderIdentity !== holder) return
      const spec = { ...found.spec, holderIdentity: '', leaseDurationSeconds: 1, renewTime: new V1MicroTime() }
      const acquireTime = microTime(found.spec.acquireTime)
      // If another holder took it meanwhile this write fails, which is just as good.
      await coordination
        .replaceNamespacedLease({ namespace, name, body: { ...found, spec: { ...spec, acquireTime } } })
        .catch((thrown: unknown) => {
          if (!(thrown instanceof ApiException && thrown.code === 409)) throw failure(what, thrown)
        })
    },
  }
}

function stateOf({ data = {}, metadata = {} }: V1ConfigMap): ConfigMapState {
  const { annotations = {}, managedFields = [] } = metadata
  const writes = managedFields.map(({ manager = '', operation, time, fieldsV1 }) => ({
    manager,
    isApply: operation === 'Apply',
    isData: fieldsV1 !== undefined && 'f:data' in fieldsV1,
    at: timeOf(time),
  }))
  return { data, annotations, writes }
}

function timeOf(time: unknown): number {
  return time instanceof Date ? time.getTime() : Date.parse(String(time))
}

/** As `kubectl get -l` writes it. */
function selectorText({ matchLabels = {}, matchExpressions = [] }: Partial<V1LabelSelector> = {}): string {
  const equal = Object.entries(matchLabels).map(([key, value]) => `${key}=${value}`)
  const others = matchExpressions.map(({ key, operator, values = [] }) => {
    if (operator === 'Exists') return key
    return operator === 'DoesNotExist' ? `!${key}` : `${key} ${operator.toLowerCase()} (${values.join(',')})`
  })
  return [...equal, ...others].join(',')
}

function isStaying({ metadata, status }: V1Pod): boolean {
  const isOver = status?.phase === 'Succeeded' || status?.phase === 'Failed'
  return metadata?.deletionTimestamp === undefined && !isOver
}

function podStart({ metadata }: V1Pod) {
  return { createdAt: timeOf(metadata?.creationTimestamp), annotations: metadata?.annotations ?? {} }
}

/** A Role of an older release lets us read no Pods. */
function unlessForbidden(thrown: unknown): undefined {
  if (thrown instanceof AgentError && thrown.code === 'CLUSTER_FORBIDDEN') return undefined
  throw thrown
}

/** The library gives back text where it takes a time. */
export function microTime(value: unknown): V1MicroTime {
  const at = typeof value === 'number' ? value : Date.parse(String(value))
  return new V1MicroTime(Number.isNaN(at) ? Date.now() : at)
}

async function keepWatching(
  config: KubeConfig,
  { namespace, name }: DeploymentName,
  onChange: () => void,
  signal: AbortSignal,
  log: Log,
): Promise<void> {
  const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/configmaps`
  while (!signal.aborted) {
    await new Promise<void>((resolve) => {
      const done = (thrown: unknown) => {
        if (thrown !== undefined && thrown !== null && !signal.aborted)
          log.debug('watch-ended', { configMap: `${namespace}/${name}` })
        resolve()
      }
      const onEvent = () => {
        if (!signal.aborted) onChange()
      }
      watchWhile(signal, new Watch(config), path, { fieldSelector: `metadata.name=${name}` }, onEvent, done)
    })
    if (signal.aborted) return
    await new Promise((resolve) => setTimeout(resolve, RETRY_WATCH_MS).unref())
    // Changes between two watches are found by reading again.
    if (!signal.aborted) onChange()
  }
}

export async function absentAsUndefined<T>(request: Promise<T>): Promise<T | undefined> {
  try {
    return await request
  } catch (thrown) {
    if (thrown instanceof ApiException && thrown.code === 404) return undefined
    throw thrown
  }
}

/** Runs a request; `what` is the object that an error names. Throws as the port ClusterApi does. */
export async function named<T>(what: string, request: () => Promise<T>): Promise<T> {
  try {
    return await request()
  } catch (thrown) {
    throw failure(what, thrown)
  }
}

function failure(what: string, thrown: unknown): AgentError {
  if (thrown instanceof AgentError) return thrown
  if (!(thrown instanceof ApiException)) {
    const reason =
      thrown instanceof Error ? (thrown.cause instanceof Error ? thrown.cause.message : thrown.message) : String(thrown)
    return new AgentError('CLUSTER_UNREACHABLE', `${what}: the API server does not answer: ${reason.slice(0, 300)}`)
  }
  const reason = messageOf(thrown.body)
  if (thrown.code === 401 || thrown.code === 403)
    return new AgentError('CLUSTER_FORBIDDEN', `${what}: the API server answered ${thrown.code}: ${reason}`)
  const { code } = thrown
  return new AgentError('CLUSTER_FAILED', `${what}: the API server answered ${code}: ${reason}`, { status: code })
}

/** Of a Status object: one sentence for people. */
function messageOf(body: unknown): string {
  let value = body
  try {
    if (typeof body === 'string') value = JSON.parse(body)
  } catch {
    return 'no reason given'
  }
  const message = typeof value === 'object' && value !== null && 'message' in value ? value.message : undefined
  return typeof message === 'string' ? message.slice(0, 300) : 'no reason given'
}

function nameOf({ namespace, name }: DeploymentName): string {
  return `${namespace}/${name}`
}
