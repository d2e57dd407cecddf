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

export type PollerOptions = {
  readonly client: AgentClient
  readonly now: () => number
  /** Called after each answer that differs from the one before. */
  readonly onAnswer: (node: string) => void
}

export class Poller {
  readonly #options: PollerOptions
  readonly #known = new Map<string, Known>()
  readonly #shares = new Map<string, number>()
  /** The uid of the Node object that an answer belongs to. */
  readonly #owners = new Map<string, string>()
  readonly #bucket = new TokenBucket()
  #queue: readonly SeenPod[] = []
  #next = 0
  #perSecond = pollsPerSecond(0)
  readonly #underWay = new Set<string>()
  #requests = 0
  #failures = 0

  constructor(options: PollerOptions) {
    this.#options = options
  }

  get requests(): number {
    return this.#requests
  }

  get failures(): number {
    return this.#failures
  }

  /** Asks the agents that are due; returns at once. */
  poll(pods: Iterable<SeenPod>, paceOf: (node: string) => Pace, nowMs: number): void {
    const due: { readonly pod: SeenPod; readonly late: number }[] = []
    let count = 0
    for (const pod of pods) {
      count += 1
      const { node, ip, isLeaving } = pod
      if (node === '' || ip === '' || isLeaving || this.#underWay.has(node)) continue
      const pace = paceOf(node)
      const dueMs = nextPollMs(this.#shareOf(node), pace, this.#known.get(node))
      if (nowMs >= dueMs) due.push({ pod, late: lateness(dueMs, pace, nowMs) })
    }
    this.#queue = due.toSorted((left, right) => right.late - left.late).map(({ pod }) => pod)
    this.#next = 0
    this.#perSecond = pollsPerSecond(count)
    this.#askNext(nowMs)
  }

  answerOf(node: string): Answer | undefined {
    return this.#known.get(node)?.answer
  }

  errorOf(node: string): string | undefined {
    return this.#known.get(node)?.error
  }

  isUnreachable(node: string, nowMs: number): boolean {
    const state = this.#known.get(node)
    return state !== undefined && state.failures > 0 && nowMs - state.lastAnswerMs > UNREACHABLE_MS
  }

  /**
   * Nodes that have left are forgotten, and so is what was said on a machine that has left its name to another: the new
   * one has proved nothing.
   */
  keepOnly(nodes: ReadonlyMap<string, { readonly uid: string }>): void {
    for (const map of [this.#known, this.#shares, this.#owners])
      for (const node of map.keys()) if (!nodes.has(node)) map.delete(node)
    for (const [node, { uid }] of nodes) {
      if (this.#owners.get(node) !== uid) this.#known.delete(node)
      this.#owners.set(node, uid)
    }
  }

  #shareOf(node: string): number {
    const share = this.#shares.get(node) ?? shareOf(node)
    this.#shares.set(node, share)
    return share
  }

  /** As many of those in the queue as may be asked now. */
  #askNext(nowMs: number): void {
    while (this.#underWay.size < AT_ONCE && this.#queue.length > this.#next) {
      if (this.#bucket.available(this.#perSecond, nowMs) < 1) return
      const pod = this.#queue[this.#next]
      this.#next += 1
      if (pod === undefined || this.#underWay.has(pod.node)) continue
      this.#bucket.spend(1)
      void this.#ask(pod, nowMs)
    }
  }

  async #ask(pod: SeenPod, nowMs: number): Promise<void> {
    const { client, now, onAnswer } = this.#options
    const { node, uid } = pod
    const before = this.#known.get(node)
    const owner = this.#owners.get(node)
    // A new Pod on the node is another agent: what the old one said still stands, its tag does not.
    const tag = before?.uid === uid ? before.tag : undefined
    const base = { uid, firstAskedMs: before?.firstAskedMs ?? nowMs, lastAskedMs: nowMs }
    this.#underWay.add(node)
    this.#requests += 1
    try {
      const got = await client.ask(pod, tag)
      const summary = got.kind === 'unchanged' ? before?.answer?.summary : readSummary(got.text, node)
      if (summary === undefined) throw new Error('the answer is not a summary of this node')
      if (this.#owners.get(node) !== owner) return
      const answer = { summary, askedAtMs: nowMs }
      const nextTag = got.kind === 'unchanged' ? tag : got.tag
      this.#known.set(node, {
        ...base,
        lastAnswerMs: now(),
        failures: 0,
        answer,
        ...(nextTag === undefined ? {} : { tag: nextTag }),
      })
      if (got.kind === 'summary' && isNews(before?.answer?.summary, summary)) onAnswer(node)
    } catch (thrown) {
      this.#failures += 1
      if (this.#owners.get(node) !== owner) return
      const error = thrown instanceof Error ? thrown.message.slice(0, 200) : String(thrown)
      const kept = before?.answer === undefined ? {} : { answer: before.answer }
      this.#known.set(node, {
        ...{ ...base, ...kept, error },
        lastAnswerMs: before?.lastAnswerMs ?? nowMs,
        failures: (before?.failures ?? 0) + 1,
      })
    } finally {
      this.#underWay.delete(node)
      this.#askNext(now())
    }
  }
}

/** How long the agent runs is no news. */
function isNews(before: NodeSummary | undefined, { uptimeSeconds: _, ...now }: NodeSummary): boolean {
  if (before === undefined) return true
  const { uptimeSeconds: __, ...then } = before
  return JSON.stringify(then) !== JSON.stringify(now)
}
