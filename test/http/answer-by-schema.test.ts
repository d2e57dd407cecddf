// What leaves the process is what the schema names, as the generated code of fast-json-stringify has it, which Fastify
// would use and which is the oracle here.
import { createRequire } from 'node:module'
import fc from 'fast-check'
import t from 'tap'
import { answerBySchema } from '../../agent/http/answer-by-schema.ts'
import { type JsonSchema, listSchema, objectSchema, STATUS_SCHEMA } from '../../agent/model/status.ts'

const require = createRequire(createRequire(import.meta.url).resolve('fastify'))
const fastJsonStringify = require('fast-json-stringify') as (schema: object) => (value: unknown) => string

/** A value that the schema allows, at times with keys beside it that the schema does not know. */
function allowedBy(schema: JsonSchema): fc.Arbitrary<unknown> {
  const { type = 'string', items, properties, required = [], additionalProperties } = schema
  const arbitraries = [type].flat().map((one): fc.Arbitrary<unknown> => {
    if (one === 'null') return fc.constant(null)
    if (one === 'boolean') return fc.boolean()
    if (one === 'integer' || one === 'number') return fc.nat()
    if (one === 'array') return fc.array(allowedBy(items ?? {}), { maxLength: 3 })
    if (one !== 'object') return fc.constantFrom(...(schema.enum ?? ['', 'harbor.example.net', '"quoted"\n ']))
    if (typeof additionalProperties === 'object') return fc.dictionary(fc.string(), allowedBy(additionalProperties))
    const own = Object.entries(properties ?? {}).map(([name, part]) => [name, allowedBy(part)] as const)
    const known = fc.record(Object.fromEntries(own), { requiredKeys: [...required] })
    const stray = fc.dictionary(fc.constantFrom('password', 'token', 'toString'), fc.constant('s3cret'))
    return fc.tuple(known, stray).map(([declared, others]) => ({ ...others, ...(declared as object) }))
  })
  return fc.oneof(...arbitraries)
}

t.test('the status is written as generated code of fast-json-stringify writes it', async (t) => {
  const byGeneratedCode = fastJsonStringify(STATUS_SCHEMA)
  let secrets = 0
  fc.assert(
    fc.property(allowedBy(STATUS_SCHEMA), (status) => {
      const written = answerBySchema(status, STATUS_SCHEMA)
      if (JSON.stringify(status).includes('s3cret')) secrets += 1
      return (
        !written.includes('s3cret') &&
        JSON.stringify(sorted(JSON.parse(written))) === JSON.stringify(sorted(JSON.parse(byGeneratedCode(status))))
      )
    }),
    { numRuns: 100 },
  )
  t.ok(secrets > 50, `${secrets} of 100 held keys that no schema names`)
})

t.test('a required property that is missing is named, at any depth', async (t) => {
  const schema = objectSchema('a list', { all: listSchema(objectSchema('one', { host: { type: 'string' } })) })
  t.equal(answerBySchema({ all: [{ host: 'a', more: 1 }] }, schema), '{"all":[{"host":"a"}]}')
  t.throws(() => answerBySchema({ all: [{ host: 'a' }, {}] }, schema), /lacks "host"/)
  t.throws(() => answerBySchema({}, schema), /lacks "all"/)
})

t.test('properties of any name are kept where the schema says of what kind they are', async (t) => {
  const states: JsonSchema = { type: 'object', additionalProperties: { type: 'integer' } }
  t.equal(answerBySchema({ trusted: 3, broken: 0 }, states), '{"trusted":3,"broken":0}')
  t.equal(answerBySchema(null, { ...objectSchema('none', {}), type: ['object', 'null'] }), 'null')
})

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([one], [other]) => (one < other ? -1 : 1))
      .map(([name, part]) => [name, sorted(part)]),
  )
}
