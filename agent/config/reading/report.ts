// Collects what is wrong with the configuration: every problem with its place, reported all at once, in the order of
// the files.
import { type ErrorCode, type Problem, problem } from '../../model/errors.ts'

/** A position in a configuration file. */
export type Place = {
  readonly file: string
  /** Order of the file among all files read. */
  readonly order: number
  readonly line: number
  readonly column: number
}

const MAX_PROBLEMS = 50

export class Report {
  readonly #entries: { readonly place: Place; readonly problem: Problem }[] = []

  /** `subject` is the key path, `text` reads on after it: `registries[0].host must be …`. */
  add(code: ErrorCode, place: Place, subject: string, text: string): void {
    const sentence = subject === '' ? text : `${subject} ${text}`
    this.#entries.push({ place, problem: problem(code, `${placeText(place)}: ${sentence}`) })
  }

  /** A problem with a file as a whole, or with its absence. */
  addFile(code: ErrorCode, file: string, order: number, text: string): void {
    this.#entries.push({
      place: { file, order, line: 0, column: 0 },
      problem: problem(code, `${shown(file)}: ${text}`),
    })
  }

  addAll(other: Report): void {
    this.#entries.push(...other.#entries)
  }

  /** Files that something is wrong with. */
  get files(): ReadonlySet<string> {
    return new Set(this.#entries.map(({ place }) => place.file))
  }

  /** What is wrong with one of them, or with the others. */
  part(isWanted: (file: string) => boolean): Report {
    const part = new Report()
    part.#entries.push(...this.#entries.filter(({ place }) => isWanted(place.file)))
    return part
  }

  without(code: ErrorCode): Report {
    const part = new Report()
    part.#entries.push(...this.#entries.filter(({ problem: one }) => one.code !== code))
    return part
  }

  get isEmpty(): boolean {
    return this.#entries.length === 0
  }

  /** So much is wrong already that hints are not worth their time. */
  get isCrowded(): boolean {
    return this.#entries.length >= 4 * MAX_PROBLEMS
  }

  problems(): readonly Problem[] {
    const sorted = this.#entries
      .toSorted(
        (a, b) => a.place.order - b.place.order || a.place.line - b.place.line || a.place.column - b.place.column,
      )
      .map((entry) => entry.problem)
    if (sorted.length <= MAX_PROBLEMS) return sorted
    const more = problem('CONFIG_INVALID', `${sorted.length - MAX_PROBLEMS} more problems are not shown`)
    return [...sorted.slice(0, MAX_PROBLEMS), more]
  }
}

export function placeText(place: Place): string {
  return `${shown(place.file)}:${place.line}:${place.column}`
}

/** A name may hold what moves the cursor of a terminal, or ends a line. */
function shown(file: string): string {
  return file.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (sign) => {
    return `\\u${sign.codePointAt(0)?.toString(16).padStart(4, '0')}`
  })
}
