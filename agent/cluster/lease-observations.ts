// Whether the holder of a Lease has given it up, judged by when its record was seen to change: the times in it are
// those of another machine's clock. As client-go's leader election does (tools/leaderelection, "observedTime").

export class LeaseObservations {
  readonly #monotonic: () => number
  readonly #seen = new Map<string, { readonly record: string; readonly at: number }>()

  constructor(monotonic: () => number) {
    this.#monotonic = monotonic
  }

  /**
   * True once the same record of `lease` has been seen for as long as it lasts; `record`: anything that each renewal
   * changes.
   */
  isOver(lease: string, record: string, seconds: number): boolean {
    const now = this.#monotonic()
    const seen = this.#seen.get(lease)
    if (seen?.record === record) return now - seen.at > seconds * 1000
    this.#seen.set(lease, { record, at: now })
    return false
  }
}
