// Points in time as people read them: how long ago or how far ahead, with the exact time at hand.
import { type Html, html } from './html.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** `3 min ago`, `in 12 days`; the text as given where it is not a time. */
export function relativeTime(at: string, now: number): string {
  const time = Date.parse(at)
  if (Number.isNaN(time)) return at
  const words = duration(Math.abs(now - time))
  return time <= now ? `${words} ago` : `in ${words}`
}

export function timeElement(at: string, now: number): Html {
  return html`<time datetime="${at}" title="${exact(at)}">${relativeTime(at, now)}</time>`
}

/** `for 3 days` */
export function howLong(since: string, now: number): Html {
  const time = Date.parse(since)
  const words = Number.isNaN(time) ? since : `for ${duration(Math.max(0, now - time))}`
  return html`<time datetime="${since}" title="${exact(since)}">${words}</time>`
}

/** Both, for lists that are read as history. */
export function exactTimeElement(at: string, now: number): Html {
  return html`<time datetime="${at}">${exact(at)}</time> <span class="quiet">(${relativeTime(at, now)})</span>`
}

export function daysUntil(at: string, now: number): number {
  return (Date.parse(at) - now) / DAY
}

/** `41 ms`, `1.2 s`, `3 min` */
export function duration(ms: number): string {
  if (ms < SECOND) return `${Math.round(ms)} ms`
  if (ms < 10 * SECOND && ms % SECOND >= 50) return `${(ms / SECOND).toFixed(1)} s`
  if (ms < 100 * SECOND) return `${Math.round(ms / SECOND)} s`
  if (ms < 100 * MINUTE) return `${Math.round(ms / MINUTE)} min`
  if (ms < 48 * HOUR) return `${Math.round(ms / HOUR)} h`
  return `${Math.floor(ms / DAY)} days`
}

function exact(at: string): string {
  const time = Date.parse(at)
  return Number.isNaN(time) ? at : `${new Date(time).toISOString().slice(0, 19).replace('T', ' ')} UTC`
}
