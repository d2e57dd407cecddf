// The Grafana dashboard of all nodes: who does not trust what, who drifts, who waits, what expires.
import { JOB } from './alerts.ts'
import { dashboard, orZero, p95 } from './dashboard.ts'
import { fleetComponentRow } from './fleet-component-row.ts'
import { m } from './metric-names.ts'
import {
  bars,
  EXPIRY,
  matrix,
  NEUTRAL,
  ORANGE,
  RED,
  type Row,
  stat,
  table,
  timeSeries,
  worseFromOne,
} from './panels.ts'

const FLEET = 'cluster=~"$cluster"'
// biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana's own variables
const NODE_LINK = '/d/registry-trust-node?var-node=${__value.text}&var-datasource=${datasource}&${__url_time_range}'

const rows: readonly Row[] = [
  {
    title: 'At a glance',
    panels: [
      stat({
        title: 'Nodes',
        description: 'Nodes with an agent.',
        width: 3,
        query: { expr: orZero(`count(${m.buildInfo}{${FLEET}})`) },
        steps: NEUTRAL,
      }),
      stat({
        title: 'Not converged',
        description: 'Nodes that are not as declared.',
        width: 3,
        query: { expr: orZero(`count(${m.nodeState}{${FLEET},state!="converged"})`) },
        steps: worseFromOne(ORANGE),
      }),
      stat({
        title: 'Trust missing',
        description: 'Pairs of node and registry that are not proved trusted.',
        width: 3,
        query: { expr: orZero(`count(${m.registryTrusted}{${FLEET}} == 0)`) },
        steps: worseFromOne(RED),
      }),
      stat({
        title: 'Drift',
        description: 'Paths that are not as the agent left them.',
        width: 3,
        query: { expr: orZero(`sum(${m.drift}{${FLEET}})`) },
        steps: worseFromOne(ORANGE),
      }),
      stat({
        title: 'Restarts pending',
        description: 'Nodes that wait for a restart of containerd.',
        width: 3,
        query: { expr: orZero(`sum(${m.restartPending}{${FLEET}})`) },
        steps: worseFromOne(ORANGE),
      }),
      stat({
        title: 'Configuration rejected',
        description: 'Nodes that keep an older configuration because the new one is not valid.',
        width: 3,
        query: { expr: orZero(`count(${m.configValid}{${FLEET}} == 0)`) },
        steps: worseFromOne(RED),
      }),
      stat({
        title: 'Agents down',
        description: 'Agents that Prometheus cannot scrape.',
        width: 3,
        query: { expr: orZero(`count(up{job="${JOB}",${FLEET}} == 0)`) },
        steps: worseFromOne(RED),
      }),
      stat({
        title: 'Next expiry',
        description: 'Time left for the trust anchor that expires first.',
        width: 3,
        unit: 's',
        query: { expr: `min(${m.anchorNotAfter}{${FLEET}}) - time()` },
        steps: EXPIRY,
      }),
    ],
  },
  {
    title: 'Trust',
    panels: [
      matrix({
        title: 'Nodes × registries',
        description: "Proved live by each node's containerd. A node opens its own dashboard.",
        width: 16,
        query: { expr: `max by (node, registry) (${m.registryTrusted}{${FLEET}})` },
        row: 'node',
        column: 'registry',
        link: NODE_LINK,
      }),
      table({
        title: 'What is wrong',
        description: 'Findings other than success, and on how many nodes.',
        width: 8,
        queries: [
          { expr: `count by (registry, code) (${m.registryFinding}{${FLEET},code!="trusted"} == 1)`, legend: 'nodes' },
        ],
        columns: [],
      }),
      bars({
        title: 'Nodes that trust each registry',
        description: 'Share of nodes; 100 % is what is wanted.',
        width: 8,
        unit: 'percentunit',
        max: 1,
        query: { expr: `sort(avg by (registry) (${m.registryTrusted}{${FLEET}}))`, legend: '{{registry}}' },
        steps: [
          { color: RED, value: null },
          { color: ORANGE, value: 0.9 },
          { color: 'green', value: 1 },
        ],
      }),
      timeSeries({
        title: 'Trust over time',
        description: 'Share of nodes that trust each registry.',
        width: 8,
        unit: 'percentunit',
        max: 1,
        queries: [{ expr: `avg by (registry) (${m.registryTrusted}{${FLEET}})`, legend: '{{registry}}' }],
      }),
      timeSeries({
        title: 'Nodes by state',
        description: 'Every node has one state.',
        width: 8,
        stacked: true,
        queries: [{ expr: `count by (state) (${m.nodeState}{${FLEET}})`, legend: '{{state}}' }],
      }),
    ],
  },
  {
    title: 'Drift, restarts, rollbacks',
    panels: [
      timeSeries({
        title: 'Drift',
        description: 'Paths that are not as declared, by target.',
        width: 8,
        stacked: true,
        queries: [{ expr: orZero(`sum by (target) (${m.drift}{${FLEET}})`), legend: '{{target}}' }],
      }),
      timeSeries({
        title: 'Drift found and healed',
        description: 'Paths changed by someone else, and put right.',
        width: 8,
        queries: [
          { expr: `sum(increase(${m.driftDetected}{${FLEET}}[$__rate_interval]))`, legend: 'found' },
          { expr: `sum(increase(${m.driftHealed}{${FLEET}}[$__rate_interval]))`, legend: 'healed' },
        ],
      }),
      timeSeries({
        title: 'Restarts of containerd and rollbacks',
        description: 'By the agent alone.',
        width: 8,
        queries: [
          {
            expr: `sum by (reason, result) (increase(${m.restarts}{${FLEET}}[$__rate_interval]))`,
            legend: '{{reason}} {{result}}',
          },
          { expr: `sum(increase(${m.rollbacks}{${FLEET}}[$__rate_interval]))`, legend: 'rolled back' },
        ],
      }),
      table({
        title: 'Nodes that wait or differ',
        description: 'Nodes in any state but converged.',
        width: 12,
        queries: [{ expr: `max by (node, state) (${m.nodeState}{${FLEET},state!="converged"})`, legend: 'nodes' }],
        columns: [{ name: 'node', link: NODE_LINK }],
        hidden: ['Value'],
      }),
      table({
        title: 'Fights with other writers',
        description: 'Files that someone else keeps changing back.',
        width: 12,
        queries: [{ expr: `max by (node, path) (${m.writerConflict}{${FLEET}})`, legend: 'conflict' }],
        columns: [{ name: 'node', link: NODE_LINK }],
        hidden: ['Value'],
      }),
    ],
  },
  {
    title: 'Expiry and versions',
    panels: [
      table({
        title: 'Trust anchors',
        description: 'Time left, and on how many nodes.',
        width: 8,
        queries: [
          { expr: `sort(min by (anchor, fingerprint) (${m.anchorNotAfter}{${FLEET}}) - time())`, legend: 'left' },
          { expr: `count by (anchor, fingerprint) (${m.anchorNotAfter}{${FLEET}})`, legend: 'nodes' },
        ],
        columns: [{ name: 'left', unit: 's', steps: EXPIRY }],
      }),
      table({
        title: 'Certificates served by registries',
        description: 'Time left for the first to expire of the chain.',
        width: 8,
        queries: [{ expr: `sort(min by (registry) (${m.servedNotAfter}{${FLEET}}) - time())`, legend: 'left' }],
        columns: [{ name: 'left', unit: 's', steps: EXPIRY }],
      }),
      table({
        title: 'Versions',
        description: 'What containerd is on how many nodes.',
        width: 8,
        queries: [
          { expr: `count by (containerd_version, layout, config_version) (${m.nodeInfo}{${FLEET}})`, legend: 'nodes' },
        ],
        columns: [],
      }),
      timeSeries({
        title: 'Duration of proofs (95th percentile)',
        description: 'Test pulls, by level.',
        width: 8,
        unit: 's',
        queries: [{ expr: p95(m.proofDuration, FLEET, 'level, le'), legend: '{{level}}' }],
      }),
      timeSeries({
        title: 'Reconciliations',
        description: 'By outcome, per second.',
        width: 8,
        queries: [
          { expr: `sum by (result) (rate(${m.reconciles}{${FLEET}}[$__rate_interval]))`, legend: '{{result}}' },
        ],
      }),
      table({
        title: 'Deprecations of containerd',
        description: "containerd's own warnings, and on how many nodes.",
        width: 8,
        queries: [{ expr: `count by (id) (${m.deprecations}{${FLEET}} == 1)`, legend: 'nodes' }],
        columns: [],
      }),
    ],
  },
  fleetComponentRow(FLEET),
]

export const FLEET_DASHBOARD = dashboard('registry-trust-fleet', 'Registry trust / fleet', rows)
