// An answer that takes long to make is made for all who ask: on a node of a thousand registries the page and the
// metrics take the better part of a second, and no number of visitors may take that time from the agent's own work.

/** From here on an answer is kept for a while; what is made faster is made for each who asks. */
const WORTH_KEEPING_MS = 50
/** It is kept this many times as long as it took to make: making it takes a tenth of the time at most. */
const KEPT_TIMES = 9
const KEPT_MS_AT_MOST = 10_000

export type Clock = { now(): number }

export class SharedAnswer<T> {
  readonly #make: () => T | Promise<T>
  readonly #clock: Clock
  #coming: Promise<T> | undefined
  #kept: { readonly answer: T; readonly timer: NodeJS.Timeout } | undefined

  constructor(make: () => T | Promise<T>, clock: Clock = performance) {
    this.#make = make
    this.#clock = clock
  }

  /**
   * The one that is being made or was made a moment ago, else a new one.
   * @throws whatever making it throws, to all who wait for it; the next who asks tries again.
   */
  async get(): Promise<T> {
    if (this.#kept !== undefined) return this.#kept.answer
    this.#coming ??= this.#makeAnother()
    return await this.#coming
  }

  /** Requests from now on get the current state. */
  forget(): void {
    clearTimeout(this.#kept?.timer)
    this.#kept = undefined
    this.#coming = undefined
  }

  #makeAnother(): Promise<T> {
    const started = this.#clock.now()
    const coming = Promise.resolve()
      .then(this.#make)
      .then(
        (answer) => {
          if (this.#coming === coming) this.#keep(answer, this.#clock.now() - started)
          return answer
        },
        (error: unknown) => {
          if (this.#coming === coming) this.#coming = undefined
          throw error
        },
      )
    return coming
  }

  #keep(answer: T, tookMs: number): void {
    this.#coming = undefined
    if (tookMs < WORTH_KEEPING_MS) return
    const keptMs = Math.min(tookMs * KEPT_TIMES, KEPT_MS_AT_MOST)
    const timer = setTimeout(() => this.forget(), keptMs).unref()
    this.#kept = { answer, timer }
  }
}
