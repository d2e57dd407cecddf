// The alerts, once: the PrometheusRule, the plain rules file and the list in the documentation are made from this
// table. Expressions name metrics through the agent's own table and finding codes through the agent's own list, so they
// cannot part.
import { ERRORS, type ErrorCode } from '../../agent/model/errors.ts'
import { breaksTrust, FINDINGS, type FindingCode, provesTrust } from '../../agent/model/finding.ts'
import { ADVISORY_KINDS, type DriftKind } from '../../agent/model/plan.ts'
import { m } from './metric-names.ts'

/** Every alert has its page below this address. */
const RUNBOOK_BASE = 'https://github.com/registry-trust/registry-trust-agent/blob/main/docs/runbooks/'

/** The job under which the agents are scraped; the PodMonitor and the scrape configuration set it. */
export const JOB = 'registry-trust'

/** critical: Pods fail now or very soon; warning: someone should look today; info: for the next planned change. */
export type Severity = 'critical' | 'warning' | 'info'

export type Alert = {
  readonly name: `RegistryTrust${string}`
  readonly severity: Severity
  readonly expr: string
  /** How long the expression must hold; absent: at once. */
  readonly for?: string
  readonly summary: string
  readonly description: string
}

export type AlertGroup = { readonly name: string; readonly alerts: readonly Alert[] }

const DAY = 86_400
const CODES = Object.keys(FINDINGS) as readonly FindingCode[]
/** About the runtime: one alert for the node instead of one for each registry. */
const RUNTIME: ReadonlySet<FindingCode> = new Set(['containerd-down', 'cri-not-loaded'])
const BREAKING = CODES.filter(breaksTrust).join('|')
/** Kinds of drift that the agent cannot heal: each has an alert of its own, or that of the registry. */
const ADVISORY = [...ADVISORY_KINDS].join('|')
const FAILING = CODES.filter((code) => !breaksTrust(code) && !provesTrust(code) && !RUNTIME.has(code)).join('|')

/** Problems that another alert is about. */
const TOLD_ELSEWHERE: readonly ErrorCode[] = [
  ...(Object.keys(ERRORS) as readonly ErrorCode[]).filter(
    (code) => code.startsWith('CONFIG_') && code !== 'CONFIG_PATH_IN_USE',
  ),
  'CONTAINERD_CONFIG_UNREADABLE',
  'CONTAINERD_NOT_FOUND',
  'NOT_CONTAINERD',
  'CRI_UNREACHABLE',
  'CRI_NOT_LOADED',
  'GENERATION_ROLLED_BACK',
  'WRITER_CONFLICT',
]

function isDrift(kind: DriftKind): string {
  return `sum without (kind) (${m.drift}{kind="${kind}"}) > 0`
}

/** Under a plain scrape configuration there may be no label `node`. */
const NODE = '{{ or $labels.node $labels.instance }}'
const EXPIRES = '{{ if gt $value 0.0 }}expires in {{ $value | humanizeDuration }}{{ else }}has expired{{ end }}'

const STALE_SECONDS = 3600

const registries: readonly Alert[] = [
  {
    name: 'RegistryTrustLost',
    severity: 'critical',
    for: '5m',
    expr: `${m.registryFinding}{code=~"${BREAKING}"} == 1`,
    summary: `Node ${NODE} does not trust {{ $labels.registry }}: {{ $labels.code }}.`,
    description:
      'The last test pull by the containerd of this node failed on the certificate of the registry. Pods with images from it cannot start here.',
  },
  {
    name: 'RegistryTrustProofFailing',
    severity: 'warning',
    for: '15m',
    expr: `${m.registryFinding}{code=~"${FAILING}"} == 1`,
    summary: `Node ${NODE} cannot prove {{ $labels.registry }}: {{ $labels.code }}.`,
    description:
      'The test pull does not get as far as the certificate, or cannot judge it, so nothing is known about trust in this registry. Pulls from it probably fail too.',
  },
  {
    name: 'RegistryTrustProofStale',
    severity: 'warning',
    for: '15m',
    expr: `(${m.registryTrusted} == 1)
  and (time() - ${m.proofLastSuccess} > ${STALE_SECONDS})
  unless (time() - ${m.proofLastSuccess} < 3 * ${m.proofInterval})`,
    summary: `Node ${NODE} has not proved {{ $labels.registry }} for a long time.`,
    description:
      'The registry counts as trusted, but the last test pull that showed it is older than an hour and older than three times its interval. The state may be out of date.',
  },
  {
    name: 'RegistryTrustLoginFailing',
    severity: 'warning',
    for: '15m',
    expr: `${m.registryLogin} == 0`,
    summary: `{{ $labels.registry }} refuses the credentials declared for it on node ${NODE}.`,
    description: 'Trust is not the problem: the registry answers, but rejects the user, password or token.',
  },
]

const certificates: readonly Alert[] = [
  ...expiryAlerts({
    name: 'RegistryTrustAnchorExpiring',
    remaining: `min by (job, namespace, anchor, fingerprint) (${m.anchorNotAfter}) - time()`,
    warningDays: 28,
    criticalDays: 14,
    summary: `The trust anchor {{ $labels.anchor }} ${EXPIRES}.`,
    description:
      'Once it has expired, no node accepts a certificate issued by {{ $labels.fingerprint }}. Declare the renewed CA beside it before then.',
  }),
  ...expiryAlerts({
    name: 'RegistryTrustServedCertificateExpiring',
    remaining: `min by (job, namespace, registry) (${m.servedNotAfter}) - time()`,
    warningDays: 14,
    criticalDays: 3,
    summary: `The certificate that {{ $labels.registry }} serves ${EXPIRES}.`,
    description:
      'Once it has expired, every pull from this registry fails. Renew it at the registry: nothing on the nodes helps.',
  }),
]

const node: readonly Alert[] = [
  {
    name: 'RegistryTrustDriftNotHealed',
    severity: 'warning',
    for: '15m',
    expr: `sum without (kind) (${m.drift}{kind!~"${ADVISORY}"}) > 0`,
    summary: `{{ $value }} paths of {{ $labels.target }} on node ${NODE} are not as declared.`,
    description:
      'Somebody changed them, and the agent has not restored them: it only reports (mode: audit, drift.heal: false), cannot write there, or has stopped because another program keeps changing them.',
  },
  {
    name: 'RegistryTrustRootsOutdated',
    severity: 'info',
    for: '1h',
    expr: isDrift('os-bundle-newer'),
    summary: `containerd on node ${NODE} still uses an older system trust store than the node has.`,
    description:
      'containerd reads the system trust store only once. It still trusts a CA that was removed from the store, or does not yet trust one that was added. A restart of containerd corrects that.',
  },
  {
    name: 'RegistryTrustSourceStale',
    severity: 'warning',
    for: '15m',
    expr: isDrift('source-stale'),
    summary: `On node ${NODE} {{ $value }} of the agent's inputs are mounted in a way that hides changes.`,
    description:
      'The kubelet never updates a file that is mounted by subPath, and a mount whose source was replaced goes on showing the old one. The agent goes on with what it read last.',
  },
  {
    name: 'RegistryTrustWritersFighting',
    severity: 'warning',
    expr: `(${m.writerConflict} == 1) or (increase(${m.driftHealed}[1h]) > 10)`,
    summary: `Another program keeps rewriting {{ or $labels.path $labels.target }} on node ${NODE}.`,
    description:
      'The agent and another program undo each other. The agent stops after drift.stopAfterFights restorations in a row; from then on, what the other program writes is in force.',
  },
  {
    name: 'RegistryTrustConfigRejected',
    severity: 'warning',
    for: '5m',
    expr: `count by (job, namespace) (${m.configValid} == 0) > 0`,
    summary: 'The configuration is rejected on {{ $value }} nodes.',
    description:
      'trust.yaml or a file that it names is not valid. The last good configuration stays in force; no change reaches the nodes.',
  },
  {
    name: 'RegistryTrustReconcileFailing',
    severity: 'warning',
    for: '30m',
    expr: `sum without (result) (increase(${m.reconciles}{result=~"failed|refused"}[15m])) > 0
  unless on (job, instance) max_over_time(${m.nodeState}{state="no-containerd"}[15m])`,
    summary: `The agent on node ${NODE} cannot apply the configuration.`,
    description:
      'Reconciliations end in an error or are refused before anything changes, e.g. because the rehearsal failed.',
  },
  {
    name: 'RegistryTrustRestartPending',
    severity: 'warning',
    for: '1d',
    expr: `${m.restartPending} == 1`,
    summary: `Node ${NODE} has waited for a restart of containerd for a day.`,
    description:
      'A change of config.toml is held back until containerd may be restarted. Until then the node works with its former configuration.',
  },
  {
    name: 'RegistryTrustRolledBack',
    severity: 'warning',
    // The state too: a rollback in the first seconds of an agent is no increase, Prometheus never saw the 0 before it.
    expr: `max without (state) (${m.nodeState}{state="rolled-back"}) == 1
  or increase(${m.rollbacks}[1h]) > 0`,
    summary: `The agent undid a change on node ${NODE}, because the node was worse after it.`,
    description:
      'The last good files are back. The agent does not try the same configuration again on this node until it changes or someone asks for it.',
  },
  {
    name: 'RegistryTrustRollbackFailed',
    severity: 'critical',
    expr: `max without (state) (${m.nodeState}{state="rollback-failed"}) == 1
  or sum without (result) (increase(${m.reconciles}{result="rollback-failed"}[1h])) > 0`,
    summary: `A change on node ${NODE} could be neither kept nor undone completely.`,
    description:
      'containerd or its files may be in a state between the old and the new one. Someone must check this node now.',
  },
  {
    name: 'RegistryTrustContainerdConfigBroken',
    severity: 'critical',
    for: '5m',
    expr: `max without (code, level) (${m.problems}{code="CONTAINERD_CONFIG_UNREADABLE"}) > 0`,
    summary: `containerd's configuration on node ${NODE} cannot be parsed.`,
    description:
      'The running containerd loaded an older one and goes on. It cannot start again with this file, so the node is lost at its next boot. Until the file is repaired, no new registry reaches this node.',
  },
  {
    name: 'RegistryTrustProblem',
    severity: 'warning',
    for: '15m',
    expr: `max without (level) (${m.problems}{level="problem",code!~"${TOLD_ELSEWHERE.join('|')}"}) > 0`,
    summary: `The agent on node ${NODE} cannot do all that is declared: {{ $labels.code }}.`,
    description: 'The status of the node names the file or the registry, the reason and the remedy for the code.',
  },
  {
    name: 'RegistryTrustContainerdDown',
    severity: 'critical',
    for: '5m',
    expr: `max without (state) (${m.nodeState}{state="no-containerd"}) == 1`,
    summary: `The agent on node ${NODE} cannot reach containerd.`,
    description:
      'The socket does not answer, or containerd runs without its CRI plugin: no Pod can start on this node.',
  },
  {
    name: 'RegistryTrustContainerdDeprecations',
    severity: 'info',
    for: '1h',
    expr: `count by (job, namespace, id) (${m.deprecations} == 1) > 0`,
    summary: 'containerd on {{ $value }} nodes warns of a deprecation: {{ $labels.id }}.',
    description: 'The next release line of containerd may not start with the configuration of these nodes.',
  },
]

const agent: readonly Alert[] = [
  {
    name: 'RegistryTrustAgentDown',
    severity: 'warning',
    for: '10m',
    expr: `up{job="${JOB}"} == 0`,
    summary: `The agent on node ${NODE} does not answer.`,
    description: 'What is on the node stays as it is, but nothing proves it, heals it or brings changes to it.',
  },
  {
    name: 'RegistryTrustAgentMissing',
    severity: 'warning',
    for: '15m',
    expr: `kube_node_info{container_runtime_version=~"containerd://.*"}
  unless on (cluster, node) ${m.buildInfo}
  unless on (cluster, node) up{job="${JOB}"}`,
    summary: 'Node {{ $labels.node }} runs containerd, but no agent.',
    description: 'No agent looks after this node: Pods with images from private registries may fail there.',
  },
  {
    name: 'RegistryTrustAgentAbsent',
    severity: 'critical',
    for: '15m',
    expr: `absent(${m.buildInfo})`,
    summary: 'No agent is scraped at all.',
    description: 'Either no agent runs, or Prometheus does not find the agents. None of the other alerts can fire.',
  },
]

const UNDER_WAY = 'registry_trust_fleet_nodes{state=~"waiting|restart-pending|restarting"}'

/** Told by the fleet component alone: where there is none, they are silent. */
const fleet: readonly Alert[] = [
  {
    name: 'RegistryTrustFleetConfigRejected',
    severity: 'warning',
    for: '10m',
    expr: 'registry_trust_fleet_config_valid == 0',
    summary: 'The fleet component does not follow what trust.yaml declares for it.',
    description:
      'Its settings (fleet) or what it publishes (publish) cannot be taken from the mounted configuration: the last valid ones, or the defaults, are in force.',
  },
  {
    name: 'RegistryTrustFleetHalted',
    severity: 'warning',
    expr: 'registry_trust_fleet_halted == 1',
    summary: 'The roll-out of restarts is halted.',
    description:
      'Restarts of containerd have failed, so the fleet component grants no more. The nodes that were not granted one keep their former configuration.',
  },
  {
    name: 'RegistryTrustFleetNodesUnreachable',
    severity: 'warning',
    for: '10m',
    expr: 'registry_trust_fleet_nodes{state="unreachable"} > 0',
    summary: '{{ $value }} nodes do not answer the fleet component.',
    description:
      'Their agents have not answered for two minutes or longer. Nothing is known about trust there, and these nodes are granted no restart.',
  },
  {
    name: 'RegistryTrustFleetRolloutStuck',
    severity: 'warning',
    for: '1h',
    expr: `sum without (state) (${UNDER_WAY}) > 0
  and sum without (state) (changes(registry_trust_fleet_nodes{state="trusted"}[1h])) == 0
  unless registry_trust_fleet_halted == 1`,
    summary: 'A change has made no progress for an hour: {{ $value }} nodes are waiting.',
    description:
      'These nodes do not use the new configuration yet, or wait for a restart of containerd, and no node has become trusted meanwhile.',
  },
]

export const ALERT_GROUPS: readonly AlertGroup[] = [
  { name: 'registry-trust.registries', alerts: registries },
  { name: 'registry-trust.certificates', alerts: certificates },
  { name: 'registry-trust.node', alerts: node },
  { name: 'registry-trust.agent', alerts: agent },
  { name: 'registry-trust.fleet', alerts: fleet },
]

export const ALERTS: readonly Alert[] = ALERT_GROUPS.flatMap(({ alerts }) => alerts)

export function runbookUrl({ name }: Pick<Alert, 'name'>): string {
  return `${RUNBOOK_BASE}${name}.md`
}

type Expiry = Pick<Alert, 'name' | 'summary' | 'description'> & {
  /** Seconds left. */
  readonly remaining: string
  readonly warningDays: number
  readonly criticalDays: number
}

/** Two alerts of one name; the warning ends where the critical one begins. */
function expiryAlerts({ remaining, warningDays, criticalDays, ...alert }: Expiry): readonly Alert[] {
  const warning = `(${remaining} < ${warningDays * DAY}) >= ${criticalDays * DAY}`
  const critical = `${remaining} < ${criticalDays * DAY}`
  return [
    { ...alert, severity: 'warning', for: '15m', expr: warning },
    { ...alert, severity: 'critical', for: '15m', expr: critical },
  ]
}
