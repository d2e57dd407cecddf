// Every metric of the agent in one table: the program registers them from it, docs/metrics.md and the alerts are made
// from it. Label values come from the configuration or from closed lists only, so the number of series is bounded.

export type MetricDefinition = {
  readonly kind: 'gauge' | 'counter' | 'histogram'
  readonly name: `registry_trust_${string}` | `x509_cert_${string}`
  readonly help: string
  readonly labels: readonly string[]
  readonly buckets?: readonly number[]
}

/** The fields of a name that x509-certificate-exporter shows, in its order. */
export const NAME_FIELDS = ['C', 'ST', 'L', 'O', 'OU', 'CN'] as const

/**
 * Its schema for files; the labels it has for other sources are empty there, which to Prometheus is the same as absent.
 */
const X509_LABELS = [
  'serial_number',
  'subject_C',
  'subject_ST',
  'subject_L',
  'subject_O',
  'subject_OU',
  'subject_CN',
  'issuer_C',
  'issuer_ST',
  'issuer_L',
  'issuer_O',
  'issuer_OU',
  'issuer_CN',
  'filename',
  'filepath',
] as const

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
  runtimeInfo: {
    kind: 'gauge',
    name: 'registry_trust_runtime_info',
    help: 'Always 1; what answers CRI on this node, containerd or cri-o, is in the labels.',
    labels: ['runtime', 'runtime_version'],
  },
  nodeState: {
    kind: 'gauge',
    name: 'registry_trust_node_state',
    help: 'Always 1; the state of the node is a label.',
    labels: ['state'],
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
  registryLogin: {
    kind: 'gauge',
    name: 'registry_trust_registry_login',
    help: '1 when the registry accepts the credentials declared for it; absent when none are declared or they were not tried yet.',
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
  proofInterval: {
    kind: 'gauge',
    name: 'registry_trust_proof_interval_seconds',
    help: 'How often the registry is proved, as declared.',
    labels: ['registry'],
  },
  problems: {
    kind: 'gauge',
    name: 'registry_trust_problems',
    help: 'Problems and warnings in the status, by code; level is problem or warning.',
    labels: ['code', 'level'],
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
    help: 'Paths found different from what the agent left or, in audit mode, from what is declared.',
    labels: ['target'],
  },
  driftHealed: {
    kind: 'counter',
    name: 'registry_trust_drift_healed_total',
    help: 'Paths put right after someone else changed them.',
    labels: ['target'],
  },
  writerConflict: {
    kind: 'gauge',
    name: 'registry_trust_writer_conflict',
    help: '1 for a path that somebody else keeps changing back; the agent has stopped restoring it.',
    labels: ['path'],
  },
  anchorNotAfter: {
    kind: 'gauge',
    name: 'registry_trust_anchor_not_after_timestamp_seconds',
    help: 'When the certificate of the anchor expires.',
    labels: ['anchor', 'fingerprint'],
  },
  servedNotAfter: {
    kind: 'gauge',
    name: 'registry_trust_served_certificate_not_after_timestamp_seconds',
    help: 'When the first certificate of the chain that the registry serves expires; absent until it has been seen.',
    labels: ['registry'],
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
    help: 'Changes in the last plan; above 0 for a long time means that something keeps them from being applied.',
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
    help: 'Restarts of containerd by the agent (apply, rollback) and by the restarter, or after a crash (recovery).',
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
  defects: {
    kind: 'gauge',
    name: 'registry_trust_containerd_known_defects',
    help: "Always 1; known defects of this node's containerd version that affect pulls, by id.",
    labels: ['id'],
  },
  x509NotBefore: {
    kind: 'gauge',
    name: 'x509_cert_not_before',
    help: 'When the certificate in the file becomes valid; as x509-certificate-exporter reports it.',
    labels: X509_LABELS,
  },
  x509NotAfter: {
    kind: 'gauge',
    name: 'x509_cert_not_after',
    help: 'When the certificate in the file expires; as x509-certificate-exporter reports it.',
    labels: X509_LABELS,
  },
  x509Expired: {
    kind: 'gauge',
    name: 'x509_cert_expired',
    help: '1 when the certificate in the file has expired, at the time of the scrape; as x509-certificate-exporter reports it.',
    labels: X509_LABELS,
  },
} as const satisfies { readonly [name: string]: MetricDefinition }

export type LabelName = (typeof METRICS)[keyof typeof METRICS]['labels'][number]
