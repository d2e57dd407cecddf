// Every file that is made, whole or between two markers, from the tables in this folder; a test compares them with the
// tree.
import { FLEET_DASHBOARD } from './fleet-dashboard.ts'
import { NODE_DASHBOARD } from './node-dashboard.ts'
import { renderPrometheusRule, renderRulesFile } from './rules.ts'
import { alertsTable, labelsTable, metricsTable } from './tables.ts'

export type GeneratedFile = {
  /** From the root of the repository. */
  readonly path: string
  /** `before` is what stands there now; empty where there is none. */
  readonly render: (before: string) => string
}

export function generatedFiles(): readonly GeneratedFile[] {
  return [
    { path: 'daemonset/monitoring/rules.yaml', render: renderRulesFile },
    { path: 'daemonset/monitoring/prometheusrule.yaml', render: renderPrometheusRule },
    { path: 'daemonset/monitoring/dashboards/registry-trust-fleet.json', render: () => json(FLEET_DASHBOARD) },
    { path: 'daemonset/monitoring/dashboards/registry-trust-node.json', render: () => json(NODE_DASHBOARD) },
    {
      path: 'docs/metrics.md',
      render: (before) => between(between(before, 'metrics', metricsTable()), 'labels', labelsTable()),
    },
    { path: 'docs/runbooks/README.md', render: (before) => between(before, 'alerts', alertsTable()) },
  ]
}

function json(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

/** Replaces what stands between the two marks; the prose around them is written by hand. */
function between(text: string, name: string, table: string): string {
  const [open, close] = [`<!-- ${name}: generated -->\n`, `<!-- ${name}: end -->\n`]
  const from = text.indexOf(open)
  const to = text.indexOf(close)
  if (from < 0 || to < from) throw new Error(`the marks of the table "${name}" are missing`)
  return text.slice(0, from) + open + table + text.slice(to)
}
