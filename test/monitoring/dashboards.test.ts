// Every query of the dashboards is put to a real Prometheus that has scraped agents in every state: all are valid, all
// find something.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { JOB } from '../../scripts/monitoring/alerts.ts'
import { FLEET_DASHBOARD } from '../../scripts/monitoring/fleet-dashboard.ts'
import { NODE_DASHBOARD } from '../../scripts/monitoring/node-dashboard.ts'
import { startAgent, startFleetComponent } from '../fixtures/monitoring/agents.ts'
import { certificateOf } from '../fixtures/monitoring/certificate.ts'
import { startPrometheus } from '../fixtures/monitoring/prometheus.ts'
import { healthy, SCENARIOS } from '../fixtures/monitoring/scenarios.ts'

type Panel = {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly description?: string
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly targets?: readonly { readonly refId: string; readonly expr: string }[]
}
type Dashboard = {
  readonly uid: string
  readonly templating: { readonly list: readonly { readonly name: string; readonly query?: unknown }[] }
  readonly panels: readonly Panel[]
}

const DASHBOARDS = [FLEET_DASHBOARD, NODE_DASHBOARD] as unknown as readonly Dashboard[]
const PATIENCE_MS = 60_000

/** As Grafana does before it asks. */
function substitute(expr: string, node: string): string {
  return expr.replaceAll('$cluster', '.*').replaceAll('$node', node).replaceAll('$__rate_interval', '1m')
}

t.test('every query of every panel has an answer', async (t) => {
  const everything = await startAgent(t, (metrics, at) => {
    healthy(metrics, at)
    for (const { trouble } of SCENARIOS) trouble(metrics, at)
    // The last word on the status is of a node with drift, which the scenarios have in turn.
    SCENARIOS.find(({ name }) => name === 'drift')?.trouble(metrics, at)
    SCENARIOS.find(({ name }) => name === 'fight')?.trouble(metrics, at)
    metrics.registryFacts([
      { registry: 'harbor.example.net', loginAccepted: true, servedNotAfter: '2030-01-01T00:00:00Z' },
    ])
    metrics.deprecations(['io.containerd.deprecation/x'])
    metrics.certificates([{ path: '/etc/ssl/certs/corp-root.pem', pem: certificateOf(t) }])
  })
  const other = await startAgent(t, (metrics, at) => {
    healthy(metrics, at)
    SCENARIOS.find(({ name }) => name === 'lost')?.trouble(metrics, at)
  })
  const component = await startFleetComponent(t)
  const targets = [
    { job: 'registry-trust-fleet', address: component, labels: {} },
    { job: JOB, address: everything.address, labels: { node: 'worker-1' } },
    { job: JOB, address: other.address, labels: { node: 'worker-2', cluster: 'other' } },
  ]
  const prometheus = await startPrometheus(t, { targets, rules: 'groups: []' })
  const asked = DASHBOARDS.flatMap(({ uid, panels }) =>
    panels.flatMap(({ title, targets = [] }) =>
      targets.map(({ refId, expr }) => ({ where: `${uid}: ${title} ${refId}`, expr: substitute(expr, 'worker-1') })),
    ),
  )
  t.ok(asked.length > 40)
  const empty = async () => {
    const answers = await Promise.all(
      asked.map(async ({ where, expr }) => ({ where, expr, found: await prometheus.query(expr) })),
    )
    return answers.filter(({ found }) => found.length === 0 || found.some(({ value }) => value[1] === 'NaN'))
  }
  const deadline = Date.now() + PATIENCE_MS
  // The answer that ends it is judged: a later one may come between two scrapes.
  let left = await empty()
  while (left.length > 0 && Date.now() < deadline) {
    await sleep(250)
    left = await empty()
  }
  t.strictSame(
    left.map(({ where, expr }) => `${where}: ${expr}`),
    [],
  )
  const nodes = await prometheus.query('count(registry_trust_node_state{cluster=~".*"})')
  t.equal(nodes[0]?.value[1], '2', 'a node without the label cluster counts too')
})

t.test(
  'the dashboards are well formed: own ids, no overlap, every panel explained, only known variables',
  async (t) => {
    for (const { uid, panels, templating } of DASHBOARDS) {
      const ids = panels.map(({ id }) => id)
      t.equal(new Set(ids).size, ids.length, `${uid}: ids`)
      const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
        Array.from({ length: w * h }, (_cell, index) => `${x + (index % w)}:${y + Math.floor(index / w)}`),
      )
      t.equal(new Set(cells).size, cells.length, `${uid}: overlap`)
      t.ok(
        panels.every(({ gridPos: { x, w } }) => x + w <= 24),
        `${uid}: width`,
      )
      t.strictSame(
        panels.filter(({ type, description = '' }) => type !== 'row' && description === ''),
        [],
      )
      const known = new Set([
        ...templating.list.map(({ name }) => name),
        '__rate_interval',
        '__url_time_range',
        '__value',
      ])
      const used = [...JSON.stringify(panels).matchAll(/\$\{?(\w+)/g)].map(([, name]) => name ?? '')
      t.strictSame(
        used.filter((name) => !known.has(name)),
        [],
        `${uid}: variables`,
      )
    }
    t.match(JSON.stringify(FLEET_DASHBOARD), `/d/${NODE_DASHBOARD.uid}?`, 'the fleet leads to the node')
  },
)
