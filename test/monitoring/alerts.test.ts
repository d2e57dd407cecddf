// A real Prometheus scrapes the real metrics while things go wrong: each alert fires in its scenario and nowhere else.
import { readdirSync } from 'node:fs'
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { stringify } from 'yaml'
import { ALERTS, JOB } from '../../scripts/monitoring/alerts.ts'
import { ruleGroups } from '../../scripts/monitoring/rules.ts'
import { startAgent } from './agents.ts'
import { type FiringAlert, type Prometheus, startPrometheus, type Target } from './prometheus.ts'
import { type ExpectedAlert, healthy, SCENARIOS } from './scenarios.ts'

const PATIENCE_MS = 15_000

/** Waiting is the business of `promtool test rules`: here every alert fires as soon as its expression is true. */
const IMPATIENT = stringify({
  groups: ruleGroups().groups.map((group) => ({ ...group, rules: group.rules.map(({ for: _wait, ...rule }) => rule) })),
})

type Firing = { readonly [node: string]: readonly string[] }

/** Which alerts fire on which node (the scenario's name is the namespace too: alerts of the fleet have no node). */
function byNode(alerts: readonly FiringAlert[]): Firing {
  const named = alerts.map(
    ({ labels }) => [labels['namespace'] ?? labels['node'] ?? 'fleet', describe(labels)] as const,
  )
  const nodes = [...Map.groupBy(named, ([node]) => node)]
  return Object.fromEntries(nodes.map(([node, list]) => [node, list.map(([, text]) => text).sort()]))
}

function describe({ alertname, severity, ...labels }: FiringAlert['labels']): string {
  const own = ['registry', 'code', 'target', 'path', 'anchor', 'id'].filter((name) => labels[name] !== undefined)
  return [alertname, severity, ...own.map((name) => labels[name])].join(' ')
}

function expected({ name, severity, labels = {} }: ExpectedAlert): string {
  return describe({ alertname: name, severity, ...labels })
}

/** Asks until the answer is the wanted one or the patience ends; the last answer is compared by the caller. */
async function settle(prometheus: Prometheus, wanted: Firing): Promise<Firing> {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const firing = byNode(await prometheus.alerts())
    if (JSON.stringify(sorted(firing)) === JSON.stringify(sorted(wanted)) || Date.now() > deadline) return firing
    await sleep(50)
  }
}

function sorted(firing: Firing): readonly (readonly [string, readonly string[]])[] {
  return Object.entries(firing).sort(([left], [right]) => left.localeCompare(right))
}

t.test('every alert fires in its scenario, nowhere else, and ends with its cause', async (t) => {
  const agents = new Map(
    await Promise.all(SCENARIOS.map(async ({ name }) => [name, await startAgent(t, healthy)] as const)),
  )
  const down = await startAgent(t, healthy)
  let nodes = [...agents.keys(), 'down'].map((node) => kubeNode(node, 'containerd://2.1.9'))
  nodes.push(kubeNode('docker-node', 'docker://26.1.0'))
  const kubeStateMetrics = createServer((_request, response) => response.end(nodes.join('')))
  await new Promise<void>((resolve) => kubeStateMetrics.listen(0, '127.0.0.1', resolve))
  t.teardown(() => kubeStateMetrics.close())
  const port = (kubeStateMetrics.address() as { readonly port: number }).port
  const targets: readonly Target[] = [
    ...[...agents].map(([name, { address }]) => ({ job: JOB, address, labels: { node: name, namespace: name } })),
    { job: JOB, address: down.address, labels: { node: 'down', namespace: 'down' } },
    { job: 'kube-state-metrics', address: `127.0.0.1:${port}`, labels: {} },
  ]
  const prometheus = await startPrometheus(t, { targets, rules: impatientRules() })

  t.strictSame(await settleAfterFirstScrape(prometheus, targets.length), {}, 'all quiet while all is well')

  for (const { name, trouble } of SCENARIOS) {
    agents.get(name)?.behave((metrics, at) => {
      healthy(metrics, at)
      trouble(metrics, at)
    })
  }
  await down.stop()
  nodes.push(kubeNode('bare', 'containerd://2.1.9'))
  const inTrouble: Firing = {
    ...Object.fromEntries(
      SCENARIOS.filter(({ alerts }) => alerts.length > 0).map(({ name, alerts }) => [
        name,
        alerts.map(expected).sort(),
      ]),
    ),
    down: ['RegistryTrustAgentDown warning'],
    bare: ['RegistryTrustAgentMissing warning'],
  }
  t.strictSame(await settle(prometheus, inTrouble), inTrouble)

  for (const { labels, annotations } of await prometheus.alerts()) {
    const texts = `${annotations['summary']} ${annotations['description']}`
    t.notMatch(texts, /<no value>|<error|\{\{|%!|node {2}|node does|Node {2}/, `${labels['alertname']}: ${texts}`)
  }

  nodes = nodes.slice(0, -1)
  for (const agent of agents.values()) agent.behave(healthy)
  const lasting = SCENARIOS.filter(({ endsAfter = 0 }) => endsAfter > 15 * 60).map(({ name }) => name)
  const afterwards = Object.fromEntries(
    Object.entries(inTrouble).filter(([name]) => lasting.includes(name) || name === 'down'),
  )
  t.strictSame(
    await settle(prometheus, afterwards),
    afterwards,
    'what is cured is quiet; what counts the last hour is not yet',
  )

  await Promise.all([...agents.values()].map((agent) => agent.stop()))
  const nobody = Object.fromEntries(
    [...agents.keys(), 'down'].map((name) => [name, ['RegistryTrustAgentDown warning']]),
  )
  const withoutAgents: Firing = { ...nobody, fleet: ['RegistryTrustAgentAbsent critical'] }
  const last = await settleWithout(prometheus, withoutAgents, lasting)
  t.strictSame(last, withoutAgents)
})

t.test('every alert has a scenario and a runbook, and every runbook an alert', async (t) => {
  const inScenarios = SCENARIOS.flatMap(({ alerts }) => alerts.map(({ name, severity }) => `${name} ${severity}`))
  const ofAgents = ['Down warning', 'Missing warning', 'Absent critical'].map((rest) => `RegistryTrustAgent${rest}`)
  t.strictSame(
    new Set([...inScenarios, ...ofAgents]),
    new Set(ALERTS.map(({ name, severity }) => `${name} ${severity}`)),
  )
  const pages = readdirSync(new URL('../../docs/runbooks/', import.meta.url)).filter((page) => page !== 'README.md')
  t.strictSame(pages.sort(), [...new Set(ALERTS.map(({ name }) => `${name}.md`))].sort())
})

function kubeNode(node: string, runtime: string): string {
  return `kube_node_info{node="${node}",container_runtime_version="${runtime}"} 1\n`
}

async function settleAfterFirstScrape(prometheus: Prometheus, targets: number): Promise<Firing> {
  const deadline = Date.now() + PATIENCE_MS
  while ((await prometheus.query('up == 1')).length < targets && Date.now() < deadline) await sleep(50)
  await prometheus.evaluated()
  return byNode(await prometheus.alerts())
}

/** An increase over an hour outlives its agent. */
async function settleWithout(prometheus: Prometheus, wanted: Firing, lasting: readonly string[]): Promise<Firing> {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const firing = byNode(await prometheus.alerts())
    const trimmed = Object.fromEntries(
      sorted(firing).map(([node, alerts]) => [
        node,
        lasting.includes(node) ? alerts.filter((alert) => alert.includes('Agent')) : alerts,
      ]),
    )
    if (JSON.stringify(sorted(trimmed)) === JSON.stringify(sorted(wanted)) || Date.now() > deadline) return trimmed
    await sleep(50)
  }
}
