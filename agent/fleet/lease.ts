// Who leads: one component at a time, elected as client-go does it. A clock of another machine is never read: what
// counts is how long the Lease has not changed while we looked at it. Source: k8s.io/client-go/tools/leaderelection.

export const LEASE_SECONDS = 15
/**
 * A leader that could not renew for this long stops acting; another one takes over after LEASE_SECONDS at the earliest.
 */
const RENEW_DEADLINE_MS = 10_000
export const RENEW_MS = 5_000

/** The Lease as it was read; `version` is its resourceVersion. */
export type SeenLease = { readonly holder: string; readonly seconds: number; readonly version: string }

/** What one candidate remembers; times are monotonic and its own. */
export type Candidate = {
  readonly seenVersion: string
  readonly seenSinceMs: number
  /** When the write that made or kept us the holder was begun; absent: we do not lead. */
  readonly renewedAtMs?: number
}

export const NEW_CANDIDATE: Candidate = { seenVersion: '', seenSinceMs: 0 }

/** After a read at nowMs. */
export function sawLease(candidate: Candidate, lease: SeenLease | undefined, me: string, nowMs: number): Candidate {
  const version = lease?.version ?? ''
  const since = version === candidate.seenVersion ? candidate.seenSinceMs : nowMs
  const { renewedAtMs } = candidate
  const isOurs = lease?.holder === me && renewedAtMs !== undefined
  return { seenVersion: version, seenSinceMs: since, ...(isOurs ? { renewedAtMs } : {}) }
}

/** Whether to write ourselves into the Lease now: it is ours, free, or has not changed for as long as it says. */
export function mayHold(candidate: Candidate, lease: SeenLease | undefined, me: string, nowMs: number): boolean {
  if (lease === undefined || lease.holder === '' || lease.holder === me) return true
  return candidate.seenVersion === lease.version && nowMs - candidate.seenSinceMs > lease.seconds * 1000
}

/** After a write that succeeded; @param begunMs when it was begun, for the answer may have taken its time */
export function wroteLease(version: string, begunMs: number): Candidate {
  return { seenVersion: version, seenSinceMs: begunMs, renewedAtMs: begunMs }
}

export function mayLead({ renewedAtMs }: Candidate, nowMs: number): boolean {
  return renewedAtMs !== undefined && nowMs - renewedAtMs < RENEW_DEADLINE_MS
}
