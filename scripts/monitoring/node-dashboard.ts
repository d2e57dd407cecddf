// The Grafana dashboard of one node: its registries with their findings, and what the agent did there.
import { JOB } from './alerts.ts'
import { dashboard, labelVariable, orZero, p95 } from './dashboard.ts'
import { m } from './metric-names.ts'
import {
  EXPIRY,
  NEUTRAL,
  ORANGE,
  RED,
  type Row,
  stat,
  table,
  timeSeries,
  trustTimeline,
  worseFromOne,
} from './panels.ts'

const NODE = 'cluster=~"$cluster",node="$node"'

const rows: readonly Row[] = [
  {
    title: 'At a glance',
    panels: [
      stat({
        title: 'State',
        description: 'The state of the node.',
        width: 4,
        text: 'name',
        query: { expr: `${m.nodeState}{${NODE}}`, legend: '{{state}}' },
        steps: NEUTRAL,
      }),
      stat({
        title: 'containerd',
        description: 'Version and layout.',
        width: 4,
        text: 'name',
        query: { expr: `${m.nodeInfo}{${NODE}}`, legend: '{{containerd_version}} {{layout}}' },
        steps: NEUTRAL,
      }),
      stat({
        title: 'Trust missing',
        description: 'Registries that are not proved trusted.',
        width: 4,
        query: { expr: orZero(`count(${m.registryTrusted}{${NODE}} == 0)`) },
        steps: worseFromOne(RED),
      }),
      stat({
        title: 'Drift',
        description: 'Paths that are not as the agent left them.',
        width: 4,
        query: { expr: orZero(`sum(${m.drift}{${NODE}})`) },
        steps: worseFromOne(ORANGE),
      }),
      stat({
        title: 'Restart pending',
        description: '1 while a restart is due but not done.',
        width: 4,
        query: { expr: `${m.restartPending}{${NODE}}` },
        steps: worseFromOne(ORANGE),
      }),
      stat({
        title: 'Configuration read',
        description: 'Age of the configuration in force.',
        width: 4,
        unit: 's',
        query: { expr: `time() - ${m.configLastSuccess}{${NODE}}` },
        steps: NEUTRAL,
      }),
    ],
  },
  {
    title: 'Registries',
    panels: [
      table({
        title: 'Registries',
        description: 'The last proof of each.',
        width: 14,
        queries: [
          { expr: `max by (registry, code) (${m.registryFinding}{${NODE}})`, legend: 'finding' },
          { expr: `max by (registry) (${m.registryTrusted}{${NODE}})`, legend: 'trust' },
          { expr: `max by (registry) (${m.registryLogin}{${NODE}})`, legend: 'login' },
          { expr: `time() - max by (registry) (${m.proofLastSuccess}{${NODE}})`, legend: 'last proved' },
          { expr: `min by (registry) (${m.servedNotAfter}{${NODE}}) - time()`, legend: 'certificate left' },
        ],
        columns: [
          { name: 'trust', trust: true },
          { name: 'last proved', unit: 's' },
          { name: 'certificate left', unit: 's', steps: EXPIRY },
        ],
        hidden: ['Value #A'],
      }),
      trustTimeline({
        title: 'Trust over time',
        description: 'Proved live by containerd.',
        width: 10,
        query: { expr: `max by (registry) (${m.registryTrusted}{${NODE}})`, legend: '{{registry}}' },
      }),
      timeSeries({
        title: 'Proofs',
        description: 'Test pulls by outcome.',
        width: 12,
        queries: [
          {
            expr: `sum by (registry, code) (increase(${m.proofs}{${NODE}}[$__rate_interval]))`,
            legend: '{{registry}} {{code}}',
          },
        ],
      }),
      timeSeries({
        title: 'Duration of proofs (95th percentile)',
        description: 'Test pulls, by level.',
        width: 12,
        unit: 's',
        queries: [{ expr: p95(m.proofDuration, NODE, 'level, le'), legend: '{{level}}' }],
      }),
    ],
  },
  {
    title: 'Node',
    panels: [
      timeSeries({
        title: 'Drift found and healed',
        description: 'Paths changed by someone else, and put right, by target.',
        width: 8,
        queries: [
          {
            expr: `sum by (target) (increase(${m.driftDetected}{${NODE}}[$__rate_interval]))`,
            legend: '{{target}} found',
          },
          {
            expr: `sum by (target) (increase(${m.driftHealed}{${NODE}}[$__rate_interval]))`,
            legend: '{{target}} healed',
          },
          { expr: orZero(`sum by (target) (${m.drift}{${NODE}})`), legend: '{{target}} open' },
        ],
      }),
      timeSeries({
        title: 'Reconciliations',
        description: 'By outcome; changes planned last.',
        width: 8,
        queries: [
          { expr: `sum by (result) (increase(${m.reconciles}{${NODE}}[$__rate_interval]))`, legend: '{{result}}' },
          { expr: `max(${m.planChanges}{${NODE}})`, legend: 'changes planned' },
        ],
      }),
      timeSeries({
        title: 'Restarts of containerd and rollbacks',
        description: 'By the agent alone.',
        width: 8,
        queries: [
          {
            expr: `sum by (reason, result) (increase(${m.restarts}{${NODE}}[$__rate_interval]))`,
            legend: '{{reason}} {{result}}',
          },
          { expr: `sum(increase(${m.rollbacks}{${NODE}}[$__rate_interval]))`, legend: 'rolled back' },
        ],
      }),
      table({
        title: 'Trust anchors',
        description: 'Time left.',
        width: 8,
        queries: [
          { expr: `sort(min by (anchor, fingerprint) (${m.anchorNotAfter}{${NODE}}) - time())`, legend: 'left' },
        ],
        columns: [{ name: 'left', unit: 's', steps: EXPIRY }],
      }),
      table({
        title: 'Certificates in files',
        description: 'What the agent keeps on the node.',
        width: 8,
        queries: [
          { expr: `sort(min by (filepath, subject_CN) (${m.x509NotAfter}{${NODE}}) - time())`, legend: 'left' },
        ],
        columns: [{ name: 'left', unit: 's', steps: EXPIRY }],
      }),
      table({
        title: 'Fights with other writers',
        description: 'Files that someone else keeps changing back.',
        width: 8,
        queries: [{ expr: `max by (path) (${m.writerConflict}{${NODE}})`, legend: 'conflict' }],
        columns: [],
        hidden: ['Value'],
      }),
      timeSeries({
        title: 'Duration of reconciliations (95th percentile)',
        description: 'Proofs included.',
        width: 8,
        unit: 's',
        queries: [{ expr: p95(m.reconcileDuration, NODE, 'le'), legend: 'reconcile' }],
      }),
      timeSeries({
        title: 'Memory of the agent',
        description: 'Resident.',
        width: 8,
        unit: 'bytes',
        queries: [{ expr: `process_resident_memory_bytes{job="${JOB}",${NODE}}`, legend: 'resident' }],
      }),
      timeSeries({
        title: 'CPU of the agent',
        description: 'Cores.',
        width: 8,
        queries: [{ expr: `rate(process_cpu_seconds_total{job="${JOB}",${NODE}}[$__rate_interval])`, legend: 'cores' }],
      }),
    ],
  },
]

export const NODE_DASHBOARD = dashboard('registry-trust-node', 'Registry trust / node', rows, [
  labelVariable('node', `label_values(${m.buildInfo}{cluster=~"$cluster"}, node)`),
])
