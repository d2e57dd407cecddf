// What the agent does in the cluster, as values and a port: ConfigMaps that carry the anchors to programs which no
// node's trust reaches.

export type PublishFormat = 'bundle' | 'certs.d'

export type DeploymentName = { readonly namespace: string; readonly name: string }

/** One ConfigMap that gets the anchors. */
export type Publication = {
  readonly namespace: string
  readonly name: string
  /**
   * bundle: every certificate in this one key. certs.d: one key for each registry host, a port written `HOST..PORT`.
   */
  readonly format: PublishFormat
  readonly key: string
  /** Names of anchors; absent: all. */
  readonly anchors?: readonly string[]
  /** Restarted when the content really changed: programs that read the ConfigMap only when they start. */
  readonly restart: readonly DeploymentName[]
  /** Where it was declared, for messages. */
  readonly source: string
}

export type ConfigMapState = {
  readonly data: { readonly [key: string]: string }
  readonly annotations: { readonly [name: string]: string }
}

export type ConfigMapWish = DeploymentName & ConfigMapState

/** Every write is a server-side apply under our own field manager: what others own in the same object stays theirs. */
export type ClusterApi = {
  /** Undefined: there is none. Throws AgentError CLUSTER_UNREACHABLE, CLUSTER_FORBIDDEN or CLUSTER_FAILED. */
  configMap(name: DeploymentName): Promise<ConfigMapState | undefined>
  applyConfigMap(wish: ConfigMapWish): Promise<void>
  /** A new value starts a rollout, the same value none. */
  annotatePods(deployment: DeploymentName, annotation: string, value: string): Promise<void>
  /**
   * Calls back for every change of one of them, until closed; events that are missed are made up for by looking again.
   */
  watch(names: readonly DeploymentName[], onChange: () => void): { close(): void }
  /**
   * True while this holder may act: one writer at a time. Takes and renews it; one of another holder is taken over only
   * when nobody
   * was seen to renew it for as long as it lasts.
   */
  holdLease(lease: DeploymentName, holder: string, seconds: number): Promise<boolean>
  /** Lets others take it at once; nothing where somebody else holds it. */
  releaseLease(lease: DeploymentName, holder: string): Promise<void>
}

export const FIELD_MANAGER = 'registry-trust'
/** SHA-256 of what we last wrote, and of what the Deployments were last restarted for. */
export const CONTENT_ANNOTATION = 'registry-trust.io/content'
export const RESTARTED_ANNOTATION = 'registry-trust.io/restarted'
