// Limits of restarts, from the ledger. Pure. Ages are measured by the clock that does not step, where the entry is of
// this boot.
import type { RestartSettings } from '../model/desired-state.ts'
import type { UnitFacts } from '../model/ports.ts'
import type { RestartEntry } from '../model/restart.ts'

const HOUR_MS = 3_600_000
/** Between two restarts that are not a way back. */
export const LEAST_PAUSE_MS = 60_000
/** Restarts in a row that ended in a rollback: something is wrong that waiting does not cure. */
const BREAKER = 3

export type Moment = {
  /** Wall time and monotonic time of the same moment. */
  readonly wall: number
  readonly uptimeMs: number
  readonly bootId: string
}

/**
 * Milliseconds since the entry, never negative: a clock that was set makes nothing of another boot older than this
 * boot.
 */
export function ageOf({ bootId, uptimeMs, at }: RestartEntry, now: Moment): number {
  if (bootId === now.bootId && bootId !== '') return Math.max(0, now.uptimeMs - uptimeMs)
  return Math.max(now.uptimeMs, now.wall - Date.parse(at))
}

/**
 * The entries; where there are none, the last start of containerd by systemd's own account, as if the ledger had been
 * removed or damaged since. A start that belongs to the boot of the node is not a restart.
 */
export function withLastStart(
  entries: readonly RestartEntry[],
  unit: Pick<UnitFacts, 'executedAt' | 'bootedAt'> | undefined,
  now: Moment,
): readonly RestartEntry[] {
  const { executedAt, bootedAt } = unit ?? {}
  if (entries.length > 0 || executedAt === undefined || bootedAt === undefined || executedAt <= bootedAt) return entries
  const at = new Date(now.wall - Math.max(0, now.uptimeMs - executedAt)).toISOString()
  const start = { id: '', at, bootId: now.bootId, uptimeMs: executedAt, kind: 'forward', by: 'agent' } as const
  return [{ ...start, reason: 'the last start that systemd tells', result: 'ok' }]
}

/** Why containerd may not be restarted now; undefined: nothing speaks against it. */
export function ledgerLimit(
  settings: Pick<RestartSettings, 'maxPerHour' | 'backoffMinMs' | 'backoffMaxMs'>,
  entries: readonly RestartEntry[],
  now: Moment,
): { readonly reason: string; readonly waitMs: number } | undefined {
  const forward = entries.filter(({ kind }) => kind === 'forward')
  const instant = (ms: number) => new Date(now.wall + ms).toISOString()
  const lately = entries.map((entry) => ageOf(entry, now)).filter((age) => age < HOUR_MS)
  const recent = forward.filter((entry) => ageOf(entry, now) < HOUR_MS)
  if (recent.length >= settings.maxPerHour) {
    const waitMs = HOUR_MS - Math.max(...recent.map((entry) => ageOf(entry, now)))
    const reason = `containerd was restarted ${recent.length} times within the last hour (restart.budget.maxPerHour)`
    return { reason, waitMs }
  }
  const failures = forward.length - 1 - forward.findLastIndex(({ result }) => result === 'ok')
  if (failures >= BREAKER) {
    const reason = `the last ${failures} restarts had to be rolled back; the next one has to be started by hand: \`registry-trust apply\``
    return { reason, waitMs: HOUR_MS }
  }
  const last = forward.at(-1)
  if (failures > 0 && last !== undefined) {
    const pauseMs = Math.min(settings.backoffMaxMs, settings.backoffMinMs * 2 ** (failures - 1))
    const waitMs = pauseMs - ageOf(last, now)
    const reason = `the last restart was rolled back; the next try is not before ${instant(waitMs)} (restart.budget.backoff)`
    if (waitMs > 0) return { reason, waitMs }
  }
  const waitMs = LEAST_PAUSE_MS - Math.min(LEAST_PAUSE_MS, ...lately)
  if (waitMs <= 0) return undefined
  return {
    reason: `containerd was restarted less than a minute ago; the next restart is possible at ${instant(waitMs)}`,
    waitMs,
  }
}
