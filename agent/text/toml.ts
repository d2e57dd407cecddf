// Reading TOML and writing single TOML values; the only file that knows @iarna/toml.
// Errors carry path:line:column but never a piece of the text: config files hold registry passwords.
import { parse } from '@iarna/toml'
import { AgentError, type ErrorCode } from '../model/errors.ts'

export type TomlTable = { readonly [key: string]: TomlItem }
export type TomlItem = string | number | bigint | boolean | Date | TomlTable | readonly TomlItem[]

/** What the agent itself writes. */
export type TomlValue = string | number | boolean | readonly string[]

export type TomlSource = { readonly path: string; readonly code: ErrorCode }

/** A byte order mark is kept: the parser must see it and refuse it, as containerd 2.x does. */
export function decodeText(bytes: Buffer, source: TomlSource): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw new AgentError(source.code, `${source.path}: not UTF-8 text`, { path: source.path }, { cause })
  }
}

export function parseToml(text: string, source: TomlSource): TomlTable {
  const { path, code } = source
  if (text.startsWith('\ufeff'))
    throw new AgentError(code, `${path}:1:1: starts with a byte order mark, which containerd 2.x refuses: remove it`, {
      path,
      line: 1,
      column: 1,
    })
  const { table, mistake } = parseSafely(text)
  if (mistake === undefined) return table
  const { line, column, reason } = mistake
  throw new AgentError(code, `${path}:${line}:${column}: ${reason}`, { path, line, column })
}

type Mistake = { readonly line: number; readonly column: number; readonly reason: string }

function parseSafely(text: string): { table: TomlTable; mistake?: Mistake } {
  try {
    const table = plain(parse(text)) as TomlTable
    return takeBackPollution() ? { table, mistake: { line: 1, column: 1, reason: INHERITED_NAME } } : { table }
  } catch (thrown) {
    return {
      table: {},
      mistake: takeBackPollution() ? { line: 1, column: 1, reason: INHERITED_NAME } : explain(thrown),
    }
  }
}

const INHERITED_NAME =
  'a table has the name of a built-in property of JavaScript objects, such as "constructor": it cannot be read'

/** The library takes `[x.constructor]` for the function of that name and writes the table's keys into it, for the whole process. */
function takeBackPollution(): boolean {
  let isPolluted = false
  for (const name of Object.getOwnPropertyNames(Object.prototype)) {
    const inherited: unknown = Reflect.get(Object.prototype, name)
    if (typeof inherited !== 'function') continue
    for (const key of [...Object.keys(inherited), ...Object.getOwnPropertySymbols(inherited)])
      isPolluted = Reflect.deleteProperty(inherited, key) || isPolluted
  }
  return isPolluted
}

/** The library appends the lines around the mistake to its message; only its first words are safe to show. */
function explain(thrown: unknown): Mistake {
  if (!(thrown instanceof Error)) return { line: 1, column: 1, reason: 'not TOML' }
  const position = thrown as Error & { readonly line?: number; readonly col?: number }
  const first = thrown.message.split('\n')[0] ?? ''
  const reason = first
    .replace(/ at row \d+, col \d+, pos \d+:$/, '')
    .replace(/^Unknown character "(\d+)"$/, unknownCharacter)
  const { line = 0, col = 0 } = position
  // It counts columns from 1 in the first line and from 0 in all others.
  return { line: line + 1, column: line === 0 ? Math.max(col, 1) : col + 1, reason: lowerFirst(reason) }
}

function unknownCharacter(_: string, codePoint: string): string {
  return `unexpected character U+${Number(codePoint).toString(16).toUpperCase().padStart(4, '0')}`
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1)
}

/** Tables without a prototype, so that a key such as `constructor` or `__proto__` is only a key. */
function plain(value: unknown): TomlItem {
  if (Array.isArray(value)) return value.map(plain)
  if (value instanceof Date) return value
  if (typeof value !== 'object' || value === null) return value as TomlItem
  const table: { [key: string]: TomlItem } = Object.create(null)
  for (const [key, item] of Object.entries(value)) table[key] = plain(item)
  return table
}

export function isTable(item: TomlItem | undefined): item is TomlTable {
  return typeof item === 'object' && !Array.isArray(item) && !(item instanceof Date)
}

export function itemAt(table: TomlTable, path: readonly string[]): TomlItem | undefined {
  let item: TomlItem | undefined = table
  for (const key of path) {
    if (!isTable(item)) return undefined
    item = item[key]
  }
  return item
}

export function tableAt(table: TomlTable, path: readonly string[]): TomlTable | undefined {
  const item = itemAt(table, path)
  return isTable(item) ? item : undefined
}

export function stringAt(table: TomlTable, path: readonly string[]): string | undefined {
  const item = itemAt(table, path)
  return typeof item === 'string' ? item : undefined
}

export function stringsAt(table: TomlTable, path: readonly string[]): readonly string[] {
  const item = itemAt(table, path)
  return Array.isArray(item) ? item.filter((entry) => typeof entry === 'string') : []
}

const ESCAPES: { readonly [character: string]: string } = {
  '"': '\\"',
  '\\': '\\\\',
  '\b': '\\b',
  '\t': '\\t',
  '\n': '\\n',
  '\f': '\\f',
  '\r': '\\r',
}

/** A basic string: the one way in which any text gets into a TOML file of ours. */
export function renderString(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what has to be escaped
  const escaped = text.toWellFormed().replace(/["\\\u0000-\u001f\u007f]/g, (character) => {
    return ESCAPES[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
  return `"${escaped}"`
}

export function renderKey(key: string): string {
  return /^[A-Za-z0-9_-]+$/.test(key) ? key : renderString(key)
}

export function renderValue(value: TomlValue): string {
  if (typeof value === 'string') return renderString(value)
  if (Array.isArray(value)) return `[${value.map(renderString).join(', ')}]`
  if (typeof value === 'number' && !Number.isSafeInteger(value))
    throw new AgentError('INTERNAL', `only whole numbers are written to TOML files, not ${value}`)
  return String(value)
}
