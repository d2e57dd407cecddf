// The plan of a look at a node on which nothing has changed: where the last plan had nothing to do, and everything that
// it was made from is the same, it is the plan again. A plan is pure, so this is no guess (model/target.ts).
import { isDeepStrictEqual } from 'node:util'
import type { DesiredState } from '../../model/desired-state.ts'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import type { Planned } from '../../model/plan.ts'
import type { NodeFiles } from '../../model/ports.ts'
import type { LookMemory } from '../../model/run-ports.ts'
import type { AgentState } from '../../model/state.ts'
import type { TargetInput } from '../../model/target.ts'

export type PlanRequest = {
  readonly desired: DesiredState
  readonly state: AgentState
  readonly facts: ContainerdFacts
} & Partial<Pick<TargetInput, 'unverified' | 'migrateAll'>>

/** Everything that the last plan read is asked for again, and only then that plan is believed. */
export async function unlessUnchanged(
  request: PlanRequest,
  { files, last }: LookMemory,
  make: (files: NodeFiles) => Promise<Planned>,
): Promise<Planned> {
  const before = last.unchanged
  if (before !== undefined && (await before.isFor(request))) return before.planned
  // While the new plan is made the old one is not held as well.
  last.unchanged = undefined
  const { result: planned, isSame } = await files.witnessed(make)
  const { changes, restart } = planned.plan
  const isUnchanged = changes.length === 0 && !restart.required && planned.leftOut.length === 0
  if (isUnchanged)
    last.unchanged = {
      planned,
      isFor: async (other) => isSameRequest(request, other as PlanRequest) && (await isSame()),
    }
  return planned
}

function isSameRequest(one: PlanRequest, other: PlanRequest): boolean {
  const { desired, state, facts, ...rest } = one
  const { desired: wanted, state: known, facts: now, ...others } = other
  return (
    desired === wanted &&
    state.owned === known.owned &&
    isDeepStrictEqual(rest, others) &&
    isDeepStrictEqual(facts, now)
  )
}
