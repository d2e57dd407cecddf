// The schema of trust.yaml: its shipped copy, what it says of each key, and its defaults.
import { readFileSync } from 'node:fs'
import t from 'tap'
import { TRUST_SCHEMA } from '../../../agent/config/schema/schema.ts'
import { withDefaults } from '../../../agent/config/schema/validate.ts'
import { shippedSchema } from '../../../scripts/config-reference.ts'

t.test('the schema shipped to users is the one that is used', async (t) => {
  const shipped = readFileSync(new URL('../../../docs/trust.schema.json', import.meta.url), 'utf8')
  t.equal(shipped, shippedSchema(), 'otherwise run: node scripts/config-reference.ts')
})

type Node = {
  readonly description?: string
  readonly properties?: object
  readonly items?: Node
  readonly additionalProperties?: unknown
  readonly default?: unknown
  readonly enum?: readonly unknown[]
}

function* keys(schema: Node, path: string): Generator<readonly [string, Node]> {
  for (const [name, child] of Object.entries(schema.properties ?? {})) {
    yield [`${path}/${name}`, child]
    yield* keys(child, `${path}/${name}`)
  }
  if (schema.items !== undefined) yield* keys(schema.items, `${path}/*`)
  if (typeof schema.additionalProperties === 'object') yield* keys(schema.additionalProperties as Node, `${path}/*`)
}

t.test('every key says what it means, and every map refuses unknown keys', async (t) => {
  const all = [...keys(TRUST_SCHEMA, '')]
  t.ok(all.length > 60, `${all.length} keys`)
  for (const [path, schema] of all) {
    t.ok((schema.description ?? '').length > 3, path)
    if (schema.properties !== undefined) t.equal(schema.additionalProperties, false, path)
    if (schema.default !== undefined && schema.enum !== undefined) t.ok(schema.enum.includes(schema.default), path)
  }
})

t.test('fills in defaults below what was given', async (t) => {
  const { drift, restart } = TRUST_SCHEMA.properties
  t.same({ ...(withDefaults(drift, { heal: false }) as object) }, { resync: '5m', heal: false, stopAfterFights: 5 })
  t.match(withDefaults(restart, undefined), {
    strategy: 'auto',
    unit: 'auto',
    budget: { maxPerHour: 3, backoff: { min: '1m', max: '30m' } },
    window: { days: undefined },
  })
})
