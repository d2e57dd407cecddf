import t from 'tap'
import type { MaintenanceWindow, RestartSettings } from '../../../agent/model/desired-state.ts'
import type { TransactionRecord } from '../../../agent/model/state.ts'
import { restartLimit } from '../../../agent/reconcile/restart/gate.ts'
import { outsideWindow } from '../../../agent/reconcile/restart/maintenance-window.ts'

const SETTINGS: RestartSettings = {
  strategy: 'auto',
  unit: 'auto',
  maxPerHour: 3,
  backoffMinMs: 60_000,
  backoffMaxMs: 600_000,
}
const NOW = Date.parse('2026-11-21T12:00:00Z')

function restartAt(minutesAgo: number, result: TransactionRecord['result']): TransactionRecord {
  const at = new Date(NOW - minutesAgo * 60_000).toISOString()
  return { id: at, generation: 'aaaaaaaaaaaa', at, durationMs: 1, result, changes: 1, restarted: true, reason: 'test' }
}

t.test('budget, backoff and circuit breaker', async (t) => {
  const cases: readonly [string, readonly TransactionRecord[], RegExp | undefined][] = [
    ['nothing was restarted yet', [], undefined],
    ['two restarts within the hour', [restartAt(50, 'committed'), restartAt(10, 'committed')], undefined],
    [
      'three restarts within the hour',
      [50, 20, 10].map((m) => restartAt(m, 'committed')),
      /3 times within the last hour/,
    ],
    ['three restarts, one longer ago', [61, 20, 10].map((m) => restartAt(m, 'committed')), undefined],
    [
      'transactions without a restart do not count',
      [50, 20, 10].map((m) => ({ ...restartAt(m, 'committed'), restarted: false })),
      undefined,
    ],
    ['half a minute after a rollback', [restartAt(0.5, 'rolled-back')], /not before 2026-11-21T12:00:30/],
    ['two minutes after the first rollback', [restartAt(2, 'rolled-back')], undefined],
    [
      'after the second rollback the pause is twice as long',
      [restartAt(70, 'rolled-back'), restartAt(1.5, 'rolled-back')],
      /not before/,
    ],
    [
      'success in between starts afresh',
      [restartAt(70, 'rolled-back'), restartAt(65, 'committed'), restartAt(1.5, 'rolled-back')],
      undefined,
    ],
    ['three rollbacks in a row', [900, 800, 700].map((m) => restartAt(m, 'rolled-back')), /needs a person/],
  ]
  for (const [name, transactions, expected] of cases) {
    const reason = restartLimit(SETTINGS, transactions, NOW)
    if (expected === undefined) t.equal(reason, undefined, name)
    else t.match(reason, expected, name)
  }
})

t.test('the maintenance window, in its own time zone and over midnight', async (t) => {
  const night: MaintenanceWindow = { days: ['Mon', 'Fri'], from: '22:00', to: '02:00', timeZone: 'Europe/Berlin' }
  const noon: MaintenanceWindow = { days: ['Sat'], from: '12:30', to: '13:30', timeZone: 'UTC' }
  const cases: readonly [string, MaintenanceWindow, string, boolean][] = [
    ['Friday 22:30 in Berlin', night, '2026-11-20T21:30:00Z', true],
    ['Saturday 01:59 in Berlin belongs to Friday', night, '2026-11-21T00:59:00Z', true],
    ['Saturday 02:00 in Berlin', night, '2026-11-21T01:00:00Z', false],
    ['Saturday 22:30 in Berlin', night, '2026-11-21T21:30:00Z', false],
    ['Friday 00:30 in Berlin belongs to Thursday', night, '2026-11-19T23:30:00Z', false],
    ['in summer Berlin is two hours ahead', night, '2026-07-17T20:30:00Z', true],
    ['Saturday 12:29', noon, '2026-11-21T12:29:59Z', false],
    ['Saturday 12:30', noon, '2026-11-21T12:30:00Z', true],
    ['Saturday 13:30', noon, '2026-11-21T13:30:00Z', false],
    ['Sunday 13:00', noon, '2026-11-22T13:00:00Z', false],
  ]
  for (const [name, window, at, inside] of cases)
    t.equal(outsideWindow(window, Date.parse(at)) === undefined, inside, name)
  t.match(outsideWindow(noon, Date.parse('2026-11-22T13:00:00Z')), /Sat 12:30-13:30 UTC/)
})
