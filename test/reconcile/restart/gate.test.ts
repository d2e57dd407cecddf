import t from 'tap'
import type { MaintenanceWindow } from '../../../agent/model/desired-state.ts'
import { outsideWindow } from '../../../agent/reconcile/restart/maintenance-window.ts'

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
