// The plan for this node now: look at every target, fold what they would change, leave out what must not be written
// where it would land.
import type { Planned } from '../../model/plan.ts'
import type { LookMemory } from '../../model/run-ports.ts'
import type { Target, TargetPorts } from '../../model/target.ts'
import { withoutLinkedFolders } from '../../targets/guards/linked-folders.ts'
import { withoutUnmounted } from '../../targets/guards/unmounted.ts'
import { namesServingHosts } from '../../targets/targets.ts'
import { observeTargets } from '../observe/targets.ts'
import { planTargets, withoutChanges } from '../plan/plan.ts'
import { type PlanRequest, unlessUnchanged } from './plan-again.ts'

export type PlanningPorts = TargetPorts & { readonly targets?: readonly Target[] }

/** Reads the node and decides; changes nothing. */
export async function makePlan(request: PlanRequest, ports: PlanningPorts): Promise<Planned> {
  const { state, facts, ...rest } = request
  const { owned } = state
  const observed = await observeTargets({ desired: request.desired, owned, facts }, ports)
  const planned = await planTargets({ ...rest, owned, observed })
  const seen = withoutChanges(planned, withoutUnmounted(planned.plan.changes, ports.files))
  const hosts = namesServingHosts(ports.targets)
  return withoutChanges(seen, await withoutLinkedFolders(seen.plan.changes, hosts, ports.files))
}

/** The same for a look at the node: where nothing has changed since the last look, its plan is the plan. */
export async function planLook(
  request: PlanRequest,
  ports: PlanningPorts & { readonly memory?: LookMemory | undefined },
): Promise<Planned> {
  const { memory } = ports
  if (memory === undefined) return await makePlan(request, ports)
  return await unlessUnchanged(request, memory, (files) => makePlan(request, { ...ports, files }))
}
