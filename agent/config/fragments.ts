// What happens to a fragment that is refused: it stops nothing else. What it declared when it was last good stays in
// force where that is known and still fits; otherwise it is left out. Pure.
import type { RawFile } from './reading/config-file.ts'
import { Report } from './reading/report.ts'

/** The bytes of each fragment when it was last good. */
export type LastGood = ReadonlyMap<string, Uint8Array>

export class Fragments {
  readonly #mains: readonly RawFile[]
  readonly #paths: ReadonlySet<string>
  readonly #lastGood: LastGood
  readonly #inForce: Map<string, RawFile>
  readonly #old = new Set<string>()
  readonly refused = new Report()

  constructor(raw: readonly RawFile[], paths: ReadonlySet<string>, lastGood: LastGood) {
    this.#mains = raw.filter(({ isFragment }) => !isFragment)
    this.#paths = paths
    this.#lastGood = lastGood
    this.#inForce = new Map(raw.filter(({ isFragment }) => isFragment).map((file) => [file.path, file]))
  }

  /** Those that have not changed come first: what is new cannot take a name or a host that another one has. */
  get files(): readonly RawFile[] {
    const fragments = [...this.#inForce.values()]
    const isSettled = ({ path, bytes }: RawFile) => this.#old.has(path) || sameBytes(this.#lastGood.get(path), bytes)
    return [...this.#mains, ...fragments.filter(isSettled), ...fragments.filter((file) => !isSettled(file))]
  }

  /**
   * Takes the fragments that `report` names out of force, or back to when they were good; false where it names none. Of
   * those that only
   * contradict another one it is the first: with it gone the next may be right.
   */
  refuse(report: Report): boolean {
    const own = this.#guilty(report.without('CONFIG_CONFLICT'))
    const guilty = own.length > 0 ? own : this.#guilty(report).slice(0, 1)
    for (const path of guilty) this.#takeBack(path, report)
    return guilty.length > 0
  }

  #guilty(report: Report): readonly string[] {
    const isOut = (path: string) => this.#old.has(path) && !this.#inForce.has(path)
    return [...report.files].filter((path) => this.#paths.has(path) && !isOut(path))
  }

  #takeBack(path: string, report: Report): void {
    const isFirst = !this.#old.has(path)
    if (isFirst) this.refused.addAll(report.part((file) => file === path))
    this.#old.add(path)
    const [before, now] = [this.#lastGood.get(path), this.#inForce.get(path)]
    if (before === undefined || !isFirst || sameBytes(before, now?.bytes)) {
      this.#inForce.delete(path)
      return
    }
    const order = now?.order ?? this.#mains.length
    this.#inForce.set(path, { ...now, path, order, isFragment: true, bytes: Buffer.from(before) })
  }

  /** What is good from now on; of a refused one what was good before, for the day on which it fits again. */
  get good(): LastGood {
    const good = new Map<string, Uint8Array>()
    for (const path of this.#paths) {
      const bytes = this.#inForce.get(path)?.bytes ?? this.#lastGood.get(path)
      if (bytes !== undefined) good.set(path, bytes)
    }
    return good
  }
}

function sameBytes(left: Uint8Array | undefined, right: Uint8Array | undefined): boolean {
  return left !== undefined && right !== undefined && Buffer.compare(left, right) === 0
}
