// Writes an answer as its schema says: what the schema does not name never leaves the process, and what it requires is
// there. Fastify's own compilers do the same by generated code, but bring two validators of JSON Schema with them, which
// took memory and a part of the start for a few answers an hour.
import type { FastifyServerOptions } from 'fastify'
import type { JsonSchema } from '../model/status.ts'

/** For `schemaController` of Fastify. No request has a schema here, so a validator is a mistake of this program. */
export const ANSWERS_BY_SCHEMA: NonNullable<FastifyServerOptions['schemaController']> = {
  compilersFactory: {
    buildValidator: () => () => {
      throw new Error('no request is validated by a schema: see agent/http/answer-by-schema.ts')
    },
    buildSerializer: () => (route) => {
      const schema = (route as { readonly schema: JsonSchema }).schema
      return (answer: unknown) => answerBySchema(answer, schema)
    },
  },
}

/**
 * JSON text of the parts of `answer` that the schema names. Pure.
 * @throws Error when a required property is missing, with its name.
 */
export function answerBySchema(answer: unknown, schema: JsonSchema): string {
  return JSON.stringify(declaredPart(answer, schema))
}

function declaredPart(value: unknown, schema: JsonSchema): unknown {
  const { items, properties, additionalProperties, required = [] } = schema
  if (items !== undefined && Array.isArray(value)) return value.map((item) => declaredPart(item, items))
  if (properties === undefined && additionalProperties === undefined) return value
  if (typeof value !== 'object' || value === null) return value
  const given = value as { readonly [name: string]: unknown }
  const missing = required.find((name) => given[name] === undefined)
  if (missing !== undefined) throw new Error(`the answer lacks "${missing}", which its schema requires`)
  const schemaOf = (name: string) =>
    properties !== undefined && Object.hasOwn(properties, name) ? properties[name] : schemaOfOthers(schema)
  const kept = Object.entries(given).flatMap(([name, part]) => {
    const own = schemaOf(name)
    return own === undefined || part === undefined ? [] : [[name, declaredPart(part, own)] as const]
  })
  return Object.fromEntries(kept)
}

/** Undefined: properties that are not named are left out. */
function schemaOfOthers({ additionalProperties }: JsonSchema): JsonSchema | undefined {
  if (additionalProperties === true) return {}
  return typeof additionalProperties === 'object' ? additionalProperties : undefined
}
