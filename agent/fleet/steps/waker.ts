// Helps Pods that wait in ImagePullBackOff, where `fleet.wakePods` is on: watches them only then, keeps count of what
// nodes were told to pull, and touches a Pod once its image is on its node.
import { asAgentError } from '../../model/errors.ts'
import type { FleetApi, WaitingPod, WaitingView } from '../../model/fleet-cluster.ts'
import type { Log } from '../../model/ports.ts'
import { TokenBucket } from '../pace/token-bucket.ts'
import { type Attempts, stepWaking, type WakingNode } from './waking.ts'

/** From one registry, all nodes together. */
const PULLS_PER_SECOND = 5
const WAKES_PER_SECOND = 10
/** A Pod that the API server refuses is tried again, a second later and then ever later. */
const MOST_TRIES = 7
/** A cluster has time to answer before it is called a problem. */
const PATIENCE_MS = 30_000

export type WakingTurn = {
  readonly isOn: boolean
  readonly hosts: ReadonlySet<string>
  readonly nodeOf: (name: string) => WakingNode | undefined
  readonly nowMs: number
}

export type Waker = {
  /** What each node is told to pull now. */
  turn(now: WakingTurn): ReadonlyMap<string, readonly string[]>
  /** Why waiting Pods are not seen; undefined: they are, or `fleet.wakePods` is off. */
  problem(nowMs: number): string | undefined
  readonly counts: {
    readonly pulls: number
    readonly refusals: number
    readonly wakes: number
    readonly wakeFailures: number
  }
  close(): void
}

type Due = { readonly pod: WaitingPod; readonly tries: number; readonly atMs: number }

export function createWaker(api: Pick<FleetApi, 'watchWaiting' | 'wake'>, onChange: () => void, log: Log): Waker {
  let view: WaitingView | undefined
  let begunMs = 0
  let attempts: Attempts = new Map()
  const registries = new Map<string, TokenBucket>()
  const wakes = new TokenBucket()
  let queue: readonly Due[] = []
  const counts = { pulls: 0, refusals: 0, wakes: 0, wakeFailures: 0 }

  const mayAsk = (host: string, nowMs: number) => {
    const bucket = registries.get(host) ?? new TokenBucket()
    registries.set(host, bucket)
    if (bucket.available(PULLS_PER_SECOND, nowMs) < 1) return false
    bucket.spend(1)
    return true
  }
  const wake = async ({ pod, tries, atMs }: Due) => {
    try {
      if (!(await api.wake(pod))) return
      counts.wakes += 1
      log.info('pod-woken', { pod: `${pod.namespace}/${pod.name}`, node: pod.node })
    } catch (thrown) {
      counts.wakeFailures += 1
      if (tries < MOST_TRIES) queue = [...queue, { pod, tries: tries + 1, atMs: atMs + 1_000 * 2 ** tries }]
      log.warn('wake-failed', { pod: `${pod.namespace}/${pod.name}`, error: asAgentError(thrown).message })
    }
  }
  const wakeDue = (nowMs: number) => {
    const due = queue.filter(({ atMs }) => atMs <= nowMs).slice(0, wakes.available(WAKES_PER_SECOND, nowMs))
    wakes.spend(due.length)
    queue = queue.filter((one) => !due.includes(one))
    for (const one of due) void wake({ ...one, atMs: nowMs })
  }
  const close = () => {
    view?.close()
    view = undefined
    attempts = new Map()
    queue = []
  }
  return {
    turn({ isOn, hosts, nodeOf, nowMs }) {
      if (!isOn) {
        close()
        return new Map()
      }
      if (view === undefined) begunMs = nowMs
      view ??= api.watchWaiting(onChange)
      const ask = (host: string) => mayAsk(host, nowMs)
      const step = stepWaking({ waiting: view.pods().values(), nodeOf, hosts, attempts, nowMs, mayAsk: ask })
      attempts = step.attempts
      counts.pulls += step.pulled
      counts.refusals += step.refused
      queue = [...queue, ...step.wake.map((pod) => ({ pod, tries: 0, atMs: nowMs }))]
      wakeDue(nowMs)
      return step.pulls
    },
    problem(nowMs) {
      const why = view?.problem()
      if (why === undefined || nowMs - begunMs < PATIENCE_MS) return undefined
      return `fleet.wakePods is true, and the Pods of the cluster cannot be watched (daemonset/components/wake-pods has the rights): ${why}`
    },
    counts,
    close,
  }
}
