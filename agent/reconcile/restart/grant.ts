// The agent's side of a grant: whether it allows a restart now, and what is remembered of it. Pure; the clock is the
// agent's own.
import type { ClosedGrant, Grant, GrantReport } from '../../model/fleet.ts'

/** How the reason begins where nothing but the grant is missing. */
export const WAITS_FOR_GRANT = "waits for the fleet's grant"

/** The annotation carries one grant at a time; a few more than that cover every stale file. */
const REMEMBERED = 8

/** When the agent first saw the grant that its file shows now. */
export type SeenGrant = { readonly grant: Grant; readonly firstSeenMs: number }

/** @param nowMs monotonic, as every time here */
export function noticeGrant(
  seen: SeenGrant | undefined,
  grant: Grant | undefined,
  nowMs: number,
): SeenGrant | undefined {
  if (grant === undefined) return undefined
  return seen?.grant.id === grant.id ? seen : { grant, firstSeenMs: nowMs }
}

export type GrantAnswer =
  | { readonly allowed: true; readonly grant: Grant }
  | { readonly allowed: false; readonly reason: string }

/** Whether a restart of this generation is allowed by what was seen and what is closed. */
export function permitByGrant(
  generation: string,
  seen: SeenGrant | undefined,
  closed: readonly ClosedGrant[],
  nowMs: number,
): GrantAnswer {
  const no = (why: string): GrantAnswer => ({ allowed: false, reason: `${WAITS_FOR_GRANT}${why}` })
  if (seen === undefined) return no('')
  const { grant } = seen
  if (closed.some(({ id }) => id === grant.id)) return no(` (grant ${grant.id} is used up)`)
  if (isOver(seen, nowMs)) return no(` (grant ${grant.id} was not used in time)`)
  if (grant.generation !== generation) return no(` (grant ${grant.id} is for generation ${grant.generation})`)
  return { allowed: true, grant }
}

function isOver({ grant, firstSeenMs }: SeenGrant, nowMs: number): boolean {
  return nowMs - firstSeenMs > grant.ttlSeconds * 1000
}

/** The grant that has to be closed as expired now: it is remembered before that is reported. */
export function expiredGrant(
  seen: SeenGrant | undefined,
  closed: readonly ClosedGrant[],
  nowMs: number,
): ClosedGrant | undefined {
  if (seen === undefined || !isOver(seen, nowMs)) return undefined
  const { id, generation } = seen.grant
  return closed.some((one) => one.id === id) ? undefined : { id, generation, phase: 'expired', ok: false }
}

/** Newest last; the same id takes the place of what was known of it. */
export function rememberGrant(closed: readonly ClosedGrant[], grant: ClosedGrant): readonly ClosedGrant[] {
  return [...closed.filter(({ id }) => id !== grant.id), grant].slice(-REMEMBERED)
}

/** What GET /status/summary tells: of the grant that is seen, else of the last one that was closed. */
export function reportGrant(seen: SeenGrant | undefined, closed: readonly ClosedGrant[]): GrantReport | null {
  const known = seen === undefined ? closed.at(-1) : closed.find(({ id }) => id === seen.grant.id)
  if (known !== undefined) return { id: known.id, generation: known.generation, phase: known.phase, ok: known.ok }
  if (seen === undefined) return null
  return { id: seen.grant.id, generation: seen.grant.generation, phase: 'held', ok: false }
}
