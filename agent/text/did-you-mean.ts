// "Did you mean …": the known word closest to one that is not known, and the half sentence that offers it.

/** `; did you mean x?`, or nothing. */
export function didYouMean(word: string, known: readonly string[]): string {
  const found = nearest(word, known) ?? known.find((candidate) => sharesBeginning(word, candidate))
  return found === undefined ? '' : `; did you mean ${found}?`
}

/** `registry` for `registries`: another ending of the same word is more letters away than a slip of the fingers. */
function sharesBeginning(word: string, candidate: string): boolean {
  const enough = Math.max(4, Math.ceil((word.length * 2) / 3))
  return word.length <= 64 && candidate.toLowerCase().startsWith(word.toLowerCase().slice(0, enough))
}

/** The closest candidate, or undefined when none is close enough to be what was meant. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const typed = word.toLowerCase()
  let best: string | undefined
  // A third of the word may be wrong; above 64 characters nobody mistypes, and the table would cost too much.
  let bestDistance = Math.max(1, Math.floor(Math.min(typed.length, 64) / 3)) + 1
  for (const candidate of candidates) {
    const distance = editDistance(typed.slice(0, 64), candidate.toLowerCase().slice(0, 64))
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** Levenshtein distance where two neighbours swapped count as one mistake. */
function editDistance(left: string, right: string): number {
  let beforePrevious: number[] = []
  let previous = Array.from({ length: right.length + 1 }, (_, index) => index)
  for (let i = 1; i <= left.length; i++) {
    const current = [i]
    for (let j = 1; j <= right.length; j++) {
      const same = left[i - 1] === right[j - 1]
      let cost = Math.min(at(previous, j) + 1, at(current, j - 1) + 1, at(previous, j - 1) + (same ? 0 : 1))
      const swapped = i > 1 && j > 1 && left[i - 1] === right[j - 2] && left[i - 2] === right[j - 1]
      if (swapped) cost = Math.min(cost, at(beforePrevious, j - 2) + 1)
      current.push(cost)
    }
    beforePrevious = previous
    previous = current
  }
  return at(previous, right.length)
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY
}
