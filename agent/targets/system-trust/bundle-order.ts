// The order in which `update-ca-certificates` puts local anchors into the bundle. It is not always the same one: the
// tool sorts by the locale of whoever starts it, so what it has written is asked. Pure.

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

/** `update-ca-certificates` sorts by the locale of whoever starts it: what it has put into the bundle tells which. */
export function orderOf(sources: readonly Source[], bundle: string): Order {
  const found = sources
    .map(({ path, text }) => ({ path, at: text === '' ? -1 : bundle.lastIndexOf(text) }))
    .filter(({ at }) => at >= 0)
    .sort((a, b) => a.at - b.at)
  const isSortedBy = (order: Order) =>
    found.every(({ path }, index) => index === 0 || order(found[index - 1]?.path ?? '', path) < 0)
  return !isSortedBy(byBytes) && isSortedBy(byLetters) ? byLetters : byBytes
}

/**
 * The bundle with `source` before the first of those that sort after it; what `foreign` looks like in the bundle tells
 * the order.
 */
export function insertInOrder(
  bundle: string,
  source: Source,
  foreign: readonly Source[],
  ours: readonly Source[],
): string {
  const order = orderOf(foreign, bundle)
  const later = [...foreign, ...ours]
    .filter(({ path }) => order(path, source.path) > 0)
    .sort((a, b) => order(a.path, b.path))
  for (const next of later) {
    const at = next.text === '' ? -1 : bundle.lastIndexOf(next.text)
    if (at >= 0) return bundle.slice(0, at) + source.text + bundle.slice(at)
  }
  return bundle === '' || bundle.endsWith('\n') ? bundle + source.text : `${bundle}\n${source.text}`
}
