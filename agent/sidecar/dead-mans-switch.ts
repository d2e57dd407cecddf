// Holds containerd's config file as it was before a change, and puts it back with a restart when nobody lets go in time: the agent may die
// while containerd is down, and without containerd the kubelet cannot start the agent again. The rule: path and bytes are found by the
// switch itself; nobody tells it what to write.
import { posix } from 'node:path'
import { LAYOUTS } from '../containerd/layouts.ts'
import { AgentError, asAgentError } from '../model/errors.ts'
import type { FileContent } from '../model/plan.ts'
import type { Clock, FileState, Log, NodeFiles, Systemd, UnitFacts } from '../model/ports.ts'

/** Well under the 30 s and more after which a cluster sees the node as NotReady, restart included. */
export const HOLD_MS = 25_000
const RESTART_MS = 20_000
const MOST_ATTEMPTS = 5
const PAUSE_MS = 2_000

export type SwitchPorts = {
  readonly files: NodeFiles
  readonly systemd: Systemd
  readonly clock: Clock
  readonly log: Log
}

export type Hold = {
  /** Lets go: the new file stays. Throws RESTART_FAILED when it was put back already. */
  commit(): void
  /** Whoever held it is gone. */
  abandon(): void
  /** Resolves when it was let go of, or put back. */
  readonly over: Promise<void>
}

type Kept = { readonly unit: string; readonly path: string; readonly before: FileState; readonly mainPid: number }

export async function hold(unit: UnitFacts, ports: SwitchPorts, holdMs = HOLD_MS): Promise<Hold> {
  const { files, clock, log } = ports
  const path = configFileOf(unit)
  const before = await files.readFollowing(path)
  if (before.kind !== 'file' && before.kind !== 'absent')
    throw new AgentError('RESTART_REFUSED', `${path} cannot be remembered: it is ${before.kind}`)
  if (!(await files.isWritable(posix.dirname(path))))
    throw new AgentError('RESTART_REFUSED', `${path} could not be put back: its folder is read-only here`)
  const kept: Kept = { unit: unit.name, path, before, mainPid: unit.mainPid }

  let state: 'held' | 'committed' | 'fired' = 'held'
  const { promise: over, resolve } = Promise.withResolvers<void>()
  const stopClock = new AbortController()
  const fire = (reason: string) => {
    if (state !== 'held') return
    state = 'fired'
    stopClock.abort()
    log.error('dead-mans-switch', { path, unit: kept.unit, reason })
    putBack(kept, ports).finally(resolve)
  }
  clock.sleep(holdMs, { signal: stopClock.signal }).then(
    () => fire(`no commit within ${holdMs} ms`),
    () => undefined,
  )
  return {
    over,
    commit() {
      if (state === 'fired')
        throw new AgentError(
          'RESTART_FAILED',
          `the restarter put ${path} back: the commit came later than ${holdMs} ms`,
        )
      state = 'committed'
      stopClock.abort()
      resolve()
    },
    abandon: () => fire('the agent is gone'),
  }
}

async function putBack(kept: Kept, { files, systemd, clock, log }: SwitchPorts): Promise<void> {
  const { unit, path, before } = kept
  for (let attempt = 1; attempt <= MOST_ATTEMPTS; attempt += 1) {
    try {
      if (!isSame(await files.readFollowing(path), before))
        await files.put(path, contentOf(before), { folder: posix.dirname(path) })
      if (await runsAsBefore(kept, systemd)) {
        log.info('config-put-back', { path, restarted: false })
        return
      }
      await systemd.resetFailed(unit)
      const { result, durationMs } = await systemd.restart(unit, { timeoutMs: RESTART_MS })
      if (result === 'done') {
        log.info('config-put-back', { path, restarted: true, durationMs })
        return
      }
      log.error('restart-failed', { unit, result, attempt })
    } catch (thrown) {
      const { code, message } = asAgentError(thrown)
      log.error('put-back-failed', { path, unit, attempt, code, error: message })
    }
    await clock.sleep(PAUSE_MS)
  }
}

/** The daemon that had loaded the old file is still the one that runs: nothing else was ever loaded. */
async function runsAsBefore({ unit, mainPid }: Kept, systemd: Systemd): Promise<boolean> {
  const now = await systemd.unit(unit)
  return now?.activeState === 'active' && now.mainPid === mainPid && mainPid > 0
}

function isSame(now: FileState, before: FileState): boolean {
  if (now.kind === 'file' && before.kind === 'file') return now.bytes.equals(before.bytes)
  return now.kind === before.kind
}

function contentOf(before: FileState): FileContent {
  if (before.kind !== 'file') return { kind: 'absent' }
  const { bytes, mode, uid, gid } = before
  return { kind: 'file', bytes, mode, uid, gid }
}

/** As containerd itself takes it: what its command line names, else the place of the distribution. */
export function configFileOf({ name, execStart }: Pick<UnitFacts, 'name' | 'execStart'>): string {
  const at = execStart.findIndex((word) => word === '-c' || word === '--config' || word === '-config')
  const named =
    at >= 0 ? execStart[at + 1] : execStart.find((word) => /^--?config=/.test(word))?.replace(/^--?config=/, '')
  const layout = LAYOUTS.find(({ units }) => units.includes(name)) ?? LAYOUTS[0]
  // k3s and RKE2 have a configuration of their own behind --config, which is not containerd's.
  if (layout?.isConfigGenerated !== true && named?.startsWith('/')) return posix.normalize(named)
  return layout?.configFile ?? '/etc/containerd/config.toml'
}
