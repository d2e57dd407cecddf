// Drift that nothing the agent may write puts right (ADVISORY_KINDS): reported with what does. Pure.
import { type DesiredState, trustOf } from '../model/desired-state.ts'
import type { FindingCode } from '../model/finding.ts'
import type { ContainerdFacts, SystemRootsFacts } from '../model/observed-state.ts'
import type { Run } from '../model/run.ts'
import type { AgentState } from '../model/state.ts'
import type { DriftStatus } from '../model/status.ts'
import { rootsAreNewer, unreadHosts } from '../reconcile/run/judgements/stale-load.ts'
import { stillTrusted } from '../reconcile/run/judgements/withdrawn-anchors.ts'

/**
 * The system store is newer than what the running containerd trusts by, and that matters: a registry is not trusted for
 * it, or a
 * certificate that was taken out is trusted still. Where every registry's CA comes through hosts.toml it does not
 * matter.
 */
export function outdatedRoots(
  run: Run,
  desired: DesiredState,
  state: AgentState,
  codeOf: (host: string) => FindingCode | undefined,
): readonly DriftStatus[] {
  const { facts, rehearsal, proofs, restarts } = run
  if (facts?.systemRoots === undefined || restarts.length > 0) return []
  const withdrawn = withdrawnButTrusted(state, facts)
  // The code first: what a registry is trusted by takes a walk through its anchors, and hardly any registry needs it.
  const bySystem = desired.registries
    .filter(({ host }) => codeOf(host) === 'unknown-authority')
    .filter((registry) => trustOf(registry, desired).certificates.length === 0)
    .map(({ host }) => host)
  const ignored = rehearsal === undefined ? [] : unreadHosts(proofs, rehearsal)
  const untrusted = [...new Set([...bySystem, ...ignored])].join(', ')
  if (untrusted === '' || !rootsAreNewer(facts)) return withdrawn
  const changed = `the system store changed at ${instant(facts.systemRoots.changedAt)}`
  const reason = `${changed}; containerd, started at ${instant(facts.startedAt)}, reads it only once and does not trust ${untrusted}: restart containerd`
  return [newerThanLoaded(facts.systemRoots, reason), ...withdrawn]
}

/** Certificates that were taken out of the system store while containerd had it loaded. */
export function withdrawnButTrusted(state: AgentState, facts: ContainerdFacts): readonly DriftStatus[] {
  const found = stillTrusted(state, facts)
  const last = found.at(-1)
  if (facts.systemRoots === undefined || last === undefined) return []
  const names = found.map(({ anchor, fingerprint }) => `${anchor} (${fingerprint})`).join(', ')
  const reason = `${names}: removed from the system store, last at ${last.at}; containerd, started at ${instant(facts.startedAt)}, may still trust it until containerd is restarted`
  return [newerThanLoaded(facts.systemRoots, reason)]
}

function newerThanLoaded({ path }: SystemRootsFacts, reason: string): DriftStatus {
  return { target: 'system-trust', path, kind: 'os-bundle-newer', reason }
}

function instant(ms: number | undefined): string {
  return ms === undefined ? 'an unknown time' : new Date(ms).toISOString()
}
