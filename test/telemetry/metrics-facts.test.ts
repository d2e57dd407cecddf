import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { TARGET_NAMES } from '../../agent/model/plan.ts'
import { createMetrics, type Metrics } from '../../agent/telemetry/metrics.ts'
import { SAMPLE } from '../fixtures/http/sample-status.ts'

async function samples(metrics: Metrics, pattern: RegExp): Promise<readonly string[]> {
  return (await metrics.text()).split('\n').filter((line) => pattern.test(line))
}

t.test(
  'a fact about a registry has a series only where it is known, and only as long as the registry is named',
  async (t) => {
    const metrics = createMetrics({ version: '0.1.0' })
    metrics.registryFacts([
      { registry: 'a.example', loginAccepted: true, servedNotAfter: '2026-12-01T00:00:00Z', proofEverySeconds: 600 },
      { registry: 'b.example', loginAccepted: false },
      { registry: 'c.example' },
    ])
    const known =
      /^registry_trust_(registry_login|served_certificate_not_after_timestamp_seconds|proof_interval_seconds)\{/
    t.strictSame(await samples(metrics, known), [
      'registry_trust_registry_login{registry="a.example"} 1',
      'registry_trust_registry_login{registry="b.example"} 0',
      'registry_trust_proof_interval_seconds{registry="a.example"} 600',
      'registry_trust_served_certificate_not_after_timestamp_seconds{registry="a.example"} 1796083200',
    ])
    metrics.registryFacts([{ registry: 'b.example' }])
    t.strictSame(await samples(metrics, known), [])
  },
)

t.test('the node has exactly one state', async (t) => {
  const metrics = createMetrics({ version: '0.1.0' })
  metrics.observeStatus(SAMPLE)
  metrics.observeStatus({ ...SAMPLE, state: 'rolled-back' })
  t.strictSame(await samples(metrics, /^registry_trust_node_state\{/), [
    'registry_trust_node_state{state="rolled-back"} 1',
  ])
})

t.test('a path is in conflict until it is no longer named', async (t) => {
  const metrics = createMetrics({ version: '0.1.0' })
  metrics.writerConflicts(['/etc/containerd/certs.d/a.example/hosts.toml'])
  t.strictSame(await samples(metrics, /^registry_trust_writer_conflict/), [
    'registry_trust_writer_conflict{path="/etc/containerd/certs.d/a.example/hosts.toml"} 1',
  ])
  metrics.writerConflicts([])
  t.strictSame(await samples(metrics, /^registry_trust_writer_conflict/), [])
})

t.test('every counter of drift starts at 0, so that its first increase is seen', async (t) => {
  const metrics = createMetrics({ version: '0.1.0' })
  const zero = await samples(metrics, /^registry_trust_drift_(detected|healed)_total\{.*\} 0$/)
  t.equal(zero.length, 2 * TARGET_NAMES.length)
})

t.test('certificates are told under the names and labels of x509-certificate-exporter', async (t) => {
  const folder = t.testdir()
  const subject = '/C=DE/ST=Berlin/L=Berlin/O=Example, Inc/OU=One/OU=Two/CN=Corp Root'
  const command = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', subject]
  const output = ['-set_serial', '0xff', '-days', '30', '-keyout', `${folder}/key.pem`, '-out', `${folder}/ca.pem`]
  execFileSync('openssl', [...command, ...output], { stdio: 'ignore' })
  const pem = readFileSync(`${folder}/ca.pem`, 'utf8')
  let now = Date.now()
  const metrics = createMetrics({ version: '0.1.0', now: () => now })
  metrics.certificates([{ path: '/etc/containerd/certs.d/a.example/ca.crt', pem }])
  const name = (prefix: string) =>
    `${prefix}_C="DE",${prefix}_ST="Berlin",${prefix}_L="Berlin",${prefix}_O="Example, Inc",${prefix}_OU="One,Two",${prefix}_CN="Corp Root"`
  const labels = `serial_number="255",${name('subject')},${name('issuer')},filename="ca.crt",filepath="/etc/containerd/certs.d/a.example/ca.crt"`
  const expired = () => samples(metrics, /^x509_cert_expired/)
  t.strictSame(await expired(), [`x509_cert_expired{${labels}} 0`])
  const [notAfter = ''] = await samples(metrics, /^x509_cert_not_after/)
  t.ok(notAfter.startsWith(`x509_cert_not_after{${labels}} `))
  t.ok(Math.abs(Number(notAfter.split(' ').at(-1)) - Date.now() / 1000 - 30 * 86_400) < 600)
  now += 31 * 86_400_000
  t.strictSame(await expired(), [`x509_cert_expired{${labels}} 1`], 'the clock alone makes it expired')
  metrics.certificates([])
  t.strictSame(await samples(metrics, /^x509_cert_/), [])
})

t.test('the number of series is bounded by the configuration, whatever happens', async (t) => {
  const metrics = createMetrics({ version: '0.1.0' })
  const count = async () => (await samples(metrics, /^[a-z]/)).length
  const codes = ['dns', 'timeout', 'trusted', 'refused'] as const
  const churn = (round: number) => {
    const code = codes[round % codes.length] ?? 'dns'
    const registries = SAMPLE.registries.map((registry) => ({ ...registry, finding: { ...registry.finding, code } }))
    const drift = [{ target: 'docker', path: `/etc/docker/certs.d/${round}`, kind: 'missing', reason: '' }] as const
    metrics.observeStatus({ ...SAMPLE, generation: String(round), registries, drift })
    for (const { host } of registries) metrics.proof({ registry: host, level: 'pull', code, durationMs: round })
    metrics.registryFacts(registries.map(({ host }) => ({ registry: host, loginAccepted: round % 2 === 0 })))
    metrics.writerConflicts([`/etc/containerd/certs.d/${round}/hosts.toml`])
    metrics.driftDetected('docker')
  }
  for (const round of codes.keys()) churn(round)
  const before = await count()
  for (let round = 0; round < 400; round += 1) churn(round)
  t.equal(await count(), before)
})
