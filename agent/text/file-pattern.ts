// Go's filepath.Match for one name, which containerd finds imported files with: `*`, `?`, classes with ranges, negated
// by `^`, and `\` before a character that stands for itself (https://pkg.go.dev/path/filepath#Match). A `!` is a
// character like any other there.

/** Whether a path has to be looked for in its folder. */
export function isPattern(name: string): boolean {
  return /[*?[\\]/.test(name)
}

/**
 * What matches like `pattern`; `undefined` for a pattern that Go refuses (ErrBadPattern): containerd does not start
 * with it.
 */
export function matcherOf(pattern: string): RegExp | undefined {
  let source = ''
  for (let rest = pattern; rest !== ''; ) {
    const token = /^(?:\*|\?|\[(?:\^|(?!\^))(?:\\.|[^\\\]-])(?:\\.|[^\\\]])*\]|\\.|[^*?[\\])/su.exec(rest)?.[0]
    if (token === undefined) return undefined
    const translated = translate(token)
    if (translated === undefined) return undefined
    source += translated
    rest = rest.slice(token.length)
  }
  return new RegExp(`^${source}$`, 'su')
}

function translate(token: string): string | undefined {
  if (token === '*') return '[^/]*'
  if (token === '?') return '[^/]'
  if (token.startsWith('[') && token.length > 1) return classOf(token)
  return literal(token.startsWith('\\') ? token.slice(1) : token)
}

/** Ranges one after the other, each `lo` or `lo-hi`; a range that is upside down matches nothing. */
function classOf(token: string): string | undefined {
  const isNegated = token.startsWith('[^')
  const ranges = [...token.slice(isNegated ? 2 : 1, -1).matchAll(/(\\.|[^\\-])(?:-(\\.|[^\\-]))?|-/gsu)]
  if (ranges.some(([whole]) => whole === '-')) return undefined
  const parts = ranges.flatMap(([, low = '', high = low]) => {
    const [from, to] = [low, high].map((one) => (one.length > 1 && one.startsWith('\\') ? one.slice(1) : one))
    const isUpright = (from?.codePointAt(0) ?? 0) <= (to?.codePointAt(0) ?? 0)
    return isUpright ? [`${literal(from ?? '')}-${literal(to ?? '')}`] : []
  })
  if (isNegated) return `[^${parts.join('')}]`
  return parts.length === 0 ? '(?!)' : `[${parts.join('')}]`
}

function literal(character: string): string {
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`
}
