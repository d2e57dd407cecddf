// Tells the cluster what is known of its nodes: the condition and Events on the Node, and the startup taint. Only what
// has changed is written, and never faster than the API server bears.
import { asAgentError } from '../model/errors.ts'
import type { FleetApi, FleetEvent, SeenCondition, SeenNode } from '../model/fleet-cluster.ts'
import type { Log } from '../model/ports.ts'
import { TokenBucket } from './token-bucket.ts'
import type { FleetState } from './verdict.ts'

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

export function createAnnouncer(
  api: Pick<FleetApi, 'setCondition' | 'removeStartupTaint' | 'tell'>,
  log: Log,
): Announcer {
  const conditions = new TokenBucket()
  const events = new TokenBucket()
  const quietUntil = new Map<string, number>()
  let waiting: FleetEvent[] = []
  let writes = 0

  const attempt = async (key: string, nowMs: number, write: () => Promise<void>) => {
    quietUntil.set(key, nowMs + SETTLE_MS)
    writes += 1
    try {
      await write()
    } catch (thrown) {
      const { code, message } = asAgentError(thrown)
      quietUntil.set(key, nowMs + RETRY_MS)
      log.warn('cluster-write-failed', { code, error: message })
    }
  }
  const isQuiet = (key: string, nowMs: number) => (quietUntil.get(key) ?? 0) > nowMs

  return {
    announce(all, { removesTaint }, nowMs) {
      let room = conditions.available(CONDITIONS_PER_SECOND, nowMs)
      const before = room
      for (const { node, state, condition } of all) {
        if (room <= 0) break
        const { name } = node
        if (condition !== undefined && !isSame(condition, node.condition) && !isQuiet(`condition ${name}`, nowMs)) {
          room -= 1
          const isNew = condition.status !== node.condition?.status
          void attempt(`condition ${name}`, nowMs, () => api.setCondition(name, condition, isNew))
          // That a node is well from the start is no news: thousands of Events would say it after an installation.
          const isNews = isNew && (node.condition !== undefined || condition.status !== 'True')
          if (isNews) this.tell(changeOf(node, condition))
        }
        if (removesTaint && node.isTainted && state === 'trusted' && !isQuiet(`taint ${name}`, nowMs)) {
          room -= 1
          void attempt(`taint ${name}`, nowMs, () => api.removeStartupTaint(name))
        }
      }
      conditions.spend(before - room)
      const due = waiting.splice(0, events.available(EVENTS_PER_SECOND, nowMs))
      events.spend(due.length)
      for (const event of due) void attempt(`event ${event.node} ${event.reason}`, nowMs, () => api.tell(event))
    },
    tell(event) {
      // The newest of a kind for a node counts; what waits is bounded by the number of nodes.
      waiting = waiting.filter(({ node, reason }) => node !== event.node || reason !== event.reason)
      waiting.push(event)
    },
    get writes() {
      return writes
    },
  }
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
