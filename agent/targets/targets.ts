// Every place on a node that trusts, in the order in which their changes are carried out: what containerd reads first,
// because pulls wait for it. A new target is one line here.
import type { TargetName } from '../model/plan.ts'
import type { Target } from '../model/target.ts'
import { CONTAINERS_TARGET, DOCKER_TARGET } from './certs-d/target.ts'
import { CONTAINERD } from './containerd/target.ts'
import { CRICTL } from './crictl/target.ts'
import { HOSTS } from './hosts-file/target.ts'
import { SYSTEM_TRUST } from './system-trust/target.ts'

export const TARGETS: readonly Target[] = [CONTAINERD, SYSTEM_TRUST, DOCKER_TARGET, CONTAINERS_TARGET, CRICTL, HOSTS]

export function namesServingHosts(targets: readonly Target[] = TARGETS): ReadonlySet<TargetName> {
  return new Set(targets.flatMap(({ servesHosts }) => servesHosts))
}

/** What changes under these names is rehearsed. */
export function namesReadByContainerd(targets: readonly Target[] = TARGETS): ReadonlySet<TargetName> {
  return new Set(targets.flatMap(({ names, isReadByContainerd }) => (isReadByContainerd ? names : [])))
}
