// Where things lie in a TOML text: tables, keys and values with their ranges. The only file that knows
// toml-eslint-parser, which is loaded when an edit is really needed (1.4 MB that most runs never use).
import type { AST } from 'toml-eslint-parser'

/** UTF-16 offsets, end exclusive. */
export type Range = { readonly start: number; readonly end: number }

/** Numbers are positions in an array of tables; a path of plain keys never matches them. */
export type NodePath = readonly (string | number)[]

export type Entry = {
  readonly path: NodePath
  readonly range: Range
  readonly value: Range
  /** The dotted key as written, one range a part. */
  readonly keyParts: readonly Range[]
  /** Set where the value is an inline table. */
  readonly inline: InlineTable | undefined
  /** Set where the value is an array: one range an element. */
  readonly elements: readonly Range[] | undefined
}

export type InlineTable = { readonly path: NodePath; readonly range: Range; readonly entries: readonly Entry[] }

/** A [header] with the keys below it; the first section is the root table, which has no header. */
export type Section = {
  readonly path: NodePath
  readonly header: Range | undefined
  readonly entries: readonly Entry[]
}

export type TomlDocument = {
  readonly text: string
  readonly sections: readonly Section[]
  /** How a key is spelled in this file (`'io.x'` or `"io.x"`), as first met. */
  readonly spellings: ReadonlyMap<string, string>
}

export async function parseDocument(text: string): Promise<TomlDocument> {
  const { parseTOML } = await import('toml-eslint-parser')
  const [top] = parseTOML(text, { tomlVersion: '1.0' }).body
  const spellings = new Map<string, string>()
  const learn = (key: AST.TOMLKey) => {
    for (const part of key.keys)
      if (!spellings.has(nameOf(part))) spellings.set(nameOf(part), text.slice(part.range[0], part.range[1]))
  }
  const toEntry = (node: AST.TOMLKeyValue, parent: NodePath): Entry => {
    learn(node.key)
    const path = [...parent, ...node.key.keys.map(nameOf)]
    const { value } = node
    const inline =
      value.type === 'TOMLInlineTable'
        ? { path, range: toRange(value.range), entries: value.body.map((item) => toEntry(item, path)) }
        : undefined
    const keyParts = node.key.keys.map((part) => toRange(part.range))
    const elements = value.type === 'TOMLArray' ? value.elements.map((item) => toRange(item.range)) : undefined
    return { path, range: toRange(node.range), value: toRange(value.range), keyParts, inline, elements }
  }
  const root: Entry[] = []
  const sections: Section[] = []
  for (const node of top.body) {
    if (node.type === 'TOMLKeyValue') {
      root.push(toEntry(node, []))
      continue
    }
    learn(node.key)
    const header = { start: node.range[0], end: node.key.range[1] }
    sections.push({ path: node.resolvedKey, header, entries: node.body.map((item) => toEntry(item, node.resolvedKey)) })
  }
  return { text, sections: [{ path: [], header: undefined, entries: root }, ...sections], spellings }
}

function nameOf(part: AST.TOMLBare | AST.TOMLQuoted): string {
  return part.type === 'TOMLBare' ? part.name : part.value
}

function toRange(range: readonly [number, number]): Range {
  return { start: range[0], end: range[1] }
}

export function startsWith(path: NodePath, prefix: NodePath): boolean {
  return prefix.length <= path.length && prefix.every((key, index) => key === path[index])
}

export function samePath(a: NodePath, b: NodePath): boolean {
  return a.length === b.length && startsWith(a, b)
}

/** Every entry, those inside inline tables after the entry that holds them. */
export function allEntries(document: TomlDocument): readonly Entry[] {
  return document.sections.flatMap((section) => section.entries.flatMap(withInner))
}

function withInner(entry: Entry): readonly Entry[] {
  return [entry, ...(entry.inline?.entries.flatMap(withInner) ?? [])]
}

export function lineStart(text: string, offset: number): number {
  return text.lastIndexOf('\n', offset - 1) + 1
}

/** The offset after the line end, or the end of the text. */
export function nextLine(text: string, offset: number): number {
  const end = text.indexOf('\n', offset)
  return end === -1 ? text.length : end + 1
}

/** White space before the first character of the line that holds `offset`. */
export function indentation(text: string, offset: number): string {
  return /^[ \t]*/.exec(text.slice(lineStart(text, offset)))?.[0] ?? ''
}

export type LineEnding = '\n' | '\r\n'

export function lineEndingOf(text: string): LineEnding {
  const first = text.indexOf('\n')
  return first > 0 && text[first - 1] === '\r' ? '\r\n' : '\n'
}

/** 1-based line of the first entry or header at or below `path`; undefined where there is none. */
export function lineOf(document: TomlDocument, path: readonly string[]): number | undefined {
  const headers = document.sections.filter((section) => section.header && startsWith(section.path, path))
  const entries = allEntries(document).filter((entry) => startsWith(entry.path, path))
  const offsets = [
    ...headers.map((section) => section.header?.start ?? 0),
    ...entries.map((entry) => entry.range.start),
  ]
  if (offsets.length === 0) return undefined
  return document.text.slice(0, Math.min(...offsets)).split('\n').length
}
