// A real server with small stand-ins for what the rest of the program hands in; closed with the test.
import type { Test } from 'tap'
import { createServer, type HttpServer, type ServerOptions } from '../../agent/http/server.ts'
import type { Log, LogFields } from '../../agent/model/ports.ts'
import { SAMPLE } from './sample-status.ts'

export type LogEntry = { readonly level: string; readonly event: string; readonly fields: LogFields }

export function recordingLog(): { readonly log: Log; readonly entries: LogEntry[] } {
  const entries: LogEntry[] = []
  const write =
    (level: string) =>
    (event: string, fields: LogFields = {}): void => {
      entries.push({ level, event, fields })
    }
  return { entries, log: { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') } }
}

export const NOW = Date.parse('2026-11-21T11:00:00.000Z')

export type Fixture = { readonly server: HttpServer; readonly entries: LogEntry[]; readonly commands: string[] }

export function startFixture(t: Test, overrides: Partial<ServerOptions> = {}): Fixture {
  const { log, entries } = recordingLog()
  const commands: string[] = []
  const server = createServer({
    status: () => SAMPLE,
    metrics: { contentType: 'text/plain; version=0.0.4; charset=utf-8', text: async () => 'up 1\n' },
    readiness: () => ({ ready: true, checks: [{ name: 'config', ok: true, message: '' }] }),
    liveness: () => ({ ready: true, checks: [{ name: 'loop', ok: true, message: '' }] }),
    onReconcile: ({ force }) => {
      commands.push(`reconcile force=${force}`)
    },
    onProve: async ({ force }) => {
      commands.push(`prove force=${force}`)
    },
    onLogLevel: ({ level, forMs }) => {
      commands.push(`loglevel ${level} ${forMs}`)
      return NOW + forMs
    },
    log,
    ...overrides,
  })
  t.teardown(() => server.close())
  return { server, entries, commands }
}
