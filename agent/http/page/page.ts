// The page for people at `/`: one self-contained document rendered from the status; it is whole without its script.
// Nothing is loaded from elsewhere, and every link is relative, so that it works behind a proxy with a path of its own.
// This room: the page of one node: HTML made on the server, one style sheet, one small script.
// Begin here; then sections.ts (what is shown), html.ts (how text becomes safe).
// May touch: nothing; every value goes through `html`, which escapes it.
import { createHash, randomUUID } from 'node:crypto'
import type { Problem } from '../../model/errors.ts'
import type { NodeStatus } from '../../model/status.ts'
import { isTrusted, STATE_TONE, type Tone, type Verdict, verdictOf } from '../../model/verdict.ts'
import { anchorsSection, nextExpiry } from './anchors.ts'
import { type Html, html, renderHtml } from './html.ts'
import { PAGE_SCRIPT, REFRESH_SECONDS } from './script.ts'
import { driftSection, nodeSection, registriesSection, registryRows, transactionsSection } from './sections.ts'
import { PAGE_STYLE } from './style.ts'

export type PageOptions = {
  /** Milliseconds since the epoch; default: the clock. */
  readonly now?: number
  /** false: the page stays as it is until it is asked for again (`/?refresh=off`). */
  readonly refreshes?: boolean
}

/** Style and script are allowed by their digests, so injected markup could neither run nor style anything. */
export function pageContentSecurityPolicy(): string {
  return [
    "default-src 'none'",
    `style-src '${digest(PAGE_STYLE)}'`,
    `script-src '${digest(PAGE_SCRIPT)}'`,
    // The script asks for the page again, and for nothing else.
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}

function digest(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`
}

export function renderPage(status: NodeStatus, options: PageOptions = {}): string {
  return [...pageParts(status, options)].join('')
}

/** The page in pieces, each rendered when it is asked for: the registries are what a page can hold a thousand of. */
export function* pageParts(status: NodeStatus, options: PageOptions = {}): Generator<string> {
  const { now = Date.now(), refreshes = true } = options
  const hole = randomUUID()
  const [before = '', after = ''] = frame(status, now, refreshes, hole).split(hole)
  yield before
  for (const row of registryRows(status.registries, now)) yield renderHtml(row)
  yield after
}

/** Everything but the rows of the registries; `hole` stands where they belong. */
function frame(status: NodeStatus, now: number, refreshes: boolean, hole: string): string {
  const verdict = verdictOf(status)
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
${refreshes && html`<noscript><meta http-equiv="refresh" content="30"></noscript>`}
<title>${verdict.mark} ${status.node}: ${status.state} - registry trust</title>
${raw('style', PAGE_STYLE)}
</head>
<body class="top tone-${verdict.tone}">
<a class="skip" href="#registries">Skip to the registries</a>
${header(status, verdict)}
<main>
<div id="tiles" data-live>${tiles(status, now)}</div>
<div id="problems" data-live>${problems(status.problems)}</div>
<div id="warnings" data-live>${warnings(status.warnings)}</div>
${live('registries', 'Registries', registriesSection(status.registries, html`${hole}`))}
${live('drift', 'Drift', driftSection(status.drift))}
${live('anchors', 'Trust anchors', anchorsSection(status.anchors, now))}
${live('transactions', 'Last transactions', transactionsSection(status.transactions, now))}
${live('node', 'This node', nodeSection(status, now))}
</main>
${footer(status, refreshes)}
<p class="unanswered" id="unanswered" role="alert"></p>
${refreshes && raw('script', PAGE_SCRIPT)}
</body>
</html>
`
  return renderHtml(page)
}

/**
 * Not interpolated with the escaping of text: these elements hold raw text, and their bytes must be those of the
 * digest.
 */
function raw(element: 'style' | 'script', text: string): Html {
  const strings = Object.assign([`<${element}>${text}</${element}>`], { raw: [text] })
  return html(strings)
}

function live(id: string, title: string, content: Html): Html {
  return html`<section id="${id}" aria-labelledby="${id}-title" tabindex="-1"><h2 id="${id}-title">${title}</h2>
<div id="${id}-content" data-live>${content}</div></section>`
}

function header({ node, state }: NodeStatus, { sentence }: Verdict): Html {
  return html`<header>
<p class="brand">Registry trust</p>
<h1>${node} <span id="state" data-live><span class="pill tone-${STATE_TONE[state]}">${state}</span></span></h1>
<p class="verdict" id="verdict" role="status" data-live>${sentence}</p>
</header>`
}

function tiles({ registries, drift, anchors, restart }: NodeStatus, now: number): Html {
  const trusted = registries.filter(isTrusted).length
  const registriesTone = registries.some(({ state }) => state === 'untrusted')
    ? 'bad'
    : tone(trusted < registries.length)
  const expiry = nextExpiry(anchors, now)
  return html`<ul class="tiles">
${tile('registries', 'Registries trusted', `${trusted} of ${registries.length}`, registriesTone)}
${tile('drift', 'Drift', drift.length === 0 ? 'none' : plural(drift.length, 'path'), tone(drift.length > 0))}
${tile('anchors', 'Next expiry', expiry.text, expiry.tone)}
${tile('node', 'Restart of containerd', restart.pending ? 'due' : 'not needed', tone(restart.pending))}
</ul>`
}

function tile(section: string, label: string, value: string, toneOfTile: Tone): Html {
  return html`<li><a class="tile tone-${toneOfTile}" id="tile-${section}" href="#${section}"><span>${label}</span><strong>${value}</strong></a></li>`
}

function tone(isWarning: boolean): Tone {
  return isWarning ? 'warn' : 'ok'
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

function problems(found: readonly Problem[]): Html | null {
  return problemList(found, 'problems', 'Problems', 'tone-bad')
}

function warnings(found: readonly Problem[]): Html | null {
  return problemList(found, 'warnings', 'Worth knowing', 'tone-warn')
}

function problemList(found: readonly Problem[], id: string, title: string, tone: string): Html | null {
  if (found.length === 0) return null
  const items = found.map(
    ({ code, message, remedy }) =>
      html`<li><p class="text"><code>${code}</code> ${message}</p><p class="remedy">${remedy}</p></li>`,
  )
  return html`<section class="problems ${tone}" aria-labelledby="${id}-title"><h2 id="${id}-title">${title}</h2><ul>${items}</ul></section>`
}

function footer({ version }: NodeStatus, refreshes: boolean): Html {
  const control = refreshes
    ? html`This page refreshes every ${REFRESH_SECONDS} seconds. <a href="?refresh=off">Stop refreshing</a>`
    : html`This page does not refresh. <a href="./">Refresh automatically</a>`
  return html`<footer>
<p class="controls">${control}</p>
<p>registry-trust ${version} · <a href="status">status as JSON</a> · <a href="metrics">metrics</a> · <a href="openapi.json">API</a></p>
</footer>`
}
