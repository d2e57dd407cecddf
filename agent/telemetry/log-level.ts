// Which level the log of the daemon has now. The order: what was asked for over HTTP, for a while; `log.level` of
// trust.yaml; the command line. Every change is one line, whatever the level before or after.
import type { LogLevel } from '../model/log-level.ts'
import type { Clock } from '../model/ports.ts'
import type { Logger } from './log.ts'

export type LogLevels = {
  /** `log.level` of the configuration in force; undefined: it says nothing. */
  configured(level: LogLevel | undefined): void
  /** For a while; a later one takes its place. Returns when it ends, in milliseconds since the epoch. */
  override(level: LogLevel, forMs: number): number
  /** Nothing ends by itself any more. */
  close(): void
}

export function logLevels({ log, clock }: { readonly log: Logger; readonly clock: Clock }): LogLevels {
  const commandLine = log.level
  let inFile: LogLevel | undefined
  let asked: LogLevel | undefined
  let ending = new AbortController()

  const settle = (detail: { readonly until?: string } = {}) => {
    const to = asked ?? inFile ?? commandLine
    const from = log.level
    if (to === from) return
    // Between warn and error neither level would show it.
    log.setLevel('info')
    const because = asked !== undefined ? 'request' : inFile !== undefined ? 'configuration' : 'command line'
    log.info('log-level-changed', { from, to, because, ...detail })
    log.setLevel(to)
  }

  return {
    configured(level) {
      inFile = level
      settle()
    },
    override(level, forMs) {
      ending.abort()
      const mine = new AbortController()
      ending = mine
      asked = level
      const endsAt = clock.now() + forMs
      settle({ until: new Date(endsAt).toISOString() })
      const end = () => {
        if (mine.signal.aborted) return
        asked = undefined
        settle()
      }
      void clock.sleep(forMs, { signal: mine.signal }).then(end, () => undefined)
      return endsAt
    },
    close() {
      ending.abort()
    },
  }
}
