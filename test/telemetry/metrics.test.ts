import t from 'tap'
import type { NodeStatus } from '../../agent/model/status.ts'
import { METRICS } from '../../agent/telemetry/metric-table.ts'
import { createMetrics, type Metrics } from '../../agent/telemetry/metrics.ts'
import { SAMPLE, TRUSTED, UNPROVED, UNTRUSTED } from '../fixtures/http/sample-status.ts'

const NOW = Date.parse('2026-11-21T11:00:00.000Z')

/**
 * The text as a scraper reads it: series → value. Fails on a line that is no sample, and on a series that stands twice.
 */
async function scrape(metrics: Metrics): Promise<ReadonlyMap<string, number>> {
  const series = new Map<string, number>()
  for (const line of (await metrics.text()).split('\n')) {
    if (line === '' || line.startsWith('#')) continue
    const match = /^([a-z_]+(?:\{[^}]*\})?) (\S+)$/.exec(line)
    if (match === null) throw new Error(`not a sample: ${line}`)
    const [, name = '', value] = match
    if (series.has(name)) throw new Error(`twice: ${name}`)
    series.set(name, Number(value))
  }
  return series
}

function fresh(): Metrics {
  return createMetrics({ version: '0.1.0', now: () => NOW })
}

function startingWith(series: ReadonlyMap<string, number>, prefix: string): { readonly [name: string]: number } {
  return Object.fromEntries([...series].filter(([name]) => name.startsWith(`${prefix}{`) || name === prefix))
}

t.test('every metric of the table is in the text, with its help and type', async (t) => {
  const metrics = fresh()
  t.equal(metrics.contentType, 'text/plain; version=0.0.4; charset=utf-8')
  const text = await metrics.text()
  for (const { name, help, kind } of Object.values(METRICS)) {
    t.ok(text.includes(`# HELP ${name} ${help}\n# TYPE ${name} ${kind}\n`), name)
    t.match(name, kind === 'counter' ? /_total$/ : /[a-z]$/)
  }
})

t.test('the status is mirrored in the gauges', async (t) => {
  const metrics = fresh()
  metrics.observeStatus(SAMPLE)
  const series = await scrape(metrics)
  const expected: { readonly [name: string]: number } = {
    'registry_trust_build_info{version="0.1.0"}': 1,
    'registry_trust_node_info{containerd_version="2.1.9",layout="plain",config_version="3"}': 1,
    'registry_trust_registry_trusted{registry="registry.example.net:5000"}': 1,
    'registry_trust_registry_trusted{registry="harbor.example.net"}': 0,
    'registry_trust_registry_trusted{registry="new.example.net"}': 0,
    'registry_trust_registry_finding{registry="harbor.example.net",code="unknown-authority"}': 1,
    'registry_trust_drift{target="containerd-hosts",kind="changed"}': 1,
    [`registry_trust_anchor_not_after_timestamp_seconds{anchor="corp-root",fingerprint="sha256:${'ab'.repeat(32)}"}`]:
      Date.parse('2026-12-01T00:00:00Z') / 1000,
    'registry_trust_proof_last_success_timestamp_seconds{registry="registry.example.net:5000"}':
      Date.parse('2026-11-21T10:59:00Z') / 1000,
    registry_trust_restart_pending: 1,
  }
  for (const [name, value] of Object.entries(expected)) t.equal(series.get(name), value, name)
  t.equal(
    Object.keys(startingWith(series, 'registry_trust_anchor_not_after_timestamp_seconds')).length,
    1,
    'none for an anchor without certificate',
  )
})

t.test(
  'registry_trusted is TLS trust proved live: a login problem keeps it 1, a rehearsal does not make it 1',
  async (t) => {
    const metrics = fresh()
    const login = { ...UNTRUSTED, host: 'login', finding: { ...UNTRUSTED.finding, code: 'unauthorized' } } as const
    const rehearsed = {
      ...TRUSTED,
      host: 'rehearsed',
      state: 'rehearsed',
      lastProof: { level: 'manifest', by: 'rehearsal', at: SAMPLE.transactions[0]?.at ?? '', durationMs: 1 },
    } as const
    metrics.observeStatus({ ...SAMPLE, registries: [login, rehearsed] })
    t.strictSame(startingWith(await scrape(metrics), 'registry_trust_registry_trusted'), {
      'registry_trust_registry_trusted{registry="login"}': 1,
      'registry_trust_registry_trusted{registry="rehearsed"}': 0,
    })
  },
)

t.test('what leaves the configuration leaves the metrics, what stays keeps its counts', async (t) => {
  const metrics = fresh()
  metrics.observeStatus(SAMPLE)
  for (const { host } of SAMPLE.registries)
    metrics.proof({ registry: host, level: 'manifest', code: 'trusted', durationMs: 20 })
  metrics.proof({ registry: UNTRUSTED.host, level: 'manifest', code: 'unknown-authority', durationMs: 20 })
  metrics.observeStatus({
    ...SAMPLE,
    registries: [UNPROVED],
    anchors: [],
    drift: [],
    containerd: { ...SAMPLE.containerd, version: null },
  })
  const series = await scrape(metrics)
  const text = [...series.keys()].join('\n')
  t.notMatch(text, /registry\.example\.net:5000|harbor\.example\.net|corp-root|node_info|registry_trust_drift\{/)
  t.equal(series.get('registry_trust_proofs_total{registry="new.example.net",level="manifest",code="trusted"}'), 1)
})

t.test('a changed finding replaces the former one', async (t) => {
  const metrics = fresh()
  metrics.observeStatus(SAMPLE)
  metrics.observeStatus({ ...SAMPLE, registries: [{ ...UNTRUSTED, finding: { ...UNTRUSTED.finding, code: 'dns' } }] })
  t.strictSame(startingWith(await scrape(metrics), 'registry_trust_registry_finding'), {
    'registry_trust_registry_finding{registry="harbor.example.net",code="dns"}': 1,
  })
})

t.test('a failing proof leaves the time of the last success', async (t) => {
  const metrics = fresh()
  const at = (time: string, code: 'trusted' | 'timeout'): NodeStatus => ({
    ...SAMPLE,
    registries: [
      {
        ...TRUSTED,
        finding: { ...TRUSTED.finding, code },
        lastProof: { level: 'pull', by: 'live', at: time, durationMs: 1 },
      },
    ],
  })
  metrics.observeStatus(at('2026-11-21T10:00:00Z', 'trusted'))
  metrics.observeStatus(at('2026-11-21T10:30:00Z', 'timeout'))
  t.strictSame(
    Object.values(startingWith(await scrape(metrics), 'registry_trust_proof_last_success_timestamp_seconds')),
    [Date.parse('2026-11-21T10:00:00Z') / 1000],
  )
})

t.test('counters with closed lists of labels start at 0', async (t) => {
  const series = await scrape(fresh())
  t.equal(series.get('registry_trust_reconcile_total{result="rolled-back"}'), 0)
  t.equal(series.get('registry_trust_containerd_restarts_total{reason="apply",result="failed"}'), 0)
  t.equal(series.get('registry_trust_rollbacks_total'), 0)
})

t.test('each verb feeds its metric', async (t) => {
  const metrics = fresh()
  metrics.proof({ registry: 'r', level: 'pull', code: 'timeout', durationMs: 300 })
  metrics.driftDetected('docker', 2)
  metrics.driftHealed('docker')
  metrics.plan(4)
  metrics.reconcile('committed', 0.7)
  metrics.restart('rollback', 'succeeded')
  metrics.rollback()
  metrics.deprecations(['io.containerd.deprecation/cri-registry-mirrors'])
  metrics.defects(['config-path-list'])
  const series = await scrape(metrics)
  const expected: { readonly [name: string]: number } = {
    'registry_trust_proofs_total{registry="r",level="pull",code="timeout"}': 1,
    'registry_trust_proof_duration_seconds_bucket{le="0.25",level="pull"}': 0,
    'registry_trust_proof_duration_seconds_bucket{le="0.5",level="pull"}': 1,
    'registry_trust_drift_detected_total{target="docker"}': 2,
    'registry_trust_drift_healed_total{target="docker"}': 1,
    registry_trust_plan_changes: 4,
    'registry_trust_reconcile_total{result="committed"}': 1,
    registry_trust_reconcile_duration_seconds_sum: 0.7,
    'registry_trust_containerd_restarts_total{reason="rollback",result="succeeded"}': 1,
    registry_trust_rollbacks_total: 1,
    'registry_trust_containerd_known_defects{id="config-path-list"}': 1,
    'registry_trust_containerd_deprecations{id="io.containerd.deprecation/cri-registry-mirrors"}': 1,
  }
  for (const [name, value] of Object.entries(expected)) t.equal(series.get(name), value, name)
  metrics.deprecations([])
  t.strictSame(startingWith(await scrape(metrics), 'registry_trust_containerd_deprecations'), {})
})

t.test('an invalid configuration drops config_valid and keeps the time of the last good one', async (t) => {
  const metrics = fresh()
  metrics.config(true)
  metrics.config(false)
  const series = await scrape(metrics)
  t.equal(series.get('registry_trust_config_valid'), 0)
  t.equal(series.get('registry_trust_config_last_reload_success_timestamp_seconds'), NOW / 1000)
  metrics.config(true, 17)
  t.equal((await scrape(metrics)).get('registry_trust_config_last_reload_success_timestamp_seconds'), 17)
})

t.test('the standard process metrics are there, and CPU adds up', async (t) => {
  const series = await scrape(fresh())
  for (const name of [
    'process_resident_memory_bytes',
    'process_open_fds',
    'process_max_fds',
    'process_start_time_seconds',
    'nodejs_heap_size_used_bytes',
  ]) {
    t.ok((series.get(name) ?? 0) > 0, name)
  }
  const [total = 0, user = 0, system = 0] = ['', '_user', '_system'].map((part) =>
    series.get(`process_cpu${part}_seconds_total`),
  )
  t.ok(user > 0)
  t.ok(Math.abs(total - user - system) < 1e-9)
})

t.test('two sets of metrics do not share a registry', async (t) => {
  const first = fresh()
  const second = fresh()
  first.rollback()
  t.equal((await scrape(second)).get('registry_trust_rollbacks_total'), 0)
})

t.test('a label value cannot forge a sample', async (t) => {
  const metrics = fresh()
  metrics.proof({ registry: 'a"} 1\nregistry_trust_rollbacks_total 99 #', level: 'pull', code: 'dns', durationMs: 1 })
  const lines = (await metrics.text()).split('\n')
  t.equal(lines.filter((line) => line.startsWith('registry_trust_rollbacks_total ')).length, 1)
})
