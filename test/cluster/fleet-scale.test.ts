// The fleet component's cost on Kubernetes' own API server: what it writes, takes and how fast it tells. A small fleet
// by default; FLEET_NODES=1000 for the one of docs/fleet.md.
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { digestOfConfigMap } from '../../agent/config/config-digest.ts'
import type { Tree } from '../fixtures/cluster/kubernetes.ts'
import { onKubernetes } from '../fixtures/cluster/test-cluster.ts'
import { Agents } from '../fixtures/fleet/agents.ts'
import { declare, fleetOf, install, startComponent, until } from '../fixtures/fleet/component.ts'

const NODES = Number(process.env['FLEET_NODES'] ?? 30)
/** Of more nodes an earlier component has told and said everything: that takes minutes and is not measured. */
const MOST_NEW_NODES = 1_000
const QUIET_SECONDS = NODES <= 100 ? 8 : NODES <= MOST_NEW_NODES ? 60 : 30
const TOUCHES_PER_SECOND = 50
const SETTINGS = 'registries: []\n'
const TICKS_PER_SECOND = 100

t.setTimeout(1_800_000)
const clusters = onKubernetes(t)

/** Seconds of processor time so far, and the most memory that it ever had (MiB). */
function costOf(pid: number): { readonly seconds: number; readonly mebibytes: number } {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  const ticks = Number(fields[11]) + Number(fields[12])
  const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return { seconds: ticks / TICKS_PER_SECOND, mebibytes: Number(peak) / 1024 }
}

clusters.test(`${NODES} nodes: a change is told in time, and quiet costs next to nothing`, async (t, kubernetes) => {
  await install(kubernetes)
  await declare(kubernetes, 'first: 1')
  const isOld = NODES > MOST_NEW_NODES
  const agents = new Agents(kubernetes, { count: NODES, ...(isOld && { follows: digestOf('first: 1') }) })
  await agents.start(t)
  const component = await startComponent(t, kubernetes, 'one', SETTINGS)
  const areTrusted = async () => (await fleetOf(component, '?limit=1')).totals.states['trusted'] === NODES
  await until(areTrusted, 'all are trusted', 600_000, 500)
  const areSaid = async () => {
    const { body } = await kubernetes.request('GET', '/api/v1/nodes')
    const { items } = body as {
      readonly items: readonly { readonly status: { readonly conditions?: readonly Tree[] } }[]
    }
    return items.every(({ status }) => status.conditions?.some(({ type }) => type === 'RegistryTrustReady') === true)
  }
  await until(areSaid, 'all conditions are written', 900_000, 2_000)
  await sleep(2_000)

  const pid = component.child.pid ?? 0
  const before = costOf(pid)
  const begun = kubernetes.audit().length
  await sleep(QUIET_SECONDS * 1000)
  const own = kubernetes.audit().slice(begun)
  const quietWrites = own.filter(({ user, verb }) => user.endsWith('-fleet') && WRITES.has(verb)).length / QUIET_SECONDS
  const cpu = (costOf(pid).seconds - before.seconds) / QUIET_SECONDS
  t.ok(quietWrites <= 1, `${quietWrites.toFixed(2)} writes a second when nothing changes`)
  t.ok(cpu <= 0.1, `${(cpu * 100).toFixed(1)} % of a core when nothing changes`)

  const configBefore = agents.configOf()
  const changed = performance.now()
  await declare(kubernetes, 'second: 1')
  const isTold = () => {
    const configs = new Set([...agents.machines.values()].map(({ annotation }) => annotation?.config))
    return agents.configOf() !== configBefore && configs.size === 1 && configs.has(agents.configOf())
  }
  await until(isTold, 'every Pod is told', 600_000, 50)
  const told = (performance.now() - changed) / 1000
  const most = NODES / TOUCHES_PER_SECOND + 5
  t.ok(told <= most, `the last Pod was patched after ${told.toFixed(1)} s, ${most} s are allowed`)
  await until(areTrusted, 'all are trusted again', 600_000, 500)
  const { mebibytes } = costOf(pid)
  t.ok(mebibytes <= 256, `${mebibytes.toFixed(0)} MiB at most`)
  const total = ((performance.now() - changed) / 1000).toFixed(1)
  process.stderr.write(
    `# ${NODES} nodes: ${quietWrites.toFixed(2)} writes/s, ${(cpu * 100).toFixed(1)} % of a core, ${mebibytes.toFixed(0)} MiB, told ${told.toFixed(1)} s, all answered ${total} s\n`,
  )
})

function digestOf(text: string): string {
  return digestOfConfigMap({ data: { 'trust.yaml': text } })
}

const WRITES: ReadonlySet<string> = new Set(['patch', 'update', 'create', 'delete'])
