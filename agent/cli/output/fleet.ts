// The text of `status --all`: one sentence, the roll-out as a line that moves, the registries that are not trusted, and
// the nodes, worst first. What is as wanted is counted, not listed, where there are many.
import { stripVTControlCharacters } from 'node:util'
import type { FleetReport, GenerationReport, NodeReport, RegistryReport } from '../../fleet/report/report.ts'
import { fleetVerdict, whyOf } from '../../fleet/report/report-words.ts'
import { FLEET_STATES, TONES } from '../../fleet/state/verdict.ts'
import { type Cell, harmless, type Paint, plain, STYLES, table } from './terminal.ts'

export type FleetFormat = {
  readonly paint?: Paint
  /** Columns of the terminal; absent: lines may be of any length. */
  readonly width?: number | undefined
  /** At most this many nodes are listed. */
  readonly rows?: number
}

const ROWS = 50
const REGISTRIES = 20
const BAR = 30

export function formatFleet(report: FleetReport, { paint = plain, width, rows = ROWS }: FleetFormat): string {
  const { tone, sentence } = fleetVerdict(report)
  const lines = [
    `${paint(STYLES[tone], harmless(sentence))}\n`,
    counts(report, paint),
    `${progressLines(report, paint)}`,
  ]
  const sections = [
    lines.filter((line) => line !== '').join(''),
    registryTable(report.registries, paint),
    nodeTable(report, rows, paint),
  ]
  const text = sections.filter((section) => section !== '').join('\n')
  return width === undefined ? text : cut(text, width)
}

/** Everything is as wanted: what `status --all` says with exit code 0. */
export function isFleetWell({ isLeading, rollout, totals: { nodes, states } }: FleetReport): boolean {
  const well = FLEET_STATES.filter((state) => TONES[state] === 'ok')
  return isLeading && rollout.halted === null && well.reduce((sum, state) => sum + (states[state] ?? 0), 0) === nodes
}

/** A change is on its way to the nodes, or restarts are being rolled out. */
export function isUnderWay({ totals, rollout }: FleetReport): boolean {
  return totals.current < totals.nodes || rollout.generations.some(({ pending, granted }) => pending + granted > 0)
}

/** One line for each thing that moves; empty where nothing does. */
export function progressLines(report: FleetReport, paint: Paint = plain): string {
  const { totals, rollout } = report
  const lines: string[] = []
  if (totals.current < totals.nodes)
    lines.push(progress('told', totals.current, totals.nodes, 'have answered for the configuration in force', paint))
  for (const one of rollout.generations) if (one.pending + one.granted > 0) lines.push(restarts(one, rollout, paint))
  return lines.join('')
}

function restarts(
  { generation, pending, granted, done, failed }: GenerationReport,
  { halted, maxUnavailable }: FleetReport['rollout'],
  paint: Paint,
): string {
  const how = halted === null ? `${granted} restarting (at most ${maxUnavailable} away), ${pending} waiting` : 'halted'
  const words = `done, ${how}${failed > 0 ? `, ${failed} failed` : ''}`
  return progress(generation, done, pending + granted + done + failed, words, paint)
}

function progress(what: string, done: number, total: number, words: string, paint: Paint): string {
  const share = total === 0 ? 1 : done / total
  // Full only when nothing is left.
  const filled = Math.floor(share * BAR)
  const bar = `${paint('green', '█'.repeat(filled))}${'░'.repeat(BAR - filled)}`
  return `${harmless(what).padEnd(12)}  ${bar}  ${done} of ${total} ${words}\n`
}

function counts({ totals }: FleetReport, paint: Paint): string {
  const told = FLEET_STATES.filter((state) => (totals.states[state] ?? 0) > 0)
  if (told.length < 2) return ''
  return `${told.map((state) => paint(STYLES[TONES[state]], `${totals.states[state]} ${state}`)).join(', ')}\n`
}

function registryTable(registries: readonly RegistryReport[], paint: Paint): string {
  if (registries.length === 0) return ''
  const rows = registries
    .slice(0, REGISTRIES)
    .map(({ host, code, nodes, examples }): Cell[] => [
      host,
      { text: code, style: 'red' },
      String(nodes),
      examples.slice(0, 3).join(', '),
    ])
  const more = registries.length > REGISTRIES ? `${registries.length - REGISTRIES} more\n` : ''
  return `${table(rows, { header: ['REGISTRY', 'FINDING', 'NODES', 'FOR EXAMPLE'], paint })}${more}`
}

function nodeTable({ nodes, matching }: FleetReport, rows: number, paint: Paint): string {
  // A fleet that fits is shown whole; of a large one only what is not as wanted.
  const listed = (matching <= rows ? nodes : nodes.filter(({ state }) => TONES[state] !== 'ok')).slice(0, rows)
  if (listed.length === 0) return ''
  const header = ['NODE', 'STATE', 'ZONE', 'GENERATION', 'AGENT', 'WHY']
  const left = matching - listed.length
  const more = left > 0 ? `${left} more nodes (--json lists all of them)\n` : ''
  return `${table(listed.map(nodeRow), { header, paint })}${more}`
}

function nodeRow(node: NodeReport): Cell[] {
  const tone = TONES[node.state]
  return [
    node.node,
    { text: node.state, style: STYLES[tone] },
    node.zone || '-',
    node.generation || '-',
    node.version ?? '-',
    tone === 'ok' ? '' : whyOf(node),
  ]
}

/** Cut to this many columns; the sequences that colour a text take none. */
function cut(text: string, width: number): string {
  const lines = text.split('\n')
  return lines.map((line) => (cells(line).length <= width ? line : shortened(line, width - 1))).join('\n')
}

function shortened(line: string, width: number): string {
  const plainText = cells(line).slice(0, width).join('')
  let kept = ''
  let left = plainText.length
  // Each piece but the first begins with the sequence that colours it.
  for (const [index, piece] of line.split(ESCAPE).entries()) {
    const end = index === 0 ? 0 : piece.indexOf('m') + 1
    kept += `${index === 0 ? '' : ESCAPE}${piece.slice(0, end)}${piece.slice(end, end + left)}`
    left = Math.max(0, left - (piece.length - end))
  }
  return `${kept}…`
}

const ESCAPE = '\u001b['

function cells(line: string): readonly string[] {
  return [...stripVTControlCharacters(line)]
}
