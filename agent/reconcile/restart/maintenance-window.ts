// The maintenance window: whether a moment lies in it, and when it opens, in the time zone that the user
// named. Pure.
import { type MaintenanceWindow, WEEKDAYS, type Weekday } from '../../model/desired-state.ts'

const DAY_MINUTES = 24 * 60
const MINUTE_MS = 60_000

/** Where the next opening is looked for: every day of the week once, and the day on which a clock is put forward. */
const LONGEST_AHEAD_MS = 9 * DAY_MINUTES * MINUTE_MS
/** Before an opening every minute is looked at, as the clocks may be put forward or back on the way there. */
const NEAR_MINUTES = 180

/** Undefined inside the window; else the reason for people, and how long the window stays shut. */
export function outsideWindow(
  window: MaintenanceWindow,
  now: number,
): { readonly reason: string; readonly waitMs: number } | undefined {
  const opensAt = nextOpening(window, now)
  if (opensAt <= now) return undefined
  const { days, from, to, timeZone } = window
  const when = `${days.join(', ')} ${from}-${to} ${timeZone}`
  const reason = `it is outside the maintenance window ${when} (restart.window); it opens at ${new Date(opensAt).toISOString()}`
  return { reason, waitMs: opensAt - now }
}

/** The first moment inside the window, `now` or the beginning of a later minute. */
function nextOpening(window: MaintenanceWindow, now: number): number {
  const clock = localClock(window.timeZone)
  const start = minutesOf(window.from)
  for (let at = now; at < now + LONGEST_AHEAD_MS; ) {
    const local = clock(at)
    if (isInside(window, local)) return at
    const left = (start - local.minute + DAY_MINUTES) % DAY_MINUTES
    const step = left > NEAR_MINUTES ? left - NEAR_MINUTES : 1
    at = (Math.floor(at / MINUTE_MS) + step) * MINUTE_MS
  }
  return now + LONGEST_AHEAD_MS
}

type LocalTime = { readonly weekday: Weekday; readonly minute: number }

function isInside({ days, from, to }: MaintenanceWindow, { weekday, minute }: LocalTime): boolean {
  const [start, end] = [minutesOf(from), minutesOf(to)]
  if (start < end) return days.includes(weekday) && minute >= start && minute < end
  // Over midnight: the morning belongs to the window that began the day before.
  return (days.includes(weekday) && minute >= start) || (days.includes(dayBefore(weekday)) && minute < end)
}

function localClock(timeZone: string): (at: number) => LocalTime {
  const format = new Intl.DateTimeFormat('en-GB', {
    timeZone,
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  })
  return (at) => {
    const parts = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, value]))
    const weekday = WEEKDAYS.find((day) => day === parts['weekday'])
    if (weekday === undefined) throw new RangeError(`no weekday in ${format.format(at)}`)
    return { weekday, minute: Number(parts['hour']) * 60 + Number(parts['minute']) }
  }
}

function minutesOf(text: string): number {
  const [hours = 0, minutes = 0] = text.split(':').map(Number)
  return (hours * 60 + minutes) % DAY_MINUTES
}

function dayBefore(day: Weekday): Weekday {
  return WEEKDAYS[(WEEKDAYS.indexOf(day) + WEEKDAYS.length - 1) % WEEKDAYS.length] ?? day
}
