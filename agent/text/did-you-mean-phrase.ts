// The half sentence that answers a typing error with its correction.
import { nearest } from './did-you-mean.ts'

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
