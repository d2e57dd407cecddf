// The maintenance window: whether a moment lies in it, in the time zone that the user named. Pure.
import { type MaintenanceWindow, WEEKDAYS, type Weekday } from '../../model/desired-state.ts'

const DAY_MINUTES = 24 * 60

/** Undefined inside the window, else the reason for people. */
export function outsideWindow(window: MaintenanceWindow, now: number): string | undefined {
  if (isInside(window, now)) return undefined
  const { days, from, to, timeZone } = window
  return `it is outside the maintenance window ${days.join(', ')} ${from}-${to} ${timeZone} (restart.window)`
}

function isInside({ days, from, to, timeZone }: MaintenanceWindow, now: number): boolean {
  const { weekday, minute } = localTime(now, timeZone)
  const [start, end] = [minutesOf(from), minutesOf(to)]
  if (start < end) return days.includes(weekday) && minute >= start && minute < end
  // Over midnight: the morning belongs to the window that began the day before.
  return (days.includes(weekday) && minute >= start) || (days.includes(dayBefore(weekday)) && minute < end)
}

function localTime(now: number, timeZone: string): { readonly weekday: Weekday; readonly minute: number } {
  const format = new Intl.DateTimeFormat('en-GB', {
    timeZone,
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  })
  const parts = Object.fromEntries(format.formatToParts(now).map(({ type, value }) => [type, value]))
  const weekday = WEEKDAYS.find((day) => day === parts['weekday'])
  if (weekday === undefined) throw new RangeError(`no weekday in ${format.format(now)}`)
  return { weekday, minute: Number(parts['hour']) * 60 + Number(parts['minute']) }
}

function minutesOf(text: string): number {
  const [hours = 0, minutes = 0] = text.split(':').map(Number)
  return (hours * 60 + minutes) % DAY_MINUTES
}

function dayBefore(day: Weekday): Weekday {
  return WEEKDAYS[(WEEKDAYS.indexOf(day) + WEEKDAYS.length - 1) % WEEKDAYS.length] ?? day
}
