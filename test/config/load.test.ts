import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { loadDesiredState } from '../../agent/config/load.ts'
import { TRUST_SCHEMA } from '../../agent/config/schema/schema.ts'
import { trustOf } from '../../agent/model/desired-state.ts'
import type { InputFiles } from '../../agent/model/ports.ts'
import { inputFiles } from '../../agent/node/files/input-files.ts'
import { desiredOf, emptyFolders, type Files, loadFiles, NOW, told, wrongWith } from '../fixtures/config/fixture.ts'
import { createKey, createRoot } from '../fixtures/pki/openssl.ts'

const certificates = t.testdir()
const key = createKey(certificates)
const root = createRoot(certificates, key, '/O=Corp/CN=Corp Root')
const lab = createRoot(certificates, key, '/CN=Lab')

const fresh = emptyFolders(certificates)

const SMALL = 'registries:\n  - host: harbor.example.net\n    ca: corp-root.pem\n'

t.test('the smallest useful file gives one registry, one anchor and every default', async (t) => {
  const folder = fresh()
  const result = await loadFiles(folder, { 'trust.yaml': SMALL, 'corp-root.pem': root })
  t.same(result.problems, [])
  const desired = desiredOf(result)
  t.match(desired, {
    mode: 'enforce',
    generation: /^[0-9a-f]{12}$/,
    sources: [`${folder}/trust.yaml`, `${folder}/corp-root.pem`],
    anchors: [{ name: 'corp-root', source: `${folder}/corp-root.pem`, problems: [], certificates: [{ pem: root }] }],
    registries: [
      {
        host: 'harbor.example.net',
        anchors: ['corp-root'],
        proof: { level: 'manifest', everyMs: 600_000 },
        source: `${folder}/trust.yaml:2:5`,
      },
    ],
    targets: {
      systemTrust: { enabled: 'auto', fileName: '{name}.pem' },
      containerd: { enabled: 'auto', layout: 'auto' },
      docker: { enabled: 'auto' },
      containers: { enabled: 'auto' },
    },
    restart: { strategy: 'auto', unit: 'auto', maxPerHour: 3, backoffMinMs: 60_000, backoffMaxMs: 1_800_000 },
    policy: {
      allowSkipVerify: false,
      allowPlainHttp: false,
      allowWildcard: false,
      forbidAnchorsFor: ['docker.io'],
      minRsaBits: 2048,
    },
    drift: { resyncMs: 300_000, heal: true, stopAfterFights: 5 },
  })
  t.notOk('image' in (desired.registries[0]?.proof ?? {}))
})

t.test('everything that is declared arrives in the desired state', async (t) => {
  const folder = fresh()
  const yaml = `
mode: audit
anchors:
  corp-root: { file: corp-root.pem }
  inline:
    pem: |
${lab.replace(/^/gm, '      ')}
registries:
  - host: harbor.example.net
    anchors: [corp-root, inline]
    proof: { image: harbor.example.net/library/pause:3.10, level: pull, every: 1h30m }
  - host: plain.example.net:8443
targets:
  systemTrust: { enabled: false, fileName: "tkg-{name}.pem" }
  containerd: { enabled: true, layout: hosts }
restart: { strategy: signal, unit: k3s.service, budget: { maxPerHour: 0, backoff: { min: 5s } } }
policy: { forbidAnchorsFor: [], minRsaBits: 3072, allowSkipVerify: true }
drift: { resync: 90s, heal: false, stopAfterFights: 1 }
log: { level: debug }
`
  const desired = desiredOf(await loadFiles(folder, { 'trust.yaml': yaml, 'corp-root.pem': root }))
  t.match(desired, {
    mode: 'audit',
    anchors: [{ name: 'corp-root' }, { name: 'inline', source: `${folder}/trust.yaml:6:10 (inline)` }],
    registries: [
      {
        anchors: ['corp-root', 'inline'],
        proof: { image: 'harbor.example.net/library/pause:3.10', level: 'pull', everyMs: 5_400_000 },
      },
      { host: 'plain.example.net:8443', anchors: [] },
    ],
    targets: {
      systemTrust: { enabled: 'off', fileName: 'tkg-{name}.pem' },
      containerd: { enabled: 'on', layout: 'hosts' },
    },
    restart: { strategy: 'signal', unit: 'k3s.service', maxPerHour: 0, backoffMinMs: 5000, backoffMaxMs: 1_800_000 },
    policy: { forbidAnchorsFor: [], minRsaBits: 3072, allowSkipVerify: true },
    drift: { resyncMs: 90_000, heal: false, stopAfterFights: 1 },
    logLevel: 'debug',
  })
  const [harbor, plain] = desired.registries
  t.ok(harbor && plain)
  if (!harbor || !plain) return
  t.same(
    trustOf(harbor, desired).certificates.map((one) => one.pem),
    [root, lab],
  )
  t.same(trustOf(plain, desired), { certificates: [], held: false })
})

t.test('registries.d and further folders are merged; trust.yaml finds its files in each of the folders', async (t) => {
  const folder = fresh()
  const files: Files = {
    'main/trust.yaml': `${SMALL}restart: { strategy: never, unit: k3s.service }\n`,
    'main/registries.d/team-b.yaml': 'registries: [{ host: b.net, ca: lab.pem }]',
    'main/registries.d/team-a.yaml': 'registries: [{ host: a.net, anchors: [shared] }]',
    'main/registries.d/README.md': 'not read',
    'main/registries.d/.hidden.yaml': 'not read',
    'other/trust.yaml': 'anchors: { shared: { file: shared.pem } }',
    'other/shared.pem': root,
    'certs/corp-root.pem': root,
    'main/registries.d/lab.pem': lab,
  }
  const desired = desiredOf(await loadFiles(folder, files, ['main', 'other/trust.yaml', 'certs']))
  t.same(
    desired.registries.map(({ host, anchors }) => [host, ...anchors]),
    [
      ['harbor.example.net', 'corp-root'],
      ['a.net', 'shared'],
      ['b.net', 'lab'],
    ],
  )
  t.match(desired.restart, { strategy: 'never', unit: 'k3s.service' })
  t.same(
    desired.sources.map((source) => source.slice(folder.length + 1)),
    [
      'main/trust.yaml',
      'main/registries.d/team-a.yaml',
      'main/registries.d/team-b.yaml',
      'other/trust.yaml',
      'other/shared.pem',
      'certs/corp-root.pem',
      'main/registries.d/lab.pem',
    ],
  )
  t.ok(desired.anchors.every((anchor) => anchor.certificates.length === 1))
})

t.test('conflicts name both places', async (t) => {
  const table: readonly (readonly [Files, readonly string[]])[] = [
    [
      { 'a/trust.yaml': 'registries: [{ host: x.net }]', 'b/trust.yaml': '\nregistries: [{ host: x.net }]' },
      [
        'CONFIG_CONFLICT b/trust.yaml:2:22: registries[0].host declares "x.net" again: it is already declared at a/trust.yaml:1:22',
      ],
    ],
    [
      {
        'a/trust.yaml': `anchors: { c: { pem: ${JSON.stringify(root)} } }`,
        'b/trust.yaml': `anchors:\n  c: { pem: ${JSON.stringify(lab)} }`,
      },
      [
        'CONFIG_CONFLICT b/trust.yaml:2:3: anchors.c is another anchor than the one of the same name at a/trust.yaml:1:12',
      ],
    ],
    [
      { 'a/trust.yaml': 'registries: []\nmode: audit', 'b/trust.yaml': 'mode: enforce' },
      [
        'CONFIG_INVALID b/trust.yaml:1:1: mode belongs in the first trust.yaml: a fragment may hold only anchors and registries',
      ],
    ],
  ]
  for (const [files, expected] of table) {
    const folder = fresh()
    const result = await loadFiles(folder, files, ['a', 'b'])
    t.equal(result.ok, true)
    t.same(told(wrongWith(result), folder), expected)
  }
})

t.test('a file of registries.d cannot change the settings', async (t) => {
  const folder = fresh()
  const files = {
    'trust.yaml': 'registries: []',
    'registries.d/team.yaml': 'registries: []\npolicy: { forbidAnchorsFor: [] }',
  }
  const result = await loadFiles(folder, files)
  t.same(told(wrongWith(result), folder), [
    'CONFIG_INVALID registries.d/team.yaml:2:1: policy belongs in the first trust.yaml: a fragment may hold only anchors and registries',
  ])
})

t.test('no section but anchors and registries may stand in a file of registries.d', async (t) => {
  const sections = Object.keys(TRUST_SCHEMA.properties).filter((key) => key !== 'anchors' && key !== 'registries')
  t.ok(sections.length >= 7)
  for (const section of sections) {
    const files = {
      'trust.yaml': 'registries: []',
      'registries.d/team.yaml': `registries: []\n${section}: ${section === 'mode' ? 'audit' : '{}'}`,
    }
    const result = await loadFiles(fresh(), files)
    t.match(wrongWith(result), [{ message: /belongs in the first trust\.yaml/ }], section)
  }
})

t.test('what is missing is never taken for "nothing to trust"', async (t) => {
  const table: readonly (readonly [Files, readonly string[], readonly string[]])[] = [
    [{}, ['nowhere'], ['CONFIG_MISSING nowhere: there is no such file']],
    [{ 'x/y': '' }, ['x'], ['CONFIG_MISSING x: there is no trust.yaml']],
    [
      { 'x/trust.yml': SMALL },
      ['x'],
      ['CONFIG_MISSING x/trust.yaml: the file is not there, but trust.yml is: rename it'],
    ],
    [
      { 'x/registries.d/a.yaml': SMALL },
      ['x'],
      ['CONFIG_MISSING x/trust.yaml: the file is not there, only registries.d beside it'],
    ],
    [
      { 'trust.yaml': 'registries: []', 'registries.d/a.yml': SMALL },
      ['.'],
      ['CONFIG_INVALID registries.d/a.yml: the name must end in .yaml'],
    ],
    [{ 'trust.yaml/x': '' }, ['.'], ['CONFIG_INVALID trust.yaml: this is a folder where a file is expected']],
    [
      { 'trust.yaml': 'registries: []', 'registries.d/a.yaml': '' },
      ['.'],
      [
        'CONFIG_INVALID registries.d/a.yaml: the file is empty; the smallest useful content is "registries: [{ host: harbor.example.net, ca: corp-root.pem }]"',
      ],
    ],
  ]
  for (const [files, paths, expected] of table) {
    const folder = fresh()
    const result = await loadFiles(folder, files, paths)
    t.equal(result.ok, 'registries.d/a.yml' in files || 'registries.d/a.yaml' in files)
    t.same(told(wrongWith(result), folder), expected)
  }
  const folder = fresh()
  mkdirSync(join(folder, 'gone'))
  const optional = await loadFiles(folder, { 'trust.yaml': 'registries: []' }, ['.', 'gone'])
  t.same(told(optional.problems, folder), ['CONFIG_MISSING gone/trust.yaml: the folder is empty'])
  t.equal((await loadDesiredState({ paths: [], files: inputFiles({ freshMs: 0 }), now: NOW })).ok, false)
})

t.test('a path named twice is read once', async (t) => {
  const desired = desiredOf(
    await loadFiles(fresh(), { 'trust.yaml': SMALL, 'corp-root.pem': root }, ['.', './', 'trust.yaml']),
  )
  t.equal(desired.registries.length, 1)
})

t.test('reads a mounted ConfigMap, before and after kubelet swaps it', async (t) => {
  const folder = t.testdir({ '..2026_1': { 'trust.yaml': SMALL, 'corp-root.pem': root } })
  symlinkSync('..2026_1', join(folder, '..data'))
  for (const name of ['trust.yaml', 'corp-root.pem']) symlinkSync(`..data/${name}`, join(folder, name))
  const load = async () =>
    desiredOf(await loadDesiredState({ paths: [folder], files: inputFiles({ freshMs: 0 }), now: NOW }))
  const before = await load()
  mkdirSync(join(folder, '..2026_2'))
  writeFileSync(join(folder, '..2026_2/trust.yaml'), SMALL)
  writeFileSync(join(folder, '..2026_2/corp-root.pem'), lab)
  symlinkSync('..2026_2', join(folder, '..data_tmp'))
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
  const after = await load()
  t.equal(before.anchors[0]?.certificates[0]?.pem, root)
  t.equal(after.anchors[0]?.certificates[0]?.pem, lab)
  t.not(before.generation, after.generation)
})

t.test('a folder or file that cannot be read is an error, never an empty one', async (t) => {
  const real = inputFiles({ freshMs: 0 })
  const folder = fresh()
  await loadFiles(folder, { 'trust.yaml': SMALL, 'corp-root.pem': root })
  const failing = (part: string): InputFiles => ({
    read: async (path, options) =>
      path.endsWith(part) ? { kind: 'unreadable', reason: 'permission denied' } : real.read(path, options),
    list: async (path) => {
      if (path.endsWith(part)) throw new Error('input/output error')
      return real.list(path)
    },
  })
  const load = (part: string) => loadDesiredState({ paths: [folder], files: failing(part), now: NOW })
  t.same(told((await load('registries.d')).problems, folder), [
    'CONFIG_UNREADABLE registries.d: the folder cannot be read: input/output error',
  ])
  t.same(told((await load('trust.yaml')).problems, folder), [
    'CONFIG_UNREADABLE trust.yaml: the file cannot be read: permission denied',
  ])
  const anchor = await load('corp-root.pem')
  t.equal(anchor.ok, true)
  t.same(told(anchor.problems, folder), [
    'ANCHOR_UNREADABLE trust.yaml:3:9: registries[0].ca names corp-root.pem, which cannot be read: permission denied',
  ])
})

t.test('the generation depends on what is written, not on how it was declared', async (t) => {
  const generation = async (yaml: string, files: Files = { 'corp.pem': root, 'lab.pem': lab }) =>
    desiredOf(await loadFiles(fresh(), { 'trust.yaml': yaml, ...files })).generation
  const base = await generation(
    'anchors: { corp: { file: corp.pem }, lab: { file: lab.pem } }\nregistries: [{ host: a.b, anchors: [corp] }, { host: c.d }]',
  )
  const same: readonly string[] = [
    '# reordered\nregistries:\n- host: c.d\n- anchors: [corp]\n  host: a.b\nanchors: { lab: { file: lab.pem }, corp: { file: corp.pem } }',
    'mode: audit\nregistries: [{ host: a.b, ca: corp.pem, proof: { every: 1m } }, { host: c.d, ca: }]\nanchors: { lab: { file: lab.pem } }'.replace(
      ', ca: }',
      ' }',
    ),
    `anchors: { corp: { pem: ${JSON.stringify(root)} }, lab: { file: lab.pem } }\nregistries: [{ host: a.b, anchors: [corp] }, { host: c.d }]\ndrift: { heal: false }\nlog: { level: debug }`,
  ]
  for (const yaml of same) t.equal(await generation(yaml), base, yaml)
  const other: readonly string[] = [
    'anchors: { corp: { file: corp.pem }, lab: { file: lab.pem } }\nregistries: [{ host: a.b, anchors: [lab] }, { host: c.d }]',
    'anchors: { corp: { file: corp.pem }, lab: { file: lab.pem } }\nregistries: [{ host: a.b, anchors: [corp] }]',
    'anchors: { corp: { file: lab.pem }, lab: { file: lab.pem } }\nregistries: [{ host: a.b, anchors: [corp] }, { host: c.d }]',
    'anchors: { corp: { file: corp.pem }, lab: { file: lab.pem } }\nregistries: [{ host: a.b, anchors: [corp] }, { host: c.d }]\nrestart: { strategy: never }',
    'anchors: { corp: { file: corp.pem }, lab: { file: lab.pem } }\nregistries: [{ host: a.b, anchors: [corp] }, { host: c.d }]\ntargets: { docker: { enabled: false } }',
  ]
  const found = await Promise.all(other.map((yaml) => generation(yaml)))
  t.equal(new Set([base, ...found]).size, 6)
})

t.test('aliases of YAML work within their limits', async (t) => {
  const yaml = 'registries:\n  - { host: a.net, proof: &p { every: 1m } }\n  - { host: b.net, proof: *p }\n'
  t.same(
    desiredOf(await loadFiles(fresh(), { 'trust.yaml': yaml })).registries.map((registry) => registry.proof.everyMs),
    [60_000, 60_000],
  )
})

t.test('whatever the text, problems come back and nothing is thrown', async (t) => {
  const words = [
    'registries',
    'anchors',
    'host',
    'ca',
    'proof',
    'policy',
    'drift',
    ': ',
    '\n',
    '\n  ',
    '\n    - ',
    '- ',
    '{ ',
    ' }',
    '[',
    ']',
    ', ',
    '"',
    "'",
    '&a ',
    '*a ',
    '!!str ',
    '|\n',
    '>\n',
    '#',
    '\t',
    '---\n',
    '%',
    '@',
    '<<',
    '__proto__',
    'constructor',
    'null',
    '~',
    '0123',
    '1e999',
    'true',
    'harbor.example.net',
    '10m',
    '../x',
    'é',
    '\u0000',
    '\ud800',
    '? ',
  ] as const
  const leafValue = fc.oneof(fc.string(), fc.integer(), fc.constant(null), fc.boolean(), fc.double())
  const shape = fc.letrec((tie) => ({
    value: fc.oneof({ depthSize: 'small' }, leafValue, fc.array(tie('value'), { maxLength: 4 }), tie('map')),
    map: fc.dictionary(
      fc.oneof(
        fc.constantFrom(
          'registries',
          'anchors',
          'host',
          'ca',
          'proof',
          'image',
          'restart',
          'budget',
          'pem',
          'file',
          '__proto__',
        ),
        fc.string(),
      ),
      tie('value'),
      { maxKeys: 6 },
    ),
  })).map
  const text = fc.oneof(
    fc.array(fc.constantFrom(...words), { maxLength: 40 }).map((parts) => parts.join('')),
    fc.string({ unit: 'binary' }),
    shape.map((value) => JSON.stringify(value)),
    shape.map((value) => JSON.stringify({ registries: [value], anchors: { a: value }, policy: value })),
  )
  const real = inputFiles({ freshMs: 0 })
  const folder = fresh()
  await fc.assert(
    fc.asyncProperty(text, async (yaml) => {
      const files: InputFiles = {
        read: async (path, options) =>
          path.endsWith('trust.yaml') ? { kind: 'file', bytes: Buffer.from(yaml) } : real.read(path, options),
        list: real.list,
      }
      const result = await loadDesiredState({ paths: [join(folder, 'trust.yaml')], files, now: NOW })
      return (
        result.ok ||
        (result.problems.length > 0 && result.problems.every((problem) => !problem.message.includes('undefined')))
      )
    }),
    { numRuns: 200 },
  )
  t.pass('200 texts')
})
