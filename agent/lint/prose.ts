// Tells sentences about a flag from uses of it: a sentence is not a finding. Pure.

const PAGE = /\.(?:md|markdown|rst|adoc|txt)$/i
const TEXT_KEY =
  /^\s*(?:-\s+)?["']?(?:description|note|notes|message|summary|help|title|doc|documentation|comment|warning)["']?\s*[:=]/i
const NEGATED =
  /\b(?:do not|don't|never|avoid|instead of|rather than|must not|should not|shouldn't|no longer|without|remove|removed|forbids?|drop|stop using)\b[^|;&]*$/i

/** Lines of a page outside of its code blocks, numbered from 0. */
export function proseLines(lines: readonly string[], path: string): ReadonlySet<number> {
  if (!PAGE.test(path)) return new Set()
  const prose = new Set<number>()
  let isCode = false
  lines.forEach((line, index) => {
    if (/^\s*(?:```|~~~|----\s*$)/.test(line)) isCode = !isCode
    if (!isCode && !/^(?: {4}|\t|\s*\$ )/.test(line)) prose.add(index)
  })
  return prose
}

/** The line, up to the flag, speaks of it. */
export function isSaid(line: string, before: string): boolean {
  return TEXT_KEY.test(line) || NEGATED.test(before)
}
