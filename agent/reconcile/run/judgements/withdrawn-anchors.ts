// What containerd goes on trusting although it was taken out of the system store: Go reads the store once, at the first
// TLS connection of the process (crypto/x509 root.go), so only a restart makes it forget. Pure.
import type { DesiredState } from '../../../model/desired-state.ts'
import { anchorNamed } from '../../../model/lookup.ts'
import type { ContainerdFacts } from '../../../model/observed-state.ts'
import type { AgentState, SystemAnchor, WithdrawnAnchor } from '../../../model/state.ts'

const MOST_REMEMBERED = 50

/** The state with what the system store holds now, and what the commit took out of it. */
export function rememberSystemAnchors(
  next: AgentState,
  before: AgentState,
  desired: DesiredState,
  now: number,
): AgentState {
  const { systemAnchors: _, withdrawn: __, ...rest } = next
  const held = heldNow(next, before, desired)
  const fingerprints = new Set(held.map(({ fingerprint }) => fingerprint))
  const isHeld = ({ fingerprint }: SystemAnchor) => fingerprints.has(fingerprint)
  const at = new Date(now).toISOString()
  const taken = (before.systemAnchors ?? []).filter((one) => !isHeld(one)).map((one) => ({ ...one, at }))
  const isTaken = new Set(taken.map(({ fingerprint }) => fingerprint))
  const earlier = (before.withdrawn ?? []).filter((one) => !isHeld(one) && !isTaken.has(one.fingerprint))
  const withdrawn = [...earlier, ...taken].slice(-MOST_REMEMBERED)
  return {
    ...rest,
    ...(held.length === 0 ? {} : { systemAnchors: held }),
    ...(withdrawn.length === 0 ? {} : { withdrawn }),
  }
}

function heldNow({ owned }: AgentState, before: AgentState, { anchors }: DesiredState): readonly SystemAnchor[] {
  const names = new Set(
    Object.values(owned)
      .filter(({ target }) => target === 'system-trust')
      .map(({ subject }) => subject),
  )
  return [...names].flatMap((name) => {
    const certificates = anchorNamed(anchors, name)?.certificates ?? []
    // An anchor that cannot be read now keeps its last good files.
    if (certificates.length === 0) return (before.systemAnchors ?? []).filter(({ anchor }) => anchor === name)
    return certificates.map(({ fingerprint }) => ({ anchor: name, fingerprint }))
  })
}

/** None where it is not known when the daemon started. */
export function stillTrusted({ withdrawn = [] }: AgentState, facts: ContainerdFacts): readonly WithdrawnAnchor[] {
  const { startedAt } = facts
  return startedAt === undefined ? [] : withdrawn.filter(({ at }) => Date.parse(at) > startedAt)
}
