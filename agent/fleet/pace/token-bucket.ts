/** A number per second. At the start one second's worth may be spent; what is not spent is kept for `keptSeconds`. */
export class TokenBucket {
  readonly #keptSeconds: number
  #tokens = 0
  #atMs: number | undefined

  constructor(keptSeconds = 1) {
    this.#keptSeconds = keptSeconds
  }

  /** How many may be spent now. */
  available(perSecond: number, nowMs: number): number {
    const passedMs = this.#atMs === undefined ? 1000 : nowMs - this.#atMs
    this.#atMs = nowMs
    this.#tokens = Math.min(perSecond * this.#keptSeconds, this.#tokens + (passedMs / 1000) * perSecond)
    return Math.floor(this.#tokens)
  }

  spend(count: number): void {
    this.#tokens -= count
  }
}
