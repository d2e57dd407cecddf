// Work on many things, a few at a time: a node with a thousand registries makes neither a thousand connections at once
// nor one after the other.

/**
 * Results in the order of `items`. When one fails the error is thrown once the work that was begun has ended, and
 * nothing more is begun.
 */
export async function atMost<T, R>(
  most: number,
  items: readonly T[],
  work: (item: T) => Promise<R>,
): Promise<readonly R[]> {
  const results = new Map<number, R>()
  const failures: unknown[] = []
  const entries = items.entries()
  const worker = async () => {
    for (const [index, item] of entries) {
      if (failures.length > 0) return
      try {
        results.set(index, await work(item))
      } catch (thrown) {
        failures.push(thrown)
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, worker))
  if (failures.length > 0) throw failures[0]
  return items.map((_, index) => results.get(index) as R)
}
