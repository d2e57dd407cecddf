// The order of a roll-out: per generation a canary first, then, after a soak, as many at a time as may be unavailable,
// spread over zones, control-plane nodes last and one at a time. Pure.
import type { CanaryChoice, Share } from '../../model/fleet.ts'
import type { FleetNode, LeaderMemory, RolloutInput, RolloutRecord } from './record.ts'

/** What is older says nothing about now: the poller asks waiting nodes more often than this. */
const FRESH_MS = 60_000
/** The record of a grant takes some 60 bytes in the Lease, whose annotations may have 256 KiB. */
const MOST_AT_A_TIME = 2_000

type Wave = Pick<RolloutInput, 'nodes' | 'settings' | 'nowMs'> & {
  readonly config: string
  readonly record: RolloutRecord
  readonly memory: LeaderMemory
}

export type NextToGrant = {
  readonly nodes: readonly { readonly name: string; readonly generation: string }[]
  readonly canaryOverMs: ReadonlyMap<string, number>
}

export function nextToGrant(wave: Wave): NextToGrant {
  const { settings, nowMs, record } = wave
  const candidates = candidatesOf(wave)
  if (candidates.length === 0) return { nodes: [], canaryOverMs: new Map() }
  const generations = Map.groupBy(candidates, ({ report }) => report.summary.generation)
  const canaryOverMs = new Map<string, number>()
  const allowed: Candidate[] = []
  for (const [generation, waiting] of [...generations].toSorted(([left], [right]) => (left < right ? -1 : 1))) {
    const canary = canaryOf(generation, waiting, wave)
    if (canary !== 'over') allowed.push(...canary)
    else {
      const overMs = wave.memory.canaryOverMs.get(generation) ?? nowMs
      canaryOverMs.set(generation, overMs)
      if (nowMs - overMs >= settings.soakMs) allowed.push(...waiting)
    }
  }
  const open = Object.keys(record.grants).length
  const room = Math.min(maxUnavailable(wave) - unavailable(wave).size, MOST_AT_A_TIME - open)
  const chosen = choose(allowed, candidates, Math.max(0, room), wave)
  return {
    nodes: chosen.map(({ name, report }) => ({ name, generation: report.summary.generation })),
    canaryOverMs,
  }
}

type Candidate = FleetNode & { readonly report: NonNullable<FleetNode['report']> }

/**
 * Nodes of a canary that are watched for `soak`: a node that gets worse in that time, or is rolled back by hand, holds
 * the others back only if it is asked in time.
 */
export function soaking({ nodes, settings, memory, nowMs }: Omit<Wave, 'config' | 'record'>): ReadonlySet<string> {
  const isWatched = (generation: string) => {
    const overMs = memory.canaryOverMs.get(generation)
    return overMs !== undefined && nowMs - overMs < settings.soakMs
  }
  const grants = nodes.flatMap(({ name, report }) => (report?.summary.grant ? [{ name, ...report.summary.grant }] : []))
  const watched = grants.filter(({ phase, generation }) => phase === 'done' && isWatched(generation))
  return new Set(watched.map(({ name }) => name))
}

/** Waits for a grant, and for nothing else, in the configuration in force, and can be spared. */
function candidatesOf({ nodes, record, config, nowMs }: Wave): readonly Candidate[] {
  return nodes.filter((node): node is Candidate => {
    const { report, name } = node
    if (report === undefined || !isAvailable(node) || !node.hasAgent || record.grants[name] !== undefined) return false
    const { summary, askedAtMs } = report
    return summary.restart.awaitsGrant && summary.config === config && nowMs - askedAtMs <= FRESH_MS
  })
}

function isAvailable({ isReady, isCordoned }: FleetNode): boolean {
  return isReady && !isCordoned
}

/** Nodes that are away, or may be away at any moment. */
export function unavailable({ nodes, record }: Pick<Wave, 'nodes' | 'record'>): ReadonlySet<string> {
  const away = nodes.filter(
    (node) => node.hasAgent && (!isAvailable(node) || node.report?.summary.grant?.phase === 'used'),
  )
  return new Set([...away.map(({ name }) => name), ...Object.keys(record.grants)])
}

export function maxUnavailable({ nodes, settings }: Pick<Wave, 'nodes' | 'settings'>): number {
  return numberOf(settings.maxUnavailable, nodes.filter(({ hasAgent }) => hasAgent).length)
}

/** Part of a node is one node, as in a DaemonSet's rolling update. */
function numberOf(share: Share, total: number): number {
  return share.kind === 'count' ? share.count : Math.ceil((total * share.percent) / 100)
}

/** Those of the canary that may go now, or `over` once as many of this generation as are wanted have proved it. */
function canaryOf(generation: string, waiting: readonly Candidate[], wave: Wave): readonly Candidate[] | 'over' {
  const { canary } = wave.settings
  const isOpen = ({ name }: FleetNode) => wave.record.grants[name]?.generation === generation
  const open = wave.nodes.filter(isOpen)
  if (canary.kind === 'selector') {
    const chosen = waiting.filter((node) => isCanary(canary, node))
    const mayComeYet = (node: FleetNode) => isOpen(node) || isStillWaiting(node, wave) || isBehind(node, wave)
    const isUnderWay = wave.nodes.some((node) => isCanary(canary, node) && mayComeYet(node))
    return isUnderWay ? chosen : 'over'
  }
  const proved = wave.nodes.filter(
    ({ name, report }) =>
      wave.record.grants[name] === undefined &&
      report?.summary.grant?.generation === generation &&
      report.summary.grant.phase === 'done' &&
      report.summary.grant.ok,
  )
  // Who has not answered for the configuration in force may be of this generation too.
  const isMember = (node: FleetNode) => node.report?.summary.generation === generation || isBehind(node, wave)
  const members = wave.nodes.filter(isMember).length
  const wanted = Math.max(1, numberOf(canary, members))
  if (canary.kind === 'count' && canary.count === 0) return 'over'
  if (proved.length >= wanted) return 'over'
  return inOrder(waiting, wave).slice(0, Math.max(0, wanted - proved.length - open.length))
}

/** Waits for a restart of the configuration in force, although it may not be spared right now. */
function isStillWaiting({ report, hasAgent }: FleetNode, { config }: Wave): boolean {
  return hasAgent && report !== undefined && report.summary.config === config && report.summary.restart.awaitsGrant
}

/** Has not taken the configuration in force up, but will: a node that is NotReady does not hold the others up. */
function isBehind({ report, hasAgent, isReady }: FleetNode, { config }: Wave): boolean {
  return hasAgent && isReady && report?.summary.config !== config
}

export function isCanary(canary: CanaryChoice, { labels }: Pick<FleetNode, 'labels'>): boolean {
  if (canary.kind !== 'selector') return false
  return Object.entries(canary.labels).every(([name, value]) => labels[name] === value)
}

function choose(allowed: readonly Candidate[], candidates: readonly Candidate[], room: number, wave: Wave) {
  const workers = inOrder(
    allowed.filter(({ isControlPlane }) => !isControlPlane),
    wave,
  )
  const chosen = workers.slice(0, room)
  if (chosen.length === room || candidates.some(({ isControlPlane }) => !isControlPlane)) return chosen
  const away = unavailable(wave)
  if (wave.nodes.some(({ name, isControlPlane }) => isControlPlane && away.has(name))) return chosen
  const [first] = inOrder(allowed, wave)
  return first === undefined ? chosen : [first]
}

/** Workers first; each next one from the zone that has the fewest away. */
function inOrder(nodes: readonly Candidate[], wave: Wave): readonly Candidate[] {
  const away = unavailable(wave)
  const load = new Map<string, number>()
  for (const { name, zone } of wave.nodes) if (away.has(name)) load.set(zone, (load.get(zone) ?? 0) + 1)
  const byZone = Map.groupBy(
    nodes.toSorted((left, right) => compare(left.name, right.name)),
    ({ zone }) => zone,
  )
  const placed: { readonly node: Candidate; readonly turn: number }[] = []
  for (const [zone, members] of byZone)
    for (const [index, node] of members.entries()) placed.push({ node, turn: (load.get(zone) ?? 0) + index })
  return placed
    .toSorted(
      (left, right) =>
        Number(left.node.isControlPlane) - Number(right.node.isControlPlane) ||
        left.turn - right.turn ||
        compare(left.node.zone, right.node.zone),
    )
    .map(({ node }) => node)
}

function compare(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0
}
