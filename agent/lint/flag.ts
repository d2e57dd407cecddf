// One place where verification is switched off.
export type InsecureFlag = {
  readonly line: number
  readonly column: number
  readonly rule: string
  /** The words that were found. */
  readonly found: string
  /** What to write instead. */
  readonly remedy: string
}
