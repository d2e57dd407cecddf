// The plan: what every target would change, put together in the order in which it is carried out. Pure: the same input
// gives the same plan.
import { type DesiredState, type TrustAnchor, withWildcard } from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import type { Change, Planned, TargetName } from '../../model/plan.ts'
import type { AgentState } from '../../model/state.ts'
import type { Observed, Target, TargetInput, WholePlan } from '../../model/target.ts'

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
  const blocked: TargetName[] = []
  for (const [target, seen] of observed) {
    const plan = withoutFrozen(await target.plan(input, seen), desired)
    plans.push(plan)
    if (plan.problems.length + (plan.last?.problems.length ?? 0) > 0) blocked.push(...namesAtWork(target, plan, owned))
  }
  const last = plans.flatMap((plan) => plan.last ?? [])
  const all = [...plans, ...last]
  const distrusts = plans.flatMap(({ distrusts = [] }) => distrusts)
  const { certsDirectory, ...candidate } = plans.flatMap((plan) => plan.candidate ?? []).at(0) ?? NO_CANDIDATE
  return {
    plan: {
      generation: desired.generation,
      changes: all.flatMap(({ changes }) => changes),
      restart: plans.flatMap(({ restart }) => restart ?? []).at(0) ?? { required: false, reason: '' },
      certsDirectory,
      problems: [
        ...anchorProblems(desired, isHeld),
        ...(desired.distrust?.problems ?? []),
        ...withWildcard(desired).flatMap(({ problems = [] }) => problems),
        ...all.flatMap(({ problems }) => problems),
      ],
      warnings: [
        ...(desired.warnings ?? []),
        ...anchorProblems(desired, (anchor) => !isHeld(anchor)),
        ...plans.flatMap(({ warnings = [] }) => warnings),
      ],
      blocked,
      ...(distrusts.length > 0 && { distrusts }),
    },
    ...candidate,
    leftOut: [],
    conflicts: [],
  }
}

/** Whether these count on the node is not known now: nothing is put there, and nothing taken away. */
function withoutFrozen(plan: WholePlan, { frozen = [] }: DesiredState): WholePlan {
  const isFrozen = ({ target }: Change) => frozen.includes(target)
  const left = [...plan.changes, ...(plan.last?.changes ?? [])].filter(isFrozen)
  if (left.length === 0) return plan
  const names = [...new Set(left.map(({ target }) => target))].join(', ')
  const text = `${names}: it is not known now whether it applies to this node; left unchanged`
  const kept = <Part extends Pick<WholePlan, 'changes'>>(part: Part) => ({
    ...part,
    changes: part.changes.filter((change) => !isFrozen(change)),
  })
  const restart = frozen.includes('containerd-config') ? { restart: { required: false, reason: '' } } : {}
  const { last } = plan
  return {
    ...kept(plan),
    ...restart,
    ...(last !== undefined && { last: kept(last) }),
    problems: [...plan.problems, problem('CONDITION_UNKNOWN', text)],
  }
}

/**
 * Of the names of a target those under which there is something on the node, or would be; its first where there is
 * nothing.
 */
function namesAtWork(
  { names }: Target,
  { changes, last }: WholePlan,
  owned: AgentState['owned'],
): readonly TargetName[] {
  const used = new Set([...changes, ...(last?.changes ?? []), ...Object.values(owned)].map(({ target }) => target))
  const atWork = names.filter((name) => used.has(name))
  return atWork.length > 0 ? atWork : names.slice(0, 1)
}

/** Changes that cannot be made as they are planned are left out and reported. */
export function withoutChanges(
  planned: Planned,
  { kept, problems }: Pick<Planned['plan'], 'problems'> & { readonly kept: readonly Change[] },
): Planned {
  const { plan } = planned
  const stays = new Set(kept)
  const left = plan.changes.filter((change) => !stays.has(change)).map(({ target }) => target)
  const blocked = [...new Set([...(plan.blocked ?? []), ...left])]
  return { ...planned, plan: { ...plan, changes: kept, problems: [...plan.problems, ...problems], blocked } }
}

/** Nothing of the anchor can be used now: what it put on the node stays. */
function isHeld(anchor: TrustAnchor): boolean {
  return anchor.certificates.length === 0
}

function anchorProblems(desired: DesiredState, which: (anchor: TrustAnchor) => boolean): readonly Problem[] {
  return desired.anchors.filter(which).flatMap(({ problems }) => problems)
}
