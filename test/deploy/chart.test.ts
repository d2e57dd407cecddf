// The Helm chart makes the same objects as the overlays, and says why where values do not go together: as helm itself
// renders it.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import t from 'tap'
import { parse } from 'yaml'
import { readmeWithReference } from '../../scripts/chart-reference.ts'
import { CONFIG } from '../fixtures/deploy/chart-values.ts'
import { CHART, helm, template, templated, testWithHelm, type Values } from '../fixtures/deploy/helm.ts'
import { type KubernetesObject, OVERLAYS, podSpec, render } from '../fixtures/deploy/objects.ts'
import { partOf } from '../fixtures/turn.ts'

t.setTimeout(480_000)

type Tree = { readonly [key: string]: unknown }

const DEFAULTS = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8')) as Values
const SCHEMA = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8')) as object
const GIVEN = { existingConfigMap: 'registry-trust', createNamespace: true }
/** What helm adds to objects that are the same otherwise. */
const OF_HELM = [
  'app.kubernetes.io/instance',
  'app.kubernetes.io/version',
  'app.kubernetes.io/managed-by',
  'helm.sh/chart',
]
const KEYS_OF_LISTS = ['mountPath', 'name', 'kind']

/** Without helm's own labels, and with lists whose order means nothing in one order. */
function comparable(value: unknown, key = ''): unknown {
  if (Array.isArray(value)) {
    const items = value.map((item) => comparable(item))
    const by = KEYS_OF_LISTS.find((name) =>
      items.every((item) => typeof item === 'object' && item !== null && name in item),
    )
    // init containers start in their order
    if (by === undefined || key === 'initContainers') return items
    return items.toSorted((a, b) => ((a as Tree)[by] as string).localeCompare((b as Tree)[by] as string))
  }
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).flatMap(([name, inner]) => {
    if (OF_HELM.includes(name) || (name === 'helm.sh/resource-policy' && key === 'annotations')) return []
    const told = comparable(inner, name)
    const isEmpty = typeof told === 'object' && told !== null && Object.keys(told).length === 0
    return isEmpty && ['annotations', 'labels'].includes(name) ? [] : [[name, told]]
  })
  return Object.fromEntries(entries)
}

function sameObjects(objects: readonly KubernetesObject[]): unknown {
  const name = ({ kind, metadata }: KubernetesObject) => `${kind} ${metadata.namespace ?? ''} ${metadata.name}`
  return objects.toSorted((a, b) => (name(a) < name(b) ? -1 : 1)).map((object) => comparable(object))
}

for (const overlay of OVERLAYS)
  testWithHelm(t, `${overlay}: the chart makes the objects of the overlay`, async (t) => {
    t.same(
      sameObjects(await templated({ ...GIVEN, profile: overlay })),
      sameObjects(await render(`overlays/${overlay}`)),
    )
  })

testWithHelm(t, 'distrust: the chart makes the objects of the overlay with the component', async (t) => {
  t.same(
    sameObjects(await templated({ ...GIVEN, profile: 'full', distrust: true })),
    sameObjects(await render('../test/fixtures/deploy/with-distrust')),
  )
})

testWithHelm(t, 'hostsFile: the chart makes the objects of the overlay with the component', async (t) => {
  t.same(
    sameObjects(await templated({ ...GIVEN, profile: 'hosts-proof', hostsFile: true })),
    sameObjects(await render('../test/fixtures/deploy/with-hosts-file')),
  )
})

testWithHelm(t, 'publish: the chart makes the objects of daemonset/publish', async (t) => {
  const configMaps = ['registry-trust-ca', 'registry-trust-certs'].map((name) => ({ namespace: 'builds', name }))
  const objects = await templated({ ...GIVEN, publish: { enabled: true, tekton: true, configMaps } })
  const own = objects.filter(({ metadata }) => !['registry-trust'].includes(metadata.name))
  const expected = await render('publish')
  const unlabelled = (them: readonly KubernetesObject[]) =>
    them.map(({ metadata: { labels: _, ...metadata }, ...object }) => ({ ...object, metadata }) as KubernetesObject)
  t.same(sameObjects(unlabelled(own)), sameObjects(unlabelled(expected)))
})

testWithHelm(t, 'fleet: the chart makes the objects of daemonset/fleet, and of its components', async (t) => {
  const isOwn = ({ metadata }: KubernetesObject) => metadata.name.startsWith('registry-trust-fleet')
  const unlabelled = (them: readonly KubernetesObject[]) =>
    them.map(({ metadata: { labels: _, ...metadata }, ...object }) => ({ ...object, metadata }) as KubernetesObject)
  for (const [values, folder] of [
    [{}, 'fleet'],
    [{ startupTaint: true }, '../test/fixtures/fleet/with-taint'],
    [{ startupTaint: true, wakePods: true }, '../test/fixtures/fleet/with-wake-pods'],
  ] as const) {
    const objects = await templated({ ...GIVEN, fleet: { enabled: true, ...values } })
    const own = sameObjects(unlabelled(objects.filter(isOwn)))
    t.same(own, sameObjects(unlabelled(await render(folder))), folder)
  }
  const elsewhere = { ...GIVEN, fullnameOverride: 'registry-trust', fleet: { enabled: true } }
  const other = await templated(elsewhere, { name: 'pool-a', namespace: 'trust' })
  const account = 'system:serviceaccount:trust:registry-trust-fleet'
  t.match(JSON.stringify(other.find(({ kind }) => kind === 'ValidatingAdmissionPolicy')), account)
  const named = await template({ config: CONFIG, nameOverride: 'trust', fleet: { enabled: true } })
  t.match(named, { status: 1, stderr: /fleet\.enabled needs objects named registry-trust, not / })
})

testWithHelm(t, 'monitoring: the chart makes the objects of daemonset/monitoring', async (t) => {
  const on = { enabled: true }
  const objects = await templated({ ...GIVEN, podMonitor: on, prometheusRule: on, dashboards: on, fleet: on })
  const own = ['PodMonitor', 'PrometheusRule']
  const isOwn = ({ kind, metadata }: KubernetesObject) => own.includes(kind) || metadata.name.endsWith('-dashboards')
  t.same(sameObjects(objects.filter(isOwn)), sameObjects(await render('monitoring')))
})

// A lint renders the same templates as above: some profiles each day, all with REGISTRY_TRUST_FULL=1.
testWithHelm(t, 'helm lint has nothing to say', async (t) => {
  for (const profile of partOf(OVERLAYS, 6)) {
    const { status, stdout, stderr } = await helm([
      'lint',
      '--strict',
      CHART,
      '--set',
      `config.trust\\.yaml=x,profile=${profile}`,
    ])
    t.equal(status, 0, stdout + stderr)
    t.notMatch(stdout, /\[(WARNING|ERROR)\]/)
  }
})

testWithHelm(t, 'two releases in one cluster share no name and no label that selects', async (t) => {
  const one = { config: CONFIG, publish: { enabled: true }, uninstallHook: { enabled: true }, profile: 'openshift' }
  const of = async (name: string, namespace: string) => await templated(one, { name, namespace, hooks: true })
  const [a, b, elsewhere] = [await of('pool-a', 'trust'), await of('pool-b', 'trust'), await of('pool-a', 'other')]
  const key = ({ kind, metadata }: KubernetesObject) => `${kind} ${metadata.namespace ?? ''} ${metadata.name}`
  for (const others of [b, elsewhere])
    t.same(
      others.map(key).filter((name) => a.map(key).includes(name)),
      [],
    )
  const selects = (objects: readonly KubernetesObject[]) =>
    objects.flatMap((object) =>
      [...JSON.stringify(object).matchAll(/"(?:matchLabels|selector)":(\{"app[^}]*\})/g)].map(([, found]) => found),
    )
  t.ok(selects(a).length > 4)
  t.same(
    selects(b).filter((selector) => selects(a).includes(selector)),
    [],
  )
})

testWithHelm(t, 'values reach the objects', async (t) => {
  const objects = await templated(
    {
      ...{ config: CONFIG, nameOverride: 'trust', profile: 'hosts-proof', sidecars: 'plain', builders: true },
      image: { repository: 'harbor.example.net/rt', digest: `sha256:${'0'.repeat(64)}`, pullPolicy: 'Always' },
      ...{ imagePullSecrets: [{ name: 'pull' }], tolerations: [], podAnnotations: { a: 'b' }, podLabels: { c: 'd' } },
      affinity: { nodeAffinity: {} },
      updateStrategy: { type: 'OnDelete', rollingUpdate: null },
      extraEnv: [{ name: 'X', value: '1' }],
      extraVolumes: [{ name: 'x', hostPath: { path: '/x' } }],
      extraVolumeMounts: [{ name: 'x', mountPath: '/x' }],
      credentials: { existingSecret: 'mine' },
      trustManager: [{ configMap: 'corp-bundle', key: 'ca.pem', path: 'corp.pem' }],
      certificateSecrets: [{ secret: 'issuer', key: 'ca.crt', path: 'issuer.pem', optional: true }],
      clusterTrustBundles: [
        { signerName: 'example.net/ca', labelSelector: { matchLabels: { live: 'yes' } }, path: 's.pem' },
      ],
      networkPolicy: { enabled: false },
    },
    { name: 'pool-a', namespace: 'platform' },
  )
  t.same(objects.map(({ kind, metadata }) => [kind, metadata.name, metadata.namespace]).toSorted(), [
    ['ConfigMap', 'pool-a-trust', 'platform'],
    ['DaemonSet', 'pool-a-trust', 'platform'],
    ['ServiceAccount', 'pool-a-trust', 'platform'],
  ])
  const spec = podSpec(objects)
  t.match(spec, { imagePullSecrets: [{ name: 'pull' }], tolerations: undefined, affinity: { nodeAffinity: {} } })
  t.match(
    objects.find(({ kind }) => kind === 'DaemonSet'),
    {
      spec: {
        updateStrategy: { type: 'OnDelete' },
        template: { metadata: { annotations: { a: 'b' }, labels: { c: 'd', 'app.kubernetes.io/name': 'trust' } } },
      },
    },
  )
  const [agent] = spec.containers
  t.equal(agent?.image, `harbor.example.net/rt@sha256:${'0'.repeat(64)}`)
  t.ok(agent?.env?.some(({ name, value }) => name === 'X' && value === '1'))
  t.ok(agent?.volumeMounts?.some(({ mountPath }) => mountPath === '/x'))
  t.ok(agent?.volumeMounts?.some(({ mountPath }) => mountPath === '/host/etc/docker'))
  const certificates = [
    { configMap: { name: 'corp-bundle', items: [{ key: 'ca.pem', path: 'corp.pem' }] } },
    { secret: { name: 'issuer', optional: true, items: [{ key: 'ca.crt', path: 'issuer.pem' }] } },
    {
      clusterTrustBundle: {
        signerName: 'example.net/ca',
        labelSelector: { matchLabels: { live: 'yes' } },
        path: 's.pem',
      },
    },
  ]
  const sources = (name: string) => spec.volumes?.find((volume) => volume.name === name)?.projected?.sources
  const config = { configMap: { name: 'pool-a-trust' } }
  t.same(sources('config'), [config, ...certificates], 'the sidecars see no password')
  const http = {
    secret: {
      name: 'pool-a-trust-http',
      optional: true,
      items: ['token', 'tls.crt', 'tls.key'].map((key) => ({ key, path: `http-${key}` })),
    },
  }
  t.same(sources('inputs'), [config, { secret: { name: 'mine', optional: true } }, http, ...certificates])
})

testWithHelm(t, 'what would take trust off the nodes or start nothing is refused, with the remedy', async (t) => {
  const refused: readonly (readonly [Values, RegExp])[] = [
    [{}, /there is no configuration: .*--reset-then-reuse-values/],
    [{ config: { 'ca.pem': 'x' } }, /config has no trust\.yaml/],
    [{ config: CONFIG, existingConfigMap: 'x' }, /exclude each other/],
    [
      { config: CONFIG, profile: 'hosts', distrust: true },
      /distrust is not available with profile hosts.*use profile full/,
    ],
    [{ config: CONFIG, profile: 'audit', hostsFile: true }, /hostsFile is not available with profile audit/],
    [{ config: CONFIG, profile: 'hosts', distribution: 'k3s' }, /distribution k3s is not available with profile hosts/],
    [{ config: CONFIG, profile: 'audit', distribution: 'rhel' }, /rhel is not available with profile audit/],
    [{ config: CONFIG, profile: 'hosts', operatingSystem: 'cos' }, /cos is not available with profile hosts/],
    [
      { config: CONFIG, distribution: 'suse', operatingSystem: 'rhel' },
      /suse and operatingSystem rhel exclude each other/,
    ],
    [{ config: CONFIG, distribution: 'talos' }, /cannot change trust on talos.*registry-trust bootstrap --for talos/],
    [{ config: CONFIG, distribution: 'bottlerocket' }, /registry-trust bootstrap --for bottlerocket/],
    [
      { config: CONFIG, profile: 'uninstall', sidecars: 'plain' },
      /sidecars=plain is not available with profile uninstall/,
    ],
  ]
  for (const [values, message] of refused) {
    const { status, stderr } = await template(values)
    t.equal(status, 1)
    t.match(stderr, message)
  }
  t.equal((await template({ profile: 'uninstall' })).status, 0, 'cleaning needs no configuration')
})

t.test('the table of values in the README of the chart is the one of values.yaml', async (t) => {
  t.equal(
    readFileSync(join(CHART, 'README.md'), 'utf8'),
    readmeWithReference(),
    'otherwise: node scripts/chart-reference.ts',
  )
  t.equal(new Ajv({ strict: false }).compile(SCHEMA)(DEFAULTS), true, 'and the schema takes the defaults')
})
