// Which alerts fire, in a form that is easy to compare, and waiting for it.
import { setTimeout as sleep } from 'node:timers/promises'
import { stringify } from 'yaml'
import { ruleGroups } from '../../scripts/monitoring/rules.ts'
import type { FiringAlert, Prometheus } from './prometheus.ts'

const PATIENCE_MS = 60_000

/** Waiting is the business of `promtool test rules`: here every alert fires as soon as its expression is true. */
export function impatientRules(): string {
  const groups = ruleGroups().groups.map((group) => ({
    ...group,
    rules: group.rules.map(({ for: _wait, ...rule }) => rule),
  }))
  return stringify({ groups })
}

export type Firing = { readonly [node: string]: readonly string[] }

/** By node; where targets have a namespace of the same name, also what is about the fleet and has no node. */
export function byNode(alerts: readonly FiringAlert[]): Firing {
  const named = alerts.map(
    ({ labels }) => [labels['namespace'] ?? labels['node'] ?? 'fleet', describe(labels)] as const,
  )
  const nodes = [...Map.groupBy(named, ([node]) => node)]
  return Object.fromEntries(nodes.map(([node, list]) => [node, list.map(([, text]) => text).sort()]))
}

export function describe({ alertname, severity, ...labels }: FiringAlert['labels']): string {
  const own = ['registry', 'code', 'target', 'path', 'anchor', 'id'].filter((name) => labels[name] !== undefined)
  return [alertname, severity, ...own.map((name) => labels[name])].join(' ')
}

/** Asks until the answer is the wanted one or the patience ends; the last answer is compared by the caller. */
export async function settle(
  prometheus: Prometheus,
  wanted: Firing,
  seen: (firing: Firing) => Firing = (firing) => firing,
): Promise<Firing> {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const firing = seen(byNode(await prometheus.alerts()))
    if (sorted(firing) === sorted(wanted) || Date.now() > deadline) return firing
    await sleep(50)
  }
}

function sorted(firing: Firing): string {
  return JSON.stringify(Object.entries(firing).sort(([left], [right]) => left.localeCompare(right)))
}
