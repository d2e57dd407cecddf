// What every form of the store has in common where certificates of the distribution are not to be trusted. Pure.
import type { AgentState } from '../../model/state.ts'
import type { TargetInput } from '../../model/target.ts'

type DistrustInput = Pick<TargetInput, 'desired' | 'owned'>

/** What is recorded for `distrust` has a fingerprint for its subject; the name of an anchor holds no colon. */
function isForDistrust(path: string, owned: AgentState['owned']): boolean {
  const owner = owned[path]
  return owner?.target === 'system-trust' && owner.subject.startsWith('sha256:')
}

export function distrustedPaths(owned: AgentState['owned']): readonly string[] {
  return Object.keys(owned).filter((path) => isForDistrust(path, owned))
}

export function isDistrustAtWork({ desired, owned }: DistrustInput): boolean {
  return (
    (desired.distrust !== undefined && desired.targets.systemTrust.enabled !== 'off') ||
    distrustedPaths(owned).length > 0
  )
}

/** Fingerprints. While a part of the input cannot be used, nothing that was taken out before comes back. */
export function distrustedNow({ desired, owned }: DistrustInput): ReadonlySet<string> {
  const { distrust, targets } = desired
  if (distrust === undefined || targets.systemTrust.enabled === 'off') return new Set()
  const before = distrust.problems.length === 0 ? [] : distrustedPaths(owned).map((path) => owned[path]?.subject ?? '')
  return new Set([...distrust.fingerprints, ...before])
}

/** How often `part` stands in `text`. */
export function countOf(text: string, part: string): number {
  return part === '' ? 0 : text.split(part).length - 1
}
