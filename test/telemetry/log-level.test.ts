import t from 'tap'
import type { Clock } from '../../agent/model/ports.ts'
import { createLog } from '../../agent/telemetry/log.ts'
import { logLevels } from '../../agent/telemetry/log-level.ts'

const START = Date.parse('2026-11-21T11:00:00.000Z')

/** Moves only when told; what is due then runs before `pass` resolves. */
function handClock(): Clock & { pass(ms: number): Promise<void> } {
  let now = START
  const sleepers = new Set<{ readonly at: number; readonly wake: () => void }>()
  return {
    now: () => now,
    monotonic: () => now - START,
    sleep: (ms, { signal } = {}) =>
      new Promise((resolve, reject) => {
        const sleeper = { at: now + ms, wake: resolve }
        sleepers.add(sleeper)
        signal?.addEventListener('abort', () => {
          sleepers.delete(sleeper)
          reject(signal.reason)
        })
      }),
    async pass(ms) {
      now += ms
      for (const sleeper of sleepers) if (sleeper.at <= now) sleeper.wake()
      await new Promise((resolve) => setImmediate(resolve))
    },
  }
}

function started(level: 'debug' | 'info' | 'warn' | 'error') {
  const lines: { readonly [name: string]: unknown }[] = []
  const destination = { write: (line: string) => lines.push(JSON.parse(line) as (typeof lines)[number]) }
  const log = createLog({ level, format: 'json', destination, now: () => START })
  const clock = handClock()
  return { log, clock, lines, levels: logLevels({ log, clock }) }
}

t.test('a request wins over the configuration, which wins over the command line', async (t) => {
  const { log, clock, lines, levels } = started('info')
  levels.configured(undefined)
  t.equal(log.level, 'info')
  t.strictSame(lines, [], 'nothing changed, nothing is told')
  levels.configured('warn')
  t.equal(log.level, 'warn')
  t.equal(levels.override('debug', 60_000), START + 60_000)
  t.equal(log.level, 'debug')
  levels.configured('error')
  t.equal(log.level, 'debug', 'what the configuration says meanwhile waits')
  await clock.pass(59_999)
  t.equal(log.level, 'debug')
  await clock.pass(1)
  t.equal(log.level, 'error', 'and counts afterwards')
  levels.configured(undefined)
  t.equal(log.level, 'info', 'the command line is what is left')
  t.match(lines, [
    { msg: 'log-level-changed', level: 'info', from: 'info', to: 'warn', because: 'configuration' },
    { from: 'warn', to: 'debug', because: 'request', until: '2026-11-21T11:01:00.000Z' },
    { from: 'debug', to: 'error', because: 'configuration' },
    { from: 'error', to: 'info', because: 'command line' },
  ])
})

t.test('each change is one line, also between levels that both hide it', async (t) => {
  const { lines, levels } = started('warn')
  levels.configured('error')
  levels.configured('error')
  levels.configured('warn')
  t.match(lines, [
    { msg: 'log-level-changed', from: 'warn', to: 'error' },
    { from: 'error', to: 'warn' },
  ])
})

t.test('a later request takes the place of an earlier one, its end too', async (t) => {
  const { log, clock, levels } = started('info')
  levels.override('debug', 1_000)
  levels.override('warn', 10_000)
  await clock.pass(1_000)
  t.equal(log.level, 'warn')
  await clock.pass(9_000)
  t.equal(log.level, 'info')
  levels.override('debug', 1_000)
  levels.close()
  await clock.pass(2_000)
  t.equal(log.level, 'debug', 'after the end nothing happens by itself')
})
