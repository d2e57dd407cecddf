// Looks at every target, so that the plan can be made without another look.
import type { Observed, ObserveInput, Target, TargetPorts } from '../../model/target.ts'
import { TARGETS } from '../../targets/targets.ts'

/** `targets`: absent, all that the agent knows. */
export async function observeTargets(
  input: ObserveInput,
  ports: TargetPorts & { readonly targets?: readonly Target[] },
): Promise<Observed> {
  const seen: (readonly [Target, unknown])[] = []
  for (const target of ports.targets ?? TARGETS) seen.push([target, await target.observe(input, ports)])
  return seen
}
