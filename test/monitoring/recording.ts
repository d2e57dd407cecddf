// Series as Prometheus would have stored them, recorded from the agent's own metrics code over simulated time.
import { createMetrics, type Metrics } from '../../agent/telemetry/metrics.ts'

export type RecordedSeries = {
  /** `name{label="value"}` */
  readonly series: string
  /** promtool's notation: one word a sample, `_` none, `stale` where the series ended. */
  readonly values: string
}

export type Recording = {
  readonly seconds: number
  readonly step: number
  /** Only these metrics; a rule asks for no others. */
  readonly names: ReadonlySet<string>
  /** What Prometheus adds when it scrapes. */
  readonly targetLabels: { readonly [name: string]: string }
  readonly feed: (metrics: Metrics, at: number) => void
}

export async function record({
  seconds,
  step,
  names,
  targetLabels,
  feed,
}: Recording): Promise<readonly RecordedSeries[]> {
  let now = 0
  const metrics = createMetrics({ version: '0.1.0', now: () => now * 1000 })
  const recorded = new Map<string, string[]>()
  const samples = Math.floor(seconds / step) + 1
  for (let index = 0; index < samples; index += 1) {
    now = index * step
    feed(metrics, now)
    const scraped = parse(await metrics.text(), names)
    for (const [series, value] of scraped) {
      const values = recorded.get(series) ?? recorded.set(series, Array<string>(index).fill('_')).get(series)
      values?.push(value)
    }
    for (const values of recorded.values()) {
      if (values.length <= index) values.push(['_', 'stale', undefined].includes(values.at(-1)) ? '_' : 'stale')
    }
  }
  const added = Object.entries(targetLabels).map(([name, value]) => `${name}=${JSON.stringify(value)}`)
  return [...recorded].map(([series, values]) => ({ series: withLabels(series, added), values: values.join(' ') }))
}

function parse(text: string, names: ReadonlySet<string>): readonly (readonly [string, string])[] {
  return text.split('\n').flatMap((line) => {
    const [, series, name, value] = /^(([a-z_0-9]+)(?:\{.*\})?) (\S+)$/.exec(line) ?? []
    return series === undefined || value === undefined || !names.has(name ?? '') ? [] : [[series, value] as const]
  })
}

function withLabels(series: string, added: readonly string[]): string {
  return series.endsWith('}') ? `${series.slice(0, -1)},${added.join(',')}}` : `${series}{${added.join(',')}}`
}
