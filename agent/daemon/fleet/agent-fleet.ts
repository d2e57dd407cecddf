// What the daemon does for the fleet component: it reads the note of its Pod, takes up a change after its share of the
// spread, and answers GET /status/summary. Without a note all of it does nothing.
// This room: the agent's side of the fleet component.
// Begin here; then fleet-desk.ts (the note and its grants), pull-desk.ts (images that Pods wait for), summary.ts.
// May touch: the note's folder, the store of grants, and containerd through the port CriClient, to pull.
import { posix } from 'node:path'
import { takeUpDelayMs } from '../../config/spread.ts'
import type { DesiredState } from '../../model/desired-state.ts'
import { asAgentError } from '../../model/errors.ts'
import { registryOf } from '../../model/lookup.ts'
import type { GrantStore, InputFiles, Log } from '../../model/ports.ts'
import type { Run } from '../../model/run.ts'
import type { RunPorts } from '../../model/run-ports.ts'
import type { NodeStatus } from '../../model/status.ts'
import type { NodeSummary } from '../../model/summary.ts'
import { type FleetDesk, fleetDesk } from './fleet-desk.ts'
import { type PullDesk, pullDesk } from './pull-desk.ts'
import { summaryOf } from './summary.ts'

export type AgentFleetOptions = {
  readonly options: {
    /** The files and folders of the configuration. */
    readonly config: readonly string[]
    readonly containerdAddress?: string
    /** The folder in which the note of the Pod lies; absent: there is none. */
    readonly fleet?: string
  }
  readonly inputs: InputFiles
  readonly ports: Pick<RunPorts, 'clock' | 'connectCri'>
  readonly log: Log
  /** Its name. */
  readonly node: string
  readonly grants: GrantStore
}

export class AgentFleet {
  readonly desk: FleetDesk
  readonly watched: readonly { readonly path: string; readonly depth: number }[]
  readonly #given: AgentFleetOptions
  readonly #pulls: PullDesk
  readonly #startedAt: number
  #declared: DesiredState | undefined
  #socket: string | undefined
  #isRuntimeReady = false
  /** Digests of the configuration: being loaded, taken up, and all done. */
  #loading = ''
  #takenUp = ''
  #finished = ''
  #noteTakenUp = ''
  #waiting: { readonly timer: NodeJS.Timeout; readonly atMs: number } | undefined

  constructor(given: AgentFleetOptions) {
    const { options, inputs, ports, log, grants } = given
    const [first = '/etc/registry-trust'] = options.config
    const configFolder = /\.ya?ml$/.test(first) ? posix.dirname(first) : first
    this.#given = given
    this.#startedAt = ports.clock.monotonic()
    this.#socket = options.containerdAddress
    this.desk = fleetDesk({ inputs, folder: options.fleet, configFolder, store: grants, clock: ports.clock, log })
    this.watched = options.fleet === undefined ? [] : [{ path: options.fleet, depth: 2 }]
    this.#pulls = pullDesk({
      connect: () => (this.#socket === undefined ? undefined : ports.connectCri(this.#socket)),
      isDeclared: (host) => registryOf(this.#declared?.registries ?? [], host) !== undefined,
      log,
    })
  }

  /** Before the configuration is read. */
  async beforeLoad(): Promise<void> {
    await this.#readNote()
    this.#loading = this.desk.config()
    this.#takenUp = this.#loading
    this.#noteTakenUp = this.#noteText()
  }

  configured(desired: DesiredState): void {
    this.#declared = desired
    this.#pull()
  }

  async ran(run: Run): Promise<void> {
    this.#socket = run.facts?.socket ?? this.#socket
    this.#pull()
    // Without facts containerd is not wanted on this node.
    this.#isRuntimeReady =
      run.outcome !== 'no-containerd' && ((run.facts ?? run.runtime)?.status.runtimeReady ?? run.outcome !== 'failed')
    await this.desk.ended({
      isUnderWay: run.outcome === 'no-containerd',
      generation: run.state.generation,
      ok: run.outcome === 'applied' || run.outcome === 'unchanged',
    })
  }

  told({ isApplying }: { readonly isApplying: boolean }): void {
    if (!isApplying) this.#finished = this.#loading
  }

  /** Calls back when it is this node's turn to take up what has changed. */
  async changed(takeUp: () => void): Promise<void> {
    const { ports, node } = this.#given
    await this.#readNote()
    this.#pull()
    const delay = takeUpDelayMs(node, {
      config: this.desk.config(),
      takenUp: this.#takenUp,
      note: this.desk.note(),
      isNoteNew: this.#noteText() !== this.#noteTakenUp,
      spreadMs: this.#declared?.drift.spreadMs ?? 0,
    })
    if (delay === 0) return takeUp()
    const atMs = ports.clock.monotonic() + delay
    // A later change never delays an earlier one.
    if (this.#waiting !== undefined && this.#waiting.atMs <= atMs) return
    clearTimeout(this.#waiting?.timer)
    const timer = setTimeout(() => {
      this.#waiting = undefined
      takeUp()
    }, delay)
    this.#waiting = { timer, atMs }
  }

  async summary(status: NodeStatus): Promise<NodeSummary> {
    await this.desk.tick()
    const uptimeSeconds = Math.floor((this.#given.ports.clock.monotonic() - this.#startedAt) / 1000)
    const grant = this.desk.report()
    const facts = { config: this.#finished, grant, runtimeReady: this.#isRuntimeReady, uptimeSeconds }
    return summaryOf(status, this.#wakesPods() ? { ...facts, pulls: this.#pulls.report() } : facts)
  }

  close(): void {
    clearTimeout(this.#waiting?.timer)
    this.#pulls.close()
  }

  #wakesPods(): boolean {
    return this.#declared?.fleet?.wakePods === true
  }

  /** Not before a runtime has answered: what fails is not tried again for a while. */
  #pull(): void {
    const isPossible = this.#wakesPods() && this.#socket !== undefined
    this.#pulls.follow(isPossible ? (this.desk.note()?.pull ?? []) : [])
  }

  /** What the note means for a run; a pull for a waiting Pod needs no run. */
  #noteText(): string {
    const { pull: _, ...note } = this.desk.note() ?? {}
    return JSON.stringify(note)
  }

  async #readNote(): Promise<void> {
    try {
      await this.desk.reread()
    } catch (thrown) {
      // The node does its work without a fleet; only a restart that has to wait for it waits on.
      this.#given.log.warn('fleet-note-unreadable', { error: asAgentError(thrown).message })
    }
  }
}
