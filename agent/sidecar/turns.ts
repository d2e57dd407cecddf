// Work in flight with two bounds: how much runs at once, and how much waits its turn. What a flood costs is then known
// beforehand.

export class Turns {
  readonly #atOnce: number
  readonly #mostWaiting: number
  #underWay = 0
  readonly #waiting: (() => void)[] = []

  constructor({ atOnce, mostWaiting }: { readonly atOnce: number; readonly mostWaiting: number }) {
    this.#atOnce = atOnce
    this.#mostWaiting = mostWaiting
  }

  /** Runs `work` when its turn comes. Undefined: too much waits already, and it was not run. */
  async run<T>(work: () => Promise<T>): Promise<{ readonly result: T } | undefined> {
    if (this.#underWay >= this.#atOnce) {
      if (this.#waiting.length >= this.#mostWaiting) return undefined
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    } else this.#underWay += 1
    try {
      return { result: await work() }
    } finally {
      // The place goes to the next one directly, so that no new caller slips in between.
      const next = this.#waiting.shift()
      if (next === undefined) this.#underWay -= 1
      else next()
    }
  }
}
