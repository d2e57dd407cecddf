// Copies that the distribution's own tool made of an anchor go with the anchor.
import { posix } from 'node:path'
import { type Problem, problem } from '../../model/errors.ts'
import type { Change } from '../../model/plan.ts'
import type { ExtractedCopy } from './copies-observe.ts'

export function planCopies(
  target: Change['target'],
  copies: readonly ExtractedCopy[],
): { readonly changes: readonly Change[]; readonly problems: readonly Problem[] } {
  const stuck = copies.filter(({ isRemovable }) => !isRemovable).map(({ path }) => path)
  const text = `${stuck.slice(0, 3).join(', ')}: a copy of an anchor that is no longer declared, made by the distribution's own tool, cannot be removed; programs that read this folder go on trusting it until that tool (update-ca-trust, update-ca-certificates) runs again`
  return {
    changes: copies
      .filter(({ isRemovable }) => isRemovable)
      .map(({ path }) => ({
        ...{ target, path, action: 'delete', subject: '', folder: posix.dirname(path) },
        ...{ reason: "a copy by the distribution's tool of an anchor that is no longer declared" },
        ...{ after: { kind: 'absent' }, owns: [], forgets: [] },
      })),
    problems: stuck.length === 0 ? [] : [problem('TARGET_READ_ONLY', text)],
  }
}
