// One simulated node: the kubelet (annotation → file), the agent around its real decisions (spread, grants, when a proof
// is due again), containerd's restart. What is drawn are the times alone.
import { takeUpDelayMs } from '../../agent/config/spread.ts'
import { proofDueAt } from '../../agent/daemon/due.ts'
import type { Memory } from '../../agent/daemon/history.ts'
import type { DesiredState } from '../../agent/model/desired-state.ts'
import type { NodeSummary } from '../../agent/model/summary.ts'
import { Machine, type Note } from '../../test/fixtures/fleet/world.ts'
import type { Registry } from './registry.ts'
import type { Timeline } from './timeline.ts'

const HOST = 'registry.example.net'
const EVERY_MS = 300_000
const DESIRED = { registries: [{ host: HOST, proof: { everyMs: EVERY_MS } }] } as unknown as DesiredState

export type NodeOptions = {
  readonly timeline: Timeline
  readonly registry: Registry
  readonly draw: () => number
  /** Digest of the ConfigMap as it is now. */
  readonly current: () => string
  /** How many nodes there are. */
  readonly size: number
  readonly needsRestart: boolean
  readonly isBad: boolean
  readonly onProved: (node: string) => void
  readonly onRestart: (change: 1 | -1) => void
}

export class SimulatedNode extends Machine {
  readonly isDead: boolean
  readonly #slowness: number
  readonly #options: NodeOptions
  #taking = ''
  /** What waits for its time; a later wish does not put it off. */
  #dueMs = Number.POSITIVE_INFINITY
  #failures = 0
  #isProved = true
  nodes: number

  constructor(index: number, kind: { readonly isDead: boolean; readonly isSlow: boolean }, options: NodeOptions) {
    super(index)
    this.nodes = options.size
    // Three of the control plane in any fleet.
    Object.assign(this, { isControlPlane: index < 3 })
    this.isDead = kind.isDead
    this.#slowness = kind.isSlow ? 5 : 1
    this.#options = options
  }

  /** As it is before the change. */
  settle(config: string): void {
    this.annotation = { config }
    this.file = this.annotation
    this.readConfig(config)
    this.generation = this.pendingGeneration ?? ''
    this.pendingGeneration = undefined
    this.#taking = config
  }

  /** The annotation of its Pod was patched: the kubelet mounts it after 0.14 to 0.50 s. */
  told(note: Note & { readonly nodes: number }): void {
    this.annotation = note
    this.nodes = note.nodes
    if (!this.isDead) this.#after(140, 500, () => this.#mounted())
  }

  /** The ConfigMap has changed; a kubelet that is told nothing mounts it within its own period (49 to 84 s measured). */
  changed(): void {
    if (!this.isDead) this.#after(49_000, 84_000, () => this.#mounted())
  }

  override summary(nowMs: number): NodeSummary {
    const told = super.summary(nowMs)
    if (this.#isProved) return told
    return { ...told, untrusted: [{ host: HOST, code: 'connection-refused' }] }
  }

  #mounted(): void {
    const { timeline, current } = this.#options
    this.syncFile(timeline.nowMs)
    const config = current()
    if (config === this.#taking) {
      this.#tryRestart()
      return
    }
    const note = { config: this.file?.config ?? '', nodes: this.nodes }
    const change = { config, takenUp: this.#taking, note, isNoteNew: true, spreadMs: 0 }
    const dueMs = timeline.nowMs + takeUpDelayMs(this.name, change)
    if (dueMs >= this.#dueMs) return
    this.#dueMs = dueMs
    timeline.after(dueMs - timeline.nowMs, () => {
      if (this.#taking === config) return
      this.#taking = config
      this.#after(40, 120, () => this.#takeUp())
    })
  }

  #takeUp(): void {
    if (this.#options.needsRestart) {
      this.readConfig(this.#taking)
      this.#tryRestart()
    } else this.#prove()
  }

  #tryRestart(): void {
    const { timeline, isBad, onRestart } = this.#options
    if (this.restarting !== undefined) return
    this.run(timeline.nowMs)
    if (this.restarting === undefined) return
    onRestart(1)
    this.#after(1_000, 3_000, () => {
      onRestart(-1)
      this.finish(() => !isBad)
      if (!isBad) this.#prove()
    })
  }

  #prove(): void {
    const { registry, timeline, onProved } = this.#options
    const isAnswered = registry.ask(timeline.nowMs)
    // A registry that is away refuses at once; one that is there takes its time.
    this.#after(20, isAnswered ? 150 : 40, () => {
      this.readConfig(this.#taking)
      this.generation = this.pendingGeneration ?? this.generation
      this.pendingGeneration = undefined
      this.#isProved = isAnswered
      if (isAnswered) {
        onProved(this.name)
        return
      }
      this.#failures += 1
      timeline.after(this.#retryMs(), () => this.#prove())
    })
  }

  /** By the agent's own rule. */
  #retryMs(): number {
    const known = { finding: { code: 'connection-refused' }, failures: this.#failures, provedAt: 0 }
    const memory = { registries: new Map([[HOST, known]]), run: { facts: {} } } as unknown as Memory
    return proofDueAt(memory, DESIRED, HOST)
  }

  #after(leastMs: number, mostMs: number, act: () => void): void {
    const { timeline, draw } = this.#options
    timeline.after((leastMs + draw() * (mostMs - leastMs)) * this.#slowness, act)
  }
}
