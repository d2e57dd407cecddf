// The answer of GET /fleet as another program reads it, checked: the component may be of another version, and what
// stands before it may answer in its place.

import { FLEET_STATES } from '../state/verdict.ts'
import type { FleetReport, NodeReport } from './report.ts'

/** Undefined: it is not a report of a fleet. */
export function readFleetReport(value: unknown): FleetReport | undefined {
  if (!isObject(value) || typeof value['isLeading'] !== 'boolean' || !isCount(value['matching'])) return undefined
  const { totals, rollout, registries, nodes } = value
  const isSound =
    isObject(totals) &&
    [totals['nodes'], totals['current']].every(isCount) &&
    isObject(totals['states']) &&
    Object.values(totals['states']).every(isCount) &&
    isRollout(rollout) &&
    isListOf(registries, (one) => isText(one['host']) && isText(one['code']) && isCount(one['nodes'])) &&
    isListOf(nodes, isNode)
  return isSound ? (value as FleetReport) : undefined
}

/** One report of the pages of many; a node that moved from one page to the next meanwhile is listed once. */
export function joinPages(first: FleetReport, others: readonly FleetReport[]): FleetReport {
  const nodes = new Map<string, NodeReport>()
  for (const page of [first, ...others]) for (const one of page.nodes) nodes.set(one.node, one)
  return { ...first, nodes: [...nodes.values()] }
}

function isRollout(value: unknown): boolean {
  return (
    isObject(value) &&
    (value['halted'] === null || isText(value['halted'])) &&
    [value['unavailable'], value['maxUnavailable']].every(isCount) &&
    Array.isArray(value['grants']) &&
    isListOf(value['generations'], (one) => [one['pending'], one['granted'], one['done'], one['failed']].every(isCount))
  )
}

function isNode(value: { readonly [name: string]: unknown }): boolean {
  const { node, state, zone, version, pod, untrusted } = value
  return (
    [node, zone, pod].every(isText) &&
    FLEET_STATES.some((known) => known === state) &&
    (version === null || isText(version)) &&
    ['generation', 'problem', 'restart', 'error'].every((name) => value[name] === null || isText(value[name])) &&
    isListOf(untrusted, (one) => isText(one['host']) && isText(one['code']))
  )
}

type Fields = { readonly [name: string]: unknown }

function isListOf(value: unknown, isSound: (one: Fields) => boolean): boolean {
  return Array.isArray(value) && value.every((one) => isObject(one) && isSound(one))
}

function isText(value: unknown): boolean {
  return typeof value === 'string'
}

function isCount(value: unknown): boolean {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function isObject(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
