// Everything that was read for one plan, to be asked later whether it is all the same. What is known by the identity of
// a file or folder costs one lstat of it, however many answers hang on it; what is not is read again.
import { giveWay } from './give-way.ts'
import { FIELDS, identityOf, isIdentity, numbersOf } from './identity.ts'

/** What an answer is known again by: `identity` of `at`, as `identityOf` writes it. */
export type Mark = { readonly at: string; readonly identity: string }

/** `marks` undefined: the answer is not known again by anything. */
export type Answered<T> = { readonly answer: T; readonly marks: readonly Mark[] | undefined }

/** Between two questions whether somebody else waits for his turn. */
const AT_A_TIME = 32

type Reading = {
  readonly isSame: (now: unknown) => boolean
  readonly ask: () => Promise<Answered<unknown>>
  marks: readonly Mark[] | undefined
}

export class Witness {
  readonly #readings = new Map<string, Reading>()
  /** What is marked counts as long as this is the same. */
  readonly #epochNow: () => number
  #epoch: number
  #table: Table | undefined

  constructor(epochNow: () => number) {
    this.#epochNow = epochNow
    this.#epoch = epochNow()
  }

  /** Asks, and remembers the answer under the key. */
  async note<T>(key: string, ask: () => Promise<Answered<T>>, isSame: (one: T, other: T) => boolean): Promise<T> {
    const { answer, marks } = await ask()
    this.#readings.set(key, { isSame: (now) => isSame(answer, now as T), ask, marks })
    this.#table = undefined
    return answer
  }

  /** Whether every question has the same answer now. */
  async isSame(): Promise<boolean> {
    if (this.#epoch !== this.#epochNow()) this.#forgetMarks()
    this.#table ??= tableOf([...this.#readings.values()])
    const { unmarked } = this.#table
    const isMarked = await isCurrent(this.#table)
    for (const reading of isMarked ? unmarked : this.#readings.values()) {
      if (reading.marks?.every(isAsMarked) === true) continue
      const { answer, marks } = await reading.ask()
      if (!reading.isSame(answer)) return false
      if (reading.marks === marks) continue
      reading.marks = marks
      this.#table = undefined
    }
    return true
  }

  #forgetMarks(): void {
    this.#epoch = this.#epochNow()
    this.#table = undefined
    for (const reading of this.#readings.values()) reading.marks = undefined
  }
}

function isAsMarked({ at, identity }: Mark): boolean {
  return identityOf(at) === identity
}

/** Each path once, with its identity in numbers: comparing thousands of texts takes as long as asking for them. */
type Table = {
  readonly paths: readonly string[]
  readonly identities: Float64Array
  readonly unmarked: readonly Reading[]
}

function tableOf(readings: readonly Reading[]): Table {
  const marks = readings.flatMap(({ marks }) => marks ?? [])
  const byPath = new Map(marks.map(({ at, identity }) => [at, identity]))
  const identities = new Float64Array(byPath.size * FIELDS)
  for (const [row, identity] of [...byPath.values()].entries()) identities.set(numbersOf(identity), row * FIELDS)
  return { paths: [...byPath.keys()], identities, unmarked: readings.filter((reading) => reading.marks === undefined) }
}

/** False too where a path was marked with two identities: then each answer is asked for by its own. */
async function isCurrent({ paths, identities }: Table): Promise<boolean> {
  for (const [row, path] of paths.entries()) {
    if (row % AT_A_TIME === 0) await giveWay()
    if (!isIdentity(path, identities, row * FIELDS)) return false
  }
  return true
}
