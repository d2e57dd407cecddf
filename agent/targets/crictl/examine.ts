// What is wrong with /etc/crictl.yaml, whether or not it is a target.
import { CRICTL_FILES, CRICTL_KEYS, crictlEndpointOf, isSameSocket } from '../../containerd/crictl.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { NodeFiles } from '../../model/ports.ts'
import type { TargetAilment } from '../../model/target.ts'

/** Pods do not use it, but a person who looks for the cause of a failed pull with crictl would see another runtime. */
export async function examineCrictl({ socket }: ContainerdFacts, files: NodeFiles): Promise<readonly TargetAilment[]> {
  const states = await Promise.all(CRICTL_FILES.map(async (path) => ({ path, state: await files.readFollowing(path) })))
  // crictl goes on to the next one only where there is none.
  const first = states.find(({ state }) => state.kind !== 'absent')
  if (first?.state.kind !== 'file') return []
  const { path: where, state } = first
  const text = state.bytes.toString('utf8')
  const remedy = `Set it to unix://${socket}, or let the agent do it with targets.crictl.enabled: true.`
  const finding = (severity: TargetAilment['severity'], what: string): TargetAilment => ({
    severity,
    where,
    what,
    remedy,
  })
  return CRICTL_KEYS.flatMap((key) => {
    const named = crictlEndpointOf(text, key)
    // Without one of its own, images are asked at the runtime's.
    if (named === undefined && key === 'image-endpoint') return []
    if (named === undefined)
      return [finding('info', `names no ${key}: crictl tries well-known sockets one after another`)]
    if (isSameSocket(named, socket)) return []
    return [finding('warning', `${key} names ${named}, but CRI of this node answers on ${socket}`)]
  })
}
