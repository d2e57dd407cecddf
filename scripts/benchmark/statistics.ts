// A handful of measured values and the few numbers that are told of them. Pure.

export type Summary = {
  readonly n: number
  readonly median: number
  readonly min: number
  readonly p95: number
}

export function summarize(values: readonly number[]): Summary {
  if (values.length === 0) throw new Error('nothing was measured')
  const sorted = values.toSorted((a, b) => a - b)
  return { n: sorted.length, median: quantile(sorted, 0.5), min: quantile(sorted, 0), p95: quantile(sorted, 0.95) }
}

/** Nearest rank: a value that was measured, never one between two. */
function quantile(sorted: readonly number[], share: number): number {
  const index = Math.max(0, Math.ceil(share * sorted.length) - 1)
  return sorted[index] ?? Number.NaN
}

export function formatSummary({ n, median, min, p95 }: Summary, unit = 'ms'): string {
  return `${round(median)} ${unit} [min ${round(min)}, p95 ${round(p95)}] n=${n}`
}

export function round(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(1)
}
