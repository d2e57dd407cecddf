// The alerts as Prometheus reads them: a plain rules file, and the PrometheusRule of the Prometheus operator with the
// same groups.
import { stringify } from 'yaml'
import { ALERT_GROUPS, type Alert, runbookUrl } from './alerts.ts'

const GENERATED = '# Made by scripts/render-monitoring from scripts/monitoring/alerts.ts: edit there.\n'

export type Rule = {
  readonly alert: string
  readonly expr: string
  readonly for?: string
  readonly labels: { readonly severity: string }
  readonly annotations: { readonly summary: string; readonly description: string; readonly runbook_url: string }
}

export type RuleGroups = { readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[] }

export function ruleGroups(): RuleGroups {
  return { groups: ALERT_GROUPS.map(({ name, alerts }) => ({ name, rules: alerts.map(rule) })) }
}

function rule(alert: Alert): Rule {
  const { name, severity, expr, summary, description } = alert
  return {
    alert: name,
    expr,
    ...(alert.for === undefined ? {} : { for: alert.for }),
    labels: { severity },
    annotations: { summary, description, runbook_url: runbookUrl(alert) },
  }
}

export function renderRulesFile(): string {
  return GENERATED + yaml(ruleGroups())
}

export function renderPrometheusRule(): string {
  return (
    GENERATED +
    yaml({
      apiVersion: 'monitoring.coreos.com/v1',
      kind: 'PrometheusRule',
      metadata: { name: 'registry-trust', labels: { 'app.kubernetes.io/name': 'registry-trust' } },
      spec: ruleGroups(),
    })
  )
}

function yaml(value: object): string {
  return stringify(value, { lineWidth: 0 })
}
