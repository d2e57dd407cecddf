// Who may restart next: the record of what was granted is brought up to date with what nodes and agents say, then more
// is granted. Pure. The rules: a grant that was recorded counts as used until its node says that it is over, whatever
// crashed meanwhile; the record is written before any node is told (its writer is fenced by the Lease); times are the
// leader's own and start anew with a new leader.
// This room: one file or two for each thing that a turn of the fleet component does: grant, ask, touch, wake, announce.
// Begin here; then poller.ts (what the agents say), toucher.ts (the Pods are told), announcer.ts (the Nodes are).
// May touch: the API server through the port ClusterApi, and agents through the port that asks them; no node.
import type { GrantReport, RolloutSettings } from '../../model/fleet.ts'
import type { NodeSummary } from '../../model/summary.ts'
import type { FleetNode, LeaderMemory, OpenGrant, RolloutInput, RolloutRecord } from '../state/record.ts'
import { nextToGrant } from '../state/waves.ts'

/** A node that was granted a restart and has not reported its end after this long did not come back. */
export const COME_BACK_MS = 300_000

export type RolloutStep = {
  readonly record: RolloutRecord
  readonly memory: LeaderMemory
  /** Why nothing is granted until a person or a new generation comes. */
  readonly halted: string | undefined
  /** Nodes whose failure is reported for the first time. */
  readonly newFailures: readonly string[]
}

export function stepRollout(input: RolloutInput): RolloutStep {
  const { nowMs, settings, nodes } = input
  const byName = new Map(nodes.map((node) => [node.name, node]))
  const started = startOver(input)
  const { record: settled, grantSeenMs } = settleGrants(started, byName, input)
  const record = countFailures(settled, byName, input)
  const newFailures = Object.keys(record.failed).filter((name) => started.failed[name] !== record.failed[name])
  const halted = haltReason(record, settings)
  const memory = { grantSeenMs, canaryOverMs: input.memory.canaryOverMs }
  if (halted !== undefined || input.config === undefined) return { record, memory, halted, newFailures }
  const next = nextToGrant({ ...input, config: input.config, record, memory })
  const grants = { ...record.grants }
  const seen = new Map(grantSeenMs)
  for (const { name, generation } of next.nodes) {
    const id = input.newId()
    grants[name] = { id, generation }
    seen.set(id, nowMs)
  }
  return {
    record: { ...record, grants },
    memory: { grantSeenMs: seen, canaryOverMs: next.canaryOverMs },
    halted,
    newFailures,
  }
}

/** A new configuration starts with a clean sheet; what is granted stays granted. */
function startOver({ record, config, resume }: RolloutInput): RolloutRecord {
  const isNew = config !== undefined && config !== record.config
  const fresh = isNew ? { ...record, config, failed: {}, forgiven: {} } : record
  return resume === record.resume ? fresh : { ...fresh, resume, forgiven: { ...fresh.failed } }
}

/** Takes back what is over, by the word of the agent that holds it. */
function settleGrants(
  record: RolloutRecord,
  nodes: ReadonlyMap<string, FleetNode>,
  { memory, nowMs }: RolloutInput,
): { readonly record: RolloutRecord; readonly grantSeenMs: ReadonlyMap<string, number> } {
  const grants: { [node: string]: OpenGrant } = {}
  const failed: { [node: string]: string } = { ...record.failed }
  const seen = new Map<string, number>()
  for (const [name, grant] of Object.entries(record.grants)) {
    const node = nodes.get(name)
    const seenMs = memory.grantSeenMs.get(grant.id) ?? nowMs
    const isLate = nowMs - seenMs > COME_BACK_MS
    // A machine may outlive its Node object for a while; after that nothing restarts there.
    if (node === undefined && isLate) continue
    const report = reportOn(node, grant.id)
    if (report?.phase === 'expired') continue
    if (report?.phase === 'done' && !report.ok) failed[name] = grant.generation
    if (report?.phase === 'done' && isBack(node)) continue
    seen.set(grant.id, seenMs)
    if (isLate && grant.isOverdue !== true) failed[name] = grant.generation
    // The grant went with the Pod that carried it, and the node is well: nothing is left that could use it or end it.
    if (isLate && node?.isReady === true && !node.hasAgent) continue
    grants[name] = isLate ? { ...grant, isOverdue: true } : grant
  }
  return { record: { ...record, grants, failed }, grantSeenMs: seen }
}

function reportOn(node: FleetNode | undefined, id: string): GrantReport | undefined {
  const said = node?.report?.summary.grant
  return said?.id === id ? said : undefined
}

/** The agent answers, the runtime is ready, and the cluster counts on the node. */
function isBack(node: FleetNode | undefined): boolean {
  return node?.isReady === true && node.report?.summary.runtimeReady === true
}

/**
 * A run that failed counts where it came after a restart that was granted for this generation: a node whose disk is
 * full, say, must not hold all others back.
 */
function hasFailed({ state, generation, grant }: NodeSummary): boolean {
  if (state === 'rolled-back' || state === 'rollback-failed') return true
  return state === 'failed' && grant?.phase === 'done' && grant.generation === generation
}

/** A failure belongs to a generation: once the node is told to be something else, it is forgotten. */
function countFailures(
  record: RolloutRecord,
  nodes: ReadonlyMap<string, FleetNode>,
  { config }: RolloutInput,
): RolloutRecord {
  const failed: { [node: string]: string } = {}
  for (const [name, generation] of Object.entries(record.failed)) {
    const summary = nodes.get(name)?.report?.summary
    const isOther = summary !== undefined && summary.config === config && summary.generation !== generation
    if (!isOther) failed[name] = generation
  }
  for (const [name, { report }] of nodes) {
    if (report === undefined || report.summary.config !== config) continue
    if (hasFailed(report.summary)) failed[name] = report.summary.generation
  }
  return { ...record, failed }
}

export function unforgiven({ failed, forgiven }: RolloutRecord): readonly string[] {
  return Object.keys(failed).filter((name) => forgiven[name] !== failed[name])
}

function haltReason(record: RolloutRecord, { haltAfter }: RolloutSettings): string | undefined {
  const names = unforgiven(record)
  if (names.length < haltAfter) return undefined
  const some = names.toSorted().slice(0, 3).join(', ')
  const more = names.length > 3 ? ` and ${names.length - 3} more` : ''
  return `${names.length === 1 ? 'one node' : `${names.length} nodes`} failed (${some}${more}); fleet.rollout.haltAfter is ${haltAfter}`
}

/** Grants that Pods carry although no record tells of them (the Lease was deleted): they count as used. */
export function adoptGrants(
  record: RolloutRecord,
  carried: Iterable<readonly [node: string, grant: OpenGrant]>,
): RolloutRecord {
  const grants = { ...record.grants }
  for (const [node, { id, generation }] of carried) grants[node] ??= { id, generation }
  return { ...record, grants }
}
