// Holds a kind of writes back while the API server refuses them: for half a second, then twice as long after each further
// round without one success.

const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 30_000

/** Times are milliseconds of the monotonic clock. */
export class Pause {
  #pauseMs = 0
  #resumeAtMs = Number.NEGATIVE_INFINITY

  isOver(nowMs: number): boolean {
    return nowMs >= this.#resumeAtMs
  }

  succeeded(): void {
    this.#pauseMs = 0
  }

  /**
   * A write that was begun at `begunMs` was refused. False: it was sent together with one that was refused before, which
   * speaks for all of them.
   */
  refused(begunMs: number, nowMs: number): boolean {
    if (begunMs < this.#resumeAtMs) return false
    this.#pauseMs = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, this.#pauseMs * 2))
    this.#resumeAtMs = nowMs + this.#pauseMs
    return true
  }
}
