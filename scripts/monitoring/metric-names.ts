// The names of the agent's metrics by the key of its table: `m.drift` in an expression cannot be misspelt.
import { METRICS } from '../../agent/telemetry/metric-table.ts'

export const m = Object.fromEntries(Object.entries(METRICS).map(([key, { name }]) => [key, name])) as {
  readonly [key in keyof typeof METRICS]: string
}
