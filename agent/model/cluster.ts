// What the agent does in the cluster, as values and a port: ConfigMaps that carry the anchors to programs that do not
// use the node's trust.

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
  /** Restarted when they have read something else: programs that read the ConfigMap only when they start. */
  readonly restart: readonly DeploymentName[]
  /** Where it was declared, for messages. */
  readonly source: string
}

type Annotations = { readonly [name: string]: string }

export type ConfigMapContent = { readonly data: { readonly [key: string]: string }; readonly annotations: Annotations }

/** What metadata.managedFields tells; `at` is the API server's time in milliseconds since the epoch. */
export type FieldWrite = {
  readonly manager: string
  /** Server-side apply, not an update. */
  readonly isApply: boolean
  /** It has fields of `data`. */
  readonly isData: boolean
  readonly at: number
}

export type ConfigMapState = ConfigMapContent & { readonly writes: readonly FieldWrite[] }

export type ConfigMapWish = DeploymentName & ConfigMapContent

/** A Deployment that reads a ConfigMap. */
export type ReaderState = {
  /** Annotations of its Pod template. */
  readonly template: Annotations
  /** Those that do not end just now, milliseconds since the epoch; undefined: we may not list them. */
  readonly pods: readonly { readonly createdAt: number; readonly annotations: Annotations }[] | undefined
}

/** Every write is a server-side apply under our own field manager: what others own in the same object stays theirs. */
export type ClusterApi = {
  /** Undefined: there is none. Throws AgentError CLUSTER_UNREACHABLE, CLUSTER_FORBIDDEN or CLUSTER_FAILED. */
  configMap(name: DeploymentName): Promise<ConfigMapState | undefined>
  applyConfigMap(wish: ConfigMapWish): Promise<ConfigMapState>
  reader(deployment: DeploymentName): Promise<ReaderState>
  /** A new value starts a rollout, the same values none. */
  annotatePods(deployment: DeploymentName, annotations: Annotations): Promise<void>
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
/** SHA-256 of what we last wrote, of what the Pods were last started for, and of content that was right before us. */
export const CONTENT_ANNOTATION = 'registry-trust.io/content'
/** On a ConfigMap: RFC 3339, since when the content may have been wrong that our last write put right. */
export const WRONG_ANNOTATION = 'registry-trust.io/wrong-from'
/** On Pods: RFC 3339, of the write of the ConfigMap that they were started for. */
export const SINCE_ANNOTATION = 'registry-trust.io/content-since'
export const RESTARTED_ANNOTATION = 'registry-trust.io/restarted'
