// Counts what comes in each second.

export class Counts {
  readonly #perSecond: number[] = []

  add(nowMs: number, count = 1): void {
    const second = Math.floor(nowMs / 1000)
    this.#perSecond[second] = (this.#perSecond[second] ?? 0) + count
  }

  perSecond(): readonly number[] {
    return Array.from(this.#perSecond, (count) => count ?? 0)
  }

  total(): number {
    return this.perSecond().reduce((sum, count) => sum + count, 0)
  }

  most(): number {
    return this.perSecond().reduce((most, count) => Math.max(most, count), 0)
  }
}

export class Registry {
  readonly counts = new Counts()
  readonly #downUntilMs: number

  constructor(downUntilMs: number) {
    this.#downUntilMs = downUntilMs
  }

  /** One HEAD for the manifest of a tag that need not exist: what a proof without a login takes. */
  ask(nowMs: number): boolean {
    this.counts.add(nowMs)
    return nowMs >= this.#downUntilMs
  }
}
