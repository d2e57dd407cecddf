// The few verbs by which the rest of the program feeds the metrics of the table.
// Series of what left the configuration are removed: a registry that is no longer declared cannot alert for ever.

import { setImmediate as turn } from 'node:timers/promises'
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { FindingCode } from '../model/finding.ts'
import { TARGET_NAMES } from '../model/plan.ts'
import type { NodeStatus, RegistryStatus } from '../model/status.ts'
import { isProvedLive, isTrustedLive } from '../model/verdict.ts'
import { type CertificateFile, type CertificateSample, readCertificates } from './certificate-samples.ts'
import { METRICS, type MetricDefinition } from './metric-table.ts'
import { registerProcessMetrics } from './process-metrics.ts'

/**
 * unchanged: nothing to do; deferred: changes wait (audit, restart not allowed now); failed: ended by an error. The
 * others are results of a transaction.
 */
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
export const RESTART_REASONS = ['apply', 'rollback', 'recovery'] as const
export type RestartReason = (typeof RESTART_REASONS)[number]

export const RESTART_RESULTS = ['succeeded', 'failed', 'refused'] as const
export type RestartResult = (typeof RESTART_RESULTS)[number]

export type ProofSample = {
  readonly registry: string
  readonly level: string
  readonly code: FindingCode
  readonly durationMs: number
}

/** What is known of a registry beyond the status; what is undefined has no series. */
export type RegistryFacts = {
  readonly registry: string
  /** Whether the credentials declared for it were accepted. */
  readonly loginAccepted?: boolean | undefined
  /** RFC 3339: the first expiry in the chain it serves. */
  readonly servedNotAfter?: string | undefined
  readonly proofEverySeconds?: number | undefined
}

export type Metrics = {
  readonly contentType: string
  /** The Prometheus text format. */
  text(): Promise<string>
  /** Sets every gauge that mirrors the status; drops the series of registries and anchors that left it. */
  observeStatus(status: NodeStatus): void
  /** All of them; a registry that is not named loses these series. */
  registryFacts(facts: readonly RegistryFacts[]): void
  proof(sample: ProofSample): void
  driftDetected(target: string, paths?: number): void
  driftHealed(target: string, paths?: number): void
  /** All paths that the agent has stopped restoring; empty while there is no fight. */
  writerConflicts(paths: readonly string[]): void
  /** All certificates that the agent keeps in files on the node. */
  certificates(files: readonly CertificateFile[]): void
  plan(changes: number): void
  reconcile(result: ReconcileResult, seconds: number): void
  restart(reason: RestartReason, result: RestartResult): void
  rollback(): void
  config(valid: boolean, atSeconds?: number): void
  deprecations(ids: readonly string[]): void
  /** Of the containerd version in use. */
  defects(ids: readonly string[]): void
}

type Instrument<D extends MetricDefinition> = D['kind'] extends 'gauge'
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
  let certificateFiles: readonly CertificateFile[] = []
  let certificates: readonly CertificateSample[] = []
  let expired: ReadonlySet<CertificateSample> | undefined

  return {
    contentType: registry.contentType,
    async text() {
      expired = observeExpired(instruments, certificates, expired, now() / 1000)
      return await renderInTurns(registry)
    },
    observeStatus(status) {
      observe(instruments, status)
      forgetProofs(instruments, proofSeries, status.registries)
      observeSuccesses(instruments, succeeded, status.registries)
    },
    registryFacts: (facts) => observeFacts(instruments, facts),
    proof({ registry: host, level, code, durationMs }) {
      instruments.proofs.inc({ registry: host, level, code })
      instruments.proofDuration.observe({ level }, durationMs / 1000)
      proofSeries.set(JSON.stringify([host, level, code]), { registry: host, level, code })
    },
    driftDetected: (target, paths = 1) => instruments.driftDetected.inc({ target }, paths),
    driftHealed: (target, paths = 1) => instruments.driftHealed.inc({ target }, paths),
    writerConflicts(paths) {
      instruments.writerConflict.reset()
      for (const path of paths) instruments.writerConflict.set({ path }, 1)
    },
    certificates(files) {
      if (isSameFiles(files, certificateFiles)) return
      certificateFiles = files
      certificates = readCertificates(files)
      expired = undefined
      observeCertificates(instruments, certificates)
    },
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
    defects(ids) {
      instruments.defects.reset()
      for (const id of ids) instruments.defects.set({ id }, 1)
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

function instrument(registry: Registry, definition: MetricDefinition): Gauge | Counter | Histogram {
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
  for (const target of TARGET_NAMES) {
    instruments.driftDetected.inc({ target }, 0)
    instruments.driftHealed.inc({ target }, 0)
  }
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
  instruments.runtimeInfo.reset()
  if (status.runtime !== null)
    instruments.runtimeInfo.set({ runtime: status.runtime.name, runtime_version: status.runtime.version }, 1)
  instruments.nodeState.reset()
  instruments.nodeState.set({ state: status.state }, 1)
  observeRegistries(instruments, status.registries)
  instruments.problems.reset()
  for (const { code } of status.problems) instruments.problems.inc({ code, level: 'problem' })
  for (const { code } of status.warnings) instruments.problems.inc({ code, level: 'warning' })
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
    const { host, finding } = registry
    instruments.registryTrusted.set({ registry: host }, isTrustedLive(registry) ? 1 : 0)
    instruments.registryFinding.set({ registry: host, code: finding.code }, 1)
  }
}

/**
 * From the status, not per proof: so it is right after a restart of the agent too. A failing proof leaves the older
 * time.
 */
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

function observeFacts(instruments: Instruments, facts: readonly RegistryFacts[]): void {
  instruments.registryLogin.reset()
  instruments.servedNotAfter.reset()
  instruments.proofInterval.reset()
  for (const { registry, loginAccepted, servedNotAfter, proofEverySeconds } of facts) {
    if (loginAccepted !== undefined) instruments.registryLogin.set({ registry }, loginAccepted ? 1 : 0)
    if (servedNotAfter !== undefined) instruments.servedNotAfter.set({ registry }, Date.parse(servedNotAfter) / 1000)
    if (proofEverySeconds !== undefined) instruments.proofInterval.set({ registry }, proofEverySeconds)
  }
}

function isSameFiles(files: readonly CertificateFile[], others: readonly CertificateFile[]): boolean {
  const isSame = ({ path, pem }: CertificateFile, index: number) =>
    others[index]?.path === path && others[index].pem === pem
  return files.length === others.length && files.every(isSame)
}

function observeCertificates(instruments: Instruments, certificates: readonly CertificateSample[]): void {
  instruments.x509NotBefore.reset()
  instruments.x509NotAfter.reset()
  instruments.x509Expired.reset()
  for (const { labels, notBefore, notAfter } of certificates) {
    instruments.x509NotBefore.set(labels, notBefore)
    instruments.x509NotAfter.set(labels, notAfter)
  }
}

/**
 * Only the clock decides this one, so it is computed at the scrape; set anew are those that have expired since the last
 * one, and all where there was none.
 */
function observeExpired(
  instruments: Instruments,
  certificates: readonly CertificateSample[],
  before: ReadonlySet<CertificateSample> | undefined,
  nowSeconds: number,
): ReadonlySet<CertificateSample> {
  const expired = new Set(certificates.filter(({ notAfter }) => notAfter < nowSeconds))
  for (const certificate of certificates) {
    const isExpired = expired.has(certificate)
    if (before?.has(certificate) !== isExpired) instruments.x509Expired.set(certificate.labels, isExpired ? 1 : 0)
  }
  return expired
}

/**
 * What `registry.metrics()` gives; other work gets its turn between two metrics, each of which may have thousands of
 * series.
 */
async function renderInTurns(registry: Registry): Promise<string> {
  const texts: string[] = []
  for (const { name } of registry.getMetricsAsArray()) {
    texts.push(await registry.getSingleMetricAsString(name))
    await turn()
  }
  return `${texts.join('\n\n')}\n`
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
