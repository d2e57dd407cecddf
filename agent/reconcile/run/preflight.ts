// What a plan would do, found out before anything is written: drift that is not to be healed is left out, the rest is
// rehearsed, and a registry that would lose its trust keeps its old anchors.

import type { DesiredState, Registry } from '../../model/desired-state.ts'
import { type Problem, problem } from '../../model/errors.ts'
import { breaksTrust, type Finding, provesTrust } from '../../model/finding.ts'
import type { Change, Planned, Rehearsal } from '../../model/plan.ts'
import type { ProofResult } from '../../model/proof.ts'
import type { Context } from '../../model/run.ts'
import { namesServingHosts } from '../../targets/targets.ts'
import { restoresProvedContent, withoutFights, withoutHealing } from '../plan/drift.ts'
import { proveByHandshake } from '../prove/handshake.ts'
import { proveRegistries } from '../prove/pull.ts'
import { rehearse } from '../rehearse/rehearse.ts'
import { sparedByDistrust } from './judgements/orphaning-distrust.ts'
import { unloadableAnchors, withoutAnchors } from './judgements/unloadable-anchors.ts'
import { makePlan } from './planning.ts'

/** Before a change, only what answers quickly is asked: a registry that is down delays nothing and proves nothing. */
const BEFORE_DEADLINE_MS = 2_000

/**
 * What the plan would do, tried before anything is written: by the rehearsal, against what each registry is now. For
 * `plan` too.
 */
export async function preflight(whole: Planned, given: Context): Promise<Preflight> {
  const { planned, context, problems: spared } = await withoutOrphaningDistrust(whole, given)
  const { desired, facts, options, ports } = context
  const [rehearsal, before] = await Promise.all([
    isPureHealing(planned, context)
      ? { verdict: 'not-needed' as const, reason: 'it restores what was proved before' }
      : rehearse(desired, facts, planned, ports, options.signal),
    provedBefore(context),
  ])
  const first = { planned, rehearsal, changes: planned.plan.changes, problems: spared }
  if (rehearsal.verdict === 'failed') return { ...first, desired, before }
  const usable = await withoutUnloadable(first, context)
  const kept = await keepTrust(usable.candidate, before, { ...context, desired: usable.desired })
  return { ...kept, desired: usable.desired, before }
}

/** Planned again with those certificates of the distribution that a registry is verified by alone. */
async function withoutOrphaningDistrust(planned: Planned, context: Context) {
  const { state, facts, options, ports } = context
  const nothing = { planned, context, problems: [] as readonly Problem[] }
  if (options.allowOrphan === true) return nothing
  const { desired, problems } = await sparedByDistrust(planned.plan, context.desired, ports)
  if (problems.length === 0) return nothing
  const next = { ...context, desired }
  const { migrateAll = false } = options
  return {
    planned: settle(await makePlan({ desired, state, facts, migrateAll }, ports), next),
    context: next,
    problems,
  }
}

/** Planned and rehearsed again without the anchors that the private copy could not load, where there are any. */
async function withoutUnloadable(
  first: Candidate,
  context: Context,
): Promise<{ readonly candidate: Candidate; readonly desired: DesiredState }> {
  const { state, facts, options, ports } = context
  const { anchors, problems: unloadable } = unloadableAnchors(first.rehearsal, context.desired)
  if (anchors.size === 0) return { candidate: first, desired: context.desired }
  const desired = withoutAnchors(context.desired, anchors)
  const { migrateAll = false } = options
  const planned = settle(await makePlan({ desired, state, facts, migrateAll }, ports), { ...context, desired })
  const rehearsal = await rehearse(desired, facts, planned, ports, options.signal)
  const problems = [...first.problems, ...unloadable]
  return { candidate: { planned, rehearsal, changes: planned.plan.changes, problems }, desired }
}

/** Leaves out drift that is to be reported only, and what someone else keeps changing back. */
export function settle(
  planned: Planned,
  { desired, state, options, ports }: Pick<Context, 'desired' | 'state' | 'options' | 'ports'>,
): Planned {
  if (options.byHand) return planned
  const { plan } = planned
  const { problems, conflicts, ...settled } = desired.drift.heal
    ? withoutFights(plan.changes, state, desired, ports.clock.now())
    : withoutHealing(plan.changes, state, desired)
  const isConfig = ({ target }: Change) => target === 'containerd-config'
  const isKept = new Set(settled.kept)
  const isConfigLeft = plan.changes.some((change) => isConfig(change) && !isKept.has(change))
  // They belong together: a file goes only when config.toml no longer names it.
  const kept = isConfigLeft ? settled.kept.filter((change) => !isConfig(change)) : settled.kept
  const stays = new Set(kept)
  const leftOut = plan.changes.filter((change) => !stays.has(change))
  if (leftOut.length === 0) return planned
  // A restart for an edit that is not made would change nothing.
  const restart = isConfigLeft ? { required: false, reason: '' } : plan.restart
  return {
    ...planned,
    plan: { ...plan, changes: kept, restart, problems: [...plan.problems, ...problems] },
    leftOut,
    conflicts,
  }
}

export function isPureHealing({ plan }: Planned, { state, desired }: Context): boolean {
  return !plan.restart.required && plan.changes.every((change) => restoresProvedContent(change, state, desired))
}

export function isTrusted(proof: ProofResult | undefined): boolean {
  return proof !== undefined && provesTrust(proof.finding.code)
}

async function provedBefore({ desired, cri, options, ports }: Context): Promise<ReadonlyMap<string, ProofResult>> {
  const known = options.knownBefore ?? new Map<string, ProofResult>()
  const unknown = desired.registries.filter(({ host }) => !known.has(host)).map(byManifest)
  const fresh = await proveRegistries(unknown, cri, { clock: ports.clock, timeoutMs: BEFORE_DEADLINE_MS })
  return new Map([...known, ...fresh.map((proof) => [proof.host, proof] as const)])
}

/** Before a change nothing is downloaded: whether the image named can be pulled is asked afterwards. */
function byManifest({ proof: { image: _, ...proof }, ...registry }: Registry): Registry {
  return { ...registry, proof: { ...proof, level: 'manifest' } }
}

type Candidate = {
  readonly planned: Planned
  readonly rehearsal: Rehearsal
  readonly changes: readonly Change[]
  readonly problems: readonly Problem[]
}

export type Preflight = Candidate & {
  /** What is carried out: without the anchors that containerd could not load. */
  readonly desired: DesiredState
  readonly before: ReadonlyMap<string, ProofResult>
}

/**
 * A registry that is trusted now and would not be with the new anchors alone keeps the old ones beside them until they
 * verify what it
 * serves; where that is no way out, its folder stays as it is.
 */
async function keepTrust(
  first: Candidate,
  before: ReadonlyMap<string, ProofResult>,
  context: Context,
): Promise<Candidate> {
  const { desired, state, facts, options, ports } = context
  const lost = lostHosts(await foretold(first.rehearsal, context), before)
  if (lost.size === 0 || options.allowOrphan === true) return first
  const orphaned = [...lost].map(([host, finding]) => wouldOrphan(host, finding))
  const problems = [...first.problems, ...orphaned]
  const unverified = new Set(lost.keys())
  const { migrateAll = false } = options
  const planned = settle(await makePlan({ desired, state, facts, unverified, migrateAll }, ports), context)
  const rehearsal = await rehearse(desired, facts, planned, ports, options.signal)
  const isKept = rehearsal.verdict === 'not-rehearsed' || rehearsal.verdict === 'not-needed'
  if (isKept || (rehearsal.verdict === 'passed' && lostHosts(rehearsal.proofs, before).size === 0))
    return { planned, rehearsal, changes: planned.plan.changes, problems }
  // registries.yaml serves all hosts in one file, and may name no CA file that is not written: it waits.
  const ofHosts = namesServingHosts(ports.targets)
  const isMeant = ({ target, subject }: Change) => target === 'k3s' || (ofHosts.has(target) && unverified.has(subject))
  const changes = first.changes.filter((change) => !isMeant(change))
  if (first.planned.legacyFiles === undefined) return { ...first, changes, problems }
  // config.toml would name files that are not written.
  const { plan } = first.planned
  const restart = { required: false, reason: '' }
  const harmless = changes.filter(({ target }) => target !== 'containerd-config')
  return { ...first, planned: { ...first.planned, plan: { ...plan, restart } }, changes: harmless, problems }
}

export function wouldOrphan(host: string, { message }: Finding): Problem {
  return problem(
    'ANCHOR_WOULD_ORPHAN',
    `${host} is trusted now, but would not be with the declared anchors: ${message}`,
  )
}

/** What the planned anchors do for each registry: as the rehearsal pulled, or else as a handshake of our own tells. */
async function foretold(
  rehearsal: Rehearsal,
  { desired, ports }: Context,
): Promise<readonly { readonly host: string; readonly finding: Finding }[]> {
  if (rehearsal.verdict === 'passed') return rehearsal.proofs
  return rehearsal.verdict === 'not-rehearsed' ? proveByHandshake(desired.registries, desired, ports) : []
}

/** Hosts that would not be trusted any more, and why. */
function lostHosts(
  proofs: readonly { readonly host: string; readonly finding: Finding }[],
  before: ReadonlyMap<string, ProofResult>,
): ReadonlyMap<string, Finding> {
  const lost = proofs.filter(({ host, finding }) => breaksTrust(finding.code) && isTrusted(before.get(host)))
  return new Map(lost.map(({ host, finding }) => [host, finding]))
}
