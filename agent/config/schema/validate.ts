// Checks one parsed file against the schema and says in plain words what was expected and what was found.
// Rule: values are quoted only where no secret can stand; elsewhere the message names the kind of value alone.
import type { ErrorObject } from 'ajv'
import { didYouMean } from '../../text/did-you-mean.ts'
import { escapePointer, joinPath, type YamlTree } from '../../text/yaml-tree.ts'
import { isTrustConfig } from './compiled.ts'
import { TRUST_SCHEMA } from './schema.ts'

export type SchemaProblem = {
  /** JSON pointer of the value (or of the key) that is wrong. */
  readonly pointer: string
  readonly at: 'key' | 'value'
  /** Key path, then what is wrong. */
  readonly subject: string
  readonly text: string
}

type SchemaNode = {
  readonly properties?: { readonly [key: string]: SchemaNode }
  readonly additionalProperties?: boolean | SchemaNode
  readonly items?: SchemaNode
  readonly default?: unknown
  readonly 'x-expected'?: string
}

export type Validator = (tree: YamlTree) => readonly SchemaProblem[]

/** A file with more errors than this is wrong as a whole; explaining each would only take time. */
const MAX_EXPLAINED = 1000

export const validateTree: Validator = (tree) => {
  if (isTrustConfig(tree.value)) return []
  const problems = new Map<string, SchemaProblem>()
  for (const error of (isTrustConfig.errors ?? []).slice(0, MAX_EXPLAINED)) {
    const found = explain(error, tree)
    if (found === undefined) continue
    // The first complaint about a value is the most basic one (its type).
    const key = `${found.at} ${found.pointer}`
    if (!problems.has(key)) problems.set(key, found)
  }
  return [...problems.values()]
}

function explain(error: ErrorObject, tree: YamlTree): SchemaProblem | undefined {
  const pointer = error.instancePath
  const subject = tree.nodes.get(pointer)?.path ?? ''
  const schema = error.parentSchema as SchemaNode
  const { params } = error
  if (error.propertyName !== undefined) return aboutName(error.propertyName, pointer, subject, schema, error.keyword)
  const value = (text: string): SchemaProblem => ({ pointer, at: 'value', subject, text: say(subject, text) })
  const found = describe(error.data, tree, pointer)
  switch (error.keyword) {
    case 'additionalProperties':
      return unknownKey(String(params['additionalProperty']), pointer, subject, schema)
    case 'required':
      return value(`must have the key ${params['missingProperty']}`)
    case 'type':
      return value(`must be ${kindNames(params['type'])}, found ${found}${typeHint(error, tree)}`)
    case 'enum':
      return value(`must be ${list(params['allowedValues'])}, found ${found}${enumHint(error)}`)
    case 'pattern':
      return value(`must be ${schema['x-expected'] ?? 'in another form'}, found ${found}`)
    case 'minLength':
      return value('must not be empty')
    case 'maxLength':
      return value(`must have at most ${params['limit']} characters`)
    case 'minItems':
      return value('must not be an empty list: remove the key or add an item')
    case 'maxItems':
      return value(`must have at most ${params['limit']} items`)
    case 'maxProperties':
      return value(`must have at most ${params['limit']} keys`)
    case 'minProperties':
      return value('must have a key')
    case 'minimum':
      return value(`must be at least ${params['limit']}, found ${found}`)
    case 'maximum':
      return value(`must be at most ${params['limit']}, found ${found}`)
    case 'uniqueItems':
      return duplicateItem(Number(params['i']), Number(params['j']), pointer, subject)
    default:
      // propertyNames only repeats what the rule inside it has said already.
      return error.keyword === 'propertyNames' ? undefined : value('is not valid')
  }
}

function say(subject: string, text: string): string {
  return subject === '' ? `the file ${text}` : text
}

function aboutName(
  name: string,
  pointer: string,
  path: string,
  schema: SchemaNode,
  keyword: string,
): SchemaProblem | undefined {
  if (keyword === 'propertyNames') return undefined
  const text = `is not a valid key: it must be ${schema['x-expected'] ?? 'in another form'}`
  return { pointer: `${pointer}/${escapePointer(name)}`, at: 'key', subject: joinPath(path, name), text }
}

function unknownKey(key: string, pointer: string, path: string, schema: SchemaNode): SchemaProblem {
  const known = Object.keys(schema.properties ?? {})
  const suggestion = didYouMean(key, known)
  const hint = suggestion || placeHint(key) || `; known here: ${known.join(', ')}`
  return {
    pointer: `${pointer}/${escapePointer(key)}`,
    at: 'key',
    subject: joinPath(path, key),
    text: `is an unknown key${hint}`,
  }
}

/** A known key at the wrong level is a wrong indentation, not a typing error. */
function placeHint(key: string): string {
  const paths = pathsOf(key, TRUST_SCHEMA as SchemaNode, '')
  return paths.length === 0 ? '' : `; it belongs to ${paths.slice(0, 3).join(' or ')}`
}

function pathsOf(key: string, schema: SchemaNode, path: string): readonly string[] {
  const here = Object.hasOwn(schema.properties ?? {}, key) ? [path === '' ? 'the top level' : path] : []
  const below = Object.entries(schema.properties ?? {}).flatMap(([name, child]) =>
    pathsOf(key, child, joinPath(path, name)),
  )
  const items = schema.items === undefined ? [] : pathsOf(key, schema.items, `${path}[]`)
  const rest =
    typeof schema.additionalProperties === 'object' ? pathsOf(key, schema.additionalProperties, `${path}.NAME`) : []
  return [...here, ...below, ...items, ...rest]
}

function duplicateItem(first: number, second: number, pointer: string, path: string): SchemaProblem {
  const [low, high] = first < second ? [first, second] : [second, first]
  return { pointer: `${pointer}/${high}`, at: 'value', subject: `${path}[${high}]`, text: `repeats item [${low}]` }
}

const KIND_NAMES: { readonly [type: string]: string } = {
  object: 'a map',
  array: 'a list',
  string: 'a text',
  boolean: 'true or false',
  integer: 'a whole number',
}

function kindNames(types: unknown): string {
  return String(types).split(',').map(kindName).join(' or ')
}

function kindName(type: string): string {
  return KIND_NAMES[type] ?? type
}

/** Below these keys, and at the root, a text may be a secret that was put in the wrong place. */
const SECRET_PLACES = /^$|\/(credentials|clientCertificate|passwordFile|pem)(\/|$)/

function describe(value: unknown, tree: YamlTree, pointer: string): string {
  if (value === null || value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a map'
  if (typeof value === 'string') {
    const isSecret = SECRET_PLACES.test(pointer) || value.includes('PRIVATE KEY') || value.includes('\n')
    return isSecret ? 'a text' : JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
  }
  return typeof value === 'number'
    ? `the number ${(tree.nodes.get(pointer)?.source ?? String(value)).slice(0, 60)}`
    : String(value)
}

function typeHint(error: ErrorObject, tree: YamlTree): string {
  const { data } = error
  const type = String(error.params['type'])
  if (type === 'boolean' && typeof data === 'string') {
    const meant = yamlBoolean(data)
    return meant === undefined ? '' : `: write ${meant} without quotes`
  }
  if (type === 'string' && (typeof data === 'number' || typeof data === 'boolean')) return ': put it in quotes'
  if (type === 'array' && tree.value !== data && typeof data === 'object' && data !== null)
    return ': begin each item with "- "'
  return ''
}

function enumHint(error: ErrorObject): string {
  const allowed: readonly unknown[] = error.params['allowedValues']
  if (typeof error.data !== 'string') return ''
  const meant = yamlBoolean(error.data)
  if (meant !== undefined && allowed.includes(meant)) return `: write ${meant} without quotes`
  return didYouMean(error.data, allowed.map(String))
}

/** YAML 1.1 knew more words; YAML 1.2 reads them as text. */
function yamlBoolean(text: string): boolean | undefined {
  if (/^(true|yes|on)$/i.test(text)) return true
  return /^(false|no|off)$/i.test(text) ? false : undefined
}

function list(values: readonly unknown[]): string {
  const shown = values.map(String)
  return shown.length === 1 ? (shown[0] ?? '') : `${shown.slice(0, -1).join(', ')} or ${shown.at(-1)}`
}

/** The defaults of the schema, with `given` laid over them; sections that were not given appear complete. */
export function withDefaults(schema: unknown, given: unknown): unknown {
  const { properties, default: preset } = schema as SchemaNode
  if (properties === undefined) return given ?? preset
  const values = (given ?? {}) as { readonly [key: string]: unknown }
  const merged: Record<string, unknown> = Object.create(null)
  for (const [key, child] of Object.entries(properties)) {
    const value = withDefaults(child, values[key])
    if (value !== undefined) merged[key] = value
  }
  return merged
}
