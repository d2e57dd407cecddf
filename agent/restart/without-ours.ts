// Takes the agent's part out of a config.toml that others have written since: by lines, as the restarter reads no TOML.
// Pure. Whether containerd takes the result is seen when it starts; where it does not, the original alone goes back.
import { isDeepStrictEqual } from 'node:util'
import { differences, linesOf, withBoth } from '../text/line-diff.ts'

export type Texts = { readonly before: string; readonly after: string; readonly now: string }

/** Undefined: the agent and somebody else changed the same lines. */
export function withoutOurs({ before, after, now }: Texts): string | undefined {
  const base = linesOf(after)
  const [ours, all] = [differences(base, linesOf(before)), differences(base, linesOf(now))]
  if (ours === undefined || all === undefined) return undefined
  // Where somebody took the agent's part out already, it is out.
  const theirs = all.filter((hunk) => !ours.some((own) => isDeepStrictEqual(own, hunk)))
  const isShared = theirs.some((hunk) => ours.some((own) => hunk.start < own.end && own.start < hunk.end))
  return isShared ? undefined : withBoth(base, ours, theirs).join('')
}
