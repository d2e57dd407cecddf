// A file of the --config paths is shown only as far as the agent knows its keys: it is not known what a value under
// another key is, and a Secret's manifest or a docker login may have got among them. Pure.
import { shapeProblems } from '../../config/foreign/foreign-shape.ts'
import { TRUST_SCHEMA } from '../../config/schema/schema.ts'
import { isSecretName } from '../../model/secret.ts'

const NOT_SHOWN = '[not shown: under a key that is not known]'
const MAX_DEPTH = 40

type Schema = {
  readonly properties?: { readonly [key: string]: Schema }
  readonly additionalProperties?: Schema | boolean
  readonly items?: Schema
}
type Table = { readonly [key: string]: unknown }

/**
 * The value of a YAML file (trust.yaml, or registries.yaml of k3s) with every text under an unknown key replaced. What
 * stands below a name of a secret is left to Redaction, which remembers it and takes it out of all other parts too.
 */
export function withoutUnknown(value: unknown): unknown {
  if (!isTable(value)) return hidden(value)
  const isK3s = !('registries' in value) && ('mirrors' in value || 'configs' in value)
  if (!isK3s) return shown(value, TRUST_SCHEMA as Schema)
  return shapeProblems(value, 'k3s').reduce((all: unknown, { pointer }) => hiddenAt(all, pointer), value)
}

function shown(value: unknown, schema: Schema | undefined): unknown {
  if (schema === undefined) return hidden(value)
  if (Array.isArray(value)) return value.map((item) => shown(item, schema.items))
  const { properties = {}, additionalProperties: others, items } = schema
  const isLeaf = schema.properties === undefined && others === undefined && items === undefined
  // A password where a table should stand is still one.
  if (!isTable(value)) return isLeaf ? value : hidden(value)
  const isAnything = others === true || isLeaf
  return mapped(value, (item, key) => {
    const known = Object.hasOwn(properties, key) ? properties[key] : typeof others === 'object' ? others : undefined
    if (known !== undefined && !isAnything) return shown(item, known)
    return isSecretName(key) ? item : hidden(item)
  })
}

function hiddenAt(value: unknown, [first, ...rest]: readonly string[]): unknown {
  if (first === undefined) return hidden(value)
  if (Array.isArray(value)) return value.map((item, index) => (String(index) === first ? hiddenAt(item, rest) : item))
  return isTable(value) ? mapped(value, (item, key) => (key === first ? hiddenAt(item, rest) : item)) : hidden(value)
}

function hidden(value: unknown, depth = 0): unknown {
  if (value === null || typeof value === 'boolean' || value === undefined) return value
  if (typeof value !== 'object' || value instanceof Date || depth > MAX_DEPTH) return NOT_SHOWN
  if (Array.isArray(value)) return value.map((item) => hidden(item, depth + 1))
  return mapped(value as Table, (item, key) => (isSecretName(key) ? item : hidden(item, depth + 1)))
}

function mapped(table: Table, change: (item: unknown, key: string) => unknown): Table {
  return Object.fromEntries(Object.entries(table).map(([key, item]) => [key, change(item, key)]))
}

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}
