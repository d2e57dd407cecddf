// Of the fleet dashboard: what the fleet component tells. Where there is none, the panels are empty.
import { orZero, p95 } from './dashboard.ts'
import { NEUTRAL, ORANGE, RED, type Row, stat, timeSeries, worseFromOne } from './panels.ts'

/** As in agent/fleet/report/metrics.ts; test/monitoring/dashboards.test.ts asks them of the component itself. */
const of = (name: string) => `registry_trust_fleet_${name}`

export function fleetComponentRow(selector: string): Row {
  const rate = (name: string) => `sum(rate(${of(name)}{${selector}}[$__rate_interval]))`
  return {
    title: 'Fleet component',
    panels: [
      stat({
        title: 'Roll-out halted',
        description: '1: restarts failed, and no more are granted.',
        width: 4,
        query: { expr: orZero(`max(${of('halted')}{${selector}})`) },
        steps: worseFromOne(RED),
      }),
      stat({
        title: 'Not yet told or proved',
        description: 'Nodes that have not answered for the configuration in force.',
        width: 5,
        query: {
          expr: orZero(`sum(${of('nodes')}{${selector}}) - sum(${of('current_nodes')}{${selector}})`),
        },
        steps: worseFromOne(ORANGE),
      }),
      stat({
        title: 'Unreachable',
        description: 'Nodes whose agent has not answered the component for two minutes.',
        width: 5,
        query: { expr: orZero(`sum(${of('nodes')}{${selector},state="unreachable"})`) },
        steps: worseFromOne(ORANGE),
      }),
      stat({
        title: 'Restarts granted',
        description: 'Grants that have not ended.',
        width: 5,
        query: { expr: orZero(`sum(${of('grants_outstanding')}{${selector}})`) },
        steps: NEUTRAL,
      }),
      stat({
        title: 'Own configuration rejected',
        description: 'Components that follow something else than what trust.yaml declares for them.',
        width: 5,
        query: { expr: orZero(`count(${of('config_valid')}{${selector}} == 0)`) },
        steps: worseFromOne(RED),
      }),
      timeSeries({
        title: 'Nodes as the component sees them',
        description: 'Every node has one state.',
        width: 8,
        stacked: true,
        queries: [{ expr: `sum by (state) (${of('nodes')}{${selector}})`, legend: '{{state}}' }],
      }),
      timeSeries({
        title: 'Restarts by generation and phase',
        description: 'How far the roll-out of each generation is.',
        width: 8,
        stacked: true,
        queries: [
          {
            expr: `sum by (generation, phase) (${of('rollout_nodes')}{${selector}})`,
            legend: '{{generation}} {{phase}}',
          },
        ],
      }),
      timeSeries({
        title: 'Change seen to node proved (95th percentile)',
        description: 'Of the changes of the ConfigMap.',
        width: 8,
        unit: 's',
        queries: [{ expr: p95(of('propagation_seconds'), selector, 'le'), legend: 'proved' }],
      }),
      timeSeries({
        title: 'Work of the component',
        description: 'Per second: Pods told, writes of conditions, Events and taints, agents asked, failed questions.',
        width: 24,
        queries: [
          { expr: rate('touches_total'), legend: 'Pods told' },
          { expr: rate('announcements_total'), legend: 'conditions, Events, taints' },
          { expr: rate('polls_total'), legend: 'agents asked' },
          { expr: rate('poll_failures_total'), legend: 'without a sound answer' },
        ],
      }),
    ],
  }
}
