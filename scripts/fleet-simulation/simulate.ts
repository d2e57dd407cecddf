// One roll-out on virtual time: the component's real loop (agent/fleet/controller.ts and all that it decides by), nodes
// whose agents decide by their own real code, and an API server and a registry that take their time.
import { parseNote } from '../../agent/config/fleet-note.ts'
import { Controller } from '../../agent/fleet/controller.ts'
import { DEFAULT_FLEET } from '../../agent/model/fleet.ts'
import type {
  AgentClient,
  FleetApi,
  FleetView,
  SeenNode,
  SeenPod,
  StoredLease,
} from '../../agent/model/fleet-cluster.ts'
import { SILENT } from '../../test/fixtures/scratch/carry-out.ts'
import { SimulatedNode } from './node.ts'
import { Counts, Registry } from './registry.ts'
import type { Scenario } from './scenarios.ts'
import { draws, Timeline } from './timeline.ts'

const [BEFORE, AFTER] = ['a'.repeat(64), `${'b'.repeat(52)}0123456789ab`]
const TURN_MS = 1_000
const SHORTEST_MS = 200
const PATCH_MS = 70
const READ_MS = 20
const ANSWER_MS = 5
const SILENCE_MS = 5_000
/** Every crash comes within this time of the change. */
const CRASHES_WITHIN_MS = 100_000
/** The Lease of who died, and the look that sees it. */
const TAKE_OVER_MS = 17_000

export type Outcome = {
  readonly scenario: Scenario
  /** Seconds from the change until a node proved it, ascending. */
  readonly provedAfter: readonly number[]
  readonly registry: readonly number[]
  readonly api: readonly number[]
  readonly polls: readonly number[]
  /** Most restarts under way in each second. */
  readonly restarting: readonly number[]
  /** When the component knew of the last node that it is as wanted; undefined: not all of them. */
  readonly knownAfter: number | undefined
  readonly halted: string | undefined
  readonly rolledBack: number
  readonly touched: number
}

export async function simulate(scenario: Scenario, seed = 1): Promise<Outcome> {
  const { nodes: count, needsRestart, slow = 0, dead = 0, crashes = 0, isBad = false, registryDownMs = 0 } = scenario
  const timeline = new Timeline()
  const draw = draws(seed)
  const registry = new Registry(registryDownMs)
  const [api, polls] = [new Counts(), new Counts()]
  const provedAfter: number[] = []
  const restarting: number[] = []
  let underWay = 0
  const nodes = new Map<string, SimulatedNode>()
  let config = BEFORE
  for (let index = 0; index < count; index++) {
    const kind = { isDead: draw() < dead, isSlow: draw() < slow }
    const node = new SimulatedNode(index, kind, {
      ...{ timeline, registry, draw, size: count, needsRestart, isBad, current: () => config },
      onProved: () => provedAfter.push(timeline.nowMs / 1000),
      onRestart(change) {
        underWay += change
        const second = Math.floor(timeline.nowMs / 1000)
        restarting[second] = Math.max(restarting[second] ?? 0, underWay)
      },
    })
    node.settle(BEFORE)
    nodes.set(node.name, node)
  }
  const cluster = new SimulatedCluster(timeline, nodes, api)
  config = AFTER
  cluster.config = { digest: AFTER, resume: '' }
  for (const node of nodes.values()) node.changed()
  const client: AgentClient = {
    ask({ node }) {
      polls.add(timeline.nowMs)
      const machine = nodes.get(node)
      if (machine === undefined || machine.isDead)
        return timeline.answer(SILENCE_MS, () => {
          throw new Error('no answer within 5 s')
        })
      return timeline.answer(ANSWER_MS, () => {
        const text = JSON.stringify(machine.summary(timeline.nowMs))
        return { kind: 'summary' as const, text, tag: undefined }
      })
    },
  }
  const components = Array.from({ length: crashes + 1 }, (_, index) => `component-${index}`)
  const lives = new Component(timeline, cluster, client)
  lives.start(components[0] ?? '')
  for (const [index, name] of components.slice(1).entries())
    timeline.after(((index + draw()) * CRASHES_WITHIN_MS) / crashes, () => lives.replaceBy(name))
  let knownAfter: number | undefined
  const alive = [...nodes.values()].filter(({ isDead }) => !isDead).length
  const look = () => {
    const { lines, isLeading } = lives.picture()
    const isKnown = isLeading && lines.filter(({ state }) => state === 'trusted').length >= alive
    if (isKnown && provedAfter.length >= alive) knownAfter ??= timeline.nowMs / 1000
    else timeline.after(1_000, look)
  }
  timeline.after(1_000, look)
  await timeline.run(scenario.untilMs, () => knownAfter !== undefined)
  return {
    ...{ scenario, provedAfter, knownAfter, registry: registry.counts.perSecond(), api: api.perSecond() },
    polls: polls.perSecond(),
    restarting: Array.from(restarting, (most) => most ?? 0),
    halted: lives.picture().halted,
    rolledBack: [...nodes.values()].filter(({ rolledBack }) => rolledBack !== undefined).length,
    touched: cluster.touches,
  }
}

class SimulatedCluster {
  config = { digest: BEFORE, resume: '' }
  touches = 0
  readonly pods: Map<string, SeenPod>
  readonly seen: Map<string, SeenNode>
  readonly #timeline: Timeline
  readonly #nodes: ReadonlyMap<string, SimulatedNode>
  readonly #api: Counts
  #lease: StoredLease = { holder: '', seconds: 15, version: '1', record: '' }

  constructor(timeline: Timeline, nodes: ReadonlyMap<string, SimulatedNode>, api: Counts) {
    this.#timeline = timeline
    this.#nodes = nodes
    this.#api = api
    const note = JSON.stringify({ config: BEFORE, nodes: nodes.size })
    this.pods = new Map([...nodes.keys()].map((node) => [`agent-${node}`, podOf(node, note)]))
    const condition = { status: 'True', reason: 'Trusted', message: '' }
    this.seen = new Map(
      [...nodes.values()].map(({ name, zone, isControlPlane }) => [
        name,
        {
          ...{ name, uid: name, zone, isControlPlane, labels: {}, condition },
          ...{ isReady: true, isCordoned: false, isTainted: false },
        },
      ]),
    )
  }

  /** As one component sees it; `isAlive` is asked before anything of it has an effect. */
  port(isAlive: () => boolean): FleetApi {
    const written = <T>(ms: number, act: () => T) => {
      this.#api.add(this.#timeline.nowMs)
      return this.#timeline.answer(ms, () => {
        if (!isAlive()) throw new Error('the component has died')
        return act()
      })
    }
    return {
      watch: (onChange) => this.#view(onChange),
      readLease: () => written(READ_MS, () => this.#lease),
      writeLease: (wish) =>
        written(READ_MS, () => {
          if (wish.version !== this.#lease.version) return undefined
          this.#lease = { ...wish, version: String(Number(wish.version) + 1) }
          return this.#lease.version
        }),
      annotatePod: (pod, note) =>
        written(PATCH_MS, () => {
          this.touches += 1
          this.pods.set(pod.name, { ...pod, note })
          const told = parseNote(note)
          if (told !== undefined)
            this.#nodes.get(pod.node)?.told({ config: told.config, grant: told.grant, nodes: told.nodes })
          return true
        }),
      setCondition: (name, condition) =>
        written(PATCH_MS, () => {
          const node = this.seen.get(name)
          if (node !== undefined) this.seen.set(name, { ...node, condition })
        }),
      removeStartupTaint: () => written(PATCH_MS, () => undefined),
      tell: () => written(READ_MS, () => undefined),
      watchWaiting: () => ({ pods: () => new Map(), problem: () => undefined, close: () => undefined }),
      wake: () => written(PATCH_MS, () => true),
      resume: () => written(READ_MS, () => undefined),
    }
  }

  #view(_onChange: () => void): FleetView {
    return {
      isSynced: () => true,
      pods: () => this.pods,
      nodes: () => this.seen,
      config: () => this.config,
      close: () => undefined,
    }
  }
}

function podOf(node: string, note: string): SeenPod {
  return { name: `agent-${node}`, uid: node, node, ip: '10.0.0.1', port: 9461, note, isLeaving: false }
}

/** The loop of `registry-trust fleet`, and its end. */
class Component {
  readonly #timeline: Timeline
  readonly #cluster: SimulatedCluster
  readonly #client: AgentClient
  #controller: Controller | undefined
  #life = 0
  #ids = 0

  constructor(timeline: Timeline, cluster: SimulatedCluster, client: AgentClient) {
    this.#timeline = timeline
    this.#cluster = cluster
    this.#client = client
  }

  start(me: string): void {
    const life = ++this.#life
    const timeline = this.#timeline
    const isAlive = () => life === this.#life
    let lastMs = Number.NEGATIVE_INFINITY
    let isBusy = false
    const wake = () => {
      if (isAlive() && !isBusy) timeline.after(SHORTEST_MS - (timeline.nowMs - lastMs), turn)
    }
    const controller = new Controller({
      ...{ api: this.#cluster.port(isAlive), client: this.#client, me, log: SILENT, wake },
      settings: () => DEFAULT_FLEET,
      hosts: () => new Set(),
      clock: { monotonic: () => timeline.nowMs },
      newId: () => (++this.#ids).toString(16).padStart(16, '0'),
    })
    const turn = () => {
      if (!isAlive() || isBusy || timeline.nowMs - lastMs < SHORTEST_MS) return
      isBusy = true
      void controller.turn().then(() => {
        isBusy = false
        lastMs = timeline.nowMs
        timeline.after(TURN_MS, turn)
      })
    }
    this.#controller = controller
    timeline.after(0, turn)
  }

  replaceBy(name: string): void {
    this.#life += 1
    this.#controller = undefined
    this.#timeline.after(TAKE_OVER_MS, () => this.start(name))
  }

  picture() {
    return this.#controller?.picture() ?? { lines: [], isLeading: false, halted: undefined }
  }
}
