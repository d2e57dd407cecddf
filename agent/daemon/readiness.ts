// Whether the daemon is ready and alive, check by check. Pure; every time is milliseconds of the monotonic clock.
import { isRunFailed, isRuntimeDown } from '../model/verdict.ts'
import type { Memory } from './history.ts'

/** A run takes seconds; one that takes this long hangs in a way that only a new process gets out of. */
const STUCK_MS = 600_000
const READY_PATIENCE_MS = 5_000

export type Checks = {
  readonly ready: boolean
  readonly checks: readonly { readonly name: string; readonly ok: boolean; readonly message: string }[]
}

/** `firstEndedAt`: when the first run with a containerd ended; undefined: none has. */
export function readinessOf(memory: Memory, firstEndedAt: number | undefined, now: number): Checks {
  const { desired, run, configProblems } = memory
  const registries = desired?.registries ?? []
  const tried = registries.filter(({ host }) => memory.registries.has(host)).length
  const waited = firstEndedAt !== undefined && now - firstEndedAt >= READY_PATIENCE_MS
  const isFailed = run !== undefined && isRunFailed(run)
  const reconcileMessage = isFailed
    ? (run.error?.message ?? 'the last change could be neither kept nor undone completely')
    : 'the first reconcile has not finished yet'
  return all([
    check('config', desired !== undefined, configProblems[0]?.message ?? 'not read yet'),
    check('containerd', !isRuntimeDown(run), run?.error?.message ?? 'not looked at yet'),
    check('reconcile', firstEndedAt !== undefined && !isFailed, reconcileMessage),
    check('proofs', tried === registries.length || waited, `${tried} of ${registries.length} registries were tried`),
  ])
}

export type Turn = {
  /** Of the run under way; undefined: none is. */
  readonly startedAt: number | undefined
  /** When the loop, which sleeps, is to wake by itself. */
  readonly dueAt: number | undefined
}

/** `blind`: why only a new process can do the work; undefined: this one can. */
export function livenessOf({ startedAt, dueAt }: Turn, blind: string | undefined, now: number): Checks {
  const [underWayMs, lateMs] = [now - (startedAt ?? now), now - (dueAt ?? now)]
  const seconds = (ms: number) => `${Math.round(ms / 1000)} s`
  const why =
    lateMs > STUCK_MS ? `a look was due ${seconds(lateMs)} ago` : `a run has been under way for ${seconds(underWayMs)}`
  return all([
    check('loop', Math.max(underWayMs, lateMs) <= STUCK_MS, why),
    check('mounts', blind === undefined, blind ?? ''),
  ])
}

function all(checks: Checks['checks']): Checks {
  return { ready: checks.every(({ ok }) => ok), checks }
}

function check(name: string, ok: boolean, message: string) {
  return { name, ok, message: ok ? '' : message }
}
