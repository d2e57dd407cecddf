// Reading TOML and writing single TOML values. What others wrote is read as TOML 1.0, as containerd 2.x does; the only
// file that knows @iarna/toml, which checks what the agent writes. Errors carry path:line:column but never a piece of
// the text: config files hold registry passwords.
import { parse } from '@iarna/toml'
import { AgentError, type ErrorCode } from '../model/errors.ts'
import { readTomlValues, type TomlItem, type TomlTable } from './toml-values.ts'

export type { TomlItem, TomlTable }

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
  const read = readTomlValues(text)
  if (read.ok) return read.table
  const { line, column, reason } = read.mistake
  throw new AgentError(code, `${path}:${line}:${column}: ${reason}`, { path, line, column })
}

/**
 * What the agent wrote itself, once more through a second reader: TOML 0.5, which every containerd reads.
 * @throws AgentError INTERNAL where that reader does not take it: nothing of it may reach a node.
 */
export function ownToml(text: string): string {
  try {
    parse(text)
    return text
  } catch (cause) {
    throw new AgentError('INTERNAL', 'a TOML text of our own cannot be read again', {}, { cause })
  }
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

/** The value in TOML; a list becomes one line. Throws AgentError INTERNAL for a number that is not whole. */
export function renderValue(value: TomlValue): string {
  if (typeof value === 'string') return renderString(value)
  if (Array.isArray(value)) return `[${value.map(renderString).join(', ')}]`
  if (typeof value === 'number' && !Number.isSafeInteger(value))
    throw new AgentError('INTERNAL', `only whole numbers are written to TOML files, not ${value}`)
  return String(value)
}
