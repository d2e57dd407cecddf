// What the fleet component sees and does in the cluster, as values and a port.
import type { RolloutText } from './fleet.ts'

/** An agent's Pod. */
export type SeenPod = {
  readonly name: string
  readonly uid: string
  readonly node: string
  /** Empty while it has none. */
  readonly ip: string
  readonly port: number
  /** Text of the fleet annotation; empty: none. */
  readonly note: string
  readonly isLeaving: boolean
}

/** A Pod of whatever namespace whose containers wait in ImagePullBackOff, for images that its kubelet looks for first. */
export type WaitingPod = {
  readonly namespace: string
  readonly name: string
  readonly uid: string
  readonly node: string
  /** As the Pod names them. */
  readonly images: readonly string[]
}

export type WaitingView = {
  /** By namespace and name. */
  pods(): ReadonlyMap<string, WaitingPod>
  /** Why they cannot be seen now; undefined: they can. */
  problem(): string | undefined
  close(): void
}

export type SeenCondition = { readonly status: string; readonly reason: string; readonly message: string }

export type SeenNode = {
  readonly name: string
  readonly uid: string
  readonly zone: string
  readonly isControlPlane: boolean
  readonly labels: { readonly [name: string]: string }
  readonly isReady: boolean
  readonly isCordoned: boolean
  /** It carries the startup taint. */
  readonly isTainted: boolean
  /** RegistryTrustReady as it stands on the Node. */
  readonly condition: SeenCondition | undefined
}

export type SeenConfig = {
  /** Of its data (config/config-digest.ts). */
  readonly digest: string
  /** Value of the annotation that `fleet resume` writes; empty: none. */
  readonly resume: string
}

export type StoredLease = {
  readonly holder: string
  readonly seconds: number
  readonly version: string
  readonly record: RolloutText
}

export type FleetEvent = {
  readonly node: string
  readonly nodeUid: string
  readonly type: 'Normal' | 'Warning'
  readonly reason: string
  readonly message: string
}

/** Everything that is watched, as it was last seen. */
export type FleetView = {
  /** Every list was read once; before that nothing may be concluded. */
  isSynced(): boolean
  pods(): ReadonlyMap<string, SeenPod>
  nodes(): ReadonlyMap<string, SeenNode>
  config(): SeenConfig | undefined
  close(): void
}

/**
 * Every call throws AgentError CLUSTER_UNREACHABLE, CLUSTER_FORBIDDEN or CLUSTER_FAILED, and ends after a few seconds.
 */
export type FleetApi = {
  /** `onChange`: something is different now. */
  watch(onChange: () => void): FleetView
  readLease(): Promise<StoredLease | undefined>
  /** The version that was written; undefined: somebody else has written since `lease.version`. */
  writeLease(lease: StoredLease): Promise<string | undefined>
  /** False: the Pod is not there any more. */
  annotatePod(pod: SeenPod, note: string): Promise<boolean>
  /** `isNew`: the status is not what it was, so the time of the transition is now. */
  setCondition(node: string, condition: SeenCondition, isNew: boolean): Promise<void>
  removeStartupTaint(node: string): Promise<void>
  tell(event: FleetEvent): Promise<void>
  /** Pods that wait for an image, in the whole cluster. */
  watchWaiting(onChange: () => void): WaitingView
  /** Touches a Pod, so that its kubelet looks for the image at once. False: it is not there any more. */
  wake(pod: WaitingPod): Promise<boolean>
  /** Writes the annotation that answers a halt. */
  resume(value: string): Promise<void>
}

export const CONDITION_TYPE = 'RegistryTrustReady'
export const STARTUP_TAINT = 'registry-trust.io/untrusted'

/** Asks one agent for its summary; throws an Error that says why there is no answer. */
export type AgentClient = {
  ask(
    pod: SeenPod,
    tag: string | undefined,
  ): Promise<
    | { readonly kind: 'unchanged' }
    | { readonly kind: 'summary'; readonly text: string; readonly tag: string | undefined }
  >
}
