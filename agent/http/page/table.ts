// A table that is also a list of cards on a narrow screen. The roles stand there in words: with `display: block` some
// browsers would otherwise no longer call it a table.
import { type Html, html } from './html.ts'

export type Cell = { readonly label: string; readonly content: Html | string; readonly kind?: string }

export function table(columns: readonly string[], rows: readonly Html[], labelledBy: string): Html {
  const head = columns.map((column) => html`<th scope="col" role="columnheader">${column}</th>`)
  return html`<table role="table" aria-labelledby="${labelledBy}"><thead role="rowgroup"><tr role="row">${head}</tr></thead>
<tbody role="rowgroup">${rows}</tbody></table>`
}

export function row(cells: readonly Cell[], tone?: string): Html {
  const columns = cells.map(
    ({ label, content, kind = '' }) => html`<td role="cell" class="${kind}" data-label="${label}">${content}</td>`,
  )
  return html`<tr role="row" class="${tone === undefined ? '' : `tone-${tone}`}">${columns}</tr>`
}

export function nothing(text: string): Html {
  return html`<p class="text quiet">${text}</p>`
}
