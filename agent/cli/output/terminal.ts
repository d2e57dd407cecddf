// Text for a terminal: colour where it is wanted, aligned tables, and no control characters from elsewhere.
// This room: the texts that a person reads in a terminal: tables, colours, what is wrong first.
// Begin here; then status.ts, which shows most of the forms.
// May touch: nothing; everything foreign passes `harmless` before it is printed.

import type { Tone } from '../../model/verdict.ts'

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow'

export const STYLES: { readonly [tone in Tone]: Style } = { ok: 'green', warn: 'yellow', bad: 'red' }

/** Colours a text, or returns it as it is. */
export type Paint = (style: Style, text: string) => string

const CODES: { readonly [style in Style]: string } = { bold: '1', dim: '2', red: '31', green: '32', yellow: '33' }

export const plain: Paint = (_style, text) => text
export const coloured: Paint = (style, text) => `\u001b[${CODES[style]}m${text}\u001b[0m`

/** Colour on a terminal only, and never against NO_COLOR (https://no-color.org: set and not empty). */
export function painter(isTerminal: boolean, environment: { readonly [name: string]: string | undefined }): Paint {
  const refused = (environment['NO_COLOR'] ?? '') !== '' || environment['TERM'] === 'dumb'
  return isTerminal && !refused ? coloured : plain
}

/** Text that came from a file or the network may hold escape sequences; a terminal must not obey them. */
export function harmless(text: string): string {
  return text.replace(/\s*[\r\n\t]+\s*/g, ' ').replace(/\p{Cc}|\p{Cf}/gu, '\ufffd')
}

export type Cell = string | { readonly text: string; readonly style: Style }

export type TableOptions = { readonly header?: readonly string[]; readonly indent?: number; readonly paint?: Paint }

/** Columns as wide as their widest cell, two spaces apart; no spaces at the end of a line. */
export function table(rows: readonly (readonly Cell[])[], options: TableOptions = {}): string {
  const paint = options.paint ?? plain
  const header: readonly Cell[] | undefined = options.header?.map((text) => ({ text, style: 'dim' }))
  const all = header === undefined ? rows : [header, ...rows]
  const widths = columnWidths(all)
  const margin = ' '.repeat(options.indent ?? 0)
  return all
    .map((row) => renderRow(row, widths, paint))
    .map((line) => `${line === '' ? '' : margin}${line}\n`)
    .join('')
}

function columnWidths(rows: readonly (readonly Cell[])[]): readonly number[] {
  const widths: number[] = []
  for (const row of rows) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, width(textOf(cell)))
    })
  }
  return widths
}

function renderRow(row: readonly Cell[], widths: readonly number[], paint: Paint): string {
  const lastFilled = row.findLastIndex((cell) => textOf(cell) !== '')
  return row
    .slice(0, lastFilled + 1)
    .map((cell, column) => {
      const text = textOf(cell)
      const padding = column === lastFilled ? '' : ' '.repeat((widths[column] ?? 0) - width(text))
      return (typeof cell === 'string' || text === '' ? text : paint(cell.style, text)) + padding
    })
    .join('  ')
}

function textOf(cell: Cell): string {
  return harmless(typeof cell === 'string' ? cell : cell.text)
}

/**
 * Code points, not UTF-16 units; wide characters do not occur in host names and paths often enough to carry a table for
 * them.
 */
function width(text: string): number {
  return [...text].length
}
