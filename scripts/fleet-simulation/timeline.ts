// Virtual time: what is to happen stands in a queue by its instant; nothing waits for a real clock.

type Event = { readonly atMs: number; readonly order: number; readonly act: () => void }

export class Timeline {
  nowMs = 0
  #order = 0
  /** A binary heap, the next event first. */
  readonly #heap: Event[] = []

  after(ms: number, act: () => void): void {
    this.#push({ atMs: this.nowMs + Math.max(0, ms), order: this.#order++, act })
  }

  /** As an answer that takes its time. */
  answer<T>(ms: number, value: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.after(ms, () => {
        try {
          resolve(value())
        } catch (thrown) {
          reject(thrown instanceof Error ? thrown : new Error(String(thrown)))
        }
      })
    })
  }

  /** Until nothing is left to happen, the time is over, or `isDone`. */
  async run(untilMs: number, isDone: () => boolean): Promise<void> {
    for (;;) {
      const next = this.#pop()
      if (next === undefined || next.atMs > untilMs || isDone()) return
      this.nowMs = next.atMs
      next.act()
      // What promises have to do comes before the next instant.
      if (this.#heap[0]?.atMs !== this.nowMs) await new Promise(setImmediate)
    }
  }

  #push(event: Event): void {
    const heap = this.#heap
    let index = heap.push(event) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!isBefore(heap[index], heap[parent])) break
      swap(heap, index, parent)
      index = parent
    }
  }

  #pop(): Event | undefined {
    const heap = this.#heap
    const [first] = heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return first
    heap[0] = last
    let index = 0
    for (;;) {
      const [left, right] = [2 * index + 1, 2 * index + 2]
      let least = index
      if (isBefore(heap[left], heap[least])) least = left
      if (isBefore(heap[right], heap[least])) least = right
      if (least === index) return first
      swap(heap, index, least)
      index = least
    }
  }
}

function isBefore(left: Event | undefined, right: Event | undefined): boolean {
  if (left === undefined || right === undefined) return false
  return left.atMs < right.atMs || (left.atMs === right.atMs && left.order < right.order)
}

function swap(heap: Event[], left: number, right: number): void {
  const [one, other] = [heap[left], heap[right]]
  if (one === undefined || other === undefined) return
  heap[left] = other
  heap[right] = one
}

/** The same draws for the same seed (mulberry32). */
export function draws(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
