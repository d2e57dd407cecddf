// What the benchmark prints: one row a measurement, the target and the best rival beside it. Pure.
import type { Kept } from './measured.ts'
import { formatSummary, summarize } from './statistics.ts'

export type Row = {
  readonly what: string
  readonly measured: string
  /** What we want of ourselves; empty where nothing was promised. */
  readonly target?: string
  readonly rivals?: string
  /** What of it goes into docs/measured.json. */
  readonly kept?: readonly Kept[]
}

type Series = {
  /** Its name in docs/measured.json. */
  readonly id: string
  readonly what: string
  readonly values: readonly number[]
  /** Milliseconds where nothing else is said. */
  readonly unit?: string
  /** The version of containerd, where several are measured. */
  readonly on?: string
  readonly target?: string
  readonly rivals?: string
}

/** A row that is kept as well. */
export function series({ id, what, values, unit = 'ms', on, target, rivals }: Series): Row {
  const summary = summarize(values)
  return {
    what: on === undefined ? what : `${what}, ${on}`,
    measured: formatSummary(summary, unit),
    ...(target !== undefined && { target }),
    ...(rivals !== undefined && { rivals }),
    kept: [{ id, name: what.trim(), unit, summary, ...(on !== undefined && { on }) }],
  }
}

const HEADS = { what: '', measured: 'registry-trust', target: 'target', rivals: 'rivals' } as const

export function formatRows(rows: readonly Row[]): string {
  const columns = ['what', 'measured', 'target', 'rivals'] as const
  const lines = [HEADS, ...rows].map((row: Row) => columns.map((column) => row[column] ?? ''))
  const widths = columns.map((_, index) => Math.max(...lines.map((line) => line[index]?.length ?? 0)))
  return lines
    .map((line) =>
      line
        .map((cell, index) => cell.padEnd(widths[index] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
