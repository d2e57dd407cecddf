// The sections of the page: registries worst first, drift, the last transactions, and what the node is.
import type { TransactionRecord } from '../../model/state.ts'
import type { DriftStatus, NodeStatus, RegistryStatus, TargetStatus } from '../../model/status.ts'
import { REGISTRIES_WORST_FIRST, REGISTRY_TONE, type Tone } from '../../model/verdict.ts'
import { type Html, html } from './html.ts'
import { nothing, row, table } from './table.ts'
import { duration, exactTimeElement, howLong, timeElement } from './time.ts'

export function registriesSection(all: readonly RegistryStatus[], rows: Html): Html {
  if (all.length === 0) return nothing('No registry is declared.')
  return table(['Registry', 'State', 'Finding', 'Last proof'], [rows], 'registries-title')
}

const BY_NAME = new Intl.Collator('en')

export function* registryRows(all: readonly RegistryStatus[], now: number): Generator<Html> {
  const sorted = all.toSorted(
    (left, right) =>
      REGISTRIES_WORST_FIRST.indexOf(left.state) - REGISTRIES_WORST_FIRST.indexOf(right.state) ||
      BY_NAME.compare(left.host, right.host),
  )
  for (const registry of sorted) yield registryRow(registry, now)
}

function registryRow({ host, state, since, finding, lastProof }: RegistryStatus, now: number): Html {
  const tone = REGISTRY_TONE[state]
  const link = html`<a id="registry-${host}" href="status/registries/${encodeURIComponent(host)}"><code>${host}</code></a>`
  const proof =
    lastProof === null
      ? html`<span class="quiet">never</span>`
      : html`${timeElement(lastProof.at, now)} <span class="quiet small line">${lastProof.level}, ${lastProof.by}, ${duration(lastProof.durationMs)}</span>`
  return row(
    [
      { label: '', content: link, kind: 'host registry' },
      {
        label: '',
        content: html`<span class="pill tone-${tone}">${state}</span>${since !== null && html` <span class="quiet small nowrap">${howLong(since, now)}</span>`}`,
      },
      { label: 'Finding', content: findingCell(host, finding) },
      { label: 'Last proof', content: proof },
    ],
    tone,
  )
}

function findingCell(host: string, { code, message, remedy, evidence }: RegistryStatus['finding']): Html {
  const { text, reference, host: failedHost, notes } = evidence
  const lines = [reference, failedHost, text, ...(notes ?? [])].filter((line) => line !== undefined)
  const more =
    lines.length > 0 &&
    html`<details id="evidence-${host}"><summary id="evidence-of-${host}">Evidence</summary><ul class="evidence">${lines.map((line) => html`<li><code>${line}</code></li>`)}</ul></details>`
  if (code === 'trusted') return html`<p class="text quiet">${message}</p>${more}`
  return html`<p class="text"><code>${code}</code> ${message}</p><p class="remedy">${remedy}</p>${more}`
}

export function driftSection(found: readonly DriftStatus[]): Html {
  if (found.length === 0) return nothing('Every path is as the agent left it.')
  const rows = found.map(({ target, path, kind, reason }) =>
    row(
      [
        { label: 'Path', content: html`<code>${path}</code><p class="text quiet small">${reason}</p>` },
        { label: 'What', content: html`<span class="pill tone-warn">${kind}</span>` },
        { label: 'Target', content: target },
      ],
      'warn',
    ),
  )
  return table(['Path', 'What', 'Target'], rows, 'drift-title')
}

const SHOWN_TRANSACTIONS = 10

const RESULT_TONE: { readonly [result in TransactionRecord['result']]: Tone } = {
  committed: 'ok',
  refused: 'warn',
  'rolled-back': 'bad',
  'rollback-failed': 'bad',
}

export function transactionsSection(all: readonly TransactionRecord[], now: number): Html {
  if (all.length === 0) return nothing('Nothing has been changed on this node yet.')
  const items = all
    .slice(-SHOWN_TRANSACTIONS)
    .reverse()
    .map(({ at, result, reason, changes, restarted, durationMs }) => {
      const tone = RESULT_TONE[result]
      const what = `${changes} ${changes === 1 ? 'change' : 'changes'}${restarted ? ', containerd restarted' : ''}, ${duration(durationMs)}`
      return html`<li class="tone-${tone}"><span class="pill tone-${tone}">${result}</span> <span class="small">${exactTimeElement(at, now)}</span>
<p class="text">${reason}</p><p class="text quiet small">${what}</p></li>`
    })
  return html`<ol class="timeline">${items}</ol>`
}

function targetItem({ target, inSync, files, pending }: TargetStatus): Html {
  const owned = `${files} ${files === 1 ? 'path' : 'paths'}`
  const state = inSync
    ? html`<span class="quiet">in sync, ${owned}</span>`
    : html`<span class="pill tone-warn">${pending === 0 ? 'not in sync' : `${pending} to change`}</span> <span class="quiet">${owned}</span>`
  return html`<li><code>${target}</code> ${state}</li>`
}

export function nodeSection(
  { mode, generation, containerd, runtime, targets, restart, sources }: NodeStatus,
  now: number,
): Html {
  const { version, socket, configFile, configVersion, configPath, layout } = containerd
  const other =
    runtime !== null &&
    runtime.name !== 'containerd' &&
    html`<dt>Runtime</dt><dd>${runtime.name} ${runtime.version} at <code>${runtime.socket}</code></dd>
`
  return html`<dl>
${other}<dt>containerd</dt><dd>${version ?? (runtime === null ? 'not reached' : 'none')}${socket !== null && html` at <code>${socket}</code>`}</dd>
<dt>Layout</dt><dd>${layout ?? 'not known'}</dd>
<dt>Configuration of containerd</dt><dd><code>${configFile ?? 'none'}</code>${configVersion !== null && html` (version ${configVersion})`}</dd>
<dt><code>config_path</code></dt><dd><code>${configPath ?? 'not set'}</code></dd>
<dt>Targets</dt><dd>${targets.length === 0 ? 'none' : html`<ul class="plain">${targets.map(targetItem)}</ul>`}</dd>
<dt>Mode</dt><dd>${mode}</dd>
<dt>Generation</dt><dd><code>${generation === '' ? 'none yet' : generation}</code>${sources.length > 0 && html` from <code>${sources.join(', ')}</code>`}</dd>
<dt>Restart</dt><dd>${restart.pending ? html`<span class="pill tone-warn">due</span> ${restart.reason}` : 'not needed'}</dd>
${restart.last !== null && html`<dt>Last restart</dt><dd>${restart.last.result}: ${restart.last.reason} <span class="quiet">(${timeElement(restart.last.at, now)}, ${duration(restart.last.durationMs)})</span></dd>`}
</dl>`
}
