// What of a configuration counts on this node: every `when` is judged by the facts of the node. What does not hold is
// left out; what cannot be judged now keeps what it put on the node. Pure, but for the facts.
import { isDeepStrictEqual } from 'node:util'
import type { Condition, DesiredState, Mirror, NodeFacts, Registry, TrustAnchor } from '../model/desired-state.ts'
import { type Problem, problem } from '../model/errors.ts'
import type { TargetName } from '../model/plan.ts'
import { judgeCondition, type Verdict } from './condition.ts'
import { generationOf } from './generation.ts'
import type { LoadConfig } from './load.ts'

/** A function that loads the part of the configuration that counts here; facts are asked where something needs them. */
export function forThisNode(
  load: LoadConfig,
  factsFor: (needed: ReadonlySet<keyof NodeFacts>) => Promise<NodeFacts>,
): LoadConfig {
  let last: { readonly whole: DesiredState; readonly facts: NodeFacts; readonly here: DesiredState } | undefined
  return async (options) => {
    const loaded = await load(options)
    if (!loaded.ok) return loaded
    const { desired: whole } = loaded
    const needed = factsNeeded(whole)
    if (needed.size === 0) return loaded
    const facts = await factsFor(needed)
    // The same object: a plan that was made from it is known to be for it.
    if (last?.whole !== whole || !isDeepStrictEqual(last.facts, facts))
      last = { whole, facts, here: forNode(whole, facts) }
    return { ...loaded, desired: last.here }
  }
}

type TargetKey = keyof DesiredState['targets']

const TARGETS_OF: { readonly [key in TargetKey]: readonly TargetName[] } = {
  systemTrust: ['system-trust'],
  containerd: ['containerd-hosts', 'containerd-config'],
  docker: ['docker'],
  containers: ['containers'],
  k3s: ['k3s'],
  crictl: ['crictl'],
  hostsFile: ['hosts-file'],
}

function conditionsOf({ anchors, registries, wildcard, targets, restart }: DesiredState): readonly Condition[] {
  const all = [
    ...anchors,
    ...registries,
    ...(wildcard === undefined ? [] : [wildcard]),
    ...Object.values(targets),
    restart,
  ]
  return all.flatMap(({ when }: { readonly when?: Condition }) => when ?? [])
}

const FACT_OF: { readonly [key in keyof Required<Condition>]: keyof NodeFacts } = {
  nodes: 'name',
  os: 'os',
  arch: 'arch',
  containerd: 'containerd',
  labels: 'labels',
}

function factsNeeded(desired: DesiredState): ReadonlySet<keyof NodeFacts> {
  const keys = conditionsOf(desired).flatMap((condition) => Object.keys(condition) as (keyof Condition)[])
  return new Set(keys.map((key) => FACT_OF[key]))
}

export function forNode(desired: DesiredState, facts: NodeFacts): DesiredState {
  const judge = ({ when }: { readonly when?: Condition }): Verdict =>
    when === undefined ? { holds: 'yes', why: '' } : judgeCondition(when, facts)
  const left = new LeftOut()
  const anchors = desired.anchors.flatMap((anchor) => anchorHere(anchor, judge(anchor), left))
  const names = new Set(anchors.map(({ name }) => name))
  const gone = new Set(desired.anchors.flatMap(({ name }) => (names.has(name) ? [] : [name])))
  const here = (registry: Registry) => registryHere(registry, judge(registry), gone, left)
  const registries = desired.registries.flatMap(here)
  const { wildcard: declared, ...rest } = desired
  const [wildcard] = declared === undefined ? [] : here(declared)
  const { targets, frozen } = targetsHere(desired, judge, left)
  const restarting = judge(desired.restart)
  if (restarting.holds !== 'yes') left.add('restart', restarting.why)
  const restart = restarting.holds === 'yes' ? desired.restart : { ...desired.restart, strategy: 'never' as const }
  const kept = { anchors, registries, targets, restart, ...(wildcard !== undefined && { wildcard }) }
  const warnings = [...(desired.warnings ?? []), ...left.warnings()]
  return {
    ...rest,
    ...kept,
    generation: generationOf({ ...kept, ...(desired.distrust !== undefined && { distrust: desired.distrust }) }),
    ...(frozen.length > 0 && { frozen }),
    ...(warnings.length > 0 && { warnings }),
  }
}

function anchorHere(anchor: TrustAnchor, { holds, why }: Verdict, left: LeftOut): readonly TrustAnchor[] {
  if (holds === 'yes') return [anchor]
  if (holds === 'unknown')
    return [{ ...anchor, certificates: [], problems: [...anchor.problems, undecided(`anchor ${anchor.name}`, why)] }]
  left.add(`anchor ${anchor.name}`, why)
  return []
}

/** Of its anchors, and of those of its mirrors, the ones that count here. */
function registryHere(
  registry: Registry,
  { holds, why }: Verdict,
  gone: ReadonlySet<string>,
  left: LeftOut,
): readonly Registry[] {
  if (holds === 'no') {
    left.add(`registry ${registry.host}`, why)
    return []
  }
  const names = (all: readonly string[]) => all.filter((name) => !gone.has(name))
  const mirrors = registry.mirrors?.map((mirror: Mirror) => ({ ...mirror, anchors: names(mirror.anchors) }))
  const here = { ...registry, anchors: names(registry.anchors), ...(mirrors !== undefined && { mirrors }) }
  if (holds === 'yes') return [here]
  return [{ ...here, problems: [...(registry.problems ?? []), undecided(`registry ${registry.host}`, why)] }]
}

function targetsHere(
  { targets }: DesiredState,
  judge: (target: { readonly when?: Condition }) => Verdict,
  left: LeftOut,
): { readonly targets: DesiredState['targets']; readonly frozen: readonly TargetName[] } {
  const off: { [key: string]: object } = {}
  const frozen: TargetName[] = []
  for (const key of Object.keys(targets) as TargetKey[]) {
    const { holds, why } = judge(targets[key])
    if (holds === 'no') {
      left.add(`targets.${key}`, why)
      off[key] = { ...targets[key], enabled: 'off' }
    } else if (holds === 'unknown') frozen.push(...TARGETS_OF[key])
  }
  return { targets: { ...targets, ...off }, frozen }
}

function undecided(what: string, why: string): Problem {
  return problem('CONDITION_UNKNOWN', `${what}: ${why}; what it put on the node stays as it is`)
}

const MOST_NAMED = 10

/** One warning for each reason, so that a pool of a thousand registries is one line. */
class LeftOut {
  readonly #byReason = new Map<string, string[]>()

  add(what: string, why: string): void {
    this.#byReason.set(why, [...(this.#byReason.get(why) ?? []), what])
  }

  warnings(): readonly Problem[] {
    return [...this.#byReason].map(([why, all]) => {
      const more = all.length > MOST_NAMED ? ` and ${all.length - MOST_NAMED} more` : ''
      return problem(
        'NOT_FOR_THIS_NODE',
        `left out on this node: ${all.slice(0, MOST_NAMED).join(', ')}${more}: ${why}`,
      )
    })
  }
}
