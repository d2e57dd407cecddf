// What the daemon does for the fleet component: it reads the note of its Pod, takes up a change after its share of the
// spread, and answers GET /status/summary. Without a note all of it does nothing.
import { posix } from 'node:path'
import { takeUpDelayMs } from '../../config/spread.ts'
import { type FleetDesk, fleetDesk } from '../../daemon/fleet/fleet-desk.ts'
import { pullDesk } from '../../daemon/fleet/pull-desk.ts'
import { summaryOf } from '../../daemon/fleet/summary.ts'
import type { DesiredState } from '../../model/desired-state.ts'
import { asAgentError } from '../../model/errors.ts'
import { registryOf } from '../../model/lookup.ts'
import type { Run } from '../../model/run.ts'
import type { NodeStatus } from '../../model/status.ts'
import type { NodeSummary } from '../../model/summary.ts'
import type { Wiring } from '../wiring.ts'

export type AgentFleet = {
  readonly desk: FleetDesk
  readonly watched: readonly { readonly path: string; readonly depth: number }[]
  /** Before the configuration is read. */
  beforeLoad(): Promise<void>
  configured(desired: DesiredState): void
  ran(run: Run): Promise<void>
  told(now: { readonly isApplying: boolean }): void
  /** Calls back when it is this node's turn to take up what has changed. */
  changed(takeUp: () => void): Promise<void>
  summary(status: NodeStatus): Promise<NodeSummary>
  close(): void
}

export function agentFleet({ options, inputs, ports, log, node, grants }: Wiring): AgentFleet {
  const { clock } = ports
  const [first = '/etc/registry-trust'] = options.config
  const configFolder = /\.ya?ml$/.test(first) ? posix.dirname(first) : first
  const desk = fleetDesk({ inputs, folder: options.fleet, configFolder, store: grants, clock, log })
  const startedAt = clock.monotonic()
  let spreadMs = 0
  let loading = ''
  let finished = ''
  let runtimeReady = false
  let waiting: { readonly timer: NodeJS.Timeout; readonly atMs: number } | undefined
  let takenUp = ''
  let noteTakenUp = ''
  let declared: DesiredState | undefined
  let socket = options.containerdAddress
  const pulls = pullDesk({
    connect: () => (socket === undefined ? undefined : ports.connectCri(socket)),
    isDeclared: (host) => registryOf(declared?.registries ?? [], host) !== undefined,
    log,
  })
  /** What the note means for a run; a pull for a waiting Pod needs no run. */
  const noteText = () => {
    const { pull: _, ...note } = desk.note() ?? {}
    return JSON.stringify(note)
  }
  const wakesPods = () => declared?.fleet?.wakePods === true
  /** Not before a runtime has answered: what fails is not tried again for a while. */
  const pull = () => pulls.follow(wakesPods() && socket !== undefined ? (desk.note()?.pull ?? []) : [])

  const readNote = async () => {
    try {
      await desk.reread()
    } catch (thrown) {
      // The node does its work without a fleet; only a restart that has to wait for it waits on.
      log.warn('fleet-note-unreadable', { error: asAgentError(thrown).message })
    }
  }
  return {
    desk,
    watched: options.fleet === undefined ? [] : [{ path: options.fleet, depth: 2 }],
    async beforeLoad() {
      await readNote()
      loading = desk.config()
      takenUp = loading
      noteTakenUp = noteText()
    },
    configured(desired) {
      declared = desired
      spreadMs = desired.drift.spreadMs ?? 0
      pull()
    },
    async ran(run) {
      socket = run.facts?.socket ?? socket
      pull()
      // Without facts containerd is not wanted on this node.
      runtimeReady =
        run.outcome !== 'no-containerd' && ((run.facts ?? run.runtime)?.status.runtimeReady ?? run.outcome !== 'failed')
      await desk.ended({
        isUnderWay: run.outcome === 'no-containerd',
        generation: run.state.generation,
        ok: run.outcome === 'applied' || run.outcome === 'unchanged',
      })
    },
    told({ isApplying }) {
      if (!isApplying) finished = loading
    },
    async changed(takeUp) {
      await readNote()
      pull()
      const [config, note] = [desk.config(), desk.note()]
      const delay = takeUpDelayMs(node, { config, takenUp, note, isNoteNew: noteText() !== noteTakenUp, spreadMs })
      if (delay === 0) return takeUp()
      const atMs = clock.monotonic() + delay
      // A later change never delays an earlier one.
      if (waiting !== undefined && waiting.atMs <= atMs) return
      clearTimeout(waiting?.timer)
      const timer = setTimeout(() => {
        waiting = undefined
        takeUp()
      }, delay)
      waiting = { timer, atMs }
    },
    async summary(status) {
      await desk.tick()
      const uptimeSeconds = Math.floor((clock.monotonic() - startedAt) / 1000)
      const facts = { config: finished, grant: desk.report(), runtimeReady, uptimeSeconds }
      return summaryOf(status, wakesPods() ? { ...facts, pulls: pulls.report() } : facts)
    },
    close() {
      clearTimeout(waiting?.timer)
      pulls.close()
    },
  }
}
