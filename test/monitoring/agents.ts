// Agents as Prometheus sees them: the real HTTP server over the real metrics, one for each scenario, on loopback.
import type { Test } from 'tap'
import { createServer } from '../../agent/http/server.ts'
import { createMetrics, type Metrics } from '../../agent/telemetry/metrics.ts'
import { recordingLog } from '../http/fixture.ts'
import { SAMPLE } from '../http/sample-status.ts'

export type ScrapedAgent = {
  readonly address: string
  /** Called before each scrape with the time in seconds. */
  behave(feed: (metrics: Metrics, at: number) => void): void
  stop(): Promise<void>
}

export async function startAgent(t: Test, feed: (metrics: Metrics, at: number) => void): Promise<ScrapedAgent> {
  const metrics = createMetrics({ version: '0.1.0' })
  let current = feed
  const fine = () => ({ ready: true, checks: [] })
  const server = createServer({
    status: () => SAMPLE,
    metrics: {
      contentType: metrics.contentType,
      text() {
        current(metrics, Date.now() / 1000)
        return metrics.text()
      },
    },
    readiness: fine,
    liveness: fine,
    onReconcile: () => undefined,
    onProve: () => undefined,
    onLogLevel: () => 0,
    log: recordingLog().log,
    closeTimeoutMs: 100,
  })
  const { port } = await server.listen('127.0.0.1:0')
  t.teardown(() => server.close())
  return {
    address: `127.0.0.1:${port}`,
    behave(next) {
      current = next
    },
    stop: () => server.close(),
  }
}
