import { Ajv2020 } from 'ajv/dist/2020.js'
import t from 'tap'
import { type OpenApiDocument, openApiDocument } from '../../agent/http/openapi.ts'
import { SAMPLE, SUMMARY, UNTRUSTED } from '../fixtures/http/sample-status.ts'
import { startFixture } from '../fixtures/http/served-page.ts'

t.test('the document describes every route of the server, and no other', async (t) => {
  const { server } = startFixture(t)
  const answer = await server.inject({ url: '/openapi.json' })
  t.equal(answer.statusCode, 200)
  const { paths } = answer.json<OpenApiDocument>()
  const described = Object.entries(paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${path.replace('{host}', ':host')}`),
  )
  t.strictSame(described.sort(), [...server.routes].sort())
})

t.test('its schemas are valid JSON Schema 2020-12 and accept what the server answers', async (t) => {
  const { schemas } = openApiDocument('0.1.0').components
  const ajv = new Ajv2020({ allErrors: true, allowUnionTypes: true })
  const samples: { readonly [name: string]: unknown } = {
    NodeStatus: SAMPLE,
    NodeSummary: SUMMARY,
    RegistryStatus: UNTRUSTED,
    Problem: SAMPLE.problems[0],
    Accepted: { accepted: true, force: false },
    LogLevel: { level: 'debug', until: '2026-11-21T11:10:00.000Z' },
  }
  t.strictSame(Object.keys(schemas), Object.keys(samples))
  for (const [name, schema] of Object.entries(schemas)) {
    const validate = ajv.compile(schema)
    t.ok(validate(samples[name]), `${name}: ${JSON.stringify(validate.errors)}`)
  }
})

t.test('every reference in it leads somewhere and every operation has its own id', async (t) => {
  const document = openApiDocument('0.1.0')
  const references = [...JSON.stringify(document).matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(
    (match) => match[1] ?? '',
  )
  t.ok(references.length > 5)
  for (const name of references) t.ok(name in document.components.schemas, name)
  const ids = [...JSON.stringify(document).matchAll(/"operationId":"(\w+)"/g)].map((match) => match[1])
  t.equal(new Set(ids).size, ids.length)
  t.equal(document.info.version, '0.1.0')
})
