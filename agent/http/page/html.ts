// HTML by tagged template: everything that is interpolated is escaped, unless it is itself the result of `html`.

const MARKUP = Symbol('markup')

export type Html = { readonly [MARKUP]: string }

type Part = Html | string | number | null | undefined | false | readonly Part[]

export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  const text = strings.map((piece, index) => piece + (index < parts.length ? render(parts[index]) : '')).join('')
  return { [MARKUP]: text }
}

export function renderHtml(markup: Html): string {
  return markup[MARKUP]
}

function render(part: Part): string {
  if (part === null || part === undefined || part === false) return ''
  if (typeof part === 'string') return escapeHtml(part)
  if (typeof part === 'number') return String(part)
  if (isList(part)) return part.map(render).join('')
  return part[MARKUP]
}

function isList(part: Html | readonly Part[]): part is readonly Part[] {
  return Array.isArray(part)
}

/** The ampersand first: the others bring one along. */
const ENTITIES = [
  ['&', '&amp;'],
  ['<', '&lt;'],
  ['>', '&gt;'],
  ['"', '&quot;'],
  ["'", '&#39;'],
] as const

/** Character by character this is what a long page costs most. */
function escapeHtml(text: string): string {
  if (!/[&<>"']/.test(text)) return text
  let escaped = text
  for (const [character, entity] of ENTITIES) escaped = escaped.replaceAll(character, entity)
  return escaped
}
