// How far an anchor reaches, and what the policy refuses or tells: scope, forbidAnchorsFor by every detour,
// allowedAnchors, maxAnchors.
import t from 'tap'
import { desiredOf, emptyFolders, type Files, loadFiles, told, wrongWith } from '../fixtures/config/fixture.ts'
import { createKey, createRoot } from '../fixtures/pki/openssl.ts'

const certificates = t.testdir()
const key = createKey(certificates)
const root = createRoot(certificates, key, '/O=Corp/CN=Corp Root')
const lab = createRoot(certificates, key, '/CN=Lab')
const constrained = (constraint: string) =>
  createRoot(certificates, key, '/CN=Constrained', '-days', '30', '-addext', `nameConstraints=critical,${constraint}`)

const fresh = emptyFolders(certificates)

const PEMS: Files = { 'root.pem': root, 'registries.d/lab.pem': lab }

t.test('anchors of trust.yaml reach the system store, those of fragments their registries alone', async (t) => {
  const result = await loadFiles(fresh(), {
    ...PEMS,
    'trust.yaml': `anchors:
  a: { file: root.pem }
  b: { file: root.pem, scope: registries }
registries: [{ host: a.net, ca: root.pem }]`,
    'registries.d/t.yaml':
      'anchors: { c: { file: lab.pem } }\nregistries: [{ host: c.net, anchors: [a, c] }, { host: d.net, ca: lab.pem }]',
  })
  t.same(wrongWith(result), [])
  t.match(
    desiredOf(result).anchors.map(({ name, scope = 'system' }) => [name, scope]),
    [
      ['a', 'system'],
      ['b', 'registries'],
      ['c', 'registries'],
    ],
  )
})

t.test('a fragment widens no scope: not by asking, not by another declaration of the same name', async (t) => {
  const asking = {
    ...PEMS,
    'trust.yaml': 'registries: []',
    'registries.d/t.yaml': 'anchors: { c: { file: lab.pem, scope: system } }',
  }
  t.match(wrongWith(await loadFiles(fresh(), asking)), [{ code: 'FRAGMENT_NOT_ALLOWED', message: /scope system/ }])
  const permitted = {
    ...asking,
    'trust.yaml': 'registries: []\npolicy: { fragments: { t.yaml: { anchors: system } } }',
  }
  t.match(desiredOf(await loadFiles(fresh(), permitted)).anchors, [{ name: 'c', scope: undefined }])
  const missing = await loadFiles(fresh(), {
    ...PEMS,
    'trust.yaml': 'anchors: { a: { file: not-yet.pem } }\nregistries: [{ host: a.net, anchors: [a] }]',
    'registries.d/t.yaml': 'anchors: { a: { file: lab.pem } }',
  })
  t.match(desiredOf(missing).anchors, [{ name: 'a', certificates: [] }], 'nor fills in what is missing')
})

t.test('the scope is part of the generation, and only where it is not the usual one', async (t) => {
  const load = async (scope: string) =>
    desiredOf(
      await loadFiles(fresh(), { ...PEMS, 'trust.yaml': `anchors: { a: { file: root.pem${scope} } }\nregistries: []` }),
    ).generation
  t.equal(await load(''), await load(', scope: system'))
  t.not(await load(''), await load(', scope: registries'))
})

const MIRROR = 'registries: [{ host: docker.io, mirrors: [{ url: "https://m.net", anchors: [a] }] }]'
const OF_FORBIDDEN = 'registries: [{ host: x.net, mirrors: [{ url: "https://docker.io", anchors: [a] }] }]'
const WILDCARD = 'registries: [{ host: "*", anchors: [a] }]'
const WILDCARD_MIRROR = 'registries: [{ host: "*", mirrors: [{ url: "https://m.net", anchors: [a] }] }]'

for (const [what, text] of Object.entries({ MIRROR, OF_FORBIDDEN, WILDCARD, WILDCARD_MIRROR })) {
  t.test(`a forbidden host by a detour: ${what}`, async (t) => {
    const own = (policy: string) => ({
      ...PEMS,
      'trust.yaml': `anchors: { a: { file: root.pem, scope: registries } }\n${text}\npolicy: { allowWildcard: true${policy} }`,
    })
    const told1 = await loadFiles(fresh(), own(''))
    t.match(desiredOf(told1).warnings, [
      { code: 'ANCHOR_REACHES_FORBIDDEN', message: /docker\.io.*policy\.forbidAnchorsFor/ },
    ])
    const folder = fresh()
    const strict = await loadFiles(folder, own(', strict: true'))
    t.equal(strict.ok, false)
    t.match(told(strict.problems, folder), [
      /^ANCHOR_FORBIDDEN trust\.yaml:2:\d+: registries\[0\]\.\S*(anchors|mirrors)/,
    ])
    const none = await loadFiles(fresh(), own(', strict: true, forbidAnchorsFor: []'))
    t.ok(none.ok)
    const fragment = await loadFiles(fresh(), {
      ...PEMS,
      'trust.yaml': 'registries: []\npolicy: { allowWildcard: true }',
      'registries.d/t.yaml': `anchors: { a: { file: lab.pem } }\n${text}`,
    })
    t.match(wrongWith(fragment), [{ code: 'ANCHOR_FORBIDDEN' }], 'refused in a fragment')
    t.same(desiredOf(fragment).registries, [])
  })
}

t.test('docker.io is forbidden under each of its names, with and without a port', async (t) => {
  const outcome = async (registry: string, forbidden = 'docker.io') => {
    const text = `anchors: { a: { file: root.pem, scope: registries } }
registries: [${registry}]
policy: { strict: true, forbidAnchorsFor: ["${forbidden}"] }`
    const result = await loadFiles(fresh(), { ...PEMS, 'trust.yaml': text })
    return result.ok ? 'used' : result.problems.map(({ code }) => code).join()
  }
  for (const host of ['docker.io', 'registry-1.docker.io', 'index.docker.io:443', 'registry-1.docker.io:443'])
    for (const forbidden of ['docker.io', 'index.docker.io']) {
      t.equal(
        await outcome(`{ host: "${host}", anchors: [a] }`, forbidden),
        'ANCHOR_FORBIDDEN',
        `${host}, ${forbidden}`,
      )
      const mirrored = `{ host: x.net, mirrors: [{ url: "https://${host}", anchors: [a] }] }`
      t.equal(await outcome(mirrored, forbidden), 'ANCHOR_FORBIDDEN', `a mirror at ${host}, ${forbidden}`)
    }
  t.equal(await outcome('{ host: hub.docker.io, anchors: [a] }'), 'used')
  t.equal(await outcome('{ host: "docker.io.example.net", anchors: [a] }'), 'used')
})

t.test('a system anchor reaches every host that its name constraints do not exclude', async (t) => {
  const table: readonly (readonly [pem: string, forbidden: string, reaches: boolean])[] = [
    [root, 'docker.io', true],
    [constrained('permitted;DNS:corp.net'), 'docker.io', false],
    [constrained('permitted;DNS:corp.net'), 'quay.corp.net', true],
    [constrained('excluded;DNS:docker.io'), 'docker.io', false],
    [constrained('excluded;DNS:docker.io'), 'quay.io', true],
    [constrained('permitted;IP:10.0.0.0/255.0.0.0'), 'docker.io', true],
    [constrained('permitted;IP:10.0.0.0/255.0.0.0'), '192.0.2.1:5000', false],
  ]
  for (const [pem, host, reaches] of table) {
    const files = (more: string) => ({
      'ca.pem': pem,
      'trust.yaml': `anchors: { a: { file: ca.pem } }\nregistries: []\npolicy: { forbidAnchorsFor: ["${host}"]${more} }`,
    })
    const { warnings = [] } = desiredOf(await loadFiles(fresh(), files('')))
    t.equal(warnings.length, reaches ? 1 : 0, host)
    const strict = await loadFiles(fresh(), files(', strict: true'))
    t.equal(strict.ok, !reaches)
    if (reaches)
      t.match(strict.problems, [
        { code: 'ANCHOR_FORBIDDEN', message: /trust\.yaml:1:\d+: anchors\.a enters the system store/ },
      ])
  }
})

t.test('without the target of the system store nothing reaches it', async (t) => {
  const files = {
    ...PEMS,
    'trust.yaml': 'registries: [{ host: a.net, ca: root.pem }]\ntargets: { systemTrust: { enabled: false } }',
  }
  t.same(desiredOf(await loadFiles(fresh(), files)).warnings, undefined)
})

t.test('policy.allowedAnchors holds what is not in it, whoever declares it', async (t) => {
  const first = desiredOf(
    await loadFiles(fresh(), { ...PEMS, 'trust.yaml': 'registries: [{ host: a.net, ca: root.pem }]' }),
  )
  const fingerprint = first.anchors[0]?.certificates[0]?.fingerprint ?? ''
  const spelled = fingerprint
    .slice(7)
    .toUpperCase()
    .replace(/..(?=.)/g, '$&:')
  const result = await loadFiles(fresh(), {
    ...PEMS,
    'trust.yaml': `registries: [{ host: a.net, ca: root.pem }]\npolicy: { allowedAnchors: ["sha256:${spelled}"] }`,
    'registries.d/t.yaml': 'registries: [{ host: b.net, ca: lab.pem }]',
  })
  t.match(
    desiredOf(result).anchors,
    [
      { name: 'root', certificates: [{ fingerprint }] },
      { name: 'lab', certificates: [], problems: [{ code: 'ANCHOR_FORBIDDEN', message: /policy\.allowedAnchors/ }] },
    ].toSorted((left, right) => (left.name < right.name ? -1 : 1)),
  )
})

t.test('policy.maxAnchors: fragments cannot push out what trust.yaml declares', async (t) => {
  const files = (most: number) => ({
    ...PEMS,
    'a.pem': root,
    'trust.yaml': `registries: [{ host: a.net, ca: root.pem }, { host: z.net, ca: a.pem }]\npolicy: { maxAnchors: ${most} }`,
    'registries.d/t.yaml': 'anchors: { x: { file: lab.pem } }\nregistries: [{ host: b.net }]',
  })
  t.same(wrongWith(await loadFiles(fresh(), files(3))), [])
  const two = await loadFiles(fresh(), files(2))
  t.match(wrongWith(two), [
    {
      code: 'ANCHOR_FORBIDDEN',
      message: /registries\.d\/t\.yaml:1:\d+: anchors\.x is the first of 1 anchors too many/,
    },
  ])
  t.same(
    desiredOf(two).registries.map(({ host }) => host),
    ['a.net', 'z.net'],
  )
  t.equal((await loadFiles(fresh(), files(1))).ok, false)
})

t.test('distrust names certificates by fingerprint or by file, and none that is an anchor of the node', async (t) => {
  const print = `sha256:${'AB:'.repeat(31)}AB`
  const good = await loadFiles(fresh(), {
    ...PEMS,
    'trust.yaml': `registries: []\ndistrust: [{ fingerprint: '${print}' }, { file: root.pem }, { file: gone.pem }]`,
  })
  t.match(desiredOf(good).distrust, {
    fingerprints: [`sha256:${'ab'.repeat(32)}`, /^sha256:[0-9a-f]{64}$/],
    problems: [
      { code: 'ANCHOR_MISSING', message: /distrust\[2\]\.file names gone\.pem.*what was distrusted before stays/ },
    ],
  })
  const refused = async (text: string) => wrongWith(await loadFiles(fresh(), { ...PEMS, 'trust.yaml': text }))
  t.match(await refused('registries: []\ndistrust: [{}]'), [
    { message: /exactly one of the keys fingerprint and file/ },
  ])
  t.match(await refused('registries: []\ndistrust: [{ fingerprint: abc }]'), [{ code: 'CONFIG_INVALID' }])
  t.match(await refused('anchors: { a: { file: root.pem } }\ndistrust: [{ file: root.pem }]'), [
    { code: 'CONFIG_CONFLICT', message: /which the anchor a puts into the system store/ },
  ])
  t.same(
    await refused('anchors: { a: { file: root.pem, scope: registries } }\ndistrust: [{ file: root.pem }]'),
    [],
    'but one that is for registries alone may be',
  )
  const fragment = { ...PEMS, 'trust.yaml': 'registries: []', 'registries.d/t.yaml': 'distrust: [{ file: lab.pem }]' }
  t.match(wrongWith(await loadFiles(fresh(), fragment)), [
    { code: 'CONFIG_INVALID', message: /may hold only anchors and/ },
  ])
})
