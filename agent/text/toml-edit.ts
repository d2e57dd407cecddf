// Surgical edits of someone else's TOML file: one key is set or removed, every other byte stays. Each edit checks
// itself: the new text, parsed by another parser, must be the old one plus the intended change, or nothing is returned.
// This room: texts edited in place, TOML and YAML, and the half sentence for typing errors. Nothing of containerd or
// trust.yaml is known here.
// Begin here; then toml-document.ts (where a key stands), toml.ts (reading), yaml-tree.ts, hosts-file.ts.
// May touch: nothing.
import { isDeepStrictEqual } from 'node:util'
import { AgentError } from '../model/errors.ts'
import {
  isTable,
  itemAt,
  parseToml,
  renderKey,
  renderValue,
  type TomlItem,
  type TomlTable,
  type TomlValue,
} from './toml.ts'
import {
  allEntries,
  type Entry,
  indentation,
  type LineEnding,
  lineEndingOf,
  lineStart,
  nextLine,
  parseDocument,
  type Range,
  type Section,
  samePath,
  startsWith,
  type TomlDocument,
} from './toml-document.ts'

type Splice = Range & { readonly insert: string }

export type EditOptions = {
  /** Name of the file in errors. */
  readonly path: string
}

/** One key that becomes a value, or that goes: a value or a table with all its sub-tables. */
export type Edit =
  | { readonly kind: 'set'; readonly key: readonly string[]; readonly value: TomlValue }
  | { readonly kind: 'remove'; readonly key: readonly string[] }

/** The text with `key` = `value`; the same text if it is so already. Missing tables are made. */
export async function setKey(
  text: string,
  key: readonly string[],
  value: TomlValue,
  options: EditOptions,
): Promise<string> {
  return await editKeys(text, [{ kind: 'set', key, value }], options)
}

/** The text without `key`, be it a value or a table with all its sub-tables; the same text if there is none. */
export async function removeKey(text: string, key: readonly string[], options: EditOptions): Promise<string> {
  return await editKeys(text, [{ kind: 'remove', key }], options)
}

/**
 * All edits as if made one after the other, for the price of one: the text is read once and the outcome checked once.
 */
export async function editKeys(text: string, edits: readonly Edit[], { path }: EditOptions): Promise<string> {
  const before = parseToml(text, { path, code: 'CONTAINERD_CONFIG_UNREADABLE' })
  const outcome = foresee(before, edits, path)
  // A table that only the header of a sub-table implied is gone with it in the text, and not in the table that stands
  // for it here.
  if (outcome === undefined) return await oneByOne(text, edits, path)
  const { expected, needed } = outcome
  if (needed.length === 0) return text
  const document = await parse(text, path)
  const edited = apply(text, needed.flatMap((edit) => planEdit(document, edit)).concat(planNewTables(document, needed)))
  const [only] = needed
  if (needed.length === 1 && only !== undefined) {
    checkEdit(edited, expected, [only.key], path)
    return edited
  }
  if (isAsExpected(edited, expected, keysOf(needed), path)) return edited
  return await oneByOne(text, needed, path)
}

type Outcome = { readonly expected: TomlTable; readonly needed: readonly Edit[] }

/**
 * What the edits make of the table, and which of them change anything; undefined where only doing them one by one can
 * tell.
 */
function foresee(before: TomlTable, edits: readonly Edit[], path: string): Outcome | undefined {
  let expected = before
  const needed: Edit[] = []
  for (const edit of edits) {
    try {
      const next = afterEdit(expected, edit, path)
      if (next === expected) continue
      expected = next
      needed.push(edit)
    } catch (thrown) {
      if (needed.length === 0 || !(thrown instanceof AgentError)) throw thrown
      return undefined
    }
  }
  return { expected, needed }
}

/** Edits that meet in one place, as in an inline table, can only be placed when the one before is done. */
async function oneByOne(text: string, edits: readonly Edit[], path: string): Promise<string> {
  let edited = text
  for (const edit of edits) edited = await editKeys(edited, [edit], { path })
  return edited
}

function keysOf(edits: readonly Edit[]): readonly (readonly string[])[] {
  return edits.map(({ key }) => key)
}

/** The same table where the edit would change nothing. */
function afterEdit(table: TomlTable, edit: Edit, path: string): TomlTable {
  const old = itemAt(table, edit.key)
  if (edit.kind === 'remove') return old === undefined ? table : withoutKey(table, edit.key)
  return isDeepStrictEqual(old, edit.value) ? table : withKey(table, edit.key, edit.value, path)
}

async function parse(text: string, path: string): Promise<TomlDocument> {
  try {
    return await parseDocument(text)
  } catch (cause) {
    throw new AgentError(
      'CONFIG_EDIT_UNSUPPORTED',
      `${path}: has a form of TOML that cannot be edited`,
      { path },
      { cause },
    )
  }
}

/**
 * Throws unless the edited text says exactly what was expected: the last line of defence against an edit gone wrong.
 */
export function checkEdit(
  edited: string,
  expected: TomlTable,
  keys: readonly (readonly string[])[],
  path: string,
): void {
  if (isAsExpected(edited, expected, keys, path)) return
  const names = keys.map((key) => key.map(renderKey).join('.'))
  throw new AgentError(
    'CONFIG_EDIT_UNSUPPORTED',
    `${path}: ${names.join(', ')} cannot be changed without touching something else`,
    { path, key: keys.map((key) => key.join('.')).join(', ') },
  )
}

function isAsExpected(
  edited: string,
  expected: TomlTable,
  keys: readonly (readonly string[])[],
  path: string,
): boolean {
  const prunedAll = (table: TomlTable) => keys.reduce(pruned, table)
  try {
    const got = parseToml(edited, { path, code: 'CONFIG_EDIT_UNSUPPORTED' })
    return isDeepStrictEqual(prunedAll(got), prunedAll(expected))
  } catch {
    return false
  }
}

function withKey(table: TomlTable, key: readonly string[], value: TomlValue, path: string): TomlTable {
  const [first, ...rest] = key
  if (first === undefined) return table
  const old = table[first]
  const isLast = rest.length === 0
  if (old !== undefined && isTable(old) === isLast)
    throw new AgentError(
      'CONFIG_EDIT_UNSUPPORTED',
      `${path}: ${renderKey(first)} is ${isLast ? 'a table' : 'not a table'}`,
      {
        path,
        key: key.join('.'),
      },
    )
  const inner = isLast ? (value as TomlItem) : withKey(isTable(old) ? old : emptyTable(), rest, value, path)
  return Object.assign(emptyTable(), table, { [first]: inner })
}

function withoutKey(table: TomlTable, key: readonly string[]): TomlTable {
  const [first = '', ...rest] = key
  const copy: { [key: string]: TomlItem } = Object.assign(emptyTable(), table)
  const inner = copy[first]
  if (rest.length === 0) delete copy[first]
  else if (isTable(inner)) copy[first] = withoutKey(inner, rest)
  return copy
}

/** Without the tables on the way to `key` that are empty: `[a.b]` alone makes `a`, so removing it removes both. */
function pruned(table: TomlTable, key: readonly string[]): TomlTable {
  const [first, ...rest] = key
  const inner = first === undefined ? undefined : table[first]
  if (first === undefined || !isTable(inner)) return table
  const kept = pruned(inner, rest)
  if (Object.keys(kept).length === 0) return withoutKey(table, [first])
  return Object.assign(emptyTable(), table, { [first]: kept })
}

function emptyTable(): { [key: string]: TomlItem } {
  return Object.create(null)
}

/** Insertions at one place keep their order. Ranges that overlap give a text that the check refuses. */
function apply(text: string, splices: readonly Splice[]): string {
  let edited = ''
  let done = 0
  for (const { start, end, insert } of splices.toSorted((a, b) => a.start - b.start || a.end - b.end)) {
    edited += text.slice(done, start) + insert
    done = Math.max(done, end)
  }
  return edited + text.slice(done)
}

function planEdit(document: TomlDocument, edit: Edit): readonly Splice[] {
  if (edit.kind === 'remove') return planRemoval(document, edit.key)
  const splice = planSet(document, edit.key, renderValue(edit.value))
  return splice === undefined ? [] : [splice]
}

/** Undefined where the key needs a table of its own at the end of the text. */
function planSet(document: TomlDocument, key: readonly string[], rendered: string): Splice | undefined {
  const existing = allEntries(document).find((entry) => samePath(entry.path, key))
  if (existing) return { ...existing.value, insert: rendered }
  for (let depth = key.length - 1; depth >= 0; depth--) {
    const parent = key.slice(0, depth)
    const rest = key.slice(depth)
    const inline = allEntries(document).find((entry) => entry.inline !== undefined && samePath(entry.path, parent))
    if (inline?.inline) return intoInlineTable(document, inline.inline, rest, rendered)
    const dotted = lastDotted(document, parent)
    if (dotted) return besideDotted(document, dotted, parent, rest, rendered)
    const section = document.sections.find((candidate) => samePath(candidate.path, parent))
    if (rest.length === 1 && section) return intoSection(document, section, rest, rendered)
    if (document.sections.some((candidate) => startsWith(candidate.path, parent))) return undefined
  }
  return undefined
}

function spell(document: TomlDocument, key: readonly string[]): string {
  return key.map((part) => document.spellings.get(part) ?? renderKey(part)).join('.')
}

function intoInlineTable(
  document: TomlDocument,
  inline: NonNullable<Entry['inline']>,
  rest: readonly string[],
  rendered: string,
): Splice {
  const [name = '', ...inner] = rest
  const pair = `${spell(document, [name])} = ${inner.reduceRight((value, part) => `{ ${spell(document, [part])} = ${value} }`, rendered)}`
  const last = inline.entries.at(-1)
  if (last) return { start: last.range.end, end: last.range.end, insert: `, ${pair}` }
  return { ...inline.range, insert: `{ ${pair} }` }
}

type Dotted = { readonly entry: Entry; readonly section: Section | undefined; readonly written: number }

/** The last key of which `parent` is a dotted part: such a table may not get a [header], only further dotted keys. */
function lastDotted(document: TomlDocument, parent: readonly string[]): Dotted | undefined {
  const candidates = allEntries(document).map((entry): Dotted => {
    const section = document.sections.find((one) => one.entries.includes(entry))
    return { entry, section, written: parent.length - (entry.path.length - entry.keyParts.length) }
  })
  return candidates.findLast(
    ({ entry, written }) => written > 0 && written < entry.keyParts.length && startsWith(entry.path, parent),
  )
}

function besideDotted(
  document: TomlDocument,
  { entry, section, written }: Dotted,
  parent: readonly string[],
  rest: readonly string[],
  rendered: string,
): Splice {
  const pair = `${spell(document, [...parent.slice(-written), ...rest])} = ${rendered}`
  if (section) return newLine(document.text, entry.range.end, indentation(document.text, entry.range.start) + pair)
  return { start: entry.range.end, end: entry.range.end, insert: `, ${pair}` }
}

function intoSection(document: TomlDocument, section: Section, rest: readonly string[], rendered: string): Splice {
  const { text } = document
  const pair = `${spell(document, rest)} = ${rendered}`
  const last = section.entries.at(-1)
  if (last) return newLine(text, last.range.end, indentation(text, last.range.start) + pair)
  if (section.header) return newLine(text, section.header.end, innerIndentation(document, section.header) + pair)
  const end = text === '' ? '' : lineEndingOf(text)
  return { start: 0, end: 0, insert: `${pair}${end}` }
}

/** Keys of other tables of the file may be indented below their header: do as they do. */
function innerIndentation(document: TomlDocument, header: Range): string {
  const { text } = document
  const own = indentation(text, header.start)
  for (const other of document.sections) {
    const first = other.entries[0]
    if (!other.header || !first) continue
    const outer = indentation(text, other.header.start)
    const inner = indentation(text, first.range.start)
    return inner.startsWith(outer) ? own + inner.slice(outer.length) : own
  }
  return own
}

/** A line after the one that holds `offset`; a file without a final newline stays so. */
function newLine(text: string, offset: number, line: string): Splice {
  const at = nextLine(text, offset)
  const end = lineEndingOf(text)
  const isUnterminated = at === text.length && !text.endsWith('\n')
  return { start: at, end: at, insert: isUnterminated ? end + line : line + end }
}

/** New tables go to the end of the text, each once with all its keys. */
function planNewTables(document: TomlDocument, edits: readonly Edit[]): readonly Splice[] {
  const tables = new Map<string, string[]>()
  for (const edit of edits) {
    if (edit.kind === 'remove' || planSet(document, edit.key, '') !== undefined) continue
    const header = `[${spell(document, edit.key.slice(0, -1))}]`
    const lines = tables.get(header) ?? []
    tables.set(header, [...lines, `  ${spell(document, edit.key.slice(-1))} = ${renderValue(edit.value)}`])
  }
  const { text } = document
  const end = lineEndingOf(text)
  let added = ''
  for (const [header, lines] of tables) added += separator(text + added, end) + [header, ...lines, ''].join(end)
  return added === '' ? [] : [{ start: text.length, end: text.length, insert: added }]
}

function separator(text: string, end: LineEnding): string {
  if (text === '') return ''
  if (!text.endsWith('\n')) return end + end
  return /(^|\n)[ \t]*\r?\n$/.test(text) ? '' : end
}

function planRemoval(document: TomlDocument, key: readonly string[]): readonly Splice[] {
  const { text } = document
  return document.sections.flatMap((section): readonly Splice[] => {
    if (section.header && startsWith(section.path, key)) {
      const last = section.entries.at(-1)?.range.end ?? section.header.end
      return [{ start: lineStart(text, section.header.start), end: nextLine(text, last), insert: '' }]
    }
    return section.entries.flatMap((entry) => {
      if (startsWith(entry.path, key))
        return [{ start: lineStart(text, entry.range.start), end: nextLine(text, entry.range.end), insert: '' }]
      return fromInlineTable(entry, key)
    })
  })
}

function fromInlineTable(entry: Entry, key: readonly string[]): readonly Splice[] {
  const { inline } = entry
  if (!inline) return []
  const kept = inline.entries.filter((inner) => !startsWith(inner.path, key))
  if (kept.length === inline.entries.length) return inline.entries.flatMap((inner) => fromInlineTable(inner, key))
  const lastKept = kept.at(-1)
  if (!lastKept) return [{ ...inline.range, insert: '{}' }]
  const afterLast = inline.entries.slice(inline.entries.indexOf(lastKept) + 1)
  const tail = afterLast.at(-1)
  const splices = inline.entries.flatMap((inner, index) => {
    const next = inline.entries[index + 1]
    if (kept.includes(inner) || afterLast.includes(inner) || !next) return []
    return [{ start: inner.range.start, end: next.range.start, insert: '' }]
  })
  return tail ? [...splices, { start: lastKept.range.end, end: tail.range.end, insert: '' }] : splices
}
