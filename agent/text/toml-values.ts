// The values of a TOML 1.0 text (https://toml.io/en/v1.0.0), in the order in which they are written. Tables have no
// prototype: a key such as `constructor` or `__proto__` is only a key.
import { type AST, ParseError, parseTOML } from 'toml-eslint-parser'

export type TomlTable = { readonly [key: string]: TomlItem }
export type TomlItem = string | number | bigint | boolean | Date | TomlTable | readonly TomlItem[]

export type TomlMistake = {
  /** Both from 1. */
  readonly line: number
  readonly column: number
  /** Words of the parser; no piece of the text. */
  readonly reason: string
}

export type TomlValues =
  | { readonly ok: true; readonly table: TomlTable }
  | { readonly ok: false; readonly mistake: TomlMistake }

type Table = { [key: string]: TomlItem }

export function readTomlValues(text: string): TomlValues {
  try {
    const [top] = parseTOML(text, { tomlVersion: '1.0' }).body
    return { ok: true, table: tableOf(top) }
  } catch (thrown) {
    if (!(thrown instanceof ParseError)) throw thrown
    const { lineNumber, column, message } = thrown
    const reason = message.charAt(0).toLowerCase() + message.slice(1)
    return { ok: false, mistake: { line: lineNumber, column: column + 1, reason } }
  }
}

function tableOf(top: AST.TOMLTopLevelTable): TomlTable {
  const root = emptyTable()
  for (const node of top.body) {
    if (node.type === 'TOMLKeyValue') {
      assign(root, node)
      continue
    }
    const table = tableAt(root, node.resolvedKey)
    for (const entry of node.body) assign(table, entry)
  }
  return root
}

function emptyTable(): Table {
  return Object.create(null)
}

/** The table of a header, made with all that lie above it; numbers are positions in an array of tables. */
function tableAt(root: Table, path: readonly (string | number)[]): Table {
  let place: Table | TomlItem[] = root
  for (const [at, key] of path.entries()) {
    const holder = place as { [key: string | number]: TomlItem | undefined }
    holder[key] ??= typeof path[at + 1] === 'number' ? [] : emptyTable()
    place = holder[key] as Table | TomlItem[]
  }
  return place as Table
}

function assign(table: Table, { key, value }: AST.TOMLKeyValue): void {
  const path = key.keys.map((part) => (part.type === 'TOMLBare' ? part.name : part.value))
  tableAt(table, path.slice(0, -1))[path.at(-1) ?? ''] = itemOf(value)
}

function itemOf(node: AST.TOMLContentNode): TomlItem {
  switch (node.type) {
    case 'TOMLArray':
      return node.elements.map(itemOf)
    case 'TOMLInlineTable': {
      const table = emptyTable()
      for (const entry of node.body) assign(table, entry)
      return table
    }
    case 'TOMLValue':
      return node.value
    default:
      throw node satisfies never
  }
}
