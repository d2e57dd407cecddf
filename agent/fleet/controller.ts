// The fleet component as a loop: look at the cluster, decide, write the decision down, tell the Pods, ask the agents,
// say what is known. Level-based: every turn starts from what is there, so that a turn that was lost costs nothing but
// time.
// This room: the fleet component: which nodes may take up a change or restart containerd, and when.
// Begin here; then state/waves.ts (who is next), steps/ (what a turn does), report/ (what is shown), leadership.ts.
// May touch: the API server through the port ClusterApi; no node.
import { parseNote } from '../config/fleet-note.ts'
import { spreadDelayMs } from '../config/spread.ts'
import { asAgentError } from '../model/errors.ts'
import type { FleetSettings } from '../model/fleet.ts'
import type { AgentClient, FleetApi, FleetView } from '../model/fleet-cluster.ts'
import type { Clock, Log } from '../model/ports.ts'
import { createLeadership, type Leadership } from './leadership.ts'
import type { FleetPicture, NodeLine } from './state/picture.ts'
import { type FleetNode, type LeaderMemory, NEW_MEMORY, NEW_RECORD, type RolloutRecord } from './state/record.ts'
import { conditionOf, fleetState } from './state/verdict.ts'
import { isCanary, soaking } from './state/waves.ts'
import { type Announcer, createAnnouncer, type Spoken } from './steps/announcer.ts'
import { happenings, type Looked } from './steps/happenings.ts'
import { Poller } from './steps/poller.ts'
import { type Pace, paceFor } from './steps/polls.ts'
import { adoptGrants, type RolloutStep, stepRollout } from './steps/rollout.ts'
import { createToucher, type Toucher } from './steps/toucher.ts'
import { noteOf as parsedNote, toldLabels } from './steps/touches.ts'
import { createWaker, type Waker } from './steps/waker.ts'
import type { WakingNode } from './steps/waking.ts'

/** A kubelet mounts a changed note within this time. */
const MOUNT_MS = 500
/** Conditions say nothing before the agents had the time to answer a new leader. */
const GRACE_MS = 5_000

export type ControllerOptions = {
  readonly api: FleetApi
  readonly client: AgentClient
  readonly me: string
  readonly settings: () => FleetSettings
  /** Hosts of the declared registries. */
  readonly hosts: () => ReadonlySet<string>
  readonly clock: Pick<Clock, 'monotonic'>
  readonly newId: () => string
  readonly log: Log
  readonly onProved?: (seconds: number) => void
  readonly wake: () => void
}

type Counts = {
  readonly touches: number
  readonly writes: number
  readonly requests: number
  readonly failures: number
  readonly pulls: number
  readonly refusals: number
  readonly wakes: number
  readonly wakeFailures: number
}

export class Controller {
  readonly #options: ControllerOptions
  readonly #view: FleetView
  readonly #leadership: Leadership
  readonly #poller: Poller
  readonly #announcer: Announcer
  readonly #toucher: Toucher
  readonly #waker: Waker
  #pulls: ReadonlyMap<string, readonly string[]> = new Map()
  #looked: ReadonlyMap<string, Looked> = new Map()
  #memory: LeaderMemory = NEW_MEMORY
  #halted: string | undefined
  #ledSinceMs = 0
  #wasLeading = false
  #change = { config: '', sinceMs: 0, proved: new Set<string>() }

  constructor(options: ControllerOptions) {
    const { api, client, me, log, wake } = options
    const now = () => this.#now()
    this.#options = options
    this.#view = api.watch(wake)
    this.#leadership = createLeadership({ api, me, now, log })
    this.#poller = new Poller({ client, now, onAnswer: wake })
    this.#announcer = createAnnouncer(api, log, now)
    this.#toucher = createToucher({ api, now, log })
    this.#waker = createWaker(api, wake, log)
  }

  async turn(): Promise<void> {
    try {
      if (!this.#view.isSynced()) return
      await this.#leadership.keep(() => adoptGrants(NEW_RECORD, carried(this.#view)))
      const isLeading = this.isLeading()
      if (isLeading) await this.#lead()
      this.#wasLeading = isLeading
    } catch (thrown) {
      const { code, message } = asAgentError(thrown)
      this.#options.log.warn('turn-failed', { code, error: message })
    }
  }

  isLeading(): boolean {
    return this.#leadership.isLeading()
  }

  isSynced(): boolean {
    return this.#view.isSynced()
  }

  picture(): FleetPicture {
    return {
      isLeading: this.isLeading(),
      isSynced: this.isSynced(),
      config: this.#view.config()?.digest,
      lines: this.#lines(),
      nodes: fleetNodes(this.#view, this.#poller),
      record: this.#leadership.record(),
      halted: this.#halted,
    }
  }

  get counts(): Counts {
    return {
      touches: this.#toucher.count,
      writes: this.#announcer.writes,
      requests: this.#poller.requests,
      failures: this.#poller.failures,
      ...this.#waker.counts,
    }
  }

  /** Why it cannot do what is declared for it; undefined: it can. */
  problem(): string | undefined {
    return this.#waker.problem(this.#now())
  }

  async stop(): Promise<void> {
    this.#view.close()
    this.#waker.close()
    await this.#leadership.release().catch((thrown: unknown) => {
      this.#options.log.warn('lease-not-released', { error: asAgentError(thrown).message })
    })
  }

  #now(): number {
    return this.#options.clock.monotonic()
  }

  #lines(): readonly NodeLine[] {
    return linesOf(this.#view, this.#poller, this.#leadership.record(), this.#now())
  }

  async #lead(): Promise<void> {
    const nowMs = this.#now()
    if (!this.#wasLeading) {
      this.#memory = NEW_MEMORY
      this.#looked = new Map()
      this.#ledSinceMs = nowMs
    }
    this.#poller.keepOnly(this.#view.nodes())
    const nodes = fleetNodes(this.#view, this.#poller)
    if (!(await this.#grant(nodes, nowMs))) return
    const all = this.#lines()
    this.#tellHappenings(all)
    this.#wakePods(all, nowMs)
    this.#touch()
    this.#poll(all, nodes, nowMs)
    this.#measureChange(all, nowMs)
    const removesTaint = this.#options.settings().startupTaint === 'remove'
    if (nowMs - this.#ledSinceMs > GRACE_MS) this.#announcer.announce(spoken(all, this.#view), { removesTaint }, nowMs)
  }

  /** Decides who may restart and writes it down. False: it could not be written, so that nothing of it may be done. */
  async #grant(nodes: readonly FleetNode[], nowMs: number): Promise<boolean> {
    const { settings, newId } = this.#options
    const record = this.#leadership.record()
    const step = stepRollout({
      config: this.#view.config()?.digest,
      resume: this.#view.config()?.resume ?? '',
      nodes,
      record,
      memory: this.#memory,
      settings: settings().rollout,
      nowMs,
      newId,
    })
    const isNew = JSON.stringify(step.record) !== JSON.stringify(record)
    if (isNew && !(await this.#leadership.commit(step.record))) return false
    this.#memory = step.memory
    this.#tellHalt(step)
    this.#halted = step.halted
    return true
  }

  #tellHalt({ halted: reason, newFailures }: RolloutStep): void {
    const { log } = this.#options
    if (reason !== undefined && reason !== this.#halted) log.error('rollout-halted', { reason, nodes: newFailures })
    if (reason === undefined && this.#halted !== undefined) log.info('rollout-resumed', {})
    if (reason === undefined) return
    for (const name of newFailures) {
      const message = `${reason}: no more restarts are granted until a new generation or \`registry-trust fleet resume\``
      const nodeUid = this.#uidOf(name)
      this.#announcer.tell({ node: name, nodeUid, type: 'Warning', reason: 'RolloutHalted', message })
    }
  }

  #tellHappenings(all: readonly NodeLine[]): void {
    const nodes = all.map(({ facts: { node, summary } }) => ({ node, uid: this.#uidOf(node), summary }))
    const { events, known } = happenings(nodes, this.#looked)
    this.#looked = known
    for (const event of events) this.#announcer.tell(event)
  }

  #uidOf(node: string): string {
    return this.#view.nodes().get(node)?.uid ?? ''
  }

  #wakePods(all: readonly NodeLine[], nowMs: number): void {
    const { settings, hosts } = this.#options
    const { wakePods: isOn } = settings()
    const byNode = isOn ? new Map(all.map((line) => [line.facts.node, wakingNode(line, this.#poller)])) : undefined
    const nodeOf = (name: string) => byNode?.get(name)
    this.#pulls = this.#waker.turn({ isOn, hosts: hosts(), nodeOf, nowMs })
  }

  #touch(): void {
    const { rollout, touchesPerSecond, nodeLabels } = this.#options.settings()
    const [pods, nodes] = [this.#view.pods(), this.#view.nodes()]
    const isFirst = (node: string) => isCanary(rollout.canary, nodes.get(node) ?? { labels: {} })
    const [config, record] = [this.#view.config()?.digest, this.#leadership.record()]
    const labelsOf = (node: string) => toldLabels(nodeLabels, nodes.get(node)?.labels)
    const input = { agents: pods.size, config, record, isCanary: isFirst, labelsOf, pulls: this.#pulls }
    this.#toucher.touch(input, pods, touchesPerSecond)
  }

  #poll(all: readonly NodeLine[], nodes: readonly FleetNode[], nowMs: number): void {
    const soaked = soaking({ nodes, memory: this.#memory, settings: this.#options.settings().rollout, nowMs })
    const watched = new Set([...this.#pulls.keys(), ...soaked])
    const pace = paceOf(all, (line) => this.#isExpected(line, nowMs), watched)
    this.#poller.poll(this.#view.pods().values(), pace, nowMs)
  }

  /**
   * Whether the node should have taken the change up by now: announced, mounted by its kubelet, and its share of the
   * spread over.
   */
  #isExpected({ pod, facts }: NodeLine, nowMs: number): boolean {
    const config = this.#view.config()?.digest ?? ''
    if (parsedNote(pod)?.config !== config) return false
    const atMs = this.#toucher.toldAtMs(pod.name)
    if (atMs === undefined) return true
    return nowMs - atMs >= MOUNT_MS + spreadDelayMs(facts.node, config, { nodes: this.#view.pods().size, spreadMs: 0 })
  }

  /** From when the change was seen until the node proves it. */
  #measureChange(all: readonly NodeLine[], nowMs: number): void {
    const config = this.#view.config()?.digest ?? ''
    if (config !== this.#change.config) {
      const isFirst = this.#change.config === ''
      const proved = new Set(isFirst ? all.map(({ facts }) => facts.node) : [])
      this.#change = { config, sinceMs: nowMs, proved }
    }
    const { sinceMs, proved } = this.#change
    for (const { facts, state } of all) {
      if (state !== 'trusted' || proved.has(facts.node)) continue
      proved.add(facts.node)
      this.#options.onProved?.((nowMs - sinceMs) / 1000)
    }
  }
}

function* carried(view: FleetView) {
  for (const { node, note } of view.pods().values()) {
    const grant = parseNote(note)?.grant
    if (grant !== undefined) yield [node, grant] as const
  }
}

function fleetNodes(view: FleetView, poller: Poller): readonly FleetNode[] {
  const agents = new Set([...view.pods().values()].map(({ node }) => node))
  return [...view.nodes().values()].map(({ name, zone, isControlPlane, labels, isReady, isCordoned }) => ({
    ...{ name, zone, isControlPlane, labels, isReady, isCordoned },
    hasAgent: agents.has(name),
    report: poller.answerOf(name),
  }))
}

function linesOf(view: FleetView, poller: Poller, record: RolloutRecord, nowMs: number): readonly NodeLine[] {
  const config = view.config()?.digest
  return [...view.pods().values()]
    .filter(({ node }) => node !== '')
    .map((pod) => {
      const { node } = pod
      const summary = poller.answerOf(node)?.summary
      const facts = {
        ...{ node, summary },
        isUnreachable: poller.isUnreachable(node, nowMs),
        isCurrent: summary?.config === config,
        isGranted: record.grants[node] !== undefined,
        isOverdue: record.grants[node]?.isOverdue === true,
      }
      return {
        facts,
        state: fleetState(facts),
        pod,
        zone: view.nodes().get(node)?.zone ?? '',
        error: poller.errorOf(node),
      }
    })
}

function wakingNode({ facts, state }: NodeLine, poller: Poller): WakingNode | undefined {
  const answer = poller.answerOf(facts.node)
  const isSettled = state === 'trusted' || state === 'untrusted' || state === 'drifted' || state === 'restart-pending'
  return answer && { ...answer, isSettled: isSettled && facts.isCurrent }
}

function paceOf(
  lines: readonly NodeLine[],
  isExpected: (line: NodeLine) => boolean,
  watched: ReadonlySet<string>,
): (node: string) => Pace {
  // Pods that wait for a pull wait for the answer, and all nodes for that of a canary.
  const pace = (line: NodeLine) => (watched.has(line.facts.node) ? 'fast' : paceFor(line, () => isExpected(line)))
  const paces = new Map(lines.map((line) => [line.facts.node, pace(line)]))
  return (node) => paces.get(node) ?? 'fast'
}

function spoken(lines: readonly NodeLine[], view: FleetView): readonly Spoken[] {
  return lines.flatMap(({ facts, state }) => {
    const node = view.nodes().get(facts.node)
    return node === undefined ? [] : [{ node, state, condition: conditionOf(facts) }]
  })
}
