// Every metric of the agent in one table, and the few verbs by which the rest of the program feeds them.
// Label values come from the configuration or from closed lists only; series of what left the configuration are removed.
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { type FindingCode, provesTrust } from '../model/finding.ts'
import type { NodeStatus, RegistryStatus } from '../model/status.ts'
import { registerProcessMetrics } from './process-metrics.ts'

type Definition = {
  readonly kind: 'gauge' | 'counter' | 'histogram'
  readonly name: `registry_trust_${string}`
  readonly help: string
  readonly labels: readonly string[]
  readonly buckets?: readonly number[]
}

const PROOF_BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15]
const RECONCILE_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

export const METRICS = {
  buildInfo: {
    kind: 'gauge',
    name: 'registry_trust_build_info',
    help: 'Always 1; the version of the agent is a label.',
    labels: ['version'],
  },
  nodeInfo: {
    kind: 'gauge',
    name: 'registry_trust_node_info',
    help: 'Always 1; what containerd is on this node is in the labels.',
    labels: ['containerd_version', 'layout', 'config_version'],
  },
  configValid: {
    kind: 'gauge',
    name: 'registry_trust_config_valid',
    help: '1 when the configuration read last was valid; 0 when an older one stays in force.',
    labels: [],
  },
  configLastSuccess: {
    kind: 'gauge',
    name: 'registry_trust_config_last_reload_success_timestamp_seconds',
    help: 'When a valid configuration was read last.',
    labels: [],
  },
  registryTrusted: {
    kind: 'gauge',
    name: 'registry_trust_registry_trusted',
    help: "1 when the node's containerd verifies the TLS certificate of the registry, proved live; login is not part of it.",
    labels: ['registry'],
  },
  registryFinding: {
    kind: 'gauge',
    name: 'registry_trust_registry_finding',
    help: 'Always 1; the outcome of the last proof of the registry is a label.',
    labels: ['registry', 'code'],
  },
  proofs: {
    kind: 'counter',
    name: 'registry_trust_proofs_total',
    help: 'Proofs by registry, level and outcome.',
    labels: ['registry', 'level', 'code'],
  },
  proofDuration: {
    kind: 'histogram',
    name: 'registry_trust_proof_duration_seconds',
    help: 'How long proofs took.',
    labels: ['level'],
    buckets: PROOF_BUCKETS,
  },
  proofLastSuccess: {
    kind: 'gauge',
    name: 'registry_trust_proof_last_success_timestamp_seconds',
    help: 'When the registry was last proved trusted by the live containerd.',
    labels: ['registry'],
  },
  drift: {
    kind: 'gauge',
    name: 'registry_trust_drift',
    help: 'Paths that are not as the agent left them.',
    labels: ['target', 'kind'],
  },
  driftDetected: {
    kind: 'counter',
    name: 'registry_trust_drift_detected_total',
    help: 'Paths found changed by someone else.',
    labels: ['target'],
  },
  driftHealed: {
    kind: 'counter',
    name: 'registry_trust_drift_healed_total',
    help: 'Paths put right after someone else changed them.',
    labels: ['target'],
  },
  anchorNotAfter: {
    kind: 'gauge',
    name: 'registry_trust_anchor_not_after_timestamp_seconds',
    help: 'When the certificate of the anchor expires.',
    labels: ['anchor', 'fingerprint'],
  },
  reconciles: {
    kind: 'counter',
    name: 'registry_trust_reconcile_total',
    help: 'Reconciliations by outcome.',
    labels: ['result'],
  },
  reconcileDuration: {
    kind: 'histogram',
    name: 'registry_trust_reconcile_duration_seconds',
    help: 'How long reconciliations took, proofs included.',
    labels: [],
    buckets: RECONCILE_BUCKETS,
  },
  planChanges: {
    kind: 'gauge',
    name: 'registry_trust_plan_changes',
    help: 'Changes in the last plan; above 0 for long means that something keeps them from being applied.',
    labels: [],
  },
  restartPending: {
    kind: 'gauge',
    name: 'registry_trust_restart_pending',
    help: '1 while a restart of containerd is due but not done.',
    labels: [],
  },
  restarts: {
    kind: 'counter',
    name: 'registry_trust_containerd_restarts_total',
    help: 'Restarts of containerd by the agent.',
    labels: ['reason', 'result'],
  },
  rollbacks: {
    kind: 'counter',
    name: 'registry_trust_rollbacks_total',
    help: 'Transactions undone because the node was worse after them.',
    labels: [],
  },
  deprecations: {
    kind: 'gauge',
    name: 'registry_trust_containerd_deprecations',
    help: "Always 1; containerd's own deprecation warnings by id.",
    labels: ['id'],
  },
} as const satisfies { readonly [name: string]: Definition }

/** unchanged: nothing to do; deferred: changes wait (audit, restart not allowed now); failed: ended by an error. The others are results of a transaction. */
export const RECONCILE_RESULTS = [
  'unchanged',
  'committed',
  'rolled-back',
  'rollback-failed',
  'refused',
  'deferred',
  'failed',
] as const
export type ReconcileResult = (typeof RECONCILE_RESULTS)[number]

/** apply: a plan asked for it; rollback: the old configuration was put back. */
export const RESTART_REASONS = ['apply', 'rollback'] as const
export type RestartReason = (typeof RESTART_REASONS)[number]

export const RESTART_RESULTS = ['succeeded', 'failed', 'refused'] as const
export type RestartResult = (typeof RESTART_RESULTS)[number]

export type ProofSample = {
  readonly registry: string
  readonly level: string
  readonly code: FindingCode
  readonly durationMs: number
}

export type Metrics = {
  readonly contentType: string
  /** The Prometheus text format. */
  text(): Promise<string>
  /** Sets every gauge that mirrors the status; drops the series of registries and anchors that left it. */
  observeStatus(status: NodeStatus): void
  proof(sample: ProofSample): void
  driftDetected(target: string, paths?: number): void
  driftHealed(target: string, paths?: number): void
  plan(changes: number): void
  reconcile(result: ReconcileResult, seconds: number): void
  restart(reason: RestartReason, result: RestartResult): void
  rollback(): void
  config(valid: boolean, atSeconds?: number): void
  deprecations(ids: readonly string[]): void
}

type Instrument<D extends Definition> = D['kind'] extends 'gauge'
  ? Gauge<D['labels'][number]>
  : D['kind'] extends 'counter'
    ? Counter<D['labels'][number]>
    : Histogram<D['labels'][number]>
type Instruments = { readonly [K in keyof typeof METRICS]: Instrument<(typeof METRICS)[K]> }

export function createMetrics(options: { readonly version: string; readonly now?: () => number }): Metrics {
  const now = options.now ?? Date.now
  const registry = new Registry()
  const instruments = register(registry)
  registerProcessMetrics(registry)
  startAtZero(instruments)
  instruments.buildInfo.set({ version: options.version }, 1)
  const proofSeries: ProofSeries = new Map()
  const succeeded = new Set<string>()

  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    observeStatus(status) {
      observe(instruments, status)
      forgetProofs(instruments, proofSeries, status.registries)
      observeSuccesses(instruments, succeeded, status.registries)
    },
    proof({ registry: host, level, code, durationMs }) {
      instruments.proofs.inc({ registry: host, level, code })
      instruments.proofDuration.observe({ level }, durationMs / 1000)
      proofSeries.set(JSON.stringify([host, level, code]), { registry: host, level, code })
    },
    driftDetected: (target, paths = 1) => instruments.driftDetected.inc({ target }, paths),
    driftHealed: (target, paths = 1) => instruments.driftHealed.inc({ target }, paths),
    plan: (changes) => instruments.planChanges.set(changes),
    reconcile(result, seconds) {
      instruments.reconciles.inc({ result })
      instruments.reconcileDuration.observe(seconds)
    },
    restart: (reason, result) => instruments.restarts.inc({ reason, result }),
    rollback: () => instruments.rollbacks.inc(),
    config(valid, atSeconds) {
      instruments.configValid.set(valid ? 1 : 0)
      if (valid) instruments.configLastSuccess.set(atSeconds ?? now() / 1000)
    },
    deprecations(ids) {
      instruments.deprecations.reset()
      for (const id of ids) instruments.deprecations.set({ id }, 1)
    },
  }
}

function register(registry: Registry): Instruments {
  const made = Object.entries(METRICS).map(([key, definition]) => [key, instrument(registry, definition)])
  return Object.fromEntries(made) as Instruments
}

function instrument(registry: Registry, definition: Definition): Gauge | Counter | Histogram {
  const { kind, name, help } = definition
  const common = { name, help, labelNames: [...definition.labels], registers: [registry] }
  switch (kind) {
    case 'gauge':
      return new Gauge(common)
    case 'counter':
      return new Counter(common)
    case 'histogram':
      return new Histogram({ ...common, buckets: [...(definition.buckets ?? [])] })
    default:
      return kind satisfies never
  }
}

/** A counter that appears at 1 has no increase: `rate()` and alerts on it would miss the first event. */
function startAtZero(instruments: Instruments): void {
  for (const result of RECONCILE_RESULTS) instruments.reconciles.inc({ result }, 0)
  for (const reason of RESTART_REASONS) {
    for (const result of RESTART_RESULTS) instruments.restarts.inc({ reason, result }, 0)
  }
}

function observe(instruments: Instruments, status: NodeStatus): void {
  const { version, layout, configVersion } = status.containerd
  instruments.nodeInfo.reset()
  if (version !== null) {
    const labels = { containerd_version: version, layout: layout ?? '', config_version: String(configVersion ?? '') }
    instruments.nodeInfo.set(labels, 1)
  }
  observeRegistries(instruments, status.registries)
  instruments.drift.reset()
  for (const { target, kind } of status.drift) instruments.drift.inc({ target, kind })
  instruments.anchorNotAfter.reset()
  for (const { name, fingerprint, notAfter } of status.anchors) {
    if (fingerprint !== null && notAfter !== null) {
      instruments.anchorNotAfter.set({ anchor: name, fingerprint }, Date.parse(notAfter) / 1000)
    }
  }
  instruments.restartPending.set(status.restart.pending ? 1 : 0)
}

function observeRegistries(instruments: Instruments, registries: readonly RegistryStatus[]): void {
  instruments.registryTrusted.reset()
  instruments.registryFinding.reset()
  for (const registry of registries) {
    const { host, state, finding } = registry
    instruments.registryTrusted.set({ registry: host }, state === 'trusted' || isProvedLive(registry) ? 1 : 0)
    instruments.registryFinding.set({ registry: host, code: finding.code }, 1)
  }
}

function isProvedLive({ finding, lastProof }: RegistryStatus): boolean {
  return lastProof?.by === 'live' && provesTrust(finding.code)
}

/** From the status, not per proof: so it is right after a restart of the agent too. A failing proof leaves the older time. */
function observeSuccesses(
  instruments: Instruments,
  succeeded: Set<string>,
  registries: readonly RegistryStatus[],
): void {
  const hosts = new Set(registries.map(({ host }) => host))
  for (const host of succeeded) {
    if (hosts.has(host)) continue
    instruments.proofLastSuccess.remove({ registry: host })
    succeeded.delete(host)
  }
  for (const registry of registries) {
    if (registry.lastProof === null || !isProvedLive(registry)) continue
    instruments.proofLastSuccess.set({ registry: registry.host }, Date.parse(registry.lastProof.at) / 1000)
    succeeded.add(registry.host)
  }
}

type ProofSeries = Map<string, Omit<ProofSample, 'durationMs'>>

function forgetProofs(instruments: Instruments, series: ProofSeries, registries: readonly RegistryStatus[]): void {
  const hosts = new Set(registries.map(({ host }) => host))
  for (const [key, labels] of series) {
    if (hosts.has(labels.registry)) continue
    instruments.proofs.remove(labels)
    series.delete(key)
  }
}
