// Which Pods have to be told something, and in which order: grants first, then the canary, then the rest; never faster
// than allowed. Pure.
import { parseNote, renderNote } from '../config/fleet-note.ts'
import type { FleetNote } from '../model/fleet.ts'
import type { SeenPod } from '../model/fleet-cluster.ts'
import type { RolloutRecord } from './record.ts'

export const GRANT_TTL_SECONDS = 120

export type Touch = { readonly pod: SeenPod; readonly note: string; readonly isGrant: boolean }

export type TouchInput = {
  readonly pods: Iterable<SeenPod>
  /** How many Pods of agents there are. */
  readonly agents: number
  /** Undefined: there is no ConfigMap, and nothing to tell. */
  readonly config: string | undefined
  readonly record: RolloutRecord
  readonly isCanary: (node: string) => boolean
  readonly limit: number
}

export function touchesDue({ pods, agents, config, record, isCanary, limit }: TouchInput): readonly Touch[] {
  if (config === undefined) return []
  const all = [...pods].filter(({ isLeaving, node }) => !isLeaving && node !== '')
  const due: { readonly touch: Touch; readonly rank: number }[] = []
  for (const pod of all) {
    const wanted = noteFor(pod, agents, config, record)
    const now = noteOf(pod)
    if (now !== undefined && isSame(now, wanted)) continue
    const isGrant = wanted.grant !== undefined
    const touch = { pod, note: renderNote(wanted), isGrant }
    due.push({ touch, rank: isGrant ? 0 : isCanary(pod.node) ? 1 : now?.config === config ? 3 : 2 })
  }
  return due
    .toSorted((left, right) => left.rank - right.rank)
    .slice(0, limit)
    .map(({ touch }) => touch)
}

const parsed = new WeakMap<SeenPod, FleetNote | 'none'>()

/** Parsed once for each version of the Pod: every turn looks at all of them. */
function noteOf(pod: SeenPod): FleetNote | undefined {
  const known = parsed.get(pod) ?? parseNote(pod.note) ?? 'none'
  parsed.set(pod, known)
  return known === 'none' ? undefined : known
}

function noteFor({ node }: SeenPod, nodes: number, config: string, { grants }: RolloutRecord): FleetNote {
  const open = grants[node]
  if (open === undefined) return { config, nodes }
  return { config, nodes, grant: { id: open.id, generation: open.generation, ttlSeconds: GRANT_TTL_SECONDS } }
}

/** How many nodes there are is told along with something else, never for its own sake. */
function isSame(left: FleetNote, right: FleetNote): boolean {
  return left.config === right.config && left.grant?.id === right.grant?.id
}

/** So many a second, with at most one second's worth at once. */
export class TokenBucket {
  #tokens = 0
  #atMs: number | undefined

  /** How many may be spent now. */
  available(perSecond: number, nowMs: number): number {
    const passedMs = this.#atMs === undefined ? 1000 : nowMs - this.#atMs
    this.#atMs = nowMs
    this.#tokens = Math.min(perSecond, this.#tokens + (passedMs / 1000) * perSecond)
    return Math.floor(this.#tokens)
  }

  spend(count: number): void {
    this.#tokens -= count
  }
}
