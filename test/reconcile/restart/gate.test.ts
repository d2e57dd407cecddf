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
  t.match(outsideWindow(noon, Date.parse('2026-11-22T13:00:00Z'))?.reason, /Sat 12:30-13:30 UTC/)
})

t.test('outside the window it is known when it opens, whatever the clocks of the zone do on the way', async (t) => {
  const opensAt = (window: MaintenanceWindow, now: string) => {
    const outside = outsideWindow(window, Date.parse(now))
    return outside === undefined ? undefined : new Date(Date.parse(now) + outside.waitMs).toISOString()
  }
  const berlin = (days: MaintenanceWindow['days'], from: string, to: string): MaintenanceWindow => ({
    days,
    from,
    to,
    timeZone: 'Europe/Berlin',
  })
  const cases: readonly [string, MaintenanceWindow, string, string][] = [
    ['later today', berlin(['Fri'], '22:00', '23:00'), '2026-11-20T08:15:30.250Z', '2026-11-20T21:00:00.000Z'],
    ['just shut: in a week', berlin(['Fri'], '22:00', '23:00'), '2026-11-20T22:00:00Z', '2026-11-27T21:00:00.000Z'],
    ['over the spring change', berlin(['Mon'], '03:00', '04:00'), '2026-03-28T12:00:00Z', '2026-03-30T01:00:00.000Z'],
    [
      'in the hour that is skipped',
      berlin(['Sun'], '02:30', '04:00'),
      '2026-03-28T12:00:00Z',
      '2026-03-29T01:00:00.000Z',
    ],
    ['over the autumn change', berlin(['Mon'], '03:00', '04:00'), '2026-10-24T12:00:00Z', '2026-10-26T02:00:00.000Z'],
    [
      'in the hour that comes twice',
      berlin(['Sun'], '02:30', '02:40'),
      '2026-10-24T12:00:00Z',
      '2026-10-25T00:30:00.000Z',
    ],
    [
      'a quarter past the zone',
      { days: ['Sun'], from: '05:50', to: '05:51', timeZone: 'Asia/Kathmandu' },
      '2026-11-22T00:06:00Z',
      '2026-11-29T00:05:00.000Z',
    ],
  ]
  for (const [name, window, now, expected] of cases) t.equal(opensAt(window, now), expected, name)
})
