// The second net below the parser of certificates: an anchor that the node's own containerd could not load in the
// rehearsal, whatever our rules say of it, is not written anywhere and costs no restart. It is treated like one that
// cannot be read: what lies on the node stays. Pure.

import type { DesiredState } from '../../../model/desired-state.ts'
import { type Problem, problem } from '../../../model/errors.ts'
import type { Rehearsal } from '../../../model/plan.ts'
import { CA_FILE } from '../../../targets/containerd-hosts/files.ts'

export type Unloadable = {
  /** Names of anchors. */
  readonly anchors: ReadonlySet<string>
  readonly problems: readonly Problem[]
}

/**
 * The anchors of every registry whose CA file held nothing that the private copy could load; an anchor that was loaded
 * alone is none.
 */
export function unloadableAnchors(rehearsal: Rehearsal, desired: DesiredState): Unloadable {
  if (rehearsal.verdict !== 'passed') return { anchors: new Set(), problems: [] }
  const isRefused = new Map(
    rehearsal.proofs.map(({ host, finding }) => [
      host,
      finding.code === 'ca-file-unreadable' && finding.message.includes(`/${CA_FILE} `),
    ]),
  )
  const loadedAlone = new Set(
    desired.registries.flatMap(({ host, anchors }) =>
      anchors.length === 1 && isRefused.get(host) === false ? anchors : [],
    ),
  )
  const refused = desired.registries.flatMap(({ host, anchors }) => {
    const names = isRefused.get(host) === true ? anchors.filter((name) => !loadedAlone.has(name)) : []
    return names.length === 0 ? [] : [{ host, names }]
  })
  return {
    anchors: new Set(refused.flatMap(({ names }) => names)),
    problems: refused.map(({ host, names }) =>
      problem(
        'ANCHOR_UNUSABLE',
        `the containerd of this node could not load the CA file of ${host} in the rehearsal: no certificate of the anchors ${names.join(', ')} is written`,
      ),
    ),
  }
}

/**
 * The same state in which these anchors have no certificate that can be used: what was written of them before stays.
 */
export function withoutAnchors(desired: DesiredState, names: ReadonlySet<string>): DesiredState {
  const anchors = desired.anchors.map((anchor) => (names.has(anchor.name) ? { ...anchor, certificates: [] } : anchor))
  return { ...desired, anchors }
}
