// What happens to a node, as the agent's metrics tell it, and which alerts must fire for it: these, and no others.
// The same scenarios run against a real Prometheus by the wall clock, and in `promtool test rules` over days of simulated time.
import type { FindingCode } from '../../agent/model/finding.ts'
import type { DriftStatus, NodeStatus, RegistryStatus } from '../../agent/model/status.ts'
import type { Metrics } from '../../agent/telemetry/metrics.ts'

export const HARBOR = 'harbor.example.net'
export const LAB = 'registry.lab:5000'
export const FINGERPRINT = `sha256:${'ab'.repeat(32)}`
const HOSTS_FILE = `/etc/containerd/certs.d/${HARBOR}/hosts.toml`
const MINUTE = 60
const DAY = 86_400

export type ExpectedAlert = {
  readonly name: string
  readonly severity: string
  /** Beside those of the scrape. */
  readonly labels?: { readonly [name: string]: string }
  /** The alert is about the fleet: it has no `node` and `instance`. */
  readonly ofFleet?: true
  readonly summary: string
}

export type Scenario = {
  /** The node's name too. */
  readonly name: string
  readonly alerts: readonly ExpectedAlert[]
  /** Brings the metrics to what they are at this time (seconds) while the trouble lasts; called for each scrape. */
  readonly trouble: (metrics: Metrics, at: number) => void
  /** Seconds from the onset to the last moment of silence and to the first of the alert. Absent: at once. */
  readonly quietFor?: number
  /** Seconds from the end of the trouble to silence; default: a minute. */
  readonly endsAfter?: number
  /** Seconds between two samples of simulated time; default: a minute. */
  readonly step?: number
}

/** A node on which all is well. */
export function healthy(metrics: Metrics, at: number): void {
  metrics.observeStatus(status(at))
  metrics.config(true, at)
  metrics.registryFacts(facts(at))
  metrics.writerConflicts([])
  metrics.deprecations([])
  metrics.plan(0)
  metrics.reconcile('unchanged', 0.1)
  for (const registry of [HARBOR, LAB]) metrics.proof({ registry, level: 'manifest', code: 'trusted', durationMs: 40 })
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'lost',
    quietFor: 5 * MINUTE,
    alerts: [
      {
        name: 'RegistryTrustLost',
        severity: 'critical',
        labels: { registry: HARBOR, code: 'unknown-authority' },
        summary: 'Node lost does not trust harbor.example.net: unknown-authority.',
      },
    ],
    trouble: (metrics, at) =>
      metrics.observeStatus(status(at, { registries: [found('unknown-authority', 'untrusted', at), good(LAB, at)] })),
  },
  {
    name: 'unreachable',
    quietFor: 15 * MINUTE,
    alerts: [
      {
        name: 'RegistryTrustProofFailing',
        severity: 'warning',
        labels: { registry: HARBOR, code: 'dns' },
        summary: 'Node unreachable can not prove harbor.example.net: dns.',
      },
    ],
    trouble: (metrics, at) =>
      metrics.observeStatus(status(at, { registries: [found('dns', 'unproved', at), good(LAB, at)] })),
  },
  {
    name: 'stale',
    quietFor: 15 * MINUTE,
    alerts: [
      {
        name: 'RegistryTrustProofStale',
        severity: 'warning',
        labels: { registry: HARBOR },
        summary: 'Node stale has not proved harbor.example.net for long.',
      },
    ],
    trouble(metrics, at) {
      metrics.observeStatus(status(at, { registries: [good(HARBOR, at - 7200), good(LAB, at - 7200)] }))
      // Two hours are nothing for the one that is proved every hour.
      metrics.registryFacts([
        { registry: HARBOR, proofEverySeconds: 600 },
        { registry: LAB, proofEverySeconds: 3600 },
      ])
    },
  },
  {
    name: 'login',
    quietFor: 15 * MINUTE,
    alerts: [
      {
        name: 'RegistryTrustLoginFailing',
        severity: 'warning',
        labels: { registry: HARBOR },
        summary: 'harbor.example.net refuses the credentials declared for it on node login.',
      },
    ],
    trouble(metrics, at) {
      metrics.observeStatus(status(at, { registries: [found('unauthorized', 'trusted', at), good(LAB, at)] }))
      metrics.registryFacts([{ registry: HARBOR, loginAccepted: false }, { registry: LAB }])
    },
  },
  anchor('anchor-20-days', 20 * DAY, 'warning', 'expires in 20d 0h 0m 0s'),
  anchor('anchor-10-days', 10 * DAY, 'critical', 'expires in 10d 0h 0m 0s'),
  anchor('anchor-expired', -DAY, 'critical', 'has expired'),
  served('served-10-days', 10 * DAY, 'warning'),
  served('served-2-days', 2 * DAY, 'critical'),
  {
    name: 'drift',
    quietFor: 15 * MINUTE,
    alerts: [
      {
        name: 'RegistryTrustDriftNotHealed',
        severity: 'warning',
        labels: { target: 'containerd-hosts' },
        summary: '2 paths of containerd-hosts on node drift are not as declared.',
      },
    ],
    trouble(metrics, at) {
      const drift = [
        { target: 'containerd-hosts', path: HOSTS_FILE, kind: 'changed', reason: 'its content differs' },
        { target: 'containerd-hosts', path: `${HOSTS_FILE}.old`, kind: 'missing', reason: 'it is missing' },
        // A chain that is not proved yet is told by the proof of the registry, not here.
        { target: 'registry', path: HARBOR, kind: 'chain-changed', reason: 'it serves another chain' },
      ] as const
      metrics.observeStatus(status(at, { state: 'drifted', drift }))
    },
  },
  advisory(
    'roots',
    60,
    { target: 'system-trust', path: '/etc/ssl/certs/ca-certificates.crt', kind: 'os-bundle-newer' },
    {
      name: 'RegistryTrustRootsOutdated',
      severity: 'info',
      labels: { target: 'system-trust' },
      summary: 'containerd on node roots trusts by an older system store than the node has.',
    },
  ),
  advisory(
    'subpath',
    15,
    { target: 'source', path: '/etc/registry-trust/trust.yaml', kind: 'source-stale' },
    {
      name: 'RegistryTrustSourceStale',
      severity: 'warning',
      labels: { target: 'source' },
      summary: "On node subpath 1 of the agent's inputs are mounted such that no change arrives.",
    },
  ),
  {
    name: 'fight',
    alerts: [
      {
        name: 'RegistryTrustWritersFighting',
        severity: 'warning',
        labels: { path: HOSTS_FILE },
        summary: `Somebody else keeps rewriting ${HOSTS_FILE} on node fight.`,
      },
    ],
    trouble: (metrics) => metrics.writerConflicts([HOSTS_FILE]),
  },
  {
    name: 'slow-fight',
    quietFor: 0,
    endsAfter: 61 * MINUTE,
    alerts: [
      {
        name: 'RegistryTrustWritersFighting',
        severity: 'warning',
        labels: { target: 'docker' },
        summary: 'Somebody else keeps rewriting docker on node slow-fight.',
      },
    ],
    trouble(metrics) {
      metrics.driftDetected('docker', 12)
      metrics.driftHealed('docker', 12)
    },
  },
  {
    name: 'rejected',
    quietFor: 5 * MINUTE,
    alerts: [
      {
        name: 'RegistryTrustConfigRejected',
        severity: 'warning',
        ofFleet: true,
        summary: 'The configuration is rejected on 1 nodes.',
      },
    ],
    trouble: (metrics) => metrics.config(false),
  },
  {
    name: 'refused',
    quietFor: 30 * MINUTE,
    endsAfter: 17 * MINUTE,
    alerts: [
      {
        name: 'RegistryTrustReconcileFailing',
        severity: 'warning',
        summary: 'The agent on node refused can not apply the configuration.',
      },
    ],
    trouble(metrics) {
      metrics.plan(3)
      metrics.reconcile('refused', 0.4)
    },
  },
  {
    name: 'restart',
    quietFor: DAY,
    step: 5 * MINUTE,
    endsAfter: 5 * MINUTE,
    alerts: [
      {
        name: 'RegistryTrustRestartPending',
        severity: 'warning',
        summary: 'Node restart has waited for a restart of containerd for a day.',
      },
    ],
    trouble(metrics, at) {
      metrics.observeStatus(
        status(at, { state: 'restart-pending', restart: { pending: true, reason: 'window', last: null } }),
      )
      metrics.plan(2)
    },
  },
  {
    name: 'rolled-back',
    endsAfter: 62 * MINUTE,
    alerts: [
      {
        name: 'RegistryTrustRolledBack',
        severity: 'warning',
        summary: 'The agent undid a change on node rolled-back: the node was worse after it.',
      },
    ],
    trouble(metrics, at) {
      metrics.observeStatus(status(at, { state: 'rolled-back' }))
      metrics.rollback()
      metrics.reconcile('rolled-back', 3)
    },
  },
  {
    name: 'rolled-back-at-first',
    alerts: [
      {
        name: 'RegistryTrustRolledBack',
        severity: 'warning',
        summary: 'The agent undid a change on node rolled-back-at-first: the node was worse after it.',
      },
    ],
    // The counter rose before the first scrape: only the state tells.
    trouble: (metrics, at) => metrics.observeStatus(status(at, { state: 'rolled-back' })),
  },
  {
    name: 'half-done',
    endsAfter: 62 * MINUTE,
    alerts: [
      {
        name: 'RegistryTrustRollbackFailed',
        severity: 'critical',
        summary: 'A change on node half-done could be neither kept nor undone completely.',
      },
    ],
    trouble(metrics, at) {
      metrics.observeStatus(status(at, { state: 'rollback-failed' }))
      metrics.reconcile('rollback-failed', 30)
    },
  },
  {
    name: 'no-containerd',
    quietFor: 5 * MINUTE,
    alerts: [
      {
        name: 'RegistryTrustContainerdDown',
        severity: 'critical',
        summary: 'The agent on node no-containerd does not reach containerd.',
      },
    ],
    trouble(metrics, at) {
      const registries = [found('containerd-down', 'trusted', at), found('containerd-down', 'unproved', at, LAB)]
      metrics.observeStatus(status(at, { state: 'no-containerd', registries }))
      metrics.reconcile('failed', 0.01)
    },
  },
  {
    name: 'deprecated',
    quietFor: 60 * MINUTE,
    alerts: [
      {
        name: 'RegistryTrustContainerdDeprecations',
        severity: 'info',
        labels: { id: 'io.containerd.deprecation/cri-registry-mirrors' },
        ofFleet: true,
        summary: 'containerd on 1 nodes warns of a deprecation: io.containerd.deprecation/cri-registry-mirrors.',
      },
    ],
    trouble: (metrics) => metrics.deprecations(['io.containerd.deprecation/cri-registry-mirrors']),
  },
  { name: 'well', alerts: [], trouble: healthy },
  {
    name: 'busy',
    alerts: [],
    // All of this is daily work: a login that is not declared, drift that is healed, a change that is applied with a restart.
    trouble(metrics, at) {
      metrics.observeStatus(
        status(at, {
          state: 'applying',
          registries: [found('unauthorized', 'trusted', at), found('rate-limited', 'trusted', at, LAB)],
        }),
      )
      metrics.registryFacts([{ registry: HARBOR }, { registry: LAB }])
      metrics.restart('apply', 'succeeded')
      metrics.reconcile('committed', 2)
      metrics.plan(4)
    },
  },
]

function anchor(name: string, left: number, severity: string, words: string): Scenario {
  return {
    name,
    quietFor: 15 * MINUTE,
    alerts: [
      {
        name: 'RegistryTrustAnchorExpiring',
        severity,
        labels: { anchor: 'corp-root', fingerprint: FINGERPRINT },
        ofFleet: true,
        summary: `The trust anchor corp-root ${words}.`,
      },
    ],
    trouble: (metrics, at) => metrics.observeStatus(status(at, { anchors: anchors(at + left) })),
  }
}

function served(name: string, left: number, severity: string): Scenario {
  return {
    name,
    quietFor: 15 * MINUTE,
    alerts: [
      {
        name: 'RegistryTrustServedCertificateExpiring',
        severity,
        labels: { registry: HARBOR },
        ofFleet: true,
        summary: `The certificate that harbor.example.net serves expires in ${left / DAY}d 0h 0m 0s.`,
      },
    ],
    trouble: (metrics, at) =>
      metrics.registryFacts([{ registry: HARBOR, servedNotAfter: time(at + left) }, { registry: LAB }]),
  }
}

function advisory(
  name: string,
  minutes: number,
  { target, path, kind }: Omit<DriftStatus, 'reason'>,
  alert: ExpectedAlert,
): Scenario {
  return {
    name,
    quietFor: minutes * MINUTE,
    alerts: [alert],
    trouble: (metrics, at) =>
      metrics.observeStatus(status(at, { drift: [{ target, path, kind, reason: 'as the kind says' }] })),
  }
}

function status(at: number, differs: Partial<NodeStatus> = {}): NodeStatus {
  return {
    node: 'worker-1',
    version: '0.1.0',
    mode: 'enforce',
    generation: '0a1b2c3d4e5f',
    state: 'converged',
    containerd: {
      version: '2.1.9',
      socket: '/run/containerd/containerd.sock',
      configFile: '/etc/containerd/config.toml',
      configVersion: 3,
      configPath: '/etc/containerd/certs.d',
      layout: 'plain',
    },
    anchors: anchors(at + 400 * DAY),
    registries: [good(HARBOR, at), good(LAB, at)],
    targets: [],
    drift: [],
    restart: { pending: false, reason: null, last: null },
    transactions: [],
    problems: [],
    warnings: [],
    sources: [],
    ...differs,
  }
}

function anchors(notAfter: number): NodeStatus['anchors'] {
  return [
    {
      name: 'corp-root',
      subject: 'CN=Corp Root',
      fingerprint: FINGERPRINT,
      notAfter: time(notAfter),
      installed: [],
      findings: [],
    },
  ]
}

function facts(at: number) {
  return [
    { registry: HARBOR, loginAccepted: true, servedNotAfter: time(at + 60 * DAY), proofEverySeconds: 600 },
    { registry: LAB, servedNotAfter: time(at + 60 * DAY), proofEverySeconds: 600 },
  ]
}

function good(host: string, at: number): RegistryStatus {
  return found('trusted', 'trusted', at, host)
}

function found(code: FindingCode, state: RegistryStatus['state'], at: number, host = HARBOR): RegistryStatus {
  return {
    host,
    state,
    since: time(at),
    finding: { code, message: code, remedy: '', evidence: {} },
    lastProof: { level: 'manifest', by: 'live', at: time(at), durationMs: 40 },
  }
}

function time(seconds: number): string {
  return new Date(seconds * 1000).toISOString()
}
