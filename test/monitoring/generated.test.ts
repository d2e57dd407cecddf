// What is generated is what the sources say, and what the documentation says is what the agent does.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { parse } from 'yaml'
import { METRICS } from '../../agent/telemetry/metric-table.ts'
import { generatedFiles } from '../../scripts/monitoring/generated-files.ts'

const ROOT = new URL('../../', import.meta.url)
const read = (path: string) => readFileSync(new URL(path, ROOT), 'utf8')

t.test('every generated file is current', async (t) => {
  for (const { path, render } of generatedFiles())
    t.equal(render(read(path)), read(path), `${path}: run scripts/render-monitoring`)
})

t.test('the metrics that the documentation and the runbooks name exist', async (t) => {
  const ofTheFleet = [...read('agent/fleet/report/metrics.ts').matchAll(/\bregistry_trust_fleet_[a-z_]+/g)].map(
    ([name]) => name,
  )
  const names = new Set(
    [...Object.values(METRICS).map(({ name }) => name), ...ofTheFleet].flatMap((name) => [
      name,
      `${name}_bucket`,
      `${name}_sum`,
      `${name}_count`,
    ]),
  )
  const pages = [
    'docs/metrics.md',
    ...readdirSync(new URL('docs/runbooks/', ROOT)).map((page) => `docs/runbooks/${page}`),
  ]
  for (const page of pages) {
    const named = [...read(page).matchAll(/\bregistry_trust_[a-z_0-9]+/g)].map(([name]) => name)
    t.strictSame(
      named.filter((name) => !names.has(name)),
      [],
      page,
    )
  }
})

t.test(
  'every runbook says what it means, how to find the cause and how to cure it, and every link in it leads somewhere',
  async (t) => {
    for (const page of readdirSync(new URL('docs/runbooks/', ROOT))) {
      const path = `docs/runbooks/${page}`
      const text = read(path)
      if (page !== 'README.md') {
        t.ok(text.startsWith(`# ${page.replace('.md', '')}\n`), page)
        for (const part of ['## Meaning', '## Impact', '## Diagnosis', '## Cure'])
          t.ok(text.includes(`\n${part}\n`), `${page}: ${part}`)
      }
      const links = [...text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)].map(([, link]) => link ?? '')
      t.strictSame(
        links.filter((link) => !existsSync(new URL(link, new URL(path, ROOT)))),
        [],
        page,
      )
    }
  },
)

t.test(
  'the kustomization names files that exist, and the monitor selects the agent by its label and port',
  async (t) => {
    const folder = 'daemonset/monitoring/'
    const { resources, configMapGenerator } = parse(read(`${folder}kustomization.yaml`)) as {
      readonly resources: readonly string[]
      readonly configMapGenerator: readonly { readonly files: readonly string[] }[]
    }
    const files = [...resources, ...configMapGenerator.flatMap((map) => map.files)]
    t.strictSame(
      files.filter((file) => !existsSync(new URL(`${folder}${file}`, ROOT))),
      [],
    )
    t.match(parse(read(`${folder}podmonitor.yaml`)), {
      kind: 'PodMonitor',
      spec: {
        jobLabel: 'app.kubernetes.io/name',
        selector: { matchLabels: { 'app.kubernetes.io/name': 'registry-trust' } },
        podMetricsEndpoints: [{ port: 'http', path: '/metrics' }],
      },
    })
  },
)
