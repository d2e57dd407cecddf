// The page of the fleet for people: one self-contained document in the manner of a node's page. It is whole without its
// script.
import { createHash } from 'node:crypto'
import { type Html, html, renderHtml } from '../../http/page/html.ts'
import { PAGE_SCRIPT, REFRESH_SECONDS } from '../../http/page/script.ts'
import { PAGE_STYLE } from '../../http/page/style.ts'
import { nothing, row, table } from '../../http/page/table.ts'
import { MARKS, type Tone } from '../../model/verdict.ts'
import { type FleetState, TONES } from '../state/verdict.ts'
import type { FleetReport, NodeReport } from './report.ts'
import { fleetVerdict, whyOf } from './report-words.ts'

const SCRIPT = PAGE_SCRIPT.replace('The agent has', 'The fleet component has')

export function fleetPagePolicy(): string {
  const digest = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`
  return [
    "default-src 'none'",
    `style-src ${digest(PAGE_STYLE)}`,
    `script-src ${digest(SCRIPT)}`,
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}

export function renderFleetPage(report: FleetReport, version: string): string {
  const { tone, sentence } = fleetVerdict(report)
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<noscript><meta http-equiv="refresh" content="30"></noscript>
<title>${MARKS[tone]} ${sentence} - registry trust</title>
${raw('style', PAGE_STYLE)}
</head>
<body class="top tone-${tone}">
<a class="skip" href="#nodes">Skip to the nodes</a>
<header>
<p class="brand">Registry trust</p>
<h1>Fleet <span id="state" data-live><span class="pill tone-${tone}">${report.totals.nodes} nodes</span></span></h1>
<p class="verdict" id="verdict" role="status" data-live>${sentence}</p>
</header>
<main>
${section('rollout', 'Roll-out', rollout(report))}
${section('registries', 'Registries that are not trusted', registries(report))}
${section('states', 'States', states(report))}
${section('nodes', 'Nodes, worst first', nodes(report))}
</main>
<footer>
<p class="controls">This page refreshes every ${REFRESH_SECONDS} seconds.</p>
<p>registry-trust ${version} · <a href="fleet">fleet as JSON</a> · <a href="metrics">metrics</a> · <a href="openapi.json">API</a></p>
</footer>
<p class="unanswered" id="unanswered" role="alert"></p>
${raw('script', SCRIPT)}
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
  return html(Object.assign([`<${element}>${text}</${element}>`], { raw: [text] }))
}

function section(id: string, title: string, content: Html): Html {
  return html`<section id="${id}" aria-labelledby="${id}-title" tabindex="-1"><h2 id="${id}-title">${title}</h2>
<div id="${id}-content" data-live>${content}</div></section>`
}

function rollout({ totals, rollout: state, configProblem }: FleetReport): Html {
  const { generations, halted, unavailable, maxUnavailable, grants } = state
  const told = html`<p class="text">${totals.current} of ${totals.nodes} nodes have answered for the configuration in force.</p>
${bar(totals.current, totals.nodes, halted === null ? 'ok' : 'bad', 'nodes that have answered for the configuration in force')}`
  const waves = generations.filter(({ pending, granted, failed }) => pending + granted + failed > 0)
  const rows = waves.map(({ generation, pending, granted, done, failed }) => {
    const total = pending + granted + done + failed
    const words = `${done} of ${total} done, ${granted} restarting, ${pending} waiting, ${failed} failed`
    return html`<p class="text">Generation <code>${generation}</code>: ${words}</p>
${bar(done, total, failed > 0 ? 'bad' : 'ok', `nodes of generation ${generation} that are done`)}`
  })
  const limit = html`<p class="text quiet">${unavailable} unavailable, at most ${maxUnavailable} are allowed; restarts granted now: ${grants.length}.</p>`
  const halt =
    halted === null
      ? null
      : html`<p class="text tone-bad"><strong>${halted}</strong></p><p class="remedy">Look at the failed nodes, then declare a new generation or run registry-trust fleet resume.</p>`
  const config =
    configProblem === null
      ? null
      : html`<p class="text tone-warn"><strong>The component's own configuration: ${configProblem}</strong></p>`
  return html`${halt}${config}${told}${rows}${limit}`
}

function bar(done: number, total: number, tone: Tone, label: string): Html {
  const width = total === 0 ? 0 : Math.round((done / total) * 1000) / 10
  return html`<svg class="bar tone-${tone}" role="img" aria-label="${label}: ${done} of ${total}" preserveAspectRatio="none" viewBox="0 0 100 8"><rect class="track" width="100" height="8"/><rect class="left" width="${width}" height="8"/></svg>`
}

function registries({ registries: all }: FleetReport): Html {
  if (all.length === 0) return nothing('Every declared registry is trusted by every node that answers.')
  const rows = all.slice(0, 50).map(({ host, code, nodes: count, examples }) =>
    row(
      [
        { label: 'Registry', content: html`<code>${host}</code>`, kind: 'host' },
        { label: 'Finding', content: html`<code>${code}</code>` },
        { label: 'Nodes', content: String(count) },
        { label: 'For example', content: examples.slice(0, 3).join(', ') },
      ],
      'bad',
    ),
  )
  return table(['Registry', 'Finding', 'Nodes', 'For example'], rows, 'registries-title')
}

function states({ totals }: FleetReport): Html {
  const items = Object.entries(totals.states)
    .filter(([, count]) => count > 0)
    .map(
      ([state, count]) =>
        html`<li><a class="tile tone-${TONES[state as FleetState]}" href="fleet?state=${state}"><span>${state}</span><strong>${count}</strong></a></li>`,
    )
  return html`<ul class="tiles">${items}</ul>`
}

function nodes({ nodes: listed, matching }: FleetReport): Html {
  if (listed.length === 0) return nothing('No agent was found.')
  const more =
    matching > listed.length ? nothing(`${matching - listed.length} more: fleet?offset=${listed.length}`) : null
  return html`${table(['Node', 'State', 'Why', 'Where to look'], listed.map(nodeRow), 'nodes-title')}${more}`
}

function nodeRow(node: NodeReport): Html {
  const tone = TONES[node.state]
  return row(
    [
      { label: 'Node', content: html`${node.node}<span class="line small quiet">${node.zone}</span>`, kind: 'host' },
      { label: 'State', content: html`<span class="pill tone-${tone}">${node.state}</span>` },
      { label: 'Why', content: whyOf(node) },
      { label: 'Where to look', content: html`<code>kubectl -n registry-trust logs ${node.pod} -c agent</code>` },
    ],
    tone,
  )
}
