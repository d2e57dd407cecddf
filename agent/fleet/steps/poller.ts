// Asks the agents for their summaries: never one twice at the same time, never more than a few dozen at once, and
// never more in a second than the component bears; who has waited longest goes first.
import type { AgentClient, SeenPod } from '../../model/fleet-cluster.ts'
import type { NodeSummary } from '../../model/summary.ts'
import { TokenBucket } from '../pace/token-bucket.ts'
import { readSummary } from '../state/summary-text.ts'
import { lateness, nextPollMs, type Pace, type PollState, pollsPerSecond, shareOf, UNREACHABLE_MS } from './polls.ts'

const AT_ONCE = 64

export type Answer = { readonly summary: NodeSummary; readonly askedAtMs: number }

type Known = PollState & {
  readonly uid: string
  readonly firstAskedMs: number
  readonly tag?: string
  readonly answer?: Answer
  readonly error?: string
}

export type Poller = {
  /**
   * Asks the agents that are due; returns at once. `onAnswer` is called after each answer that differs from the one
   * before.
   */
  poll(pods: Iterable<SeenPod>, paceOf: (node: string) => Pace, nowMs: number): void
  answerOf(node: string): Answer | undefined
  isUnreachable(node: string, nowMs: number): boolean
  errorOf(node: string): string | undefined
  /**
   * Nodes that have left are forgotten, and so is what was said on a machine that has left its name to another: the new
   * one has proved nothing.
   */
  keepOnly(nodes: ReadonlyMap<string, { readonly uid: string }>): void
  readonly requests: number
  readonly failures: number
}

export type PollerOptions = {
  readonly client: AgentClient
  readonly now: () => number
  readonly onAnswer: (node: string) => void
}

export function createPoller({ client, now, onAnswer }: PollerOptions): Poller {
  const known = new Map<string, Known>()
  const shares = new Map<string, number>()
  /** The uid of the Node object that an answer belongs to. */
  const owners = new Map<string, string>()
  const bucket = new TokenBucket()
  let queue: readonly SeenPod[] = []
  let next = 0
  let perSecond = pollsPerSecond(0)
  const underWay = new Set<string>()
  let requests = 0
  let failures = 0

  const ask = async (pod: SeenPod, nowMs: number) => {
    const { node, uid } = pod
    const before = known.get(node)
    const owner = owners.get(node)
    // A new Pod on the node is another agent: what the old one said still stands, its tag does not.
    const tag = before?.uid === uid ? before.tag : undefined
    const base = { uid, firstAskedMs: before?.firstAskedMs ?? nowMs, lastAskedMs: nowMs }
    underWay.add(node)
    requests += 1
    try {
      const got = await client.ask(pod, tag)
      const summary = got.kind === 'unchanged' ? before?.answer?.summary : readSummary(got.text, node)
      if (summary === undefined) throw new Error('the answer is not a summary of this node')
      if (owners.get(node) !== owner) return
      const answer = { summary, askedAtMs: nowMs }
      const nextTag = got.kind === 'unchanged' ? tag : got.tag
      known.set(node, {
        ...base,
        lastAnswerMs: now(),
        failures: 0,
        answer,
        ...(nextTag === undefined ? {} : { tag: nextTag }),
      })
      if (got.kind === 'summary' && isNews(before?.answer?.summary, summary)) onAnswer(node)
    } catch (thrown) {
      failures += 1
      if (owners.get(node) !== owner) return
      const error = thrown instanceof Error ? thrown.message.slice(0, 200) : String(thrown)
      const kept = before?.answer === undefined ? {} : { answer: before.answer }
      known.set(node, {
        ...{ ...base, ...kept, error },
        lastAnswerMs: before?.lastAnswerMs ?? nowMs,
        failures: (before?.failures ?? 0) + 1,
      })
    } finally {
      underWay.delete(node)
      askNext(now())
    }
  }
  /** As many of those in the queue as may be asked now. */
  const askNext = (nowMs: number) => {
    while (underWay.size < AT_ONCE && queue.length > next) {
      if (bucket.available(perSecond, nowMs) < 1) return
      const pod = queue[next]
      next += 1
      if (pod === undefined || underWay.has(pod.node)) continue
      bucket.spend(1)
      void ask(pod, nowMs)
    }
  }
  const share = (node: string) => {
    const value = shares.get(node) ?? shareOf(node)
    shares.set(node, value)
    return value
  }
  return {
    poll(pods, paceOf, nowMs) {
      const due: { readonly pod: SeenPod; readonly late: number }[] = []
      let count = 0
      for (const pod of pods) {
        count += 1
        const { node, ip, isLeaving } = pod
        if (node === '' || ip === '' || isLeaving || underWay.has(node)) continue
        const pace = paceOf(node)
        const dueMs = nextPollMs(share(node), pace, known.get(node))
        if (nowMs >= dueMs) due.push({ pod, late: lateness(dueMs, pace, nowMs) })
      }
      queue = due.toSorted((left, right) => right.late - left.late).map(({ pod }) => pod)
      next = 0
      perSecond = pollsPerSecond(count)
      askNext(nowMs)
    },
    answerOf: (node) => known.get(node)?.answer,
    errorOf: (node) => known.get(node)?.error,
    isUnreachable(node, nowMs) {
      const state = known.get(node)
      return state !== undefined && state.failures > 0 && nowMs - state.lastAnswerMs > UNREACHABLE_MS
    },
    keepOnly(nodes) {
      for (const map of [known, shares, owners]) for (const node of map.keys()) if (!nodes.has(node)) map.delete(node)
      for (const [node, { uid }] of nodes) {
        if (owners.get(node) !== uid) known.delete(node)
        owners.set(node, uid)
      }
    },
    get requests() {
      return requests
    },
    get failures() {
      return failures
    },
  }
}

/** How long the agent runs is no news. */
function isNews(before: NodeSummary | undefined, { uptimeSeconds: _, ...now }: NodeSummary): boolean {
  if (before === undefined) return true
  const { uptimeSeconds: __, ...then } = before
  return JSON.stringify(then) !== JSON.stringify(now)
}
