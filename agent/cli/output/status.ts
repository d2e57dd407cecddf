// The text of `status`: what is wrong first, aligned, nothing hidden behind colour alone.
import type { Problem } from '../../model/errors.ts'
import type { AnchorStatus, NodeStatus, RegistryStatus } from '../../model/status.ts'
import { REGISTRIES_WORST_FIRST, REGISTRY_TONE, STATE_TONE } from '../../model/verdict.ts'
import { type Cell, harmless, type Paint, plain, STYLES, table } from './terminal.ts'

export type FormatOptions = {
  readonly paint?: Paint
  /** Milliseconds since the epoch; times are shown relative to it. */
  readonly now: number
}

export function formatStatus(status: NodeStatus, options: FormatOptions): string {
  const paint = options.paint ?? plain
  const sections = [
    formatNode(status, paint),
    formatProblems(status.problems, paint),
    formatWarnings(status.warnings, paint),
    formatRegistries(status, options.now, paint),
    formatDrift(status, paint),
    formatAnchors(status.anchors, options.now, paint),
    formatTransactions(status, options.now, paint),
  ]
  return sections.filter((section) => section !== '').join('\n')
}

function runtimeRows({ containerd, runtime }: NodeStatus): readonly Cell[][] {
  if (runtime !== null && runtime.name !== 'containerd')
    return [['runtime', joined([`${runtime.name} ${runtime.version}`, runtime.socket])]]
  return [
    ['containerd', joined([containerd.version ?? 'not reached', containerd.socket, containerd.layout])],
    [
      'config file',
      joined([
        containerd.configFile ?? 'none',
        containerd.configVersion === null ? null : `version ${containerd.configVersion}`,
      ]),
    ],
    ['config_path', containerd.configPath ?? 'not set'],
  ]
}

function formatNode(status: NodeStatus, paint: Paint): string {
  const { restart } = status
  const from = status.sources.length === 0 ? '' : ` from ${status.sources.join(', ')}`
  const rows: Cell[][] = [
    ['node', status.node],
    ['state', { text: status.state, style: STYLES[STATE_TONE[status.state]] }],
    ...runtimeRows(status),
    ['desired', `${status.generation === '' ? 'none yet' : status.generation}${from}, mode ${status.mode}`],
    ['agent', status.version],
  ]
  if (status.targets.length > 0) rows.splice(-1, 0, ['targets', status.targets.map(targetText).join(', ')])
  if (restart.pending) rows.splice(2, 0, ['restart due', { text: restart.reason ?? 'yes', style: 'yellow' }])
  if (restart.last !== null)
    rows.push(['last restart', `${restart.last.at} ${restart.last.result}: ${restart.last.reason}`])
  return table(rows, { paint })
}

function targetText({ target, inSync, pending }: NodeStatus['targets'][number]): string {
  return `${target} ${inSync ? 'in sync' : pending === 0 ? 'not in sync' : `${pending} to change`}`
}

function joined(parts: readonly (string | null)[]): string {
  return parts.filter((part) => part !== null && part !== '').join(', ')
}

/** Shared with the other commands: a problem is a code, a sentence, and what to do. */
export function formatProblems(problems: readonly Problem[], paint: Paint = plain): string {
  if (problems.length === 0) return ''
  const lines = problems.map(
    ({ code, message, remedy }) =>
      `  ${paint('red', harmless(code))}  ${harmless(message)}\n    ${remedyLine(remedy, paint)}\n`,
  )
  return `${paint('bold', 'PROBLEMS')}\n${lines.join('')}`
}

function remedyLine(remedy: string, paint: Paint): string {
  return `${paint('bold', 'fix:')} ${harmless(remedy)}`
}

/** What is worth knowing, after everything that is wrong. */
function formatWarnings(warnings: readonly Problem[], paint: Paint): string {
  if (warnings.length === 0) return ''
  const lines = warnings.map(({ message, remedy }) => `  ${harmless(message)}\n    ${remedyLine(remedy, paint)}\n`)
  return `${paint('bold', 'WARNINGS')}\n${lines.join('')}`
}

/** Stable: registries of one state keep the order in which they were declared. */
export function worstFirst(registries: readonly RegistryStatus[]): readonly RegistryStatus[] {
  const rank = ({ state }: RegistryStatus) => REGISTRIES_WORST_FIRST.indexOf(state)
  return registries.toSorted((left, right) => rank(left) - rank(right))
}

function formatRegistries({ registries, ...status }: NodeStatus, now: number, paint: Paint): string {
  const runtime = status.runtime?.name === 'cri-o' ? 'CRI-O' : 'containerd'
  if (registries.length === 0) return `${paint('bold', 'REGISTRIES')}\n  none declared\n`
  const sorted = worstFirst(registries)
  const rows = sorted.map(({ host, state, since, finding, lastProof }): readonly Cell[] => [
    { text: state, style: STYLES[REGISTRY_TONE[state]] },
    host,
    finding.code,
    since === null ? '' : ago(since, now),
    lastProof === null
      ? 'never'
      : `${lastProof.level} (${lastProof.by}) ${ago(lastProof.at, now)}, ${Math.round(lastProof.durationMs)} ms`,
  ])
  const lines = table(rows, { header: ['STATE', 'REGISTRY', 'FINDING', 'SINCE', 'LAST PROOF'], indent: 2, paint })
  const details = sorted
    .filter(({ state, finding }) => state !== 'trusted' || finding.code !== 'trusted')
    .map((registry) => formatFinding(registry, runtime, paint))
  return `${paint('bold', 'REGISTRIES')}\n${lines}${details.join('')}`
}

function formatFinding({ host, finding }: RegistryStatus, runtime: string, paint: Paint): string {
  const { text, notes } = finding.evidence
  const evidence = [text === undefined ? undefined : `${runtime} says: ${text}`, ...(notes ?? [])].filter(
    (line) => line !== undefined,
  )
  const lines = evidence.map((line) => `    ${paint('dim', harmless(line))}\n`)
  return `\n  ${harmless(host)}: ${harmless(finding.message)}\n    ${remedyLine(finding.remedy, paint)}\n${lines.join('')}`
}

function formatDrift({ drift }: NodeStatus, paint: Paint): string {
  if (drift.length === 0) return ''
  const rows = drift.map(({ target, path, kind, reason }): readonly Cell[] => [
    { text: kind, style: 'yellow' },
    path,
    target,
    reason,
  ])
  return `${paint('bold', 'DRIFT')}\n${table(rows, { header: ['KIND', 'PATH', 'TARGET', 'WHY'], indent: 2, paint })}`
}

const SOON_MS = 30 * 24 * 3600 * 1000

function formatAnchors(anchors: readonly AnchorStatus[], now: number, paint: Paint): string {
  if (anchors.length === 0) return ''
  const rows = anchors.map(({ name, subject, fingerprint, notAfter, installed }): readonly Cell[] => [
    name,
    notAfter === null ? '' : expiry(notAfter, now),
    subject ?? { text: 'no usable certificate', style: 'red' },
    fingerprint === null ? '' : shortFingerprint(fingerprint),
    `${installed.length} ${installed.length === 1 ? 'file' : 'files'}`,
  ])
  const problems = anchors.flatMap(({ name, findings }) =>
    findings.map(
      ({ code, message, remedy }) =>
        `\n  ${harmless(name)}: ${paint('red', harmless(code))} ${harmless(message)}\n    ${remedyLine(remedy, paint)}\n`,
    ),
  )
  return `${paint('bold', 'ANCHORS')}\n${table(rows, { header: ['NAME', 'EXPIRES', 'SUBJECT', 'FINGERPRINT', 'INSTALLED'], indent: 2, paint })}${problems.join('')}`
}

function expiry(notAfter: string, now: number): Cell {
  const leftMs = Date.parse(notAfter) - now
  const day = notAfter.slice(0, 10)
  if (leftMs <= 0) return { text: `${day} (expired)`, style: 'red' }
  if (leftMs < SOON_MS) return { text: `${day} (in ${duration(leftMs)})`, style: 'yellow' }
  return day
}

function shortFingerprint(fingerprint: string): string {
  return fingerprint.length > 23 ? `${fingerprint.slice(0, 23)}…` : fingerprint
}

const SHOWN_TRANSACTIONS = 5

function formatTransactions({ transactions }: NodeStatus, now: number, paint: Paint): string {
  if (transactions.length === 0) return ''
  const rows = transactions
    .slice(-SHOWN_TRANSACTIONS)
    .reverse()
    .map(({ at, result, changes, restarted, reason }): readonly Cell[] => [
      ago(at, now),
      { text: result, style: result === 'committed' ? 'green' : 'red' },
      `${changes} changed${restarted ? ', containerd restarted' : ''}`,
      reason,
    ])
  return `${paint('bold', 'LAST TRANSACTIONS')}\n${table(rows, { header: ['WHEN', 'RESULT', 'WHAT', 'WHY'], indent: 2, paint })}`
}

/** `12 min ago`; a clock that runs behind must not tell of the future. */
function ago(at: string, now: number): string {
  const passedMs = now - Date.parse(at)
  if (Number.isNaN(passedMs)) return at
  return passedMs < 1000 ? 'just now' : `${duration(passedMs)} ago`
}

const UNITS: readonly (readonly [number, string])[] = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
  [1000, 's'],
]

/** In the largest unit that fits at least twice, so that 90 minutes do not become "1 h". */
function duration(ms: number): string {
  const [size, unit] = UNITS.find(([candidate]) => ms >= 2 * candidate) ?? [1000, 's']
  return `${Math.floor(ms / size)} ${unit}`
}
