// Makes a copy of log fields that is safe to print: no secrets, bounded in depth, breadth and length, always
// serialisable. Redaction goes by the name of a field, by the Secret type, and by what secrets look like inside text.
import { AgentError } from '../model/errors.ts'
import { isSecretName, REDACTED, redactText, Secret } from '../model/secret.ts'

const MAX_DEPTH = 6
const MAX_ENTRIES = 100
const MAX_TEXT = 8192

/** A copy without secrets, made of plain JSON values only. Never throws. */
export function redactFields(fields: object): { [name: string]: unknown } {
  return copyObject(fields, 0, new Set())
}

function copy(value: unknown, depth: number, above: Set<object>): unknown {
  switch (typeof value) {
    case 'string':
      return shorten(redactText(value))
    case 'bigint':
      return value.toString()
    case 'number':
    case 'boolean':
    case 'undefined':
      return value
    case 'function':
    case 'symbol':
      return `[${typeof value}]`
    case 'object':
      return value === null ? null : copyReference(value, depth, above)
    default:
      return undefined
  }
}

function copyReference(value: object, depth: number, above: Set<object>): unknown {
  if (value instanceof Secret) return REDACTED
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`
  if (above.has(value)) return '[circular]'
  if (depth >= MAX_DEPTH) return '[deeper]'
  above.add(value)
  const result = copyNested(value, depth + 1, above)
  above.delete(value)
  return result
}

function copyNested(value: object, depth: number, above: Set<object>): unknown {
  if (value instanceof Error) return copyError(value, depth, above)
  if (value instanceof Map)
    return copyObject(Object.fromEntries([...value].map(([key, item]) => [nameOf(key), item])), depth, above)
  if (Array.isArray(value) || value instanceof Set) return copyList([...value], depth, above)
  return copyObject(value, depth, above)
}

/** An object without a text of its own, as `{ toString: 0 }` in a list, throws. */
function nameOf(key: unknown): string {
  try {
    return String(key)
  } catch {
    return '[unreadable]'
  }
}

function copyList(items: readonly unknown[], depth: number, above: Set<object>): unknown[] {
  const kept = items.slice(0, MAX_ENTRIES).map((item) => copy(item, depth, above))
  return items.length > MAX_ENTRIES ? [...kept, `[${items.length - MAX_ENTRIES} more]`] : kept
}

function copyObject(value: object, depth: number, above: Set<object>): { [name: string]: unknown } {
  const result: { [name: string]: unknown } = {}
  const names = Object.keys(value)
  for (const name of names.slice(0, MAX_ENTRIES)) {
    const item = readProperty(value, name)
    result[name] = isSecretName(name) && isWorthHiding(item) ? REDACTED : copy(item, depth, above)
  }
  if (names.length > MAX_ENTRIES) result['more'] = `[${names.length - MAX_ENTRIES} more]`
  return result
}

/** `tokenConfigured: true` and `password: null` tell nothing secret. */
function isWorthHiding(value: unknown): boolean {
  return value !== undefined && value !== null && typeof value !== 'boolean' && value !== ''
}

function readProperty(value: object, name: string): unknown {
  try {
    return (value as { readonly [name: string]: unknown })[name]
  } catch {
    return '[unreadable]'
  }
}

/** The stack is kept for what is not an AgentError only: those say where and why in their message. */
function copyError(error: Error, depth: number, above: Set<object>): { [name: string]: unknown } {
  const result: { [name: string]: unknown } = { name: error.name, message: shorten(redactText(error.message)) }
  const { code } = error as { readonly code?: unknown }
  if (typeof code === 'string' || typeof code === 'number') result['code'] = code
  if (error instanceof AgentError) {
    if (Object.keys(error.detail).length > 0) result['detail'] = copy(error.detail, depth, above)
  } else if (error.stack !== undefined) {
    result['stack'] = shorten(redactText(error.stack))
  }
  if (error.cause !== undefined) result['cause'] = copy(error.cause, depth, above)
  return result
}

function shorten(text: string): string {
  return text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)}… [${text.length - MAX_TEXT} characters more]`
}
