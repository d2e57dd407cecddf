// The sentences about a fleet, for the page and for `status --all`. Pure.

import type { Tone } from '../../model/verdict.ts'
import { type FleetState, TONES } from '../state/verdict.ts'
import type { FleetReport, NodeReport } from './report.ts'

export function fleetVerdict({ totals, rollout: { halted }, isLeading, configProblem }: FleetReport): {
  readonly tone: Tone
  readonly sentence: string
} {
  const { nodes, states: counts } = totals
  const bad = Object.entries(counts).filter(([state, count]) => count > 0 && TONES[state as FleetState] === 'bad')
  const sick = bad.reduce((sum, [, count]) => sum + count, 0)
  if (!isLeading) return { tone: 'warn', sentence: 'This component does not lead; another one does, or none.' }
  if (halted !== null) return { tone: 'bad', sentence: `The roll-out is halted: ${halted}.` }
  if (sick > 0) return { tone: 'bad', sentence: `${sick} of ${nodes} nodes ${sick === 1 ? 'is' : 'are'} not healthy.` }
  const trusted = (counts['trusted'] ?? 0) + (counts['audit'] ?? 0)
  if (trusted < nodes)
    return { tone: 'warn', sentence: `${trusted} of ${nodes} nodes are in the desired state; a change is under way.` }
  if (typeof configProblem === 'string')
    return { tone: 'warn', sentence: `${wellSentence(nodes)} But ${configProblem}` }
  return { tone: 'ok', sentence: wellSentence(nodes) }
}

function wellSentence(nodes: number): string {
  if (nodes === 0) return 'No agent is running.'
  const who = nodes === 1 ? 'The one node trusts' : `All ${nodes} nodes trust`
  return `${who} every declared registry.`
}

export function whyOf({ untrusted, error, restart, problem, generation }: NodeReport): string {
  const [first, ...others] = untrusted
  if (error !== null) return error
  if (first !== undefined) return `${first.host}: ${first.code}${others.length > 0 ? ` and ${others.length} more` : ''}`
  return restart ?? problem ?? `generation ${generation ?? 'unknown'}`
}
