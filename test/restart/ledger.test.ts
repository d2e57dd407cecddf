// The limits of restarts: by the ledger and by time, whatever else is written and whatever the clock is set to.
import fc from 'fast-check'
import t from 'tap'
import type { RestartEntry } from '../../agent/model/restart.ts'
import { ageOf, ledgerLimit, withLastStart } from '../../agent/restart/ledger.ts'

const SETTINGS = { maxPerHour: 3, backoffMinMs: 60_000, backoffMaxMs: 600_000 }
const NOW = { wall: Date.parse('2026-11-21T12:00:00Z'), uptimeMs: 100 * 3_600_000, bootId: 'this' }

function restart(
  minutesAgo: number,
  result?: 'ok' | 'rolled-back',
  kind: 'forward' | 'back' = 'forward',
): RestartEntry {
  const at = new Date(NOW.wall - minutesAgo * 60_000).toISOString()
  const uptimeMs = NOW.uptimeMs - minutesAgo * 60_000
  return { id: at, at, bootId: 'this', uptimeMs, kind, by: 'agent', reason: 'test', ...(result && { result }) }
}

const CASES: readonly [string, readonly RestartEntry[], RegExp | undefined][] = [
  ['nothing was restarted yet', [], undefined],
  ['two within the hour', [restart(50, 'ok'), restart(10, 'ok')], undefined],
  ['three within the hour', [50, 20, 10].map((m) => restart(m, 'ok')), /3 times within the last hour/],
  ['three, one longer ago', [61, 20, 10].map((m) => restart(m, 'ok')), undefined],
  [
    'half a minute after one',
    [restart(0.5, 'ok')],
    /less than a minute ago; the next restart is possible at 2026-11-21T12:00:30/,
  ],
  ['half a minute after a rollback', [restart(0.5, 'rolled-back')], /not before 2026-11-21T12:00:30/],
  ['half a minute after a way back', [restart(5, 'ok'), restart(0.5, 'ok', 'back')], /less than a minute ago/],
  ['two minutes after the first rollback', [restart(2, 'rolled-back')], undefined],
  ['one whose end is not known is a failure', [restart(0.9)], /rolled back/],
  [
    'after the second the pause is twice as long',
    [restart(70, 'rolled-back'), restart(1.5, 'rolled-back')],
    /not before/,
  ],
  [
    'success in between starts afresh',
    [restart(70, 'rolled-back'), restart(65, 'ok'), restart(1.5, 'rolled-back')],
    undefined,
  ],
  ['three rollbacks in a row', [900, 800, 700].map((m) => restart(m, 'rolled-back')), /has to be started by hand/],
]

t.test('budget, pause, back-off and circuit breaker', async (t) => {
  for (const [name, entries, expected] of CASES) {
    const limit = ledgerLimit(SETTINGS, entries, NOW)
    if (expected === undefined) t.equal(limit, undefined, name)
    else t.match(limit?.reason, expected, name)
  }
})

t.test('a clock that is set, by hours or years in either direction, changes no decision', async (t) => {
  for (const [name, entries] of CASES)
    for (const step of [2 * 3_600_000, 365 * 24 * 3_600_000, -2 * 3_600_000, -365 * 24 * 3_600_000]) {
      const before = ledgerLimit(SETTINGS, entries, NOW)
      const after = ledgerLimit(SETTINGS, entries, { ...NOW, wall: NOW.wall + step })
      t.same([after?.waitMs], [before?.waitMs], `${name}, ${step / 3_600_000} h`)
    }
})

t.test('of another boot an entry is never younger than this boot', async (t) => {
  const entry = fc.record({ wall: fc.integer({ min: 0, max: 4e12 }), uptimeMs: fc.nat(1e12) })
  fc.assert(
    fc.property(entry, fc.integer({ min: 0, max: 4e12 }), fc.nat(1e12), (was, wall, uptimeMs) => {
      const old = { ...restart(0), bootId: 'other', uptimeMs: was.uptimeMs, at: new Date(was.wall).toISOString() }
      return ageOf(old, { wall, uptimeMs, bootId: 'this' }) >= uptimeMs
    }),
  )
  t.pass('for any clocks')
})

t.test('without an entry the last start by systemd counts, unless the boot made it', async (t) => {
  const started = (secondsAgo: number, bootedAt?: number) => ({
    executedAt: NOW.uptimeMs - secondsAgo * 1_000,
    ...(bootedAt !== undefined && { bootedAt }),
  })
  const limit = (...given: Parameters<typeof withLastStart>) =>
    ledgerLimit(SETTINGS, withLastStart(...given), NOW)?.reason
  t.match(limit([], started(30, 0), NOW), /less than a minute ago; the next restart is possible at 2026-11-21T12:00:30/)
  t.equal(limit([], started(61, 0), NOW), undefined, 'longer ago')
  t.equal(limit([], started(30, NOW.uptimeMs - 10_000), NOW), undefined, 'a start of the boot')
  t.equal(limit([], started(30), NOW), undefined, 'the boot is under way')
  t.equal(limit([], undefined, NOW), undefined, 'systemd is not there')
  t.equal(limit([restart(5, 'ok')], started(30, 0), NOW), undefined, 'the ledger tells')
  t.equal(withLastStart([], started(30, 0), NOW).length, 1, 'one of those of the hour')
})
