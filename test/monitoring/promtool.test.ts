// promtool checks the rules and runs every scenario over simulated time: when each alert begins, what it says, when it
// ends.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse, stringify } from 'yaml'
import { METRICS } from '../../agent/telemetry/metric-table.ts'
import { ALERTS, JOB, runbookUrl } from '../../scripts/monitoring/alerts.ts'
import { ruleGroups } from '../../scripts/monitoring/rules.ts'
import { promtool } from '../fixtures/monitoring/prometheus.ts'
import { record } from '../fixtures/monitoring/recording.ts'
import { type ExpectedAlert, healthy, SCENARIOS, type Scenario } from '../fixtures/monitoring/scenarios.ts'

const RULES = new URL('../../daemonset/monitoring/rules.yaml', import.meta.url).pathname
const INSTANCE = '10.1.2.3:9461'
const ONSET = 600
const MINUTE = 60

const ASKED = new Set(
  Object.values(METRICS)
    .map(({ name }) => name)
    .filter((name) => ALERTS.some(({ expr }) => expr.includes(name))),
)

type RuleTest = {
  readonly interval: string
  readonly input_series: readonly object[]
  readonly alert_rule_test: readonly object[]
}

async function ruleTest(scenario: Scenario): Promise<RuleTest> {
  const { name, alerts, trouble, quietFor, endsAfter = MINUTE, step = MINUTE } = scenario
  const first = ONSET + (quietFor ?? 0)
  const end = first + 10 * step
  const quietAgain = end + Math.ceil(endsAfter / step) * step
  const series = await record({
    seconds: quietAgain,
    step,
    names: ASKED,
    targetLabels: { job: JOB, namespace: 'registry-trust', node: name, instance: INSTANCE },
    feed(metrics, at) {
      healthy(metrics, at)
      if (at >= ONSET && at < end) trouble(metrics, at)
    },
  })
  return {
    interval: `${step}s`,
    input_series: series,
    alert_rule_test: [
      ...moment(first - step, []),
      ...moment(first, alerts, name),
      ...moment(end - step, alerts, name),
      ...moment(quietAgain, []),
    ],
  }
}

/** All alerts are asked for: those not expected must be silent. */
function moment(at: number, expected: readonly ExpectedAlert[], node = ''): readonly object[] {
  return [...new Set(ALERTS.map(({ name }) => name))].map((alertname) => ({
    eval_time: `${at}s`,
    alertname,
    exp_alerts: expected
      .filter(({ name }) => name === alertname)
      .map((alert) => ({ exp_labels: labels(alert, node), exp_annotations: annotations(alert) })),
  }))
}

function labels({ severity, labels: own = {}, ofFleet }: ExpectedAlert, node: string): object {
  const scraped = ofFleet === true ? {} : { node, instance: INSTANCE }
  return { severity, job: JOB, namespace: 'registry-trust', ...scraped, ...own }
}

function annotations({ name, severity, summary, labels: own = {} }: ExpectedAlert): object {
  const alert = ALERTS.find((candidate) => candidate.name === name && candidate.severity === severity)
  if (alert === undefined) throw new Error(`there is no ${severity} alert ${name}`)
  const description = alert.description.replace('{{ $labels.fingerprint }}', own['fingerprint'] ?? '')
  return { summary, description, runbook_url: runbookUrl(alert) }
}

function testFile(folder: string, name: string, tests: readonly RuleTest[], evaluation = '1m'): string {
  const file = join(folder, `${name}.yaml`)
  writeFileSync(file, JSON.stringify({ rule_files: [RULES], evaluation_interval: evaluation, tests }))
  return file
}

t.test('promtool finds nothing wrong with the rules', async (t) => {
  t.match(
    await promtool('check', 'rules', '--lint=all', '--lint-fatal', RULES),
    `SUCCESS: ${ALERTS.length} rules found`,
  )
})

t.test('the PrometheusRule holds the same groups as the plain rules file', async (t) => {
  const plain: unknown = parse(readFileSync(RULES, 'utf8'))
  const wrapped = parse(readFileSync(RULES.replace('rules.yaml', 'prometheusrule.yaml'), 'utf8')) as {
    readonly kind: string
    readonly spec: unknown
  }
  t.equal(wrapped.kind, 'PrometheusRule')
  t.strictSame(wrapped.spec, plain)
  t.strictSame(plain, parse(stringify(ruleGroups())))
})

t.test('each alert begins when it should, says what it should, and ends', async (t) => {
  const folder = t.testdir()
  const files: string[] = []
  for (const [index, scenario] of SCENARIOS.entries())
    files.push(testFile(folder, `${index}`, [await ruleTest(scenario)], `${scenario.step ?? MINUTE}s`))
  // One promtool for all: it ends with an error where one of them fails, and names it.
  const said = await promtool('test', 'rules', ...files)
  const answers = said.split('Unit Testing:').slice(1)
  t.equal(answers.length, SCENARIOS.length)
  for (const [index, { name }] of SCENARIOS.entries())
    t.ok(answers[index]?.includes(files[index] ?? '?') && answers[index].includes('SUCCESS'), name)
})

t.test(
  'an agent that is gone is told from one that never was, and a node is named by its address if need be',
  async (t) => {
    const up = (values: string) => ({ series: `up{job="${JOB}",instance="${INSTANCE}"}`, values })
    const info = (values: string) => ({ series: `${METRICS.buildInfo.name}{version="0.1.0",node="old"}`, values })
    const node = (name: string, runtime: string) => ({
      series: `kube_node_info{node="${name}",container_runtime_version="${runtime}"}`,
      values: '1x60',
    })
    const alert = (alertname: string, seconds: number, expected: readonly object[]) => ({
      alertname,
      eval_time: `${seconds}s`,
      exp_alerts: expected,
    })
    const down = {
      exp_labels: { severity: 'warning', job: JOB, instance: INSTANCE },
      exp_annotations: texts('RegistryTrustAgentDown', `The agent on node ${INSTANCE} does not answer.`),
    }
    const missing = {
      exp_labels: { severity: 'warning', node: 'bare', container_runtime_version: 'containerd://2.1.9' },
      exp_annotations: texts('RegistryTrustAgentMissing', 'Node bare runs containerd, but no agent.'),
    }
    const absent = {
      exp_labels: { severity: 'critical' },
      exp_annotations: texts('RegistryTrustAgentAbsent', 'No agent is scraped at all.'),
    }
    const tests: RuleTest = {
      interval: '1m',
      input_series: [
        up('1x9 0x50'),
        info('1x19 stale'),
        node('old', 'containerd://1.7.1'),
        node('bare', 'containerd://2.1.9'),
        node('other', 'docker://26.1'),
      ],
      alert_rule_test: [
        alert('RegistryTrustAgentDown', 19 * MINUTE, []),
        alert('RegistryTrustAgentDown', 20 * MINUTE, [down]),
        alert('RegistryTrustAgentMissing', 14 * MINUTE, []),
        alert('RegistryTrustAgentMissing', 15 * MINUTE, [missing]),
        alert('RegistryTrustAgentAbsent', 34 * MINUTE, []),
        alert('RegistryTrustAgentAbsent', 35 * MINUTE, [absent]),
      ],
    }
    t.match(await promtool('test', 'rules', testFile(t.testdir(), 'gone', [tests])), 'SUCCESS')
  },
)

function texts(name: string, summary: string): object {
  return annotations({ name, summary, severity: ALERTS.find((alert) => alert.name === name)?.severity ?? '' })
}

t.test('the example scrape configuration takes the Pods of the agent and names their nodes', async (t) => {
  const text = readFileSync(new URL('../../daemonset/monitoring/prometheus.yaml', import.meta.url), 'utf8')
  const config = parse(text) as { readonly scrape_configs: readonly { readonly kubernetes_sd_configs?: unknown }[] }
  const pod = (port: string) => ({
    targets: [`10.1.2.3:${port === 'http' ? 9461 : 1}`],
    labels: {
      __meta_kubernetes_namespace: 'registry-trust',
      __meta_kubernetes_pod_name: 'registry-trust-x',
      __meta_kubernetes_pod_node_name: 'worker-1',
      __meta_kubernetes_pod_label_app_kubernetes_io_name: 'registry-trust',
      __meta_kubernetes_pod_container_port_name: port,
    },
  })
  // What the API server would tell, in the same words: this promtool has no client for it.
  const [pods, hosts] = config.scrape_configs
  const { kubernetes_sd_configs: discovery, ...rest } = pods ?? {}
  t.ok(discovery)
  const local = { ...rest, static_configs: [pod('http'), pod('debug')] }
  const file = join(t.testdir(), 'prometheus.yaml')
  writeFileSync(file, JSON.stringify({ ...config, rule_files: [RULES], scrape_configs: [local, hosts] }))
  t.match(await promtool('check', 'config', file), `SUCCESS: ${ALERTS.length} rules found`)
  t.strictSame(await discovered(file, 'registry-trust'), [
    { node: 'worker-1', namespace: 'registry-trust', pod: 'registry-trust-x', job: JOB, instance: '10.1.2.3:9461' },
  ])
  t.strictSame(await discovered(file, 'registry-trust-hosts'), [
    { node: 'build-1.example.net', job: JOB, instance: 'build-1.example.net:9461' },
  ])
})

type Labels = { readonly [name: string]: string }

/** The labels of the targets that remain, without Prometheus' own (`__address__` …). */
async function discovered(file: string, job: string): Promise<readonly object[]> {
  const output = await promtool('check', 'service-discovery', '--timeout=1s', file, job)
  const targets = JSON.parse(output.slice(output.indexOf('['))) as readonly { readonly labels?: Labels }[]
  return targets
    .map(({ labels = {} }) => Object.fromEntries(Object.entries(labels).filter(([name]) => !name.startsWith('__'))))
    .filter((labels) => Object.keys(labels).length > 0)
}
