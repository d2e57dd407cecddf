// At most so many calls in any period of a given length: the sidecars' own limit, which no caller can change.

export class RateLimit {
  readonly #most: number
  readonly #perMs: number
  readonly #now: () => number
  #taken: number[] = []

  constructor(options: { readonly most: number; readonly perMs: number; readonly now?: () => number }) {
    this.#most = options.most
    this.#perMs = options.perMs
    this.#now = options.now ?? (() => performance.now())
  }

  /** False: not now. */
  take(most = this.#most): boolean {
    const since = this.#now() - this.#perMs
    this.#taken = this.#taken.filter((at) => at > since)
    if (this.#taken.length >= most) return false
    this.#taken.push(this.#now())
    return true
  }
}
