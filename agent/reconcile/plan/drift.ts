// Drift: something differs from the last committed state although the configuration did not change. It is put right,
// but not for ever: a path that someone else keeps changing is left to a person.
import type { DesiredState } from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { AgentState } from '../../model/state.ts'

const FIGHT_WINDOW_MS = 3_600_000

/** The change restores a path that the agent owns already, for the generation that is on the node. */
export function isHealing(change: Change, state: AgentState, desired: DesiredState): boolean {
  const { path, owns, after } = change
  if (state.generation !== desired.generation) return false
  // It waited for the restart that it needs, so nothing was damaged.
  if (change.target === 'containerd-config' && change.drift === undefined) return false
  const paths = after.kind === 'tree' ? owns.map((own) => own.path) : [path]
  return paths.every((one) => state.owned[one] !== undefined)
}

/** The very bytes that were proved before: nothing new to rehearse. */
export function restoresProvedContent(change: Change, state: AgentState, desired: DesiredState): boolean {
  if (!isHealing(change, state, desired)) return false
  return change.owns.length > 0 && change.owns.every(({ path, sha256 }) => state.owned[path]?.sha256 === sha256)
}

/** For `drift.heal: false`: what differs is reported, not put right. */
export function withoutHealing(changes: readonly Change[], state: AgentState, desired: DesiredState): Settled {
  return { kept: changes.filter((change) => !isHealing(change, state, desired)), problems: [], conflicts: [] }
}

export type Settled = {
  readonly kept: readonly Change[]
  readonly problems: readonly Problem[]
  readonly conflicts: readonly string[]
}

/** Drops what has been put right `stopAfterFights` times within the last hour. A person's own run starts afresh. */
export function withoutFights(
  changes: readonly Change[],
  state: AgentState,
  desired: DesiredState,
  now: number,
): Settled {
  const isFought = (change: Change) =>
    isHealing(change, state, desired) && recentHeals(state, change.path, now).length >= desired.drift.stopAfterFights
  const conflicts = changes.filter(isFought).map(({ path }) => path)
  const kept = changes.filter((change) => !isFought(change))
  const problems = conflicts.map((path) => {
    const times = recentHeals(state, path, now).length
    return problem(
      'WRITER_CONFLICT',
      `${path}: restored ${times} times within an hour and changed again by someone else; left unchanged`,
    )
  })
  return { kept, problems, conflicts }
}

function recentHeals({ heals = {} }: AgentState, path: string, now: number): readonly string[] {
  return (heals[path] ?? []).filter((at) => Date.parse(at) > now - FIGHT_WINDOW_MS)
}

/** The state with these paths counted once more and everything older than the window forgotten. */
export function rememberHeals(state: AgentState, healed: readonly string[], now: number): AgentState {
  const at = new Date(now).toISOString()
  const again = new Set(healed)
  const paths = new Set([...Object.keys(state.heals ?? {}), ...healed])
  const heals = [...paths]
    .map((path) => [path, [...recentHeals(state, path, now), ...(again.has(path) ? [at] : [])]] as const)
    .filter(([, times]) => times.length > 0)
  const { heals: _, ...rest } = state
  return heals.length === 0 ? rest : { ...rest, heals: Object.fromEntries(heals) }
}
