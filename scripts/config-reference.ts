// Writes the table of keys in docs/config.md, and docs/trust.schema.json, from the JSON Schema that checks trust.yaml, so
// that none can know more than the others.
// usage: node scripts/config-reference.ts (a test says when it has to be run)
import { readFileSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { TRUST_SCHEMA } from '../agent/config/schema/schema.ts'

const FILE = new URL('../docs/config.md', import.meta.url)
const SHIPPED = new URL('../docs/trust.schema.json', import.meta.url)
const [BEGIN, END] = ['<!-- keys: written by scripts/config-reference.ts -->', '<!-- end of keys -->']

type Schema = {
  readonly description?: string
  readonly type?: string | readonly string[]
  readonly enum?: readonly unknown[]
  readonly default?: unknown
  readonly required?: readonly string[]
  readonly properties?: { readonly [name: string]: Schema }
  readonly items?: Schema
  readonly additionalProperties?: boolean | Schema
  readonly oneOf?: readonly Schema[]
  readonly anyOf?: readonly Schema[]
}

type Key = { readonly path: string; readonly schema: Schema; readonly isRequired: boolean }

function configReference(schema: Schema = TRUST_SCHEMA as Schema): string {
  const lines = [...keysOf(schema, '')].map(
    ({ path, schema: key, isRequired }) =>
      `| \`${path}\` | ${kindOf(key)} | ${isRequired ? 'required' : defaultOf(key)} | ${cell(key.description ?? '')} |`,
  )
  return ['| key | value | default | what it does |', '| --- | --- | --- | --- |', ...lines, ''].join('\n')
}

/** `[]` stands for each entry of a list, `NAME` for a name of your own. */
function* keysOf(schema: Schema, path: string): Generator<Key> {
  for (const [name, child] of Object.entries(schema.properties ?? {})) {
    const at = path === '' ? name : `${path}.${name}`
    yield { path: at, schema: child, isRequired: schema.required?.includes(name) ?? false }
    yield* below(child, at)
  }
}

function* below(schema: Schema, path: string): Generator<Key> {
  yield* keysOf(schema, path)
  if (schema.items !== undefined) yield* below(schema.items, `${path}[]`)
  if (typeof schema.additionalProperties === 'object') yield* below(schema.additionalProperties, `${path}.NAME`)
}

function kindOf({ type, enum: values, items, additionalProperties }: Schema): string {
  if (values !== undefined) return values.map((value) => `\`${value}\``).join(' or ')
  if (items !== undefined) return items.enum === undefined ? 'list' : `list of ${kindOf(items)}`
  if (typeof additionalProperties === 'object') return 'map'
  const [first] = typeof type === 'string' ? [type] : (type ?? [])
  return first === undefined ? 'text' : (WORDS[first] ?? first)
}

const WORDS: { readonly [type: string]: string } = {
  string: 'text',
  object: 'map',
  boolean: '`true` or `false`',
  integer: 'number',
  array: 'list',
}

function defaultOf({ default: value }: Schema): string {
  if (value === undefined) return ''
  return typeof value === 'object' ? `\`${JSON.stringify(value)}\`` : `\`${value}\``
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}

/** The document with its table as it should be. */
export function withReference(document: string): string {
  const [start, end] = [document.indexOf(BEGIN), document.indexOf(END)]
  if (start < 0 || end < start) throw new Error('docs/config.md has no place for the table of keys')
  return `${document.slice(0, start + BEGIN.length)}\n\n${configReference()}\n${document.slice(end)}`
}

/** The schema as it is shipped to users. */
export function shippedSchema(): string {
  return `${JSON.stringify(TRUST_SCHEMA, null, 2)}\n`
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  writeFileSync(FILE, withReference(readFileSync(FILE, 'utf8')))
  writeFileSync(SHIPPED, shippedSchema())
}
