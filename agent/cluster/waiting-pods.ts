// Pods that wait for an image, as the API server shows them. A Pod counts only where a pull by somebody else helps it:
// its kubelet looks whether the image is there before it asks the registry (imagePullPolicy IfNotPresent).
import type { KubernetesObject, V1Pod } from '@kubernetes/client-node'
import type { WaitingPod } from '../model/fleet-cluster.ts'

const WAITS_FOR_IMAGE: ReadonlySet<string | undefined> = new Set(['ImagePullBackOff', 'ErrImagePull'])
/** A Pod of a kubelet's own folder: what the API server shows is a copy that the kubelet does not read. */
const MIRROR = 'kubernetes.io/config.mirror'

/** Undefined: it waits for no image, or a pull by the agent would not help it. */
export function waitingPod(object: KubernetesObject): WaitingPod | undefined {
  const { metadata, spec, status } = object as V1Pod
  const { namespace = '', name = '', uid = '', annotations, labels, deletionTimestamp } = metadata ?? {}
  const node = spec?.nodeName ?? ''
  if (node === '' || deletionTimestamp !== undefined || annotations?.[MIRROR] !== undefined) return undefined
  // What an agent is told has an annotation of its own.
  if (labels?.['app.kubernetes.io/name'] === 'registry-trust') return undefined
  const statuses = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])]
  const waiting = new Set(
    statuses.flatMap((one) => (WAITS_FOR_IMAGE.has(one.state?.waiting?.reason) ? [one.name] : [])),
  )
  const images = [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])].flatMap((container) =>
    waiting.has(container.name) && container.imagePullPolicy === 'IfNotPresent' ? [container.image ?? ''] : [],
  )
  return images.length === 0 ? undefined : { namespace, name, uid, node, images: [...new Set(images)] }
}

export function keyOfPod({ metadata }: KubernetesObject): string {
  return `${metadata?.namespace ?? ''}/${metadata?.name ?? ''}`
}
