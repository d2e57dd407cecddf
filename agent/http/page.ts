// The page for people at `/`: one self-contained document rendered from the status, no script, nothing loaded from elsewhere.
import { createHash } from 'node:crypto'
import type { Problem } from '../model/errors.ts'
import type { AnchorStatus, NodeStatus, RegistryState, RegistryStatus } from '../model/status.ts'
import { type Html, html, renderHtml } from './html.ts'

const STYLE = `
:root{color-scheme:light dark;--ok:#137333;--bad:#b3261e;--warn:#8a5a00;--line:#8884}
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}
h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.35rem .8rem .35rem 0;border-bottom:1px solid var(--line)}
th{font-weight:600;font-size:.85rem}code{font:13px/1.5 ui-monospace,monospace;overflow-wrap:anywhere}
.badge{font-weight:600}.ok{color:var(--ok)}.bad{color:var(--bad)}.warn{color:var(--warn)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem}dt{font-weight:600}dd{margin:0}
.remedy{display:block;font-weight:600}.quiet{opacity:.75}details{margin-top:.25rem}
@media(prefers-color-scheme:dark){:root{--ok:#81c995;--bad:#f2b8b5;--warn:#fdd663}}
`

/** The one style element is allowed by its digest, so injected markup could neither run nor style anything. */
export function pageContentSecurityPolicy(): string {
  const digest = createHash('sha256').update(STYLE).digest('base64')
  return `default-src 'none'; style-src 'sha256-${digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`
}

export function renderPage(status: NodeStatus): string {
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="30">
<title>${status.node}: ${status.state} - registry trust</title>
${styleElement()}
</head>
<body>
<header>
<h1>${status.node} <span class="${nodeClass(status)} badge">${status.state}</span></h1>
</header>
<main>
${nodeFacts(status)}
${problems(status.problems)}
${registries(status.registries)}
${anchors(status.anchors)}
${drift(status)}
${transactions(status)}
</main>
<footer class="quiet"><p>registry-trust ${status.version} · <a href="/status">status as JSON</a> · <a href="/metrics">metrics</a> · <a href="/openapi.json">API</a></p></footer>
</body>
</html>
`
  return renderHtml(page)
}

/** Not interpolated with the escaping of text: a style element holds raw text, and its bytes must be those of the digest. */
function styleElement(): Html {
  const strings = Object.assign([`<style>${STYLE}</style>`], { raw: [STYLE] })
  return html(strings)
}

function nodeFacts({ mode, generation, containerd, restart, sources }: NodeStatus): Html {
  return html`<dl>
<dt>containerd</dt><dd>${containerd.version ?? 'not reached'} <code>${containerd.socket ?? ''}</code></dd>
<dt>config file</dt><dd><code>${containerd.configFile ?? 'none'}</code>${containerd.configVersion !== null && html` (version ${containerd.configVersion})`}</dd>
<dt>config_path</dt><dd><code>${containerd.configPath ?? 'not set'}</code></dd>
<dt>mode</dt><dd>${mode}</dd>
<dt>generation</dt><dd><code>${generation === '' ? 'none yet' : generation}</code> ${sources.length > 0 && html`from <code>${sources.join(', ')}</code>`}</dd>
${restart.pending && html`<dt class="warn">restart due</dt><dd>${restart.reason}</dd>`}
${restart.last !== null && html`<dt>last restart</dt><dd>${time(restart.last.at)}: ${restart.last.result} (${restart.last.reason})</dd>`}
</dl>`
}

function problems(found: readonly Problem[]): Html | null {
  if (found.length === 0) return null
  const items = found.map(
    ({ code, message, remedy }) => html`<li><code>${code}</code> ${message} <span class="remedy">${remedy}</span></li>`,
  )
  return html`<section><h2 class="bad">Problems</h2><ul>${items}</ul></section>`
}

const WORST_FIRST: readonly RegistryState[] = ['untrusted', 'unproved', 'rehearsed', 'trusted']

function registries(all: readonly RegistryStatus[]): Html {
  const sorted = all.toSorted((left, right) => WORST_FIRST.indexOf(left.state) - WORST_FIRST.indexOf(right.state))
  const rows = sorted.map(
    ({ host, state, since, finding, lastProof }) => html`<tr>
<td><a href="/status/registries/${encodeURIComponent(host)}"><code>${host}</code></a></td>
<td><span class="${REGISTRY_CLASS[state]} badge">${state}</span>${since !== null && html`<br><span class="quiet">since ${time(since)}</span>`}</td>
<td><code>${finding.code}</code> ${finding.message}${finding.code !== 'trusted' && html`<span class="remedy">${finding.remedy}</span>`}${evidence(finding.evidence)}</td>
<td>${lastProof === null ? 'never' : html`${time(lastProof.at)}<br><span class="quiet">${lastProof.level}, ${lastProof.by}, ${Math.round(lastProof.durationMs)} ms</span>`}</td>
</tr>`,
  )
  return section('Registries', ['Registry', 'State', 'Finding', 'Last proof'], rows, 'No registry is declared.')
}

function evidence({ text, reference, host, notes }: RegistryStatus['finding']['evidence']): Html | null {
  const lines = [reference, host, text, ...(notes ?? [])].filter((line) => line !== undefined)
  if (lines.length === 0) return null
  return html`<details><summary>evidence</summary>${lines.map((line) => html`<code>${line}</code><br>`)}</details>`
}

function anchors(all: readonly AnchorStatus[]): Html {
  const rows = all.map(
    ({ name, subject, fingerprint, notAfter, findings }) => html`<tr>
<td>${name}</td>
<td>${subject ?? html`<span class="bad">no usable certificate</span>`}${findings.map(({ code, message, remedy }) => html`<br><code>${code}</code> ${message}<span class="remedy">${remedy}</span>`)}</td>
<td>${notAfter !== null && time(notAfter)}</td>
<td><code>${fingerprint}</code></td>
</tr>`,
  )
  return section(
    'Trust anchors',
    ['Name', 'Certificate', 'Expires', 'Fingerprint'],
    rows,
    'No trust anchor is declared.',
  )
}

function drift({ drift: found }: NodeStatus): Html {
  const rows = found.map(
    ({ target, path, kind }) => html`<tr><td>${target}</td><td><code>${path}</code></td><td>${kind}</td></tr>`,
  )
  return section('Drift', ['Target', 'Path', 'Kind'], rows, 'Every path is as the agent left it.')
}

const SHOWN_TRANSACTIONS = 10

function transactions({ transactions: all }: NodeStatus): Html {
  const rows = all
    .slice(-SHOWN_TRANSACTIONS)
    .reverse()
    .map(
      ({ at, result, reason, changes, restarted, durationMs }) => html`<tr>
<td>${time(at)}</td><td class="${result === 'committed' ? 'ok' : 'bad'}">${result}</td><td>${reason}</td>
<td>${changes} changed${restarted && ', containerd restarted'}, ${Math.round(durationMs)} ms</td>
</tr>`,
    )
  return section('Last transactions', ['When', 'Result', 'Why', 'What'], rows, 'Nothing was changed on this node yet.')
}

function section(title: string, head: readonly string[], rows: readonly Html[], none: string): Html {
  if (rows.length === 0) return html`<section><h2>${title}</h2><p class="quiet">${none}</p></section>`
  const header = head.map((name) => html`<th scope="col">${name}</th>`)
  return html`<section><h2>${title}</h2><table><thead><tr>${header}</tr></thead><tbody>${rows}</tbody></table></section>`
}

function time(at: string): Html {
  return html`<time datetime="${at}">${at}</time>`
}

const REGISTRY_CLASS: { readonly [state in RegistryState]: string } = {
  trusted: 'ok',
  rehearsed: 'warn',
  unproved: 'warn',
  untrusted: 'bad',
}

function nodeClass({ state }: NodeStatus): string {
  if (state === 'converged') return 'ok'
  return state === 'rolled-back' || state === 'rollback-failed' || state === 'no-containerd' ? 'bad' : 'warn'
}
