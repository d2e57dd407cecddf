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
import { createLeadership } from './leadership.ts'
import type { FleetPicture, NodeLine } from './state/picture.ts'
import { type FleetNode, type LeaderMemory, NEW_MEMORY, NEW_RECORD, type RolloutRecord } from './state/record.ts'
import { conditionOf, fleetState } from './state/verdict.ts'
import { isCanary, soaking } from './state/waves.ts'
import { createAnnouncer, type Spoken } from './steps/announcer.ts'
import { happenings, type Looked } from './steps/happenings.ts'
import { createPoller, type Poller } from './steps/poller.ts'
import { type Pace, paceFor } from './steps/polls.ts'
import { adoptGrants, type RolloutStep, stepRollout } from './steps/rollout.ts'
import { createToucher } from './steps/toucher.ts'
import { noteOf as parsedNote, toldLabels } from './steps/touches.ts'
import { createWaker } from './steps/waker.ts'
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

export type Controller = {
  turn(): Promise<void>
  isLeading(): boolean
  isSynced(): boolean
  picture(): FleetPicture
  readonly counts: {
    readonly touches: number
    readonly writes: number
    readonly requests: number
    readonly failures: number
    readonly pulls: number
    readonly refusals: number
    readonly wakes: number
    readonly wakeFailures: number
  }
  /** Why it cannot do what is declared for it; undefined: it can. */
  problem(): string | undefined
  stop(): Promise<void>
}

export function createController(options: ControllerOptions): Controller {
  const { api, me, clock, log, settings, newId } = options
  const now = () => clock.monotonic()
  const view = api.watch(options.wake)
  const leadership = createLeadership({ api, me, now, log })
  const poller = createPoller({ client: options.client, now, onAnswer: options.wake })
  const announcer = createAnnouncer(api, log, now)
  const toucher = createToucher({ api, now, log })
  const waker = createWaker(api, options.wake, log)
  let pulls: ReadonlyMap<string, readonly string[]> = new Map()
  let looked: ReadonlyMap<string, Looked> = new Map()
  let memory: LeaderMemory = NEW_MEMORY
  let halted: string | undefined
  let ledSinceMs = 0
  let wasLeading = false
  const change = { config: '', sinceMs: 0, proved: new Set<string>() }

  const lines = () => linesOf(view, poller, leadership.record(), now())
  const lead = async () => {
    const nowMs = now()
    if (!wasLeading) {
      memory = NEW_MEMORY
      looked = new Map()
      ledSinceMs = nowMs
    }
    poller.keepOnly(view.nodes())
    const nodes = fleetNodes(view, poller)
    const step = stepRollout({
      config: view.config()?.digest,
      resume: view.config()?.resume ?? '',
      nodes,
      record: leadership.record(),
      memory,
      settings: settings().rollout,
      nowMs,
      newId,
    })
    if (JSON.stringify(step.record) !== JSON.stringify(leadership.record()) && !(await leadership.commit(step.record)))
      return
    memory = step.memory
    tellHalt(step)
    halted = step.halted
    const all = lines()
    tellHappenings(all)
    wakePods(all, nowMs)
    touch()
    const soaked = soaking({ nodes, memory, settings: settings().rollout, nowMs })
    const watched = new Set([...pulls.keys(), ...soaked])
    poller.poll(
      view.pods().values(),
      paceOf(all, (line) => isExpected(line, nowMs), watched),
      nowMs,
    )
    measureChange(all, nowMs)
    if (nowMs - ledSinceMs > GRACE_MS)
      announcer.announce(spoken(all, view), { removesTaint: settings().startupTaint === 'remove' }, nowMs)
  }

  function wakePods(all: readonly NodeLine[], nowMs: number): void {
    const { wakePods: isOn } = settings()
    const byNode = isOn ? new Map(all.map((line) => [line.facts.node, wakingNode(line, poller)])) : undefined
    const nodeOf = (name: string) => byNode?.get(name)
    pulls = waker.turn({ isOn, hosts: options.hosts(), nodeOf, nowMs })
  }

  function touch(): void {
    const { rollout, touchesPerSecond, nodeLabels } = settings()
    const [pods, nodes] = [view.pods(), view.nodes()]
    const isFirst = (node: string) => isCanary(rollout.canary, nodes.get(node) ?? { labels: {} })
    const [config, record] = [view.config()?.digest, leadership.record()]
    const labelsOf = (node: string) => toldLabels(nodeLabels, nodes.get(node)?.labels)
    toucher.touch({ agents: pods.size, config, record, isCanary: isFirst, labelsOf, pulls }, pods, touchesPerSecond)
  }

  /**
   * Whether the node should have taken the change up by now: announced, mounted by its kubelet, and its share of the
   * spread over.
   */
  function isExpected({ pod, facts }: NodeLine, nowMs: number): boolean {
    const config = view.config()?.digest ?? ''
    if (parsedNote(pod)?.config !== config) return false
    const atMs = toucher.toldAtMs(pod.name)
    if (atMs === undefined) return true
    return nowMs - atMs >= MOUNT_MS + spreadDelayMs(facts.node, config, { nodes: view.pods().size, spreadMs: 0 })
  }

  function tellHalt({ halted: reason, newFailures }: RolloutStep): void {
    if (reason !== undefined && reason !== halted) log.error('rollout-halted', { reason, nodes: newFailures })
    if (reason === undefined && halted !== undefined) log.info('rollout-resumed', {})
    if (reason === undefined) return
    for (const name of newFailures) {
      const message = `${reason}: no more restarts are granted until a new generation or \`registry-trust fleet resume\``
      const nodeUid = view.nodes().get(name)?.uid ?? ''
      announcer.tell({ node: name, nodeUid, type: 'Warning', reason: 'RolloutHalted', message })
    }
  }

  function tellHappenings(all: readonly NodeLine[]): void {
    const uidOf = (node: string) => view.nodes().get(node)?.uid ?? ''
    const nodes = all.map(({ facts: { node, summary } }) => ({ node, uid: uidOf(node), summary }))
    const { events, known } = happenings(nodes, looked)
    looked = known
    for (const event of events) announcer.tell(event)
  }

  /** From when the change was seen until the node proves it. */
  function measureChange(all: readonly NodeLine[], nowMs: number): void {
    const config = view.config()?.digest ?? ''
    if (config !== change.config) {
      const isFirst = change.config === ''
      change.config = config
      change.sinceMs = nowMs
      change.proved = new Set(isFirst ? all.map(({ facts }) => facts.node) : [])
    }
    for (const { facts, state } of all) {
      if (state !== 'trusted' || change.proved.has(facts.node)) continue
      change.proved.add(facts.node)
      options.onProved?.((nowMs - change.sinceMs) / 1000)
    }
  }

  return {
    async turn() {
      try {
        if (!view.isSynced()) return
        await leadership.keep(() => adoptGrants(NEW_RECORD, carried(view)))
        const isLeading = leadership.isLeading()
        if (isLeading) await lead()
        wasLeading = isLeading
      } catch (thrown) {
        const { code, message } = asAgentError(thrown)
        log.warn('turn-failed', { code, error: message })
      }
    },
    isLeading: leadership.isLeading,
    isSynced: () => view.isSynced(),
    picture: () => ({
      isLeading: leadership.isLeading(),
      isSynced: view.isSynced(),
      config: view.config()?.digest,
      lines: lines(),
      nodes: fleetNodes(view, poller),
      record: leadership.record(),
      halted,
    }),
    get counts() {
      return {
        touches: toucher.count,
        writes: announcer.writes,
        requests: poller.requests,
        failures: poller.failures,
        ...waker.counts,
      }
    },
    problem: () => waker.problem(now()),
    async stop() {
      view.close()
      waker.close()
      await leadership.release().catch((thrown: unknown) => {
        log.warn('lease-not-released', { error: asAgentError(thrown).message })
      })
    },
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
