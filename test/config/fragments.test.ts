// Boundaries between the authors of one configuration: what a fragment may name and declare, and what a refused one
// holds up (nothing).
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { matchesHost } from '../../agent/config/declarations/fragment-rules.ts'
import { guardedLoad } from '../../agent/config/guarded-load.ts'
import { inputFiles } from '../../agent/node/files/input-files.ts'
import { readingThread } from '../../agent/node/threads/reading-thread.ts'
import { desiredOf, emptyFolders, type Files, loadFiles, told, wrongWith } from '../fixtures/config/fixture.ts'
import { createKey, createRoot } from '../fixtures/pki/openssl.ts'

const certificates = t.testdir()
const key = createKey(certificates)
const root = createRoot(certificates, key, '/O=Corp/CN=Corp Root')
const lab = createRoot(certificates, key, '/CN=Lab')

const fresh = emptyFolders(certificates)

const MAIN: Files = {
  'main/trust.yaml':
    'registries: [{ host: a.net, ca: a.pem, credentials: { usernameFile: user, passwordFile: password } }]',
  'main/a.pem': root,
  'main/user': 'a',
  'main/password': 'secret-of-a',
  'secrets/token': 'secret-token',
  'main/registries.d/own.pem': lab,
  'main/registries.d/own-password': 'b',
}
const PATHS = ['main', 'secrets']
const hostsOf = (result: Awaited<ReturnType<typeof loadFiles>>) => desiredOf(result).registries.map(({ host }) => host)

const LOGIN = (keys: string) => `registries: [{ host: b.net, credentials: { ${keys} } }]`
/** Ways to name what belongs to somebody else; FOLDER is the root of the case. */
const REACHING: readonly (readonly [what: string, fragment: string])[] = [
  ['a password in the folder of trust.yaml', LOGIN('usernameFile: own-password, passwordFile: password')],
  ['a user name there', LOGIN('usernameFile: user, passwordFile: own-password')],
  ['a token of another --config folder', LOGIN('tokenFile: token')],
  ['an absolute path', LOGIN('tokenFile: FOLDER/secrets/token')],
  ['an absolute path with detours', LOGIN('tokenFile: FOLDER/main/registries.d/.//../registries.d/./../password')],
  ['a folder of its own folder', LOGIN('tokenFile: team-a/password')],
  ['the folder that the kubelet swaps', LOGIN('tokenFile: ..data/password')],
  ['a link that leads out', LOGIN('dockerConfigFile: link')],
  ['a link to a link that leads out', LOGIN('dockerConfigFile: link-to-link')],
  ['a CA file of another folder', 'registries: [{ host: b.net, ca: a.pem }]'],
  ['an anchor of another folder', 'anchors: { x: { file: a.pem } }\nregistries: [{ host: b.net, anchors: [x] }]'],
  ['a store password of another folder', 'anchors: { x: { file: own.pem, passwordFile: password } }'],
  [
    'a client key of another folder',
    'registries: [{ host: b.net, clientCertificate: { certFile: own.pem, keyFile: password } }]',
  ],
]

for (const [what, fragment] of REACHING) {
  t.test(`a fragment that names ${what} is refused with its place, and holds up nothing else`, async (t) => {
    const folder = fresh()
    mkdirSync(join(folder, 'main/registries.d/team-a'), { recursive: true })
    writeFileSync(join(folder, 'main/registries.d/team-a/password'), 'secret')
    symlinkSync('../password', join(folder, 'main/registries.d/link'))
    symlinkSync('link', join(folder, 'main/registries.d/link-to-link'))
    const files = {
      ...MAIN,
      'main/registries.d/b.yaml': fragment.replaceAll('FOLDER', folder),
      'main/registries.d/c.yaml': 'registries: [{ host: c.net, ca: own.pem }]',
    }
    const result = await loadFiles(folder, files, PATHS)
    t.same(hostsOf(result), ['a.net', 'c.net'])
    const [problem] = told(wrongWith(result), folder)
    t.match(
      problem,
      /^(FRAGMENT_NOT_ALLOWED|CONFIG_INVALID) main\/registries\.d\/b\.yaml:\d+:\d+: \S+ (names|must not)/,
    )
    t.notMatch(problem, /secret-/)
  })
}

t.test('further --config folders are fragments too', async (t) => {
  const files = {
    ...MAIN,
    'other/trust.yaml': LOGIN('tokenFile: password'),
    'third/trust.yaml': LOGIN('tokenFile: mine'),
    'third/mine': 'x',
  }
  const folder = fresh()
  const result = await loadFiles(folder, files, ['main', 'other', 'third'])
  t.same(hostsOf(result), ['a.net', 'b.net'])
  t.match(told(wrongWith(result), folder), [
    /^FRAGMENT_NOT_ALLOWED other\/trust\.yaml:1:\d+: registries\[0\]\.credentials\.tokenFile names password, which is main\/password: a fragment may only name files in its own folder \(other\)$/,
  ])
})

t.test('its own files are found, whatever the kubelet puts them behind', async (t) => {
  const folder = fresh()
  const fragments = join(folder, 'main/registries.d')
  const data: Files = {
    'b.yaml': LOGIN('tokenFile: token'),
    token: 'x',
    'c.yaml': 'registries: [{ host: c.net, ca: own.pem }]',
    'own.pem': lab,
  }
  for (const [name, content] of Object.entries(data)) {
    const path = join(fragments, '..2026_1', name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, content)
    symlinkSync(`..data/${name}`, join(fragments, name))
  }
  symlinkSync('..2026_1', join(fragments, '..data'))
  const { 'main/registries.d/own.pem': _, 'main/registries.d/own-password': __, ...main } = MAIN
  const result = await loadFiles(folder, main, PATHS)
  t.same(wrongWith(result), [])
  t.same(hostsOf(result), ['a.net', 'b.net', 'c.net'])
  t.match(desiredOf(result).registries[1]?.credentials, {
    kind: 'token',
    tokenPath: `${fragments}/token`,
    within: fragments,
  })
})

t.test('a file that becomes a link after the look is not read', async (t) => {
  const folder = t.testdir({ own: { token: 'mine' }, other: { token: 'secret' } })
  const files = inputFiles({ freshMs: 0 })
  const options = { maxBytes: 100, within: join(folder, 'own') }
  t.match(await files.read(join(folder, 'own/token'), options), { kind: 'file' })
  symlinkSync('../other/token', join(folder, 'own/next'))
  renameSync(join(folder, 'own/next'), join(folder, 'own/token'))
  t.match(await files.read(join(folder, 'own/token'), options), { kind: 'unreadable', isOutside: true })
})

function daemonOf(folder: string) {
  const program = join(import.meta.dirname, '../../agent/main-reader.ts')
  return guardedLoad({
    paths: [folder],
    files: inputFiles({ freshMs: 0 }),
    clock: { now: Date.now, monotonic: () => performance.now() },
    thread: readingThread({ program }),
  })
}

t.test('a fragment that breaks keeps what it said when it was good; so does one that grows too large', async (t) => {
  const folder = fresh()
  const good = 'registries: [{ host: b.net, ca: own.pem }]'
  await loadFiles(folder, { ...MAIN, 'main/registries.d/b.yaml': good }, PATHS)
  const load = daemonOf(join(folder, 'main'))
  t.same(hostsOf(await load()), ['a.net', 'b.net'])
  const path = join(folder, 'main/registries.d/b.yaml')
  for (const broken of [
    'registries: [',
    'registries: [{ hots: b.net }]',
    `# ${'x'.repeat(1024 * 1024)}`,
    LOGIN('tokenFile: password'),
  ]) {
    writeFileSync(path, broken)
    // The rest goes on changing meanwhile.
    writeFileSync(join(folder, 'main/registries.d/c.yaml'), `registries: [{ host: c${broken.length}.net }]`)
    const result = await load()
    t.same(hostsOf(result), ['a.net', 'b.net', `c${broken.length}.net`])
    t.match(wrongWith(result)[0]?.message, 'registries.d/b.yaml')
  }
  writeFileSync(path, 'registries: [{ host: b2.net }]')
  t.ok(hostsOf(await load()).includes('b2.net'))
  rmSync(path)
  t.notOk(hostsOf(await load()).includes('b2.net'), 'a fragment that is gone is gone')
})

t.test('a new fragment cannot take a host or a name that another one has, whatever it is called', async (t) => {
  const folder = fresh()
  const files = {
    ...MAIN,
    'main/registries.d/b.yaml': `anchors: { b: { file: own.pem } }\nregistries: [{ host: b.net, anchors: [b] }]`,
  }
  await loadFiles(folder, files, PATHS)
  const load = daemonOf(join(folder, 'main'))
  await load()
  const taking = { host: 'registries: [{ host: b.net }]', anchor: `anchors: { b: { pem: ${JSON.stringify(root)} } }` }
  for (const [what, text] of Object.entries(taking)) {
    writeFileSync(join(folder, 'main/registries.d/a-first.yaml'), text)
    const result = await load()
    const { registries, anchors } = desiredOf(result)
    t.match(registries.find(({ host }) => host === 'b.net')?.anchors, ['b'], what)
    t.equal(anchors.find(({ name }) => name === 'b')?.certificates[0]?.pem, lab)
    t.match(wrongWith(result), [{ code: 'CONFIG_CONFLICT', message: /a-first\.yaml:1/ }])
  }
})

t.test('trust.yaml that names what a refused fragment declared is told with both places', async (t) => {
  const folder = fresh()
  const files = {
    'trust.yaml': 'registries: [{ host: a.net, anchors: [team] }]',
    'registries.d/b.yaml': 'anchors: { team: { file: own.pem }\n',
    'registries.d/own.pem': lab,
  }
  const result = await loadFiles(folder, files)
  t.equal(result.ok, false)
  t.match(told(result.problems, folder), [
    /^CONFIG_INVALID trust\.yaml:1:\d+: .*unknown anchor team/,
    /^CONFIG_INVALID registries\.d\/b\.yaml:/,
  ])
})

t.test('policy.fragments binds each fragment to its hosts and its anchors', async (t) => {
  const policy = `policy:
  allowWildcard: true
  fragments:
    b.yaml: { hosts: ["*.b.net", "c.net:5000"], anchors: none }
    "*": { hosts: ["any.net"] }
`
  const table: readonly (readonly [name: string, text: string, refused: RegExp | undefined])[] = [
    ['b.yaml', 'registries: [{ host: x.b.net }, { host: y.b.net:5000 }, { host: "c.net:5000" }]', undefined],
    [
      'b.yaml',
      'registries: [{ host: docker.io }]',
      /registries\[0\]\.host is docker\.io, and policy\.fragments\["b\.yaml"\]\.hosts allows \*\.b\.net, c\.net:5000/,
    ],
    ['b.yaml', 'registries: [{ host: b.net }]', /is b\.net/],
    ['b.yaml', 'registries: [{ host: xb.net }]', /is xb\.net/],
    ['b.yaml', 'registries: [{ host: c.net }]', /is c\.net/],
    ['b.yaml', 'registries: [{ host: "*" }]', /is \*/],
    [
      'b.yaml',
      'registries: [{ host: x.b.net, mirrors: [{ url: "https://evil.net" }] }]',
      /mirrors\[0\]\.url is evil\.net/,
    ],
    ['b.yaml', 'registries: [{ host: x.b.net, ca: own.pem }]', /names an anchor/],
    ['b.yaml', 'anchors: { x: { file: own.pem } }\nregistries: []', /declares the anchor x/],
    ['other.yaml', 'registries: [{ host: any.net, ca: own.pem }]', undefined],
    ['other.yaml', 'registries: [{ host: x.b.net }]', /policy\.fragments\["\*"\]\.hosts allows any\.net/],
  ]
  for (const [name, text, refused] of table) {
    const files = {
      'trust.yaml': `registries: [{ host: a.net }]\n${policy}`,
      [`registries.d/${name}`]: text,
      'registries.d/own.pem': lab,
    }
    const result = await loadFiles(fresh(), files)
    t.ok(result.ok)
    if (refused === undefined) t.same(wrongWith(result), [], text)
    else t.match(wrongWith(result), [{ code: 'FRAGMENT_NOT_ALLOWED', message: refused }], text)
    t.ok(hostsOf(result).includes('a.net'))
  }
  const bare = await loadFiles(fresh(), {
    'trust.yaml': 'registries: []\npolicy: { fragments: { b.yaml: {} } }',
    'registries.d/b.yaml': 'registries: [{ host: x.net }]',
  })
  t.match(wrongWith(bare), [{ message: /hosts allows no host/ }], 'an empty rule allows nothing')
})

t.test('what cannot be a fragment is named, and no name moves the cursor of a terminal', async (t) => {
  const folder = t.testdir()
  const files = { 'trust.yaml': 'registries: []', 'registries.d/B.YAML': 'registries: []' }
  const result = await loadFiles(folder, { ...files, 'registries.d/b\u001b[31m\nx.yaml': 'nope: 1' })
  t.match(told(wrongWith(result), folder), [
    /registries\.d\/B\.YAML: the name must end in \.yaml/,
    /registries\.d\/b\\u001b\[31m\\u000ax\.yaml:1:1: nope is an unknown key/,
  ])
  const file = t.testdir({ other: {} })
  const isFile = await loadFiles(join(file, 'other'), { 'trust.yaml': 'registries: []', 'registries.d': 'x' })
  t.match(told(wrongWith(isFile), join(file, 'other')), [/registries\.d: this is a file where a folder is expected/])
})

t.test('host patterns', async (t) => {
  const table: readonly (readonly [string, string, boolean])[] = [
    ['a.net', 'a.net', true],
    ['a.net', 'A.net:443', true],
    ['a.net:5000', 'a.net', false],
    ['a.net:5000', 'a.net:5000', true],
    ['*.a.net', 'x.a.net:1', true],
    ['*.a.net', 'x.y.a.net', true],
    ['*.a.net', '.a.net', false],
    ['*.a.net', 'a.net', false],
    ['*', '*', true],
    ['*.net', '*', false],
    ['[fd00::1]', '[fd00::1]:5000', true],
  ]
  for (const [pattern, host, expected] of table) t.equal(matchesHost(pattern, host), expected, `${pattern} ${host}`)
})
