// What the benchmark prints: one row a measurement, the target and the best rival beside it. Pure.

export type Row = {
  readonly what: string
  readonly measured: string
  /** What we want of ourselves; empty where nothing was promised. */
  readonly target?: string
  readonly rivals?: string
}

const HEADS = { what: '', measured: 'registry-trust', target: 'target', rivals: 'rivals' } as const

export function formatRows(rows: readonly Row[]): string {
  const columns = ['what', 'measured', 'target', 'rivals'] as const
  const lines = [HEADS, ...rows].map((row) => columns.map((column) => row[column] ?? ''))
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
