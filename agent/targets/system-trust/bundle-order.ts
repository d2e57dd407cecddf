// The order in which `update-ca-certificates` puts local anchors into the bundle. It is not always the same one: the
// tool sorts by the locale of its caller, so what it has written is asked. Pure.

export type Order = (a: string, b: string) => number

/** A certificate file (PEM) and the path that it is sorted by. */
export type Source = { readonly path: string; readonly text: string }

const byBytes: Order = (a, b) => (a === b ? 0 : a < b ? -1 : 1)

/**
 * As glibc sorts in most languages: by letters and digits whatever their case, and by the rest where these are the
 * same.
 */
const byLetters: Order = (a, b) => byBytes(lettersOf(a), lettersOf(b)) || byBytes(a, b)

function lettersOf(path: string): string {
  return path.replaceAll(/[^A-Za-z0-9]/g, '').toLowerCase()
}

/** A bundle, and where the texts in it begin, without a search through all of it for each. */
export type BundleText = {
  readonly text: string
  /** Where `text` begins for the last time; -1: nowhere. */
  lastIndexOf(text: string): number
  has(text: string): boolean
}

const ONE_BLOCK = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\n/

/** One pass over the bundle: most of what is asked for is one block of PEM. */
export function bundleText(text: string): BundleText {
  const blocks = new Map<string, number>()
  for (const { 0: block, index } of text.matchAll(new RegExp(ONE_BLOCK, 'g'))) blocks.set(block, index)
  const isOneBlock = (one: string) => ONE_BLOCK.exec(one)?.[0] === one
  const lastIndexOf = (one: string) => {
    if (one === '') return -1
    return blocks.get(one) ?? (isOneBlock(one) ? -1 : text.lastIndexOf(one))
  }
  return { text, lastIndexOf, has: (one) => lastIndexOf(one) >= 0 }
}

/** `update-ca-certificates` sorts by the locale of its caller: what it has put into the bundle tells which. */
export function orderOf(sources: readonly Source[], bundle: BundleText): Order {
  const found = sources
    .map(({ path, text }) => ({ path, at: bundle.lastIndexOf(text) }))
    .filter(({ at }) => at >= 0)
    .sort((a, b) => a.at - b.at)
  const isSortedBy = (order: Order) =>
    found.every(({ path }, index) => index === 0 || order(found[index - 1]?.path ?? '', path) < 0)
  return !isSortedBy(byBytes) && isSortedBy(byLetters) ? byLetters : byBytes
}

/**
 * The bundle with each of `added` before the first of those that sort after it; what `foreign` looks like in the bundle
 * tells the order. `ours`: all that should be in the bundle; `added` are some of these.
 */
export function insertInOrder(
  bundle: BundleText,
  added: readonly Source[],
  foreign: readonly Source[],
  ours: readonly Source[],
): string {
  if (added.length === 0) return bundle.text
  const order = orderOf(foreign, bundle)
  const sorted = [...foreign, ...ours].sort((a, b) => order(a.path, b.path))
  // From the end: where the next one begins that is in the bundle already.
  const pieces = new Map<number, string[]>()
  const waiting = new Set(added)
  let next = bundle.text.length
  for (const group of groupsFromTheEnd(sorted, order)) {
    for (const source of group) {
      if (!waiting.delete(source)) continue
      const before = pieces.get(next)
      if (before === undefined) pieces.set(next, [source.text])
      else before.unshift(source.text)
    }
    const [first] = group.map(({ text }) => bundle.lastIndexOf(text)).filter((at) => at >= 0)
    next = first ?? next
  }
  return withPieces(bundle.text, pieces)
}

/** Sources of the same path stand together: none of them comes after another. */
function* groupsFromTheEnd(sorted: readonly Source[], order: Order): Generator<readonly Source[]> {
  for (let end = sorted.length; end > 0; ) {
    const last = sorted[end - 1]?.path ?? ''
    let start = end
    while (start > 0 && order(sorted[start - 1]?.path ?? '', last) === 0) start -= 1
    yield sorted.slice(start, end)
    end = start
  }
}

function withPieces(text: string, pieces: ReadonlyMap<number, readonly string[]>): string {
  let [whole, from] = ['', 0]
  for (const [at, texts] of [...pieces].sort(([a], [b]) => a - b)) {
    whole += text.slice(from, at)
    if (at === text.length && whole !== '' && !whole.endsWith('\n')) whole += '\n'
    whole += texts.join('')
    from = at
  }
  return whole + text.slice(from)
}

/** Without the first place of each of `gone`. */
export function withoutTexts(text: string, gone: readonly string[]): string {
  if (gone.length === 0) return text
  const left = new Set(gone)
  const cut = text.replaceAll(new RegExp(ONE_BLOCK, 'g'), (block) => (left.delete(block) ? '' : block))
  // What is not one block of PEM.
  return [...left].reduce((rest, one) => rest.replace(one, () => ''), cut)
}
