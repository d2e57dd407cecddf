// The tables of docs/metrics.md and docs/runbooks/README.md in Markdown.
import { DRIFT_KINDS, TARGET_NAMES } from '../../agent/model/plan.ts'
import { NODE_STATES, PROOF_LEVELS } from '../../agent/model/status.ts'
import { type LabelName, METRICS } from '../../agent/telemetry/metric-table.ts'
import { RECONCILE_RESULTS, RESTART_REASONS, RESTART_RESULTS } from '../../agent/telemetry/metrics.ts'
import { ALERTS, type Alert } from './alerts.ts'

export function metricsTable(): string {
  const rows = Object.values(METRICS).map(({ name, kind, labels, help }) => [
    `\`${name}\``,
    kind,
    labels.length > 5 ? '[certificate labels](#certificates)' : codes(labels),
    help,
  ])
  return table(['metric', 'type', 'labels', 'meaning'], rows)
}

type OwnLabel = Exclude<LabelName, 'serial_number' | 'filename' | 'filepath' | `subject_${string}` | `issuer_${string}`>

const LABELS: { readonly [name in OwnLabel]: string } = {
  version: 'the version of the agent',
  containerd_version: 'the version of containerd',
  layout: "where this node has containerd's files: `plain`, `k3s`, `rke2`, `k0s`, `microk8s`",
  config_version: 'the `version` of config.toml',
  runtime: '`containerd`, `cri-o`',
  runtime_version: 'the version of the runtime',
  state: `one of these at a time: ${codes(NODE_STATES)}`,
  registry: 'a host as declared under `registries`',
  code:
    'a finding code: in `registry_trust_registry_finding` the one that each registry has now, in ' +
    '`registry_trust_proofs_total` those that have occurred; in `registry_trust_problems` an error code',
  level: `${codes(PROOF_LEVELS)}; in \`registry_trust_problems\` \`problem\` or \`warning\``,
  target: `${codes(TARGET_NAMES)}; \`registry\` and \`source\` for drift that belongs to no target`,
  kind: codes(DRIFT_KINDS),
  path: 'a file that the agent manages',
  anchor: 'a name under `anchors`, or that of a `ca` file',
  fingerprint: 'one for each certificate of the anchor',
  result: `${codes(RECONCILE_RESULTS)}; of restarts ${codes(RESTART_RESULTS)}`,
  reason: codes(RESTART_REASONS),
  id: "a deprecation of containerd, by containerd's own id; or a known defect, by the id that `doctor` shows",
}

export function labelsTable(): string {
  return table(
    ['label', 'values'],
    Object.entries(LABELS).map(([name, values]) => [`\`${name}\``, values]),
  )
}

export function alertsTable(): string {
  const named = Map.groupBy(ALERTS, ({ name }) => name)
  const rows = [...named].map(([name, alerts]) => [
    `[${name}](${name}.md)`,
    alerts.map(({ severity }) => severity).join(', '),
    alerts[0]?.for ?? 'at once',
    plain(alerts[0]),
  ])
  return table(['alert', 'severity', 'after', 'meaning'], rows)
}

/** The summary as a person reads it: a template means "this node", "this registry". */
function plain(alert: Alert | undefined): string {
  return (alert?.summary ?? '')
    .replaceAll('{{ or $labels.node $labels.instance }}', 'N')
    .replaceAll('{{ $labels.node }}', 'N')
    .replaceAll('{{ or $labels.path $labels.target }}', 'a file')
    .replace(/\{\{ if gt \$value 0\.0 \}\}.*\{\{ end \}\}/, 'expires soon or has expired')
    .replaceAll(/\{\{ \$labels\.(\w+) \}\}/g, (_template, label: string) => label.toUpperCase())
    .replaceAll('{{ $value }}', 'some')
    .replace(/^some /, 'Some ')
}

function codes(values: readonly string[]): string {
  return values.map((value) => `\`${value}\``).join(', ')
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`
  return line(head) + line(head.map(() => '---')) + rows.map(line).join('')
}
