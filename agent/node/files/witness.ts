// Everything that was read for one plan, to be asked later whether it is all the same. What is known by the identity of
// a file or folder costs one lstat of it, however many answers hang on it; what is not is read again.
import { giveWay } from './give-way.ts'
import { FIELDS, isIdentity, numbersOf } from './identity.ts'

/** What an answer is known again by: `identity` of `at`, as `identityOf` writes it. */
export type Mark = { readonly at: string; readonly identity: string }

/** `marks` undefined: the answer is not known again by anything. */
export type Answered<T> = { readonly answer: T; readonly marks: readonly Mark[] | undefined }

/** After this many questions other work gets its turn. */
const AT_A_TIME = 32

/** A way to ask for what lies at a path. `how`: what it is asked with beside the path. */
export type Question<T, How = undefined> = {
  readonly ask: (path: string, how: How) => Promise<Answered<T>>
  readonly isSame: (one: T, other: T) => boolean
}

/** Thousands of them are kept: functions of their own would take more memory than all they are about. */
type Reading = {
  readonly question: Question<unknown, unknown>
  readonly path: string
  readonly how: unknown
  readonly answer: unknown
  marks: readonly Mark[] | undefined
}

export class Witness {
  readonly #readings = new Map<Question<unknown, unknown>, Map<string, Reading>>()
  /** What is marked counts as long as this is the same. */
  readonly #epochNow: () => number
  #epoch: number
  #table: Table | undefined

  constructor(epochNow: () => number) {
    this.#epochNow = epochNow
    this.#epoch = epochNow()
  }

  /** Asks, and remembers the answer. */
  async note<T, How>(asked: Question<T, How>, path: string, how: How): Promise<T> {
    const { answer, marks } = await asked.ask(path, how)
    const question = asked as Question<unknown, unknown>
    const readings = this.#readings.get(question) ?? new Map<string, Reading>()
    readings.set(path, { question, path, how, answer, marks })
    this.#readings.set(question, readings)
    this.#table = undefined
    return answer
  }

  *#all(): Generator<Reading> {
    for (const readings of this.#readings.values()) yield* readings.values()
  }

  /** Whether every question has the same answer now. */
  async isSame(): Promise<boolean> {
    if (this.#epoch !== this.#epochNow()) this.#forgetMarks()
    this.#table ??= tableOf([...this.#all()])
    const table = this.#table
    const stale = await stalePaths(table)
    const { unmarked } = table
    const doubtful = stale.size === 0 ? [] : [...this.#all()].filter((one) => isOnOneOf(stale, one))
    const learned = new Map<string, string>()
    for (const reading of new Set([...unmarked, ...doubtful])) {
      const { question, path, how } = reading
      const { answer, marks } = await question.ask(path, how)
      if (!question.isSame(reading.answer, answer)) return false
      reading.marks = marks
      // A new table is work: it is made where this one would not say the same.
      if (marks === undefined) unmarked.add(reading)
      else if (unmarked.has(reading) || !marks.every((mark) => isTold(table, stale, mark, learned)))
        this.#table = undefined
    }
    for (const [path, identity] of learned) setRow(table, path, identity)
    return true
  }

  #forgetMarks(): void {
    this.#epoch = this.#epochNow()
    this.#table = undefined
    for (const reading of this.#all()) reading.marks = undefined
  }
}

/** Each path once, with its identity in numbers: comparing thousands of texts takes as long as asking for them. */
type Table = {
  readonly rows: ReadonlyMap<string, number>
  readonly identities: Float64Array
  /** Of which the table says nothing. */
  readonly unmarked: Set<Reading>
}

function tableOf(readings: readonly Reading[]): Table {
  const byPath = new Map(readings.flatMap(({ marks = [] }) => marks.map(({ at, identity }) => [at, identity] as const)))
  const rows = new Map([...byPath.keys()].map((path, row) => [path, row] as const))
  // Where a path changed between two readings the table knows the second one.
  const isKnown = ({ at, identity }: Mark) => byPath.get(at) === identity
  const unmarked = new Set(readings.filter(({ marks }) => marks?.every(isKnown) !== true))
  const table = { rows, identities: new Float64Array(rows.size * FIELDS), unmarked }
  for (const [path, identity] of byPath) setRow(table, path, identity)
  return table
}

function setRow({ rows, identities }: Table, path: string, identity: string): void {
  identities.set(numbersOf(identity), (rows.get(path) ?? 0) * FIELDS)
}

/** Paths that have another identity by now. */
async function stalePaths({ rows, identities }: Table): Promise<ReadonlySet<string>> {
  const stale = new Set<string>()
  for (const [path, row] of rows) {
    if (row % AT_A_TIME === 0) await giveWay()
    if (!isIdentity(path, identities, row * FIELDS)) stale.add(path)
  }
  return stale
}

function isOnOneOf(stale: ReadonlySet<string>, { marks }: Reading): boolean {
  return marks?.some(({ at }) => stale.has(at)) === true
}

/** Whether the table says the same of the path of the mark, or may: for its other readers too. */
function isTold(
  { rows, identities }: Table,
  stale: ReadonlySet<string>,
  { at, identity }: Mark,
  learned: Map<string, string>,
): boolean {
  const from = (rows.get(at) ?? Number.NaN) * FIELDS
  if (!stale.has(at)) return numbersOf(identity).every((field, index) => field === identities[from + index])
  const before = learned.get(at) ?? identity
  learned.set(at, identity)
  return before === identity
}
