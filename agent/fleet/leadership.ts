// Holds the Lease and the record in it. Every decision is a write of the Lease that the API server accepts only from
// its present holder; after an answer that never came, the Lease is read again before anything else is done.
import type { FleetApi, StoredLease } from '../model/fleet-cluster.ts'
import type { Log } from '../model/ports.ts'
import {
  type Candidate,
  LEASE_SECONDS,
  mayHold,
  mayLead,
  NEW_CANDIDATE,
  RENEW_MS,
  sawLease,
  wroteLease,
} from './lease.ts'
import { NEW_RECORD, type RolloutRecord } from './state/record.ts'

const LOOK_MS = 2_000
/** An annotation may have 256 KiB; a record of this size has thousands of open grants. */
const MAX_RECORD_BYTES = 200_000

export type Leadership = {
  /**
   * Renews what we hold, or tries to hold the Lease; afterwards `isLeading` tells. `onNew`: there was no record yet.
   */
  keep(onNew: () => RolloutRecord): Promise<void>
  isLeading(): boolean
  record(): RolloutRecord
  /** False: another component leads, or that is not known; then nothing may be done. */
  commit(record: RolloutRecord): Promise<boolean>
  release(): Promise<void>
}

export type LeadershipOptions = {
  readonly api: Pick<FleetApi, 'readLease' | 'writeLease'>
  readonly me: string
  readonly now: () => number
  readonly log: Log
}

export function createLeadership({ api, me, now, log }: LeadershipOptions): Leadership {
  let candidate: Candidate = NEW_CANDIDATE
  let lease: StoredLease | undefined
  let record = NEW_RECORD
  let lookedAtMs = Number.NEGATIVE_INFINITY
  let isKnown = false

  const write = async (next: RolloutRecord): Promise<boolean> => {
    const begunMs = now()
    const text = JSON.stringify(next)
    if (text.length > MAX_RECORD_BYTES) throw new Error('the record of the roll-out is too large for the Lease')
    // Until the answer arrives it is not known what the Lease says.
    isKnown = false
    const wish = { holder: me, seconds: LEASE_SECONDS, version: lease?.version ?? '', record: text }
    const version = await api.writeLease(wish)
    if (version === undefined) return false
    lease = { ...wish, version }
    candidate = wroteLease(version, begunMs)
    record = next
    isKnown = true
    return true
  }
  const readLease = async () => {
    lookedAtMs = now()
    lease = await api.readLease()
    candidate = sawLease(candidate, lease, me, now())
    isKnown = true
  }
  return {
    isLeading: () => isKnown && mayLead(candidate, now()),
    record: () => record,
    commit: write,
    async keep(onNew) {
      const wasLeading = candidate.renewedAtMs !== undefined
      if (isKnown && mayLead(candidate, now())) {
        if (now() - (candidate.renewedAtMs ?? 0) >= RENEW_MS) await write(record)
        return
      }
      if (isKnown && now() - lookedAtMs < LOOK_MS) return
      await readLease()
      if (!mayHold(candidate, lease, me, now())) {
        if (wasLeading) log.warn('leadership-lost', { holder: lease?.holder ?? '' })
        return
      }
      const found = parseRecord(lease?.record ?? '')
      if (await write(found ?? onNew())) log.info('leading', { as: me, grants: Object.keys(record.grants).length })
    },
    async release() {
      if (!isKnown || lease?.holder !== me) return
      await api.writeLease({ ...lease, holder: '', record: JSON.stringify(record) })
      candidate = NEW_CANDIDATE
      isKnown = false
    },
  }
}

/** Undefined: none, or one that cannot be understood; what the Pods carry is adopted then. */
function parseRecord(text: string): RolloutRecord | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (!isObject(value) || typeof value['config'] !== 'string' || typeof value['resume'] !== 'string') return undefined
    const { grants, failed, forgiven } = value
    const isSound = [grants, failed, forgiven].every(isObject) && Object.values(grants as object).every(isOpenGrant)
    return isSound ? (value as RolloutRecord) : undefined
  } catch {
    return undefined
  }
}

function isOpenGrant(value: unknown): boolean {
  return isObject(value) && typeof value['id'] === 'string' && typeof value['generation'] === 'string'
}

function isObject(value: unknown): value is { readonly [name: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
