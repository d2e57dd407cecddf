import t from 'tap'
import { EMPTY_STATE } from '../../../agent/model/state.ts'
import { byTheClockOf } from '../../../agent/node/state/steady-times.ts'
import { rememberHeals } from '../../../agent/reconcile/plan/drift.ts'

const HOUR = 3_600_000
const STEPS = [-8_766 * HOUR, -2 * HOUR, 2 * HOUR, 8_766 * HOUR]
const BOOTED = Date.parse('2026-11-20T00:00:00Z')
const PATH = '/etc/ssl/certs/a.pem'

/** Noted when the node was up for ten hours. */
const noted = {
  ...rememberHeals(EMPTY_STATE, [PATH], BOOTED + 10 * HOUR),
  withdrawn: [{ anchor: 'a', fingerprint: 'f', at: new Date(BOOTED + 10 * HOUR).toISOString() }],
  clock: { bootId: 'this', bootedAt: BOOTED },
}
/** Half an hour later, by a clock that was set meanwhile. */
const later = (step: number, bootId = 'this') => ({
  wall: BOOTED + 10.5 * HOUR + step,
  uptimeMs: 10.5 * HOUR,
  bootId,
})

t.test('what was half an hour ago is half an hour ago, however the clock was set since', async (t) => {
  for (const step of STEPS) {
    const now = later(step)
    const { heals = {}, withdrawn = [] } = byTheClockOf(now, noted)
    t.equal(now.wall - Date.parse(heals[PATH]?.[0] ?? ''), HOUR / 2, `heals, ${step / HOUR} h`)
    t.equal(now.wall - Date.parse(withdrawn[0]?.at ?? ''), HOUR / 2, `withdrawn anchors, ${step / HOUR} h`)
    t.equal(rememberHeals(byTheClockOf(now, noted), [PATH], now.wall).heals?.[PATH]?.length, 2, 'and counts on')
  }
})

t.test('without a step the times stay as they were written', async (t) => {
  t.same(byTheClockOf(later(0), noted), noted)
  t.same(byTheClockOf(later(1_900), noted), noted, 'nor where the clock was only slewed')
})

t.test('of another boot, or of an earlier version, nothing is later than now', async (t) => {
  const { clock: _, ...old } = noted
  for (const state of [noted, old])
    for (const step of STEPS) {
      const now = later(step, 'another')
      const at = Date.parse(byTheClockOf(now, state).heals?.[PATH]?.[0] ?? '')
      t.ok(at <= now.wall, `${step / HOUR} h`)
      if (step > 0) t.equal(at, BOOTED + 10 * HOUR, 'what lies in the past stays')
    }
})
