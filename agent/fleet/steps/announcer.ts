// Tells the cluster what is known of its nodes: the condition and Events on the Node, and the startup taint. Only what
// has changed is written, never faster than the API server bears, and ever more slowly while it refuses.
import { type AgentError, asAgentError } from '../../model/errors.ts'
import type { FleetApi, FleetEvent, SeenCondition, SeenNode } from '../../model/fleet-cluster.ts'
import type { Log } from '../../model/ports.ts'
import { Pause } from '../pace/pause.ts'
import { TokenBucket } from '../pace/token-bucket.ts'
import type { FleetState } from '../state/verdict.ts'

const CONDITIONS_PER_SECOND = 20
const EVENTS_PER_SECOND = 5
/** A write that the watch has not shown yet is not made again. */
const SETTLE_MS = 10_000
const RETRY_MS = 30_000

export type Spoken = {
  readonly node: SeenNode
  readonly state: FleetState
  readonly condition: SeenCondition | undefined
}

export type Announcer = {
  announce(all: Iterable<Spoken>, options: { readonly removesTaint: boolean }, nowMs: number): void
  tell(event: FleetEvent): void
  readonly writes: number
}

/** Names of nodes that are gone are not kept for ever. */
const FORGET_ABOVE = 1_000
/** An Event that the API server has no time for is sent again this many times. */
const MOST_TRIES = 8

export function createAnnouncer(
  api: Pick<FleetApi, 'setCondition' | 'removeStartupTaint' | 'tell'>,
  log: Log,
  now: () => number,
): Announcer {
  const conditions = new TokenBucket()
  const events = new TokenBucket()
  const quietUntil = new Map<string, number>()
  const pause = new Pause()
  let waiting: Waiting[] = []
  let writes = 0

  const attempt = async (key: string, nowMs: number, write: () => Promise<void>): Promise<Written> => {
    quietUntil.set(key, nowMs + SETTLE_MS)
    writes += 1
    try {
      await write()
      pause.succeeded()
      return 'yes'
    } catch (thrown) {
      const error = asAgentError(thrown)
      quietUntil.set(key, nowMs + RETRY_MS)
      const isBusy = hasNoTime(error)
      if (!isBusy || pause.refused(nowMs, now()))
        log.warn('cluster-write-failed', { code: error.code, error: error.message })
      return isBusy ? 'no time' : 'refused'
    }
  }
  const wait = (event: FleetEvent, tries: number) => {
    // The newest of a kind for a node counts; what waits is bounded by the number of nodes.
    waiting = waiting.filter(({ event: { node, reason } }) => node !== event.node || reason !== event.reason)
    waiting.push({ event, tries })
  }
  const tellNow = async ({ event, tries }: Waiting, nowMs: number) => {
    const key = `event ${event.node} ${event.reason}`
    if ((await attempt(key, nowMs, () => api.tell(event))) !== 'no time') return
    const isSaidAnew = waiting.some(({ event: { node, reason } }) => node === event.node && reason === event.reason)
    if (tries < MOST_TRIES && !isSaidAnew) wait(event, tries + 1)
  }
  const setCondition = async ({ node, condition }: Said, nowMs: number) => {
    const isNew = condition.status !== node.condition?.status
    const write = () => api.setCondition(node.name, condition, isNew)
    if ((await attempt(`condition ${node.name}`, nowMs, write)) !== 'yes') return
    // That a node is well from the start is no news: thousands of Events would say it after an installation.
    if (isNew && (node.condition !== undefined || condition.status !== 'True')) wait(changeOf(node, condition), 0)
  }
  const forget = (nowMs: number) => {
    if (quietUntil.size <= FORGET_ABOVE) return
    for (const [key, untilMs] of quietUntil) if (untilMs <= nowMs) quietUntil.delete(key)
  }
  const isQuiet = (key: string, nowMs: number) => (quietUntil.get(key) ?? 0) > nowMs

  return {
    announce(all, { removesTaint }, nowMs) {
      forget(nowMs)
      if (!pause.isOver(nowMs)) return
      let room = conditions.available(CONDITIONS_PER_SECOND, nowMs)
      const before = room
      for (const { node, state, condition } of all) {
        if (room <= 0) break
        const { name } = node
        if (condition !== undefined && !isSame(condition, node.condition) && !isQuiet(`condition ${name}`, nowMs)) {
          room -= 1
          void setCondition({ node, condition }, nowMs)
        }
        if (removesTaint && node.isTainted && state === 'trusted' && !isQuiet(`taint ${name}`, nowMs)) {
          room -= 1
          void attempt(`taint ${name}`, nowMs, () => api.removeStartupTaint(name))
        }
      }
      conditions.spend(before - room)
      // A halt must not wait behind the restarts of thousands of nodes.
      waiting.sort((left, right) => Number(left.event.type === 'Normal') - Number(right.event.type === 'Normal'))
      const due = waiting.splice(0, events.available(EVENTS_PER_SECOND, nowMs))
      events.spend(due.length)
      for (const one of due) void tellNow(one, nowMs)
    },
    tell: (event) => wait(event, 0),
    get writes() {
      return writes
    },
  }
}

type Written = 'yes' | 'refused' | 'no time'
type Said = { readonly node: SeenNode; readonly condition: SeenCondition }
type Waiting = { readonly event: FleetEvent; readonly tries: number }

/** 429, 5xx or no answer, other than a refusal of this one write. */
function hasNoTime({ code, detail }: AgentError): boolean {
  const { status } = detail
  return code === 'CLUSTER_UNREACHABLE' || (typeof status === 'number' && (status === 429 || status >= 500))
}

function isSame(wanted: SeenCondition, now: SeenCondition | undefined): boolean {
  return (
    now !== undefined && wanted.status === now.status && wanted.reason === now.reason && wanted.message === now.message
  )
}

function changeOf({ name, uid }: SeenNode, { status, message }: SeenCondition): FleetEvent {
  const base = { node: name, nodeUid: uid, message }
  if (status === 'True') return { ...base, type: 'Normal', reason: 'RegistryTrusted' }
  return { ...base, type: 'Warning', reason: status === 'False' ? 'RegistryTrustLost' : 'RegistryTrustUnknown' }
}
