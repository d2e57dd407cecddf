// Whether containerd may be restarted now: everything that speaks against it, asked before anything is written.

import { asAgentError } from '../../model/errors.ts'
import type { Rehearsal } from '../../model/plan.ts'
import type { FleetGate } from '../../model/ports.ts'
import type { RuntimeMemory } from '../../model/restart.ts'
import type { Context } from '../../model/run.ts'
import { ledgerLimit, withLastStart } from '../../restart/ledger.ts'
import { WAITS_FOR_GRANT } from './grant.ts'
import { awaitQuiet, QUIET_PATIENCE_BY_HAND_MS, QUIET_PATIENCE_MS } from './idle.ts'
import { outsideWindow } from './maintenance-window.ts'
import { chooseRestart, type RestartWay, rememberRuntime } from './restart.ts'

export type RestartDecision =
  | {
      readonly allowed: true
      readonly way: Exclude<RestartWay, { kind: 'none' }>
      readonly before: RuntimeMemory
      release(): Promise<void>
    }
  /** `waitMs`: after this time it is worth asking again; absent where that is not known. */
  | { readonly allowed: false; readonly reason: string; readonly waitMs?: number }

/**
 * For what passes by itself without an event: a pull under way, a full disk, a node too busy for a rehearsal, a restarter
 * that is just being started. A grant is a file event.
 */
const ASK_AGAIN_MS = 60_000

export async function checkRestart(context: Context, rehearsal: Rehearsal, reason: string): Promise<RestartDecision> {
  const { desired, facts, cri, options, ports } = context
  const no = (reason: string): RestartDecision => ({ allowed: false, reason })
  const soon = (reason: string): RestartDecision => ({ allowed: false, reason, waitMs: ASK_AGAIN_MS })
  const way = await chooseRestart(desired.restart, facts, ports)
  if (way.kind === 'none') return way.passes === true ? soon(way.reason) : no(way.reason)
  if (rehearsal.verdict === 'not-rehearsed' && !options.consentUnrehearsed)
    return soon(
      `the candidate could not be rehearsed (${rehearsal.reason}); --consent-unrehearsed allows the restart without a rehearsal`,
    )
  const full = await fullFileSystem(context)
  if (full !== undefined) return soon(full)
  const limit = await limitOf(context)
  if (limit !== undefined) return { allowed: false, ...limit }
  const grant = fleetGate(context)
  const ungranted = await grant?.check(desired.generation)
  if (ungranted !== undefined) return no(ungranted)
  const busy = await awaitQuiet(cri, {
    clock: ports.clock,
    patienceMs: options.byHand ? QUIET_PATIENCE_BY_HAND_MS : QUIET_PATIENCE_MS,
    signal: options.signal,
  })
  if (busy !== undefined) return soon(busy)
  const permit = await ports.permit.ask({ reason, byHand: options.byHand })
  if (!permit.granted) return soon(permit.reason)
  try {
    const before = await rememberRuntime(cri, facts.status)
    // The last step: a grant that is taken is used up, whatever follows.
    const lost = await grant?.take(desired.generation)
    if (lost === undefined) return { allowed: true, way, before, release: () => permit.release() }
    await permit.release()
    return no(lost)
  } catch (thrown) {
    await permit.release()
    return soon(`the running containers cannot be listed: ${asAgentError(thrown).message}`)
  }
}

/** A run that a person asked for does not wait; where no fleet component is seen, the reason says so. */
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
async function limitOf({
  desired,
  facts,
  options,
  ports,
}: Context): Promise<{ readonly reason: string; readonly waitMs?: number } | undefined> {
  if (options.byHand) return undefined
  const { clock, restarts } = ports
  const now = { wall: clock.now(), uptimeMs: clock.monotonic(), bootId: restarts.bootId }
  const limit = ledgerLimit(desired.restart, withLastStart(await restarts.ledger.read(), facts.unit, now), now)
  if (limit !== undefined) return limit
  return desired.restart.window === undefined ? undefined : outsideWindow(desired.restart.window, now.wall)
}
