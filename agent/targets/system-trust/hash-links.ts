// The links by which OpenSSL finds a certificate in a folder: HASH.0, HASH.1 and so on for subjects of the same hash,
// without a gap, since it stops at the first number that is not there. Pure.

export const MOST_HASH_LINKS = 10

/** What lies at one number of a hash. */
export type Slot = {
  /** Somebody else's, or ours of an anchor whose input is broken now: it stays. */
  readonly isFixed: boolean
  /** `sha256:`, of the certificate that it leads to; `undefined`: to none. */
  readonly fingerprint: string | undefined
}

/**
 * The number for each certificate (`sha256:`) of one hash; none where it is linked already by a link that stays. A
 * certificate that has a
 * number that is still needed keeps it, so that none is missing while links are moved.
 */
export function numbersOf(
  fingerprints: readonly string[],
  slotAt: (number: number) => Slot,
): ReadonlyMap<string, number> {
  const slots = Array.from({ length: MOST_HASH_LINKS }, (_, number) => ({ number, ...slotAt(number) }))
  const linked = new Set(slots.filter(({ isFixed }) => isFixed).map(({ fingerprint }) => fingerprint))
  const wanting = fingerprints.filter((fingerprint) => !linked.has(fingerprint))
  const usable = slots.filter(({ isFixed }) => !isFixed).slice(0, wanting.length)
  const numbers = new Map<string, number>()
  for (const { number, fingerprint } of usable) {
    if (fingerprint !== undefined && wanting.includes(fingerprint) && !numbers.has(fingerprint)) {
      numbers.set(fingerprint, number)
    }
  }
  const used = new Set(numbers.values())
  const free = usable.map(({ number }) => number).filter((number) => !used.has(number))
  for (const fingerprint of wanting.filter((one) => !numbers.has(one))) {
    const number = free.shift()
    if (number !== undefined) numbers.set(fingerprint, number)
  }
  return numbers
}
