// Which Pods have to be told something, and in which order: grants first, then the canary, then the rest; never faster
// than allowed. Pure.
import { isDeepStrictEqual } from 'node:util'
import { parseNote, renderNote } from '../../config/fleet-note.ts'
import { spreadDelayMs } from '../../config/spread.ts'
import type { FleetNote, NodeLabels } from '../../model/fleet.ts'
import type { SeenPod } from '../../model/fleet-cluster.ts'
import type { RolloutRecord } from '../state/record.ts'

const GRANT_TTL_SECONDS = 120

export type Touch = { readonly pod: SeenPod; readonly note: string; readonly isGrant: boolean }

export type TouchInput = {
  readonly pods: Iterable<SeenPod>
  /** How many Pods of agents there are. */
  readonly agents: number
  /** Undefined: there is no ConfigMap, and nothing to tell. */
  readonly config: string | undefined
  readonly record: RolloutRecord
  readonly isCanary: (node: string) => boolean
  /** What the agent of a node is told of its labels; undefined: nothing. */
  readonly labelsOf?: (node: string) => NodeLabels | undefined
  /** What the agent of a node is told to pull for Pods that wait. */
  readonly pulls?: ReadonlyMap<string, readonly string[]>
  readonly limit: number
}

export function touchesDue({
  pods,
  agents,
  config,
  record,
  isCanary,
  labelsOf,
  pulls,
  limit,
}: TouchInput): readonly Touch[] {
  if (config === undefined) return []
  const all = [...pods].filter(({ isLeaving, node }) => !isLeaving && node !== '')
  const due: { readonly pod: SeenPod; readonly wanted: FleetNote; readonly rank: number; readonly delayMs: number }[] =
    []
  for (const pod of all) {
    const labels = labelsOf?.(pod.node)
    const pull = pulls?.get(pod.node)
    const wanted = { ...noteFor(pod, agents, config, record), ...(labels && { labels }), ...(pull && { pull }) }
    const now = noteOf(pod)
    if (now !== undefined && isSame(now, wanted)) continue
    const isGrant = wanted.grant !== undefined
    const rank = isGrant ? 0 : isCanary(pod.node) ? 1 : now?.config === config ? 3 : 2
    due.push({ pod, wanted, rank, delayMs: rank === 2 ? delayOf(pod.node, config, agents) : 0 })
  }
  return (
    due
      // The node that waits longest before it takes the change up is told last, so that proofs come evenly over the
      // whole time.
      .toSorted((left, right) => left.rank - right.rank || left.delayMs - right.delayMs)
      .slice(0, limit)
      .map(({ pod, wanted }) => ({ pod, note: renderNote(wanted), isGrant: wanted.grant !== undefined }))
  )
}

const delays = new Map<string, number>()
let delaysOf = ''

/** Drawn once for each node and change. */
function delayOf(node: string, config: string, nodes: number): number {
  if (delaysOf !== `${config} ${nodes}`) delays.clear()
  delaysOf = `${config} ${nodes}`
  const delayMs = delays.get(node) ?? spreadDelayMs(node, config, { nodes, spreadMs: 0 })
  delays.set(node, delayMs)
  return delayMs
}

const parsed = new WeakMap<SeenPod, FleetNote | 'none'>()

/** Parsed once for each version of the Pod: every turn looks at all of them. */
export function noteOf(pod: SeenPod): FleetNote | undefined {
  const known = parsed.get(pod) ?? parseNote(pod.note) ?? 'none'
  parsed.set(pod, known)
  return known === 'none' ? undefined : known
}

function noteFor({ node }: SeenPod, nodes: number, config: string, { grants }: RolloutRecord): FleetNote {
  const open = grants[node]
  if (open === undefined) return { config, nodes }
  return { config, nodes, grant: { id: open.id, generation: open.generation, ttlSeconds: GRANT_TTL_SECONDS } }
}

/** The number of nodes is sent along with something else, never for its own sake. */
function isSame(left: FleetNote, right: FleetNote): boolean {
  return (
    left.config === right.config &&
    left.grant?.id === right.grant?.id &&
    isDeepStrictEqual(left.labels, right.labels) &&
    isDeepStrictEqual(left.pull, right.pull)
  )
}

/** Of the labels of a node those with the names; undefined: no name is given, or the node is not known. */
export function toldLabels(names: readonly string[], labels: NodeLabels | undefined): NodeLabels | undefined {
  if (names.length === 0 || labels === undefined) return undefined
  return Object.fromEntries(names.map((name) => [name, Object.hasOwn(labels, name) ? (labels[name] ?? null) : null]))
}
