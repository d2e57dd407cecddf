// The two date forms of a certificate as Go reads them: time.Parse, and then the date written again must be the same
// text.
import { type DerReader, GENERALIZED_TIME, UTC_TIME } from './reader.ts'
import { type GoVersion, must, refuse } from './refusal.ts'

const REASON = 'one of its dates is malformed'
const OFFSET = '(?<zone>Z|[+-]\\d{4})'
const GENERALIZED = new RegExp(`^(?<year>\\d{4})(?<rest>\\d{10})${OFFSET}$`)
// Seconds may be missing in this form: X.509 forbids it, Go reads it.
const UTC = new RegExp(`^(?<year>\\d{2})(?<rest>\\d{8}|\\d{10})${OFFSET}$`)

/** @throws Refusal where Go does not read the next element as a date. */
export function readTime(reader: DerReader, go: GoVersion): void {
  if (reader.peek(UTC_TIME)) checkTime(UTC.exec(text(reader, UTC_TIME)), go)
  else if (reader.peek(GENERALIZED_TIME)) checkTime(GENERALIZED.exec(text(reader, GENERALIZED_TIME)), go)
  else refuse('one of its dates is neither a UTCTime nor a GeneralizedTime')
}

function text(reader: DerReader, tag: number): string {
  return reader.content(tag, REASON).toString('latin1')
}

function checkTime(match: RegExpExecArray | null, go: GoVersion): void {
  const { year = '', rest = '', zone = '' } = match?.groups ?? {}
  must(match !== null, REASON)
  const [month = 0, day = 0, hour = 0, minute = 0, second = 0] = (rest.match(/../g) ?? []).map(Number)
  // Two digits: 69 to 99 are 1969 to 1999 for time.Parse, whatever X.509 makes of them afterwards.
  const fullYear = year.length === 4 ? Number(year) : Number(year) + (Number(year) >= 69 ? 1900 : 2000)
  must(month >= 1 && month <= 12 && day >= 1 && day <= daysIn(fullYear, month), REASON)
  must(hour < 24 && minute < 60 && second < 60, REASON)
  if (zone !== 'Z') checkZone(Number(zone.slice(1, 3)), Number(zone.slice(3)), go)
}

/** Z alone is written for no offset, and an hour has 60 minutes; Go 1.19 knows no end of hours. */
function checkZone(hours: number, minutes: number, go: GoVersion): void {
  must(hours + minutes > 0 && minutes < 60, REASON)
  must(go === '1.19' || hours <= 24, REASON)
}

function daysIn(year: number, month: number): number {
  const isLeap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
  if (month === 2) return isLeap ? 29 : 28
  return [4, 6, 9, 11].includes(month) ? 30 : 31
}
