// What a person should know of a node in one glance: how bad it is, and one sentence why.
import type { NodeState, NodeStatus, RegistryState } from '../../model/status.ts'

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
  'no-containerd': 'containerd does not answer; nothing is changed until it does.',
}

const MARKS: { readonly [tone in Tone]: string } = { ok: '✓', warn: '!', bad: '✗' }

export type Verdict = { readonly tone: Tone; readonly sentence: string; readonly mark: string }

export function verdictOf({ state, registries, drift, problems }: NodeStatus): Verdict {
  const tones = [
    STATE_TONE[state],
    ...registries.map((registry) => REGISTRY_TONE[registry.state]),
    ...(drift.length > 0 || problems.length > 0 ? (['warn'] as const) : []),
  ]
  const tone = tones.includes('bad') ? 'bad' : tones.includes('warn') ? 'warn' : 'ok'
  return { tone, mark: MARKS[tone], sentence: `${registriesSentence(registries)} ${SENTENCES[state] ?? ''}`.trim() }
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
