// Trust anchors on the page: how much time each certificate has left, as a bar and in words.
import type { AnchorStatus } from '../../model/status.ts'
import type { Tone } from '../../model/verdict.ts'
import { type Html, html } from './html.ts'
import { nothing, row, table } from './table.ts'
import { daysUntil, relativeTime } from './time.ts'

/** The limits of the alerts. */
const WARNING_DAYS = 28
const CRITICAL_DAYS = 14
/** A full bar. */
const YEAR_DAYS = 365

export function anchorsSection(anchors: readonly AnchorStatus[], now: number): Html {
  if (anchors.length === 0) return nothing('No trust anchor is declared.')
  const rows = anchors.toSorted(soonestFirst).map((anchor) => anchorRow(anchor, now))
  return table(['Anchor', 'Certificate', 'Expiry'], rows, 'anchors-title')
}

/** What cannot be used comes before what can; then by the end of its time, then by name. */
function soonestFirst(left: AnchorStatus, right: AnchorStatus): number {
  const end = ({ notAfter }: AnchorStatus) => (notAfter === null ? 0 : Date.parse(notAfter))
  return end(left) - end(right) || left.name.localeCompare(right.name)
}

function anchorRow({ name, subject, fingerprint, notAfter, installed, findings }: AnchorStatus, now: number): Html {
  const found = findings.map(
    ({ code, message, remedy }) =>
      html`<p class="text"><code>${code}</code> ${message}</p><p class="remedy">${remedy}</p>`,
  )
  const certificate = html`${subject ?? html`<span class="pill tone-bad">no usable certificate</span>`}
${fingerprint !== null && html`<p class="text quiet"><code>${fingerprint}</code></p>`}${found}${places(`${name}-${fingerprint ?? ''}`, installed)}`
  const tone = notAfter === null ? 'bad' : toneOf(daysUntil(notAfter, now))
  return row(
    [
      { label: 'Anchor', content: name, kind: 'host' },
      { label: 'Certificate', content: certificate },
      { label: 'Expiry', content: notAfter === null ? '–' : expiry(notAfter, now) },
    ],
    tone,
  )
}

function places(key: string, installed: readonly string[]): Html {
  if (installed.length === 0) return html`<p class="text quiet small">not installed on this node</p>`
  const count = `In ${installed.length} ${installed.length === 1 ? 'file' : 'files'}`
  const id = key.replaceAll(/[^\w-]/g, '-')
  return html`<details id="places-${id}"><summary id="places-of-${id}">${count}</summary><ul class="evidence">${installed.map((path) => html`<li><code>${path}</code></li>`)}</ul></details>`
}

function expiry(notAfter: string, now: number): Html {
  const days = daysUntil(notAfter, now)
  const verb = days < 0 ? 'expired' : 'expires'
  return html`<span class="left-text">${verb} ${relativeTime(notAfter, now)}</span> <span class="quiet nowrap small">${notAfter.slice(0, 10)}</span>${bar(days)}`
}

/** Numbers in attributes of SVG: the content security policy forbids inline style. The words beside it say the same. */
function bar(days: number): Html {
  const width = Number.isFinite(days) ? Math.min(100, Math.max(0, (days / YEAR_DAYS) * 100)) : 0
  return html`<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false">
<rect class="track" width="100" height="8" rx="1"/><rect class="left" width="${Math.round(width * 10) / 10}" height="8" rx="1"/></svg>`
}

function toneOf(days: number): Tone {
  if (days < CRITICAL_DAYS) return 'bad'
  return days < WARNING_DAYS ? 'warn' : 'ok'
}

/** The certificate that expires first. */
export function nextExpiry(
  anchors: readonly AnchorStatus[],
  now: number,
): { readonly text: string; readonly tone: Tone } {
  const dates = anchors.flatMap(({ notAfter }) => (notAfter === null ? [] : [notAfter]))
  const [first] = dates.toSorted((left, right) => Date.parse(left) - Date.parse(right))
  if (first === undefined) return { text: 'no anchor', tone: anchors.length === 0 ? 'ok' : 'bad' }
  return { text: relativeTime(first, now), tone: toneOf(daysUntil(first, now)) }
}
