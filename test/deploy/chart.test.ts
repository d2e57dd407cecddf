// The Helm chart makes the same objects as the overlays. Rendered by a test-only renderer, and by helm itself where it is installed.
import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import t from 'tap'
import { parse } from 'yaml'
import { chartTemplate, overlays } from '../../scripts/render-chart.ts'
import { DAEMONSET_FOLDER, type KubernetesObject, parseObjects, podSpec, render } from '../fixtures/deploy/objects.ts'
import { renderTemplate, type Values } from '../fixtures/deploy/test-only-renderer.ts'

const CHART = join(DAEMONSET_FOLDER, 'chart')
const DEFAULTS = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8')) as Values
const HAS_HELM = spawnSync('helm', ['version']).status === 0

function rendered(changes: Values): readonly KubernetesObject[] {
  const values = { ...DEFAULTS, ...changes }
  const templates = readdirSync(join(CHART, 'templates')).map((name) =>
    readFileSync(join(CHART, 'templates', name), 'utf8'),
  )
  return parseObjects(templates.map((template) => `---\n${renderTemplate(template, values)}`).join('')).filter(
    (object) => object !== null,
  )
}

function sorted(objects: readonly KubernetesObject[]): readonly KubernetesObject[] {
  const key = ({ kind, metadata }: KubernetesObject) => `${kind} ${metadata.name}`
  return objects.toSorted((a, b) => (key(a) < key(b) ? -1 : 1))
}

/** An empty list of pull secrets is none. */
function withoutEmpty(objects: readonly KubernetesObject[]): unknown {
  return JSON.parse(JSON.stringify(sorted(objects)).replaceAll(/,?"imagePullSecrets":\[\]/g, ''))
}

for (const overlay of overlays()) {
  t.test(`${overlay}: the template is the one of the overlay`, async (t) => {
    const template = readFileSync(join(CHART, `templates/profile-${overlay}.yaml`), 'utf8')
    t.equal(template, chartTemplate(overlay), 'otherwise run: node scripts/render-chart.ts')
  })

  t.test(`${overlay}: with the default values the chart makes the same objects`, async (t) => {
    t.same(withoutEmpty(rendered({ profile: overlay })), withoutEmpty(await render(`overlays/${overlay}`)))
  })

  if (HAS_HELM)
    t.test(`${overlay}: helm says the same`, async (t) => {
      const text = execFileSync('helm', ['template', 'registry-trust', CHART, '--set', `profile=${overlay}`], {
        encoding: 'utf8',
      })
      t.same(withoutEmpty(parseObjects(text)), withoutEmpty(await render(`overlays/${overlay}`)))
    })
}

t.test('values reach the objects', async (t) => {
  const objects = rendered({
    profile: 'full',
    image: 'harbor.example.net/registry-trust:2',
    imagePullSecrets: [{ name: 'pull' }],
    tolerations: [],
    createNamespace: false,
    networkPolicy: { enabled: false, monitoringNamespace: 'x' },
    config: { 'trust.yaml': 'registries: []\n' },
  })
  t.same(
    sorted(objects).map(({ kind }) => kind),
    ['ConfigMap', 'DaemonSet', 'ServiceAccount'],
  )
  t.match(podSpec(objects), { imagePullSecrets: [{ name: 'pull' }], tolerations: [], containers: [{ image: /:2$/ }] })
  t.match(
    objects.find(({ kind }) => kind === 'ConfigMap'),
    { data: { 'trust.yaml': 'registries: []\n' } },
  )
})

t.test('the schema of the values takes the defaults and names what is wrong', async (t) => {
  const check = new Ajv({ strict: false }).compile(
    JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8')) as object,
  )
  t.equal(check(DEFAULTS), true, JSON.stringify(check.errors))
  t.equal(check({ ...DEFAULTS, profile: 'root' }), false)
  t.equal(check({ ...DEFAULTS, proflie: 'full' }), false)
  t.equal(check({ ...DEFAULTS, image: 'untagged' }), false)
  const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8')) as {
    properties: { profile: { enum: string[] } }
  }
  t.same(schema.properties.profile.enum, overlays())
})

t.test('the renderer of these tests refuses what it does not understand', async (t) => {
  t.throws(() => renderTemplate('{{ include "x" . }}', {}), /not understood/)
  t.throws(() => renderTemplate('{{ toJson .Values.none }}', {}), /there is no/)
  t.throws(() => renderTemplate('{{- if .Values.a }}', { a: true }), /without an end/)
})
