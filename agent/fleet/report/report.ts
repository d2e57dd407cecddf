// The answer of GET /fleet, as a type, a JSON Schema and the function that makes it. Pure.

import type { RolloutSettings } from '../../model/fleet.ts'
import { type JsonSchema, listSchema, objectSchema } from '../../model/status.ts'
import type { FleetPicture, NodeLine } from '../state/picture.ts'
import { FLEET_STATES, type FleetState, isWorse } from '../state/verdict.ts'
import { maxUnavailable, unavailable } from '../state/waves.ts'

export const DEFAULT_PAGE = 100
export const LARGEST_PAGE = 1000

export type FleetQuery = {
  readonly state?: FleetState
  readonly registry?: string
  readonly version?: string
  readonly offset: number
  readonly limit: number
}

export type NodeReport = {
  readonly node: string
  readonly state: FleetState
  readonly zone: string
  readonly version: string | null
  readonly containerd: string | null
  readonly generation: string | null
  readonly isCurrent: boolean
  readonly untrusted: readonly { readonly host: string; readonly code: string }[]
  readonly problem: string | null
  readonly restart: string | null
  readonly error: string | null
  readonly pod: string
}

export type RegistryReport = {
  readonly host: string
  readonly code: string
  readonly nodes: number
  /** The first few. */
  readonly examples: readonly string[]
}

export type GenerationReport = {
  readonly generation: string
  readonly pending: number
  readonly granted: number
  readonly done: number
  readonly failed: number
}

export type FleetReport = {
  readonly config: string | null
  /** Why something else is in force than what trust.yaml declares for the component. */
  readonly configProblem: string | null
  readonly isLeading: boolean
  readonly totals: {
    readonly nodes: number
    readonly current: number
    readonly states: { readonly [state: string]: number }
  }
  readonly rollout: {
    readonly halted: string | null
    readonly unavailable: number
    readonly maxUnavailable: number
    readonly grants: readonly string[]
    readonly failed: readonly string[]
    readonly generations: readonly GenerationReport[]
  }
  readonly registries: readonly RegistryReport[]
  /** Worst first, those that the query asks for. */
  readonly nodes: readonly NodeReport[]
  readonly matching: number
}

const EXAMPLES = 20

export function fleetReport(picture: FleetPicture, settings: RolloutSettings, query: FleetQuery): FleetReport {
  const { lines, record, nodes } = picture
  const states: { [state: string]: number } = {}
  for (const state of FLEET_STATES) states[state] = 0
  for (const { state } of lines) states[state] = (states[state] ?? 0) + 1
  const matching = lines.filter((line) => matches(line, query)).toSorted(worstFirst)
  return {
    config: picture.config ?? null,
    configProblem: picture.configProblem ?? null,
    isLeading: picture.isLeading,
    totals: { nodes: lines.length, current: lines.filter(({ facts }) => facts.isCurrent).length, states },
    rollout: {
      halted: picture.halted ?? null,
      unavailable: unavailable({ nodes, record }).size,
      maxUnavailable: maxUnavailable({ nodes, settings }),
      grants: Object.keys(record.grants).toSorted().slice(0, LARGEST_PAGE),
      failed: Object.keys(record.failed).toSorted().slice(0, LARGEST_PAGE),
      generations: generationsOf(picture),
    },
    registries: registriesOf(lines),
    nodes: matching.slice(query.offset, query.offset + query.limit).map(nodeReport),
    matching: matching.length,
  }
}

function matches({ facts: { summary }, state }: NodeLine, query: FleetQuery): boolean {
  if (query.state !== undefined && state !== query.state) return false
  if (query.version !== undefined && summary?.version !== query.version) return false
  return query.registry === undefined || summary?.untrusted.some(({ host }) => host === query.registry) === true
}

function worstFirst(left: NodeLine, right: NodeLine): number {
  return isWorse(left.state, right.state) || (left.facts.node < right.facts.node ? -1 : 1)
}

function nodeReport({ facts, state, pod, zone, error }: NodeLine): NodeReport {
  const { summary, isCurrent, node } = facts
  return {
    ...{ node, state, zone, isCurrent, pod: pod.name },
    version: summary?.version ?? null,
    containerd: summary?.containerd ?? null,
    generation: summary?.generation ?? null,
    untrusted: summary?.untrusted ?? [],
    problem: summary?.problem ?? null,
    restart: summary?.restart.reason ?? null,
    error: state === 'unreachable' || summary === undefined ? (error ?? null) : null,
  }
}

export function registriesOf(lines: readonly NodeLine[]): readonly RegistryReport[] {
  const found = new Map<string, { host: string; code: string; nodes: number; examples: string[] }>()
  for (const { facts } of lines)
    for (const { host, code } of facts.summary?.untrusted ?? []) {
      const entry = found.get(`${host} ${code}`) ?? { host, code, nodes: 0, examples: [] }
      found.set(`${host} ${code}`, entry)
      entry.nodes += 1
      if (entry.examples.length < EXAMPLES) entry.examples.push(facts.node)
    }
  return [...found.values()].toSorted((left, right) => right.nodes - left.nodes || (left.host < right.host ? -1 : 1))
}

export function generationsOf({ lines, record }: FleetPicture): readonly GenerationReport[] {
  const found = new Map<
    string,
    { generation: string; pending: number; granted: number; done: number; failed: number }
  >()
  for (const { facts, state } of lines) {
    const generation = facts.summary?.generation ?? ''
    if (generation === '') continue
    const entry = found.get(generation) ?? { generation, pending: 0, granted: 0, done: 0, failed: 0 }
    found.set(generation, entry)
    if (record.failed[facts.node] === generation) entry.failed += 1
    else if (record.grants[facts.node]?.generation === generation) entry.granted += 1
    else if (state === 'restart-pending') entry.pending += 1
    else entry.done += 1
  }
  return [...found.values()].toSorted((left, right) => (left.generation < right.generation ? -1 : 1))
}

const text: JsonSchema = { type: 'string' }
const textOrNull: JsonSchema = { type: ['string', 'null'] }
const count: JsonSchema = { type: 'integer', minimum: 0 }

export const FLEET_SCHEMA = objectSchema('The fleet as the component sees it.', {
  config: { ...textOrNull, description: 'digest of the ConfigMap; null: there is none' },
  configProblem: {
    ...textOrNull,
    description: 'why something else is in force than what trust.yaml declares for this component',
  },
  isLeading: { type: 'boolean' },
  totals: objectSchema('All agents.', {
    nodes: count,
    current: { ...count, description: 'have answered for the configuration in force' },
    states: { type: 'object', description: 'how many nodes are in each state', additionalProperties: count },
  }),
  rollout: objectSchema('Restarts that wait for grants.', {
    halted: { ...textOrNull, description: 'why no more are granted' },
    unavailable: { ...count, description: 'granted, NotReady or cordoned' },
    maxUnavailable: count,
    grants: listSchema(text),
    failed: listSchema(text),
    generations: listSchema(
      objectSchema('One generation.', { generation: text, pending: count, granted: count, done: count, failed: count }),
    ),
  }),
  registries: listSchema(
    objectSchema('A registry that nodes do not trust.', {
      host: text,
      code: text,
      nodes: count,
      examples: listSchema(text),
    }),
  ),
  nodes: listSchema(
    objectSchema('One node, worst first.', {
      node: text,
      state: { type: 'string', enum: FLEET_STATES },
      zone: text,
      version: textOrNull,
      containerd: textOrNull,
      generation: textOrNull,
      isCurrent: { type: 'boolean', description: 'has answered for the configuration in force' },
      untrusted: listSchema(objectSchema('A registry.', { host: text, code: text })),
      problem: textOrNull,
      restart: { ...textOrNull, description: 'why a restart waits' },
      error: { ...textOrNull, description: 'why there is no answer' },
      pod: text,
    }),
  ),
  matching: { ...count, description: 'nodes that the query asks for' },
})
