// Checks what is read back from state.json and the journal. The rule: these files decide what is deleted from the node,
// so one wrong field makes the whole file unreadable.
import { AgentError } from '../../model/errors.ts'
import type { JournalEntry } from '../../model/ports.ts'
import type { AgentState } from '../../model/state.ts'

type Check = (value: unknown, at: string) => void
type Shape = { readonly [key: string]: Check }

export function parseState(text: string, path: string): AgentState {
  return parse(text, path, state) as AgentState
}

export function parseJournal(text: string, path: string): JournalEntry {
  return parse(text, path, journal) as JournalEntry
}

class Mismatch extends Error {}

function parse(text: string, path: string, check: Check): unknown {
  try {
    const value: unknown = JSON.parse(text)
    check(value, '')
    return value
  } catch (error) {
    const why = error instanceof Mismatch ? error.message : 'it is not JSON'
    throw new AgentError('STATE_UNREADABLE', `${path}: ${why}`, {}, { cause: error })
  }
}

const isText: Check = (value, at) => expect(typeof value === 'string', at, 'must be a string')
const isNumber: Check = (value, at) =>
  expect(typeof value === 'number' && Number.isFinite(value), at, 'must be a number')
const isFlag: Check = (value, at) => expect(typeof value === 'boolean', at, 'must be true or false')
const isHash: Check = (value, at) => {
  expect(typeof value === 'string' && /^(?:[0-9a-f]{64})?$/.test(value), at, 'must be a SHA-256')
}
const isPath: Check = (value, at) => {
  expect(
    typeof value === 'string' && value.startsWith('/') && !value.split('/').includes('..'),
    at,
    'must be an absolute path',
  )
}
const isVersion: Check = (value, at) => expect(value === 1, at, 'is of a version that this agent does not know')

const oneOf =
  (words: readonly string[]): Check =>
  (value, at) => {
    expect(typeof value === 'string' && words.includes(value), at, `must be one of ${words.join(', ')}`)
  }

const optional =
  (check: Check): Check =>
  (value, at) => {
    if (value !== undefined) check(value, at)
  }

const object =
  (shape: Shape): Check =>
  (value, at) => {
    const fields = fieldsOf(value, at)
    for (const [key, check] of Object.entries(shape)) check(fields[key], at === '' ? key : `${at}.${key}`)
  }

const list =
  (check: Check): Check =>
  (value, at) => {
    if (!Array.isArray(value)) return expect(false, at, 'must be a list')
    for (const [index, each] of value.entries()) check(each, `${at}[${index}]`)
  }

const byPath =
  (check: Check): Check =>
  (value, at) => {
    for (const [path, each] of Object.entries(fieldsOf(value, at))) {
      isPath(path, `${at}: the key ${path}`)
      check(each, `${at}.${path}`)
    }
  }

const byKind =
  (shapes: { readonly [kind: string]: Shape }): Check =>
  (value, at) => {
    const { kind } = fieldsOf(value, at)
    oneOf(Object.keys(shapes))(kind, `${at}.kind`)
    object(shapes[String(kind)] ?? {})(value, at)
  }

const before = byKind({
  absent: {},
  file: { sha256: isHash, mode: isNumber, uid: isNumber, gid: isNumber },
  link: { to: isText },
  folder: { mode: isNumber },
})

const after = object({
  kind: oneOf(['file', 'link', 'folder', 'absent']),
  sha256: optional(isHash),
  to: optional(isText),
  mode: optional(isNumber),
  edits: optional(list(object({ start: isNumber, end: isNumber, lines: list(isText) }))),
})

const steps = list(object({ path: isPath, folder: isPath, before, after }))
const owned = byPath(
  object({
    kind: oneOf(['whole', 'edited']),
    target: isText,
    subject: isText,
    sha256: isHash,
    before,
    sandboxImage: optional(isText),
    hasOthers: optional(isFlag),
  }),
)

const state = object({
  version: isVersion,
  generation: isText,
  owned,
  transactions: list(
    object({
      id: isText,
      generation: isText,
      at: isText,
      durationMs: isNumber,
      result: oneOf(['committed', 'rolled-back', 'rollback-failed', 'refused']),
      changes: isNumber,
      restarted: isFlag,
      reason: isText,
    }),
  ),
  refusedGeneration: optional(isText),
  previous: optional(object({ generation: isText, owned, steps, restarted: isFlag })),
  unrestored: optional(steps),
  unsure: optional(list(isPath)),
  heals: optional(byPath(list(isText))),
  systemAnchors: optional(list(object({ anchor: isText, fingerprint: isText }))),
  withdrawn: optional(list(object({ anchor: isText, fingerprint: isText, at: isText }))),
  clock: optional(object({ bootId: isText, bootedAt: isNumber })),
})

const journal = object({
  transaction: isText,
  generation: isText,
  at: isText,
  steps,
  restarted: isFlag,
  meant: optional(state),
})

function fieldsOf(value: unknown, at: string): { readonly [key: string]: unknown } {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
  throw new Mismatch(`${at === '' ? 'it' : at} must be an object`)
}

function expect(holds: boolean, at: string, message: string): void {
  if (!holds) throw new Mismatch(`${at} ${message}`)
}
