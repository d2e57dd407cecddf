// Asks the agents for their summaries: never one twice at the same time, never more than a few dozen at once.
import type { AgentClient, SeenPod } from '../model/fleet-cluster.ts'
import type { NodeSummary } from '../model/summary.ts'
import { nextPollMs, type Pace, type PollState, UNREACHABLE_MS } from './polls.ts'
import { readSummary } from './summary-text.ts'

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
  /** Asks whoever is due; returns at once. `onAnswer` is called after each that brought something new. */
  poll(pods: Iterable<SeenPod>, paceOf: (node: string) => Pace, nowMs: number): void
  answerOf(node: string): Answer | undefined
  isUnreachable(node: string, nowMs: number): boolean
  errorOf(node: string): string | undefined
  /** Nodes that have left are forgotten. */
  keepOnly(nodes: ReadonlySet<string>): void
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
  const underWay = new Set<string>()
  let requests = 0
  let failures = 0

  const ask = async (pod: SeenPod, nowMs: number) => {
    const { node, uid } = pod
    const before = known.get(node)
    // A new Pod on the node is another agent: what the old one said still stands, its tag does not.
    const tag = before?.uid === uid ? before.tag : undefined
    const base = { uid, firstAskedMs: before?.firstAskedMs ?? nowMs, lastAskedMs: nowMs }
    underWay.add(node)
    requests += 1
    try {
      const got = await client.ask(pod, tag)
      const summary = got.kind === 'unchanged' ? before?.answer?.summary : readSummary(got.text, node)
      if (summary === undefined) throw new Error('the answer is not a summary of this node')
      const answer = { summary, askedAtMs: nowMs }
      const nextTag = got.kind === 'unchanged' ? tag : got.tag
      known.set(node, {
        ...base,
        lastAnswerMs: now(),
        failures: 0,
        answer,
        ...(nextTag === undefined ? {} : { tag: nextTag }),
      })
      if (got.kind === 'summary') onAnswer(node)
    } catch (thrown) {
      failures += 1
      const error = thrown instanceof Error ? thrown.message.slice(0, 200) : String(thrown)
      const kept = before?.answer === undefined ? {} : { answer: before.answer }
      known.set(node, {
        ...{ ...base, ...kept, error },
        lastAnswerMs: before?.lastAnswerMs ?? nowMs,
        failures: (before?.failures ?? 0) + 1,
      })
    } finally {
      underWay.delete(node)
    }
  }
  return {
    poll(pods, paceOf, nowMs) {
      for (const pod of pods) {
        if (underWay.size >= AT_ONCE) return
        const { node, ip, isLeaving } = pod
        if (node === '' || ip === '' || isLeaving || underWay.has(node)) continue
        if (nowMs >= nextPollMs(node, paceOf(node), known.get(node))) void ask(pod, nowMs)
      }
    },
    answerOf: (node) => known.get(node)?.answer,
    errorOf: (node) => known.get(node)?.error,
    isUnreachable(node, nowMs) {
      const state = known.get(node)
      return state !== undefined && state.failures > 0 && nowMs - state.lastAnswerMs > UNREACHABLE_MS
    },
    keepOnly(nodes) {
      for (const node of known.keys()) if (!nodes.has(node)) known.delete(node)
    },
    get requests() {
      return requests
    },
    get failures() {
      return failures
    },
  }
}
