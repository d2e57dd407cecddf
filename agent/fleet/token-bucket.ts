/** So many a second, with at most one second's worth at once. */
export class TokenBucket {
  #tokens = 0
  #atMs: number | undefined

  /** How many may be spent now. */
  available(perSecond: number, nowMs: number): number {
    const passedMs = this.#atMs === undefined ? 1000 : nowMs - this.#atMs
    this.#atMs = nowMs
    this.#tokens = Math.min(perSecond, this.#tokens + (passedMs / 1000) * perSecond)
    return Math.floor(this.#tokens)
  }

  spend(count: number): void {
    this.#tokens -= count
  }
}
