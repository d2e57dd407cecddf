// The file of measured values that the pages quote: what a run has measured replaces what stands there under the same
// name, and nothing else. Pure.
import type { Summary } from './statistics.ts'
import type { Row } from './table.ts'

/** One value of a row; `on` is the version of containerd where several are measured. */
export type Kept = {
  readonly id: string
  readonly name: string
  readonly on?: string
  readonly unit: string
  readonly summary: Summary
}

export type Machine = { readonly cores: number; readonly memoryGiB: number; readonly system: string }

/** How a part was measured: `yardstickMs` is the median start of Node.js alone, just before. */
export type Origin = {
  readonly date: string
  readonly command: string
  readonly node: string
  readonly yardstickMs: number
}

export type MeasuredValue = Summary &
  Origin & {
    readonly id: string
    readonly name: string
    readonly on?: string
    readonly unit: string
    readonly others?: string
  }

export type Measured = { readonly machine: Machine; readonly values: readonly MeasuredValue[] }

/** Values of another machine are left out: a table holds the numbers of one. */
export function keep(rows: readonly Row[], origin: Origin, machine: Machine, before: Measured | undefined): Measured {
  const fresh = rows.flatMap(({ kept = [], rivals }) =>
    kept.map(
      ({ id, name, on, unit, summary: { n, median, min, p95 } }): MeasuredValue => ({
        id,
        name,
        ...(on !== undefined && { on }),
        unit,
        median: rounded(median),
        min: rounded(min),
        p95: rounded(p95),
        n,
        ...(rivals !== undefined && kept.length === 1 && { others: rivals }),
        ...origin,
      }),
    ),
  )
  const isSame = before !== undefined && JSON.stringify(before.machine) === JSON.stringify(machine)
  const key = ({ id, on = '' }: MeasuredValue) => `${id} ${on}`
  const values = new Map((isSame ? before.values : []).map((value) => [key(value), value]))
  for (const value of fresh) values.set(key(value), value)
  return { machine, values: [...values.values()] }
}

function rounded(value: number): number {
  return value >= 100 ? Math.round(value) : Math.round(value * 10) / 10
}
