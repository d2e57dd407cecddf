// Which images nodes are told to pull for Pods that wait in ImagePullBackOff, and which of those Pods are touched. Pure.
// The rule: nothing is pulled for a Pod but what it names itself, on its own node, from a registry that the node trusts
// now, and without a login; and the same image is not tried on the same node again for a while, however it ended.
import { pullId } from '../../config/fleet-note.ts'
import { MOST_PULLS_TOLD } from '../../model/fleet.ts'
import type { WaitingPod } from '../../model/fleet-cluster.ts'
import { hostOf, isFullReference } from '../../model/image-reference.ts'
import type { NodeSummary } from '../../model/summary.ts'

/** After it has ended, however: a kubelet tries by itself at least every five minutes. */
const QUIET_MS = 10 * 60_000
/** An agent ends a pull after ten minutes. */
const LOST_MS = 11 * 60_000

/** A node as it has answered last, and whether it may be told to pull. */
export type WakingNode = {
  readonly summary: NodeSummary
  readonly askedAtMs: number
  /** It has taken up the configuration in force, and is in the middle of nothing. */
  readonly isSettled: boolean
}

export type Attempt = {
  readonly node: string
  readonly image: string
  readonly phase: 'told' | 'pulled' | 'refused'
  /** When that began, in milliseconds of the monotonic clock. */
  readonly atMs: number
  /** uids of the Pods that were touched for it. */
  readonly woken: ReadonlySet<string>
}

/** By node and image. */
export type Attempts = ReadonlyMap<string, Attempt>

export type WakingInput = {
  readonly waiting: Iterable<WaitingPod>
  readonly nodeOf: (name: string) => WakingNode | undefined
  /** Hosts of the declared registries. */
  readonly hosts: ReadonlySet<string>
  readonly attempts: Attempts
  readonly nowMs: number
  /** Takes one pull from a registry off what is allowed now; false: none is left. */
  readonly mayAsk: (host: string) => boolean
}

export type WakingStep = {
  readonly attempts: Attempts
  /** What each node is told to pull now. */
  readonly pulls: ReadonlyMap<string, readonly string[]>
  readonly wake: readonly WaitingPod[]
  /** Images whose pull has ended in this step. */
  readonly pulled: number
  readonly refused: number
}

export function stepWaking(input: WakingInput): WakingStep {
  const wanted = wantedBy(input.waiting, input.hosts)
  const kept = [...input.attempts].filter(([key, { phase, atMs }]) =>
    phase === 'told' ? wanted.has(key) : input.nowMs - atMs < QUIET_MS,
  )
  const attempts = new Map(kept.map(([key, attempt]) => [key, settled(attempt, input)] as const))
  const ended = kept.flatMap(([key, { phase }]) => (phase === 'told' ? [attempts.get(key)?.phase] : []))
  const counts = countTold(attempts.values())
  for (const [key, { node, image, host }] of wanted) {
    const told = counts.get(node) ?? 0
    if (attempts.has(key) || told >= MOST_PULLS_TOLD || !mayPull(input.nodeOf(node), host)) continue
    if (!input.mayAsk(host)) continue
    counts.set(node, told + 1)
    attempts.set(key, { node, image, phase: 'told', atMs: input.nowMs, woken: new Set() })
  }
  const wake = new Map<string, WaitingPod>()
  for (const [key, attempt] of attempts) {
    const due = attempt.phase === 'pulled' ? (wanted.get(key)?.pods ?? []) : []
    const late = due.filter(({ uid }) => !attempt.woken.has(uid))
    if (late.length === 0) continue
    for (const pod of late) wake.set(pod.uid, pod)
    attempts.set(key, { ...attempt, woken: new Set([...attempt.woken, ...late.map(({ uid }) => uid)]) })
  }
  return {
    attempts,
    pulls: toldBy(attempts.values()),
    wake: [...wake.values()],
    pulled: ended.filter((phase) => phase === 'pulled').length,
    refused: ended.filter((phase) => phase === 'refused').length,
  }
}

type Wanted = { readonly node: string; readonly image: string; readonly host: string; readonly pods: WaitingPod[] }

function wantedBy(waiting: Iterable<WaitingPod>, hosts: ReadonlySet<string>): ReadonlyMap<string, Wanted> {
  const wanted = new Map<string, Wanted>()
  for (const pod of waiting)
    for (const image of pod.images) {
      const host = hostOf(image)
      if (host === undefined || !hosts.has(host) || !isFullReference(image)) continue
      const key = `${pod.node} ${image}`
      const known = wanted.get(key)
      if (known !== undefined) known.pods.push(pod)
      else wanted.set(key, { node: pod.node, image, host, pods: [pod] })
    }
  return wanted
}

function settled(attempt: Attempt, { nodeOf, nowMs }: WakingInput): Attempt {
  if (attempt.phase !== 'told') return attempt
  const node = nodeOf(attempt.node)
  const id = pullId(attempt.image)
  // What was answered before it was told is about an earlier one.
  const isAnswered = node !== undefined && node.askedAtMs > attempt.atMs
  const report = isAnswered ? node.summary.pulls?.find(({ image }) => image === id) : undefined
  if (report !== undefined) return { ...attempt, phase: report.ok ? 'pulled' : 'refused', atMs: nowMs }
  return nowMs - attempt.atMs > LOST_MS ? { ...attempt, phase: 'refused', atMs: nowMs } : attempt
}

function mayPull(node: WakingNode | undefined, host: string): boolean {
  if (node === undefined || !node.isSettled) return false
  const { pulls, runtimeReady, untrusted, untrustedMore } = node.summary
  const isTrusted = untrustedMore === 0 && untrusted.every((one) => one.host !== host)
  return pulls !== undefined && runtimeReady && isTrusted
}

function countTold(attempts: Iterable<Attempt>): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { node, phase } of attempts) if (phase === 'told') counts.set(node, (counts.get(node) ?? 0) + 1)
  return counts
}

function toldBy(attempts: Iterable<Attempt>): ReadonlyMap<string, readonly string[]> {
  const pulls = new Map<string, readonly string[]>()
  for (const { node, image, phase } of attempts)
    if (phase === 'told') pulls.set(node, [...(pulls.get(node) ?? []), image].toSorted())
  return pulls
}
