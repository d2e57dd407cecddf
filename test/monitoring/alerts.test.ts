// A real Prometheus scrapes the real metrics while things go wrong: each alert fires in its scenario and nowhere else.
import { readdirSync } from 'node:fs'
import { createServer } from 'node:http'
import t from 'tap'
import { ALERTS, JOB } from '../../scripts/monitoring/alerts.ts'
import { startAgent } from '../fixtures/monitoring/agents.ts'
import { byNode, describe, type Firing, impatientRules, settle } from '../fixtures/monitoring/firing.ts'
import { startPrometheus, type Target } from '../fixtures/monitoring/prometheus.ts'
import { type ExpectedAlert, healthy, SCENARIOS } from '../fixtures/monitoring/scenarios.ts'

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

  await prometheus.scraped(targets.length)
  t.strictSame(byNode(await prometheus.alerts()), {}, 'all quiet while all is well')

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
  // An increase over an hour outlives its agent.
  const withoutLasting = (firing: Firing): Firing =>
    Object.fromEntries(
      Object.entries(firing).map(([node, list]) => [
        node,
        lasting.includes(node) ? list.filter((alert) => alert.includes('Agent')) : list,
      ]),
    )
  t.strictSame(await settle(prometheus, withoutAgents, withoutLasting), withoutAgents)
})

t.test('every alert has a scenario and a runbook, and every runbook an alert', async (t) => {
  const inScenarios = SCENARIOS.flatMap(({ alerts }) => alerts.map(({ name, severity }) => `${name} ${severity}`))
  const ofAgents = ['Down warning', 'Missing warning', 'Absent critical'].map((rest) => `RegistryTrustAgent${rest}`)
  t.strictSame(
    new Set([...inScenarios, ...ofAgents]),
    // Those about the fleet have a test of their own: fleet-alerts.test.ts.
    new Set(ALERTS.filter(isOfAgents).map(({ name, severity }) => `${name} ${severity}`)),
  )
  const pages = readdirSync(new URL('../../docs/runbooks/', import.meta.url)).filter((page) => page !== 'README.md')
  t.strictSame(pages.sort(), [...new Set(ALERTS.map(({ name }) => `${name}.md`))].sort())
})

function isOfAgents({ name }: { readonly name: string }): boolean {
  return !name.startsWith('RegistryTrustFleet')
}

function kubeNode(node: string, runtime: string): string {
  return `kube_node_info{node="${node}",container_runtime_version="${runtime}"} 1\n`
}

function expected({ name, severity, labels = {} }: ExpectedAlert): string {
  return describe({ alertname: name, severity, ...labels })
}
