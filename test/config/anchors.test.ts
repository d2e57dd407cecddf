import t from 'tap'
import { trustOf } from '../../agent/model/desired-state.ts'
import { desiredOf, emptyFolders, type Files, loadFiles, NOW, told } from '../fixtures/config/fixture.ts'
import { createKey, createRoot, issue, readIn } from '../fixtures/pki/openssl.ts'

const certificates = t.testdir()
const key = createKey(certificates)
const root = createRoot(certificates, key, '/O=Corp/CN=Corp Root')
const lab = createRoot(certificates, key, '/CN=Lab')
const leaf = issue(certificates, key, root, '/CN=harbor.example.net', ['subjectAltName=DNS:harbor.example.net'])
const keyPem = readIn(certificates, key).toString('utf8')

const fresh = emptyFolders(certificates)

const SMALL = 'registries:\n  - host: harbor.example.net\n    ca: corp-root.pem\n'

t.test('a broken anchor file holds that anchor alone', async (t) => {
  const chain = `${root}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`
  const table: readonly (readonly [string, Files, readonly string[], number])[] = [
    ['missing', {}, ['ANCHOR_MISSING trust.yaml:4:9: registries[1].ca names lab.pem, which is not in .'], 0],
    [
      'misspelt',
      { 'lap.pem': lab },
      ['ANCHOR_MISSING trust.yaml:4:9: registries[1].ca names lab.pem, which is not in .; did you mean lap.pem?'],
      0,
    ],
    ['empty', { 'lab.pem': '' }, ['ANCHOR_EMPTY lab.pem: the input is empty'], 0],
    [
      'garbage',
      { 'lab.pem': 'hello' },
      [
        'ANCHOR_NOT_A_CERTIFICATE lab.pem: the input holds no certificate: neither PEM, DER nor base64 of one of them begins at byte 0',
      ],
      0,
    ],
    [
      'a key',
      { 'lab.pem': lab + keyPem },
      ['ANCHOR_PRIVATE_KEY lab.pem: the input holds a private key: nothing of it is used'],
      0,
    ],
    [
      'a folder',
      { 'lab.pem/x': '', 'lab.pem/y': '' },
      [
        'ANCHOR_UNREADABLE trust.yaml:4:9: registries[1].ca names lab.pem, which is a folder without ca.crt: name the file',
      ],
      0,
    ],
    [
      'too large',
      { 'lab.pem': Buffer.alloc(1024 * 1024 + 1) },
      ['ANCHOR_TOO_LARGE trust.yaml:4:9: registries[1].ca names lab.pem, which has 1048577 bytes'],
      0,
    ],
    [
      'half good',
      { 'lab.pem': chain },
      [`ANCHOR_NOT_A_CERTIFICATE lab.pem: block 2 (line ${root.split('\n').length}) is not an X.509 certificate`],
      1,
    ],
    [
      'a server certificate',
      { 'lab.pem': leaf },
      [
        'ANCHOR_NOT_A_CA lab.pem: block 1 (line 1) is the server certificate of harbor.example.net (subject CN=harbor.example.net), issued by CN=Corp Root, O=Corp: provide the certificate of CN=Corp Root, O=Corp',
      ],
      0,
    ],
  ]
  const yaml = 'registries:\n  - { host: good.net, ca: corp-root.pem }\n  - host: lab.net\n    ca: lab.pem\n'
  for (const [name, files, expected, usable] of table) {
    const folder = fresh()
    const result = await loadFiles(folder, { 'trust.yaml': yaml, 'corp-root.pem': root, ...files })
    const desired = desiredOf(result)
    const anchor = desired.anchors.find((one) => one.name === 'lab')
    t.same(told(result.problems, folder), expected, name)
    t.same(anchor?.problems, result.problems, name)
    t.equal(anchor?.certificates.length, usable, name)
    t.same(
      desired.registries.map((registry) => trustOf(registry, desired).held),
      [false, usable === 0],
      name,
    )
  }
})

t.test('an expired anchor is kept and reported', async (t) => {
  const result = await loadFiles(fresh(), { 'trust.yaml': SMALL, 'corp-root.pem': root }, ['.'], NOW + 40 * 86_400_000)
  t.equal(result.problems[0]?.code, 'ANCHOR_EXPIRED')
  t.equal(desiredOf(result).anchors[0]?.certificates.length, 1)
})

t.test('pins are compared whatever their spelling', async (t) => {
  const folder = fresh()
  const fingerprint =
    desiredOf(await loadFiles(folder, { 'trust.yaml': SMALL, 'corp-root.pem': root })).anchors[0]?.certificates[0]
      ?.fingerprint ?? ''
  const colons = `sha256:${(fingerprint.slice(7).match(/../g) ?? []).join(':').toUpperCase()}`
  for (const pin of [fingerprint, colons]) {
    const yaml = `anchors: { a: { file: both.pem, pins: ["${pin}"] } }`
    const result = await loadFiles(folder, { 'trust.yaml': yaml, 'both.pem': lab + root })
    t.same(
      result.problems.map((problem) => problem.code),
      ['ANCHOR_PIN_MISMATCH'],
    )
    t.same(
      desiredOf(result).anchors[0]?.certificates.map((one) => one.pem),
      [root],
    )
  }
})

t.test('one file used by several registries is one anchor', async (t) => {
  const yaml = `registries:
  - { host: a.net, ca: corp-root.pem }
  - { host: b.net, ca: ./corp-root.pem }
  - { host: c.net, anchors: [corp] }
  - { host: d.net, ca: lab.pem }
anchors: { corp: { file: corp-root.pem } }
`
  const desired = desiredOf(await loadFiles(fresh(), { 'trust.yaml': yaml, 'corp-root.pem': root, 'lab.pem': lab }))
  t.same(
    desired.anchors.map((anchor) => anchor.name),
    ['corp', 'lab'],
  )
  t.same(
    desired.registries.map((registry) => registry.anchors),
    [['corp'], ['corp'], ['corp'], ['lab']],
  )
})

t.test('names of unnamed anchors are safe file names, and do not depend on the order of registries', async (t) => {
  const files = {
    'lab.pem': lab,
    'lab.crt': root,
    'sub/lab.pem': root,
    '.hidden ca!.pem': lab,
    'Ümläut.pem': lab,
    '.pem': root,
  }
  const uses = ['lab.pem', 'lab.crt', 'sub/lab.pem', '.hidden ca!.pem', 'Ümläut.pem', '.pem']
  const names = async (order: readonly string[]) => {
    const lines = order.map((file) => `  - { host: h${uses.indexOf(file)}.net, ca: "${file}" }`)
    const yaml = `anchors: { lab-2: { pem: ${JSON.stringify(lab)} } }\nregistries:\n${lines.join('\n')}\n`
    const desired = desiredOf(await loadFiles(fresh(), { ...files, 'trust.yaml': yaml }))
    return Object.fromEntries(desired.registries.map(({ host, anchors }) => [host, anchors[0]]))
  }
  const found = await names(uses)
  t.same(found, {
    'h0.net': 'lab-3',
    'h1.net': 'lab',
    'h2.net': 'lab-4',
    'h3.net': 'hidden-ca-',
    'h4.net': 'ml-ut',
    'h5.net': 'pem',
  })
  t.same(await names(uses.toReversed()), found)
})

t.test('the file beside the one that names it wins over the same name elsewhere', async (t) => {
  const files = {
    'a/trust.yaml': SMALL,
    'a/corp-root.pem': root,
    'b/corp-root.pem': lab,
    'b/trust.yaml': 'registries: []',
  }
  for (const paths of [
    ['a', 'b'],
    ['b', 'a'],
  ]) {
    const desired = desiredOf(await loadFiles(fresh(), files, paths))
    t.equal(desired.anchors[0]?.certificates[0]?.pem, root)
  }
})

t.test('an absolute path is read as it is', async (t) => {
  const elsewhere = t.testdir({ 'corp.pem': root })
  const yaml = `registries: [{ host: a.net, ca: ${elsewhere}/corp.pem }]`
  const desired = desiredOf(await loadFiles(fresh(), { 'trust.yaml': yaml }))
  t.match(desired.anchors, [{ name: 'corp', source: `${elsewhere}/corp.pem`, certificates: [{ pem: root }] }])
})

t.test(
  'the same anchor declared twice is no conflict; one author does not fill in what another one lacks',
  async (t) => {
    const same = {
      'a/trust.yaml': `anchors: { c: { file: c.pem } }`,
      'b/trust.yaml': 'anchors: { c: { file: d.b64 } }',
    }
    const both = desiredOf(
      await loadFiles(fresh(), { ...same, 'a/c.pem': root, 'b/d.b64': Buffer.from(root).toString('base64') }, [
        'a',
        'b',
      ]),
    )
    t.equal(both.anchors.length, 1)
    const oneMissing = desiredOf(await loadFiles(fresh(), { ...same, 'b/d.b64': root }, ['a', 'b']))
    t.match(oneMissing.anchors, [{ name: 'c', certificates: [], problems: [{ code: 'ANCHOR_MISSING' }] }])
    const otherMissing = desiredOf(await loadFiles(fresh(), { ...same, 'a/c.pem': root }, ['a', 'b']))
    t.match(otherMissing.anchors, [
      { name: 'c', certificates: [{ pem: root }], problems: [{ code: 'ANCHOR_MISSING' }] },
    ])
  },
)
