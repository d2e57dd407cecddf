// Whether containerd may be restarted now: everything that speaks against it, asked before anything is written.

import type { RestartSettings } from '../../model/desired-state.ts'
import { asAgentError } from '../../model/errors.ts'
import type { Rehearsal } from '../../model/plan.ts'
import type { FleetGate } from '../../model/ports.ts'
import type { Context } from '../../model/run.ts'
import type { TransactionRecord } from '../../model/state.ts'
import { WAITS_FOR_GRANT } from './grant.ts'
import { awaitQuiet, QUIET_PATIENCE_BY_HAND_MS, QUIET_PATIENCE_MS } from './idle.ts'
import { outsideWindow } from './maintenance-window.ts'
import { chooseRestart, type RestartWay, type RuntimeBefore, rememberRuntime } from './restart.ts'

const HOUR_MS = 3_600_000

export type Permission =
  | { readonly allowed: true; readonly way: RestartWay; readonly before: RuntimeBefore; release(): Promise<void> }
  | { readonly allowed: false; readonly reason: string }

export async function mayRestart(context: Context, rehearsal: Rehearsal, reason: string): Promise<Permission> {
  const { desired, facts, cri, options, ports } = context
  const no = (why: string): Permission => ({ allowed: false, reason: why })
  const way = await chooseRestart(desired.restart, facts, ports)
  if (way.kind === 'none') return no(way.reason)
  if (rehearsal.verdict === 'not-rehearsed' && !options.consentUnrehearsed)
    return no(
      `the candidate could not be rehearsed (${rehearsal.reason}); --consent-unrehearsed allows the restart without`,
    )
  const full = await fullFileSystem(context)
  if (full !== undefined) return no(full)
  const limit = limitReason(context)
  if (limit !== undefined) return no(limit)
  const grant = fleetGate(context)
  const ungranted = await grant?.check(desired.generation)
  if (ungranted !== undefined) return no(ungranted)
  const busy = await awaitQuiet(cri, {
    clock: ports.clock,
    patienceMs: options.byHand ? QUIET_PATIENCE_BY_HAND_MS : QUIET_PATIENCE_MS,
    signal: options.signal,
  })
  if (busy !== undefined) return no(busy)
  const permit = await ports.permit.ask({ reason })
  if (!permit.granted) return no(permit.reason)
  try {
    const before = await rememberRuntime(cri, facts.status)
    // The last step: a grant that is taken is used up, whatever follows.
    const lost = await grant?.take(desired.generation)
    if (lost === undefined) return { allowed: true, way, before, release: () => permit.release() }
    await permit.release()
    return no(lost)
  } catch (thrown) {
    await permit.release()
    return no(`the running containers cannot be listed: ${asAgentError(thrown).message}`)
  }
}

/** A person who asks for the run waits for nobody; without a fleet component in sight the wait says so. */
function fleetGate({ desired, options, ports }: Context): FleetGate | undefined {
  if (desired.restart.permit !== 'fleet' || options.byHand) return undefined
  return ports.fleet ?? NO_FLEET
}

const none = async () => `${WAITS_FOR_GRANT} (this agent reads no note of the fleet component: --fleet)`
const NO_FLEET: FleetGate = { check: none, take: none }

/** containerd writes its state and its databases when it starts; on a full disk it would not come back. */
const MIB = 1024 * 1024
const NEEDED_AT_START = [
  { path: '/var/lib/containerd', bytes: 32 * MIB },
  { path: '/run', bytes: 4 * MIB },
]

async function fullFileSystem({ ports: { files } }: Context): Promise<string | undefined> {
  for (const { path, bytes } of NEEDED_AT_START) {
    const free = await files.freeBytes(path)
    if (free !== undefined && free < bytes)
      return `${Math.floor(free / 1024)} KiB are free on the file system of ${path}, less than ${bytes / MIB} MiB: containerd might not start again`
  }
  return undefined
}

/** A person who asks for the run now overrides every limit; the preflight of the unit and the rehearsal stay. */
function limitReason({ desired, state, options, ports }: Context): string | undefined {
  if (options.byHand) return undefined
  const now = ports.clock.now()
  return restartLimit(desired.restart, state.transactions, now)
}

/** Three restarts that ended in a rollback, one after the other: something is wrong that waiting does not cure. */
const BREAKER = 3

/** Why containerd may not be restarted at this moment, from what was done before. Pure. */
export function restartLimit(
  settings: RestartSettings,
  transactions: readonly TransactionRecord[],
  now: number,
): string | undefined {
  const restarts = transactions.filter(({ restarted }) => restarted)
  const recent = restarts.filter(({ at }) => Date.parse(at) > now - HOUR_MS)
  if (recent.length >= settings.maxPerHour)
    return `containerd was restarted ${recent.length} times within the last hour (restart.budget.maxPerHour)`
  const failures = restarts.length - 1 - restarts.findLastIndex(({ result }) => result === 'committed')
  if (failures >= BREAKER)
    return `the last ${failures} restarts had to be rolled back; the next one needs a person: \`registry-trust apply\``
  const last = restarts.at(-1)
  if (failures > 0 && last !== undefined) {
    const waitMs = Math.min(settings.backoffMaxMs, settings.backoffMinMs * 2 ** (failures - 1))
    const until = Date.parse(last.at) + waitMs
    if (now < until)
      return `the last restart was rolled back; the next try is not before ${new Date(until).toISOString()} (restart.budget.backoff)`
  }
  return settings.window === undefined ? undefined : outsideWindow(settings.window, now)
}
