// The values of the chart: a misspelt one is refused wherever it stands, and any two go together. By default a sample
// of the combinations is rendered, with REGISTRY_TRUST_FULL=1 every one.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import t from 'tap'
import { parse } from 'yaml'
import { CHOICES, CONFIG, chosen, FILLED, sampled, valuesOf } from '../fixtures/deploy/chart-values.ts'
import { CHART, template, templated, testWithHelm, type Values } from '../fixtures/deploy/helm.ts'
import type { KubernetesObject } from '../fixtures/deploy/objects.ts'
import { invalid, isDescribed, unknownFields } from '../fixtures/deploy/schemas.ts'

t.setTimeout(480_000)

type Tree = { readonly [key: string]: unknown }
type Step = string | number
type Schema = {
  readonly $ref?: string
  readonly properties?: { readonly [key: string]: Schema }
  readonly items?: Schema
  readonly definitions?: { readonly [name: string]: Schema }
}

const DEFAULTS = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8')) as Values
const SCHEMA = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8')) as Schema & object
const check = new Ajv({ strict: false }).compile(SCHEMA)
const FULL_VALUES = merged({ ...DEFAULTS, config: CONFIG }, FILLED)

/** Names that are the user's own, and parts of affinity that only the API server knows. */
const OWN_NAMES = /^(podAnnotations|podLabels|nodeSelector|.*[lL]abels)\.|^affinity\..*\.(\d|nodeSelectorTerms\.)/
const OWN_VOLUME = /^extraVolumes\.0\.hostPath\./

t.test('every key that is misspelt is refused, in lists too', async (t) => {
  t.equal(check(FULL_VALUES), true, JSON.stringify(check.errors))
  const places = placesOf(FULL_VALUES).map((steps) => ({ steps, name: steps.join('.') }))
  const judged = places.filter(({ name }) => !OWN_NAMES.test(name) && !OWN_VOLUME.test(name))
  t.ok(judged.length > 130, `${judged.length} places`)
  for (const { steps, name } of judged) {
    if (typeof steps.at(-1) === 'number') continue
    const isOwnFile = /^config\./.test(name)
    t.equal(check(misspelt(FULL_VALUES, steps, (key) => (isOwnFile ? `${key}/` : `${key}x`))), false, name)
    if (!isOwnFile && /[a-z]/.test(name.at(-1) ?? ''))
      t.equal(check(misspelt(FULL_VALUES, steps, swapped)), false, `${name} with another letter in upper case`)
  }
})

t.test('every key that the schema knows is among them', async (t) => {
  const known = placesOf(FULL_VALUES).map((steps) => steps.map((step) => (typeof step === 'number' ? '*' : step)))
  const names = new Set(known.map((steps) => steps.join('.')))
  for (const place of keysOf(SCHEMA)) if (place !== 'global') t.ok(names.has(place), place)
})

t.test('a value of another type is refused', async (t) => {
  for (const steps of placesOf(FULL_VALUES)) {
    const name = steps.join('.')
    if (OWN_VOLUME.test(name) || /^affinity\..*\.(\d|nodeSelectorTerms)/.test(name)) continue
    const wrong = placed(FULL_VALUES, steps, [['neither', 'of', 'them']])
    t.equal(check(wrong), false, name)
  }
})

testWithHelm(t, 'helm says which key is misspelt', async (t) => {
  const wrong: readonly (readonly [Values, RegExp])[] = [
    [{ networkPolicy: { enable: false } }, /networkPolicy.*'enable'/],
    [{ tolerations: [{ opertor: 'Exists' }] }, /tolerations.*'opertor'/],
    [{ extraEnv: [{ name: 'X', value: 1 }] }, /extraEnv\/0\/value.*got number, want string/],
  ]
  for (const [values, message] of wrong) {
    const { status, stderr } = await template({ config: CONFIG, ...values })
    t.equal(status, 1)
    t.match(stderr, message)
  }
})

t.test('the combinations hold every two choices together', async (t) => {
  const combinations = chosen()
  t.ok(combinations.length >= 60, `${combinations.length} combinations`)
  const seen = new Set<string>()
  const names = Object.keys(CHOICES) as (keyof typeof CHOICES)[]
  const at = (combination: Tree, name: keyof typeof CHOICES) =>
    (CHOICES[name] as readonly unknown[]).indexOf(combination[name])
  for (const combination of combinations)
    for (const a of names) for (const b of names) seen.add(`${a} ${at(combination, a)} ${b} ${at(combination, b)}`)
  for (const a of names)
    for (const b of names.filter((name) => name > a))
      for (const x of CHOICES[a].keys())
        for (const y of CHOICES[b].keys()) if (!seen.has(`${a} ${x} ${b} ${y}`)) t.fail(`${a} ${x} with ${b} ${y}`)
})

testWithHelm(t, 'every pair of values renders valid objects', async (t) => {
  const rendered: KubernetesObject[] = []
  for (const combination of sampled(16)) {
    const values = valuesOf(combination)
    const objects = await templated(values, { name: 'pool-a', namespace: 'pool-a', hooks: true })
    const wrong = objects.flatMap((object) => {
      const { name } = object.metadata
      const found = isDescribed(object) ? invalid(object) : undefined
      return [...(name.length > 63 ? [name] : []), ...(found === undefined ? [] : [`${object.kind} ${name}: ${found}`])]
    })
    t.same(wrong, [], 'valid', { values })
    rendered.push(...objects.filter(isDescribed))
  }
  t.ok(rendered.length > 60, `${rendered.length} objects`)
  t.equal(await unknownFields(rendered), '')
})

/** Every key and every entry of a list, as the steps to it. */
function placesOf(values: unknown, above: readonly Step[] = []): readonly (readonly Step[])[] {
  if (typeof values !== 'object' || values === null) return []
  const steps: readonly Step[] = Array.isArray(values) ? [...values.keys()] : Object.keys(values)
  return steps.flatMap((step) => {
    const place = [...above, step]
    return [place, ...placesOf((values as { readonly [step: Step]: unknown })[step], place)]
  })
}

/** Every key that a schema names, with * for the entries of a list. */
function keysOf(schema: Schema, above: readonly string[] = []): readonly string[] {
  const [, name] = /^#\/definitions\/(.*)$/.exec(schema.$ref ?? '') ?? []
  const { properties = {}, items } = name === undefined ? schema : (SCHEMA.definitions?.[name] ?? {})
  return [
    ...Object.entries(properties).flatMap(([key, inner]) => [
      [...above, key].join('.'),
      ...keysOf(inner, [...above, key]),
    ]),
    ...(items === undefined ? [] : keysOf(items, [...above, '*'])),
  ]
}

/** The values with `value` at the place. */
function placed(values: unknown, [first, ...rest]: readonly Step[], value: unknown): unknown {
  if (first === undefined) return value
  if (Array.isArray(values)) return values.map((item, index) => (index === first ? placed(item, rest, value) : item))
  return { ...(values as Tree), [first]: placed((values as Tree)[first], rest, value) }
}

function misspelt(values: unknown, steps: readonly Step[], as: (key: string) => string): unknown {
  const key = String(steps.at(-1))
  const above = steps.slice(0, -1)
  const { [key]: value, ...others } = above.reduce((inner, step) => (inner as Tree)[step], values) as Tree
  return placed(values, above, { ...others, [as(key)]: value })
}

/** `enabled` as `Enabled`, `podMonitor` as `PodMonitor`: the commonest slip in YAML of Kubernetes. */
function swapped(key: string): string {
  const first = key.charAt(0)
  return (first === first.toUpperCase() ? first.toLowerCase() : first.toUpperCase()) + key.slice(1)
}

function merged(values: Values, more: Values): Values {
  const both = (a: unknown, b: unknown): unknown =>
    [a, b].every((one) => typeof one === 'object' && one !== null && !Array.isArray(one))
      ? merged(a as Values, b as Values)
      : b
  return { ...values, ...Object.fromEntries(Object.entries(more).map(([key, b]) => [key, both(values[key], b)])) }
}
