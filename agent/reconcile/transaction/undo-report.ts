// How an undo went with each path: as a value, as lines of the log, and as what a person should know.

import { asAgentError, type ErrorCode, type Problem, problem } from '../../model/errors.ts'
import type { JournalStep, Log } from '../../model/ports.ts'
import type { RestartRecord } from '../../model/restart.ts'

/** How it went with one path. `copy` is where what others wrote was kept, a path on the node. */
export type PathUndone =
  | ({ readonly path: string; readonly result: 'restored' } & Kept)
  /** The agent's part was taken out, what others wrote since stays. */
  | ({ readonly path: string; readonly result: 'merged'; readonly copy?: string } & Kept)
  /** Others changed it since: it stays as it is. */
  | { readonly path: string; readonly result: 'left'; readonly reason: string; readonly copy?: string }
  | { readonly path: string; readonly result: 'failed'; readonly reason: string; readonly code: ErrorCode }

/** Why access list, extended attributes or label of the file could not be kept. */
export type Kept = { readonly attributesLost?: string }

export type UndoReport = readonly PathUndone[]

export function failed(path: string, thrown: unknown): PathUndone {
  const { code, message } = asAgentError(thrown)
  return { path, result: 'failed', reason: message, code }
}

export function tell(one: PathUndone, log: Log): void {
  const lost = lostOf(one)
  if (lost !== undefined) log.warn('attributes-lost', { path: one.path, reason: lost })
  if (one.result === 'failed') log.error('undo-failed', { path: one.path, code: one.code, error: one.reason })
  else if (one.result !== 'restored') log.warn('undo-kept-others', { ...one })
}

/** Nothing of the agent's is left that it could not put back; what others changed is theirs. */
export function isUndone(report: UndoReport): boolean {
  return report.every(({ result }) => result !== 'failed')
}

/** Steps that have to be tried again, with the new folders around them, which could not go for that reason. */
export function failedSteps(report: UndoReport, steps: readonly JournalStep[]): readonly JournalStep[] {
  const failures = report.filter(({ result }) => result === 'failed').map(({ path }) => path)
  const isAround = (folder: string) => failures.some((path) => path.startsWith(`${folder}/`))
  return spansOf(steps).filter(
    ({ path, before }) => failures.includes(path) || (before.kind === 'absent' && isAround(path)),
  )
}

export function attributesLost(path: string, reason: string): Problem {
  const text = `${path} was written, but lost its access list, extended attributes or label: ${reason}`
  return problem('ATTRIBUTES_LOST', text)
}

function lostOf(one: PathUndone): string | undefined {
  return one.result === 'restored' || one.result === 'merged' ? one.attributesLost : undefined
}

/** What of it a person should know. */
export function undoProblems(report: UndoReport): readonly Problem[] {
  const lost = report.flatMap((one) => {
    const reason = lostOf(one)
    return reason === undefined ? [] : [attributesLost(one.path, reason)]
  })
  return [...pathProblems(report), ...lost]
}

function pathProblems(report: UndoReport): readonly Problem[] {
  return report.flatMap((one) => {
    switch (one.result) {
      case 'restored':
        return []
      case 'failed':
        return [problem('ROLLBACK_INCOMPLETE', `${one.path} could not be put back: ${one.reason}`)]
      case 'left':
        return [problem('UNDO_KEPT_OTHERS', `${one.path} was not put back: ${one.reason}${copied(one.copy)}`)]
      case 'merged':
        return [
          problem(
            'UNDO_KEPT_OTHERS',
            `${one.path}: the agent's part was taken back, what others wrote since stays${copied(one.copy)}`,
          ),
        ]
      default:
        throw one satisfies never
    }
  })
}

/** What the restart found of others' hand in config.toml when it went back. */
export function othersFindings({ others = [] }: Pick<RestartRecord, 'others'>): readonly Problem[] {
  return others.map((text) => problem('UNDO_KEPT_OTHERS', text))
}

function copied(copy: string | undefined): string {
  return copy === undefined ? '' : `; a copy of what was there is ${copy}`
}

/** For the audit log: what was not simply put back. */
export function exceptionsOf(report: UndoReport): object {
  const others = report.filter(({ result }) => result !== 'restored')
  return others.length === 0 ? {} : { exceptions: others }
}

/** The first and the last that is known of each path: what lay between was the agent's own. */
export function spansOf(steps: readonly JournalStep[]): readonly JournalStep[] {
  const spans = new Map<string, JournalStep>()
  for (const step of steps) {
    const earlier = spans.get(step.path)
    // Edits lead from one state to the next: over two steps they are not known.
    const { edits: _, ...after } = step.after
    spans.set(step.path, earlier === undefined ? step : { ...step, before: earlier.before, after })
  }
  return [...spans.values()]
}
