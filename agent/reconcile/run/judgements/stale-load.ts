// Whether the running containerd has loaded what lies on the node: known by the effect only, by what a fresh start of
// it trusts and it does not. Pure.
// This room: what follows for a run from what containerd trusts, or would trust, beside what is declared.
// Begin here; then withdrawn-anchors.ts (trusted still), unloadable-anchors.ts (never loaded), orphaning-distrust.ts.
// May touch: nothing.
import { type FindingCode, finding, provesTrust } from '../../../model/finding.ts'
import type { ContainerdFacts } from '../../../model/observed-state.ts'
import type { Rehearsal } from '../../../model/plan.ts'
import type { ProofResult } from '../../../model/proof.ts'

/** What changed while the daemon came up may have been read: it reads its roots at its first connection. */
const START_UNCERTAINTY_MS = 100

/** The system store was changed after the daemon started, so the daemon may trust by an older one. */
export function rootsAreNewer({ startedAt, systemRoots }: ContainerdFacts): boolean {
  if (startedAt === undefined || systemRoots === undefined) return false
  return systemRoots.changedAt > startedAt + START_UNCERTAINTY_MS
}

/**
 * From 2.0 on CRI Status does not tell config_path, cri-proxy may not tell legacy sections (`isLegacy`), and no version
 * tells by which system
 * store it trusts.
 */
export function isLoadUncertain(facts: ContainerdFacts, isLegacy: boolean): boolean {
  return isConfigUncertain(facts, isLegacy) || rootsAreNewer(facts)
}

function isConfigUncertain({ status }: ContainerdFacts, isLegacy: boolean): boolean {
  return (isLegacy ? status.loadedTlsFiles : status.loadedConfigPath) === undefined
}

/**
 * Registries that the private copy trusts with these very files and the daemon does not: it has not read them since
 * they changed.
 */
export function ignoredHosts(proofs: readonly ProofResult[], rehearsal: Rehearsal): readonly string[] {
  return trustedByAFreshStart(proofs, rehearsal, ['unknown-authority'])
}

/** The same, of proofs that may have been through `whileUnread`. */
export function unreadHosts(proofs: readonly ProofResult[], rehearsal: Rehearsal): readonly string[] {
  return trustedByAFreshStart(proofs, rehearsal, ['unknown-authority', 'hosts-file-ignored'])
}

function trustedByAFreshStart(
  proofs: readonly ProofResult[],
  rehearsal: Rehearsal,
  codes: readonly FindingCode[],
): readonly string[] {
  if (rehearsal.verdict !== 'passed') return []
  const trusted = new Set(rehearsal.proofs.filter(({ finding }) => provesTrust(finding.code)).map(({ host }) => host))
  return proofs.filter(({ host, finding }) => codes.includes(finding.code) && trusted.has(host)).map(({ host }) => host)
}

/**
 * The proofs while a restart that was planned has to wait. What those registries lack is the restart, and no CA, as
 * containerd's own words would have it. `waitsFor`: why it may not be restarted now.
 */
export function whileUnread(
  proofs: readonly ProofResult[],
  rehearsal: Rehearsal,
  { due, waitsFor }: { readonly due: string; readonly waitsFor: string },
): readonly ProofResult[] {
  const ignored = new Set(ignoredHosts(proofs, rehearsal))
  return proofs.map((proof) => {
    if (!ignored.has(proof.host)) return proof
    const message = `containerd does not read the files of ${proof.host} before its next start (${due}); not restarted: ${waitsFor}`
    return { ...proof, finding: finding('hosts-file-ignored', message, proof.finding.evidence) }
  })
}

export function notLoaded(facts: ContainerdFacts, isLegacy: boolean, hosts: readonly string[]): string {
  const { configFile, systemRoots } = facts
  const suspects = [
    ...(isConfigUncertain(facts, isLegacy) ? [configFile] : []),
    ...(rootsAreNewer(facts) && systemRoots !== undefined ? [systemRoots.path] : []),
  ]
  return `the running containerd has not loaded ${suspects.join(' or ')} as it is now: it does not trust ${hosts.join(', ')}, a fresh start of it does`
}
