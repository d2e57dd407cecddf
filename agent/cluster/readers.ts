// Which readers of a published ConfigMap have to be started anew. What counts is when their Pods started against when
// the content was wrong, not whether the content changed: a Pod that started before it was spoiled has read the right
// one, and so has one that started after it was put right. All times are the API server's. Pure.
import {
  CONTENT_ANNOTATION,
  type ConfigMapState,
  FIELD_MANAGER,
  type ReaderState,
  SINCE_ANNOTATION,
  WRONG_ANNOTATION,
} from '../model/cluster.ts'

/** A controller that keeps writing its own content back must not have its neighbour restarted without end. */
const LEAST_BETWEEN_RESTARTS_MS = 600_000

/** Milliseconds since the epoch: the content was wrong from `from` on, and is right since `until`. */
export type Wrong = { readonly from: number; readonly until: number }

/** When our manager wrote last; undefined: never. */
export function ownWriteAt({ writes }: ConfigMapState): number | undefined {
  return writes.find(({ manager, isApply }) => manager === FIELD_MANAGER && isApply)?.at
}

/** The span that a correction left behind; undefined: there was none. */
export function wrongSpan(found: ConfigMapState): Wrong | undefined {
  const from = Date.parse(found.annotations[WRONG_ANNOTATION] ?? '')
  const until = ownWriteAt(found)
  return Number.isNaN(from) || until === undefined ? undefined : { from, until }
}

/**
 * Since when the content that was found may have been wrong: the first write of others to the data after our own; our
 * own where none is named (a key that was removed), and 0 where the object is new.
 */
export function wrongFrom(found: ConfigMapState | undefined): number {
  const own = found === undefined ? undefined : ownWriteAt(found)
  if (found === undefined || own === undefined) return 0
  const others = found.writes.filter(({ at, manager, isData }) => isData && manager !== FIELD_MANAGER && at >= own)
  return Math.min(...others.map(({ at }) => at), others.length === 0 ? own : Number.POSITIVE_INFINITY)
}

/** Some Pod of it started in that span, and not by a restart that we ordered at its end. Both ends count: whole seconds. */
export function mayHaveRead({ pods, template }: ReaderState, { from, until }: Wrong): boolean {
  const mark = markOf(until)
  if (pods === undefined) return template[SINCE_ANNOTATION] !== mark
  return pods.some(
    ({ createdAt, annotations }) => createdAt >= from && createdAt <= until && annotations[SINCE_ANNOTATION] !== mark,
  )
}

export type Due = 'now' | 'later' | 'no'

/** `isSettled`: the content was there before us, so every reader has it. */
export function restartDue(reader: ReaderState, { digest, isSettled, found, now }: DueQuestion): Due {
  const { pods, template } = reader
  const until = ownWriteAt(found) ?? 0
  if (template[CONTENT_ANNOTATION] !== digest && !isSettled) {
    const isYounger = pods !== undefined && pods.length > 0 && !mayHaveRead(reader, { from: 0, until })
    return isYounger ? 'no' : 'now'
  }
  const wrong = wrongSpan(found)
  if (wrong === undefined || !mayHaveRead(reader, wrong)) return 'no'
  // The rollout is under way.
  if (template[SINCE_ANNOTATION] === markOf(wrong.until)) return 'no'
  const last = Date.parse(template[SINCE_ANNOTATION] ?? '')
  return now - last < LEAST_BETWEEN_RESTARTS_MS ? 'later' : 'now'
}

export type DueQuestion = {
  readonly digest: string
  readonly isSettled: boolean
  /** The ConfigMap as it is now, with the right content. */
  readonly found: ConfigMapState
  /** Milliseconds since the epoch. */
  readonly now: number
}

/** What the template of the Pods is given, so that they can be told from those before. */
export function markOf(until: number): string {
  return new Date(until).toISOString()
}
