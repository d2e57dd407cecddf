// The one verdict on a node: whether it is healthy, its colour, its sentence, and the exit code of `status`. The
// command line, the page, the metrics and readiness all take it from here, so that no two of them tell a person
// different things.
import { provesTrust } from './finding.ts'
import { ADVISORY_KINDS } from './plan.ts'
import type { Run } from './run.ts'
import type { NodeState, NodeStatus, RegistryState, RegistryStatus } from './status.ts'

export type Tone = 'ok' | 'warn' | 'bad'

export const REGISTRY_TONE: { readonly [state in RegistryState]: Tone } = {
  trusted: 'ok',
  rehearsed: 'warn',
  unproved: 'warn',
  untrusted: 'bad',
}

export const STATE_TONE: { readonly [state in NodeState]: Tone } = {
  converged: 'ok',
  audit: 'ok',
  applying: 'warn',
  drifted: 'warn',
  'restart-pending': 'warn',
  'rolled-back': 'bad',
  'rollback-failed': 'bad',
  failed: 'bad',
  'no-containerd': 'bad',
}

const SENTENCES: { readonly [state in NodeState]: string } = {
  converged: 'Every file is as declared.',
  audit: 'Audit mode: differences are reported, nothing is changed.',
  applying: 'Changes are being applied.',
  drifted: 'Something on this node is not as the agent left it.',
  'restart-pending': 'Changes wait for a restart of containerd.',
  'rolled-back': 'The last change made this node worse and was undone; the former files are in force.',
  'rollback-failed': 'The last change could be neither kept nor undone completely: check this node now.',
  failed: 'What is declared is not on this node, or not all of it: see the problems.',
  'no-containerd': 'containerd does not answer; changes to the files that it reads wait until it does.',
}

export const MARKS: { readonly [tone in Tone]: string } = { ok: '✓', warn: '!', bad: '✗' }

export type Verdict = {
  readonly tone: Tone
  readonly sentence: string
  readonly mark: string
  readonly isHealthy: boolean
  /** Of `registry-trust status`. */
  readonly exitCode: 0 | 3
}

export function verdictOf(status: NodeStatus): Verdict {
  const tone = toneOf(status)
  const isHealthy = isHealthyNode(status)
  const sentence = `${registriesSentence(status.registries)} ${SENTENCES[status.state] ?? ''}`.trim()
  return { tone, mark: MARKS[tone], sentence, isHealthy, exitCode: isHealthy ? 0 : 3 }
}

/** A healthy node may be worth a look (`warn`); one that is not is never `ok`. */
function toneOf({ state, registries, drift, problems }: NodeStatus): Tone {
  const tones = [
    STATE_TONE[state],
    ...registries.map((registry) => REGISTRY_TONE[registry.state]),
    ...(drift.length > 0 || problems.length > 0 ? (['warn'] as const) : []),
  ]
  return tones.includes('bad') ? 'bad' : tones.includes('warn') ? 'warn' : 'ok'
}

/**
 * States in which nothing waits for a person. In `audit` nothing is changed on purpose: what differs is reported as
 * drift.
 */
const SETTLED: ReadonlySet<NodeState> = new Set<NodeState>(['converged', 'applying', 'audit'])

/** Everything declared is in place and trusted, and nothing waits for a person. */
function isHealthyNode({ state, registries, drift, problems }: NodeStatus): boolean {
  const differs = state === 'audit' && drift.some(({ kind }) => !ADVISORY_KINDS.has(kind))
  return SETTLED.has(state) && !differs && problems.length === 0 && registries.every(isTrusted)
}

/** The state `no-containerd`, and what readiness says of it. */
export function isRuntimeDown(run: Pick<Run, 'outcome'> | undefined): boolean {
  return run === undefined || run.outcome === 'no-containerd'
}

/** What was to be on the node is not, or not all of it, and readiness says so. */
export function isRunFailed({ outcome }: Pick<Run, 'outcome'>): boolean {
  return outcome === 'failed' || outcome === 'rollback-failed'
}

/** Worst first, as every list of registries is sorted. */
export const REGISTRIES_WORST_FIRST: readonly RegistryState[] = ['untrusted', 'unproved', 'rehearsed', 'trusted']

/** The running containerd trusts it, and the login, where one is declared, is accepted. */
export function isTrusted({ state }: RegistryStatus): boolean {
  return state === 'trusted'
}

/** The running containerd trusts it, whatever became of the login: what the metrics count. */
export function isTrustedLive(registry: RegistryStatus): boolean {
  return isTrusted(registry) || isProvedLive(registry)
}

/** The last proof was a pull of the running containerd, over verified TLS. */
export function isProvedLive({ finding, lastProof }: RegistryStatus): boolean {
  return lastProof?.by === 'live' && provesTrust(finding.code)
}

function registriesSentence(registries: NodeStatus['registries']): string {
  const untrusted = registries.filter(({ state }) => state === 'untrusted')
  const waiting = registries.filter(({ state }) => state !== 'untrusted' && state !== 'trusted')
  if (registries.length === 0) return 'No registry is declared.'
  if (untrusted.length === 1) return `${untrusted[0]?.host} is not trusted.`
  if (untrusted.length > 1) return `${untrusted.length} of ${registries.length} registries are not trusted.`
  if (waiting.length === 1) return `${waiting[0]?.host} is not proved yet.`
  if (waiting.length > 1) return `${waiting.length} of ${registries.length} registries are not proved yet.`
  return registries.length === 1 ? 'The registry is trusted.' : `All ${registries.length} registries are trusted.`
}
