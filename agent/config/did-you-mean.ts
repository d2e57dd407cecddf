// The half sentence that answers a typing error with its correction.
import { nearest } from '../model/nearest.ts'

/** `; did you mean x?`, or nothing. */
export function didYouMean(word: string, known: readonly string[]): string {
  const found = nearest(word, known)
  return found === undefined ? '' : `; did you mean ${found}?`
}
