// The plan: what every target would change, put together in the order in which it is carried out. Pure: the same input gives the same plan.
import { type DesiredState, type TrustAnchor, withWildcard } from '../../model/desired-state.ts'
import type { Problem } from '../../model/errors.ts'
import type { Change, Planned } from '../../model/plan.ts'
import type { AgentState } from '../../model/state.ts'
import type { Observed, TargetInput, WholePlan } from '../../model/target.ts'

export type PlanInput = {
  readonly desired: DesiredState
  readonly observed: Observed
  readonly owned: AgentState['owned']
} & Partial<Pick<TargetInput, 'unverified' | 'migrateAll'>>

const NO_CANDIDATE = { certsDirectory: undefined, candidateConfig: undefined, stagedHosts: [] }

/** What containerd reads comes first, because pulls wait for it; what needs a restart comes last. */
export async function planTargets(request: PlanInput): Promise<Planned> {
  const { desired, observed, owned, unverified = new Set(), migrateAll = false } = request
  const input: TargetInput = { desired, owned, unverified, migrateAll }
  const plans: WholePlan[] = []
  for (const [target, seen] of observed) plans.push(await target.plan(input, seen))
  const last = plans.flatMap((plan) => plan.last ?? [])
  const all = [...plans, ...last]
  const { certsDirectory, ...candidate } = plans.flatMap((plan) => plan.candidate ?? []).at(0) ?? NO_CANDIDATE
  return {
    plan: {
      generation: desired.generation,
      changes: all.flatMap(({ changes }) => changes),
      restart: plans.flatMap(({ restart }) => restart ?? []).at(0) ?? { required: false, reason: '' },
      certsDirectory,
      problems: [
        ...anchorProblems(desired, isHeld),
        ...withWildcard(desired).flatMap(({ problems = [] }) => problems),
        ...all.flatMap(({ problems }) => problems),
      ],
      warnings: [
        ...anchorProblems(desired, (anchor) => !isHeld(anchor)),
        ...plans.flatMap(({ warnings = [] }) => warnings),
      ],
    },
    ...candidate,
    leftOut: [],
    conflicts: [],
  }
}

/** Changes that cannot be made as they are planned are left out and told. */
export function withoutChanges(
  planned: Planned,
  { kept, problems }: Pick<Planned['plan'], 'problems'> & { readonly kept: readonly Change[] },
): Planned {
  const { plan } = planned
  return { ...planned, plan: { ...plan, changes: kept, problems: [...plan.problems, ...problems] } }
}

/** Nothing of the anchor can be used now: what it put on the node stays. */
function isHeld(anchor: TrustAnchor): boolean {
  return anchor.certificates.length === 0
}

function anchorProblems(desired: DesiredState, which: (anchor: TrustAnchor) => boolean): readonly Problem[] {
  return desired.anchors.filter(which).flatMap(({ problems }) => problems)
}
