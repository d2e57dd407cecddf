// The sections of `layout: legacy`: what is set beside what others say, what is refused, and that everything can be
// taken out again.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type LegacyWish, planLegacy, withoutOwnLegacy } from '../../../agent/containerd/edit/legacy-layout.ts'

const configFile = '/etc/containerd/config.toml'
const folder = '/etc/containerd/registry-trust'
const TABLE = 'plugins."io.containerd.grpc.v1.cri".registry'
const V1 = 'plugins.cri.registry'
const HOST = 'harbor.example.net'

function wish(host: string, more: Partial<LegacyWish> = {}): LegacyWish {
  const ca = `${folder}/${host}/ca.crt`
  return { host, ca, client: undefined, isUnverified: false, holdsAll: () => false, ...more }
}

type Given = {
  readonly version?: string
  readonly original?: string | 'none'
  readonly imports?: readonly (readonly [path: string, text: string])[]
  readonly kept?: readonly string[]
}

async function plan(text: string | undefined, wishes: readonly LegacyWish[], given: Given = {}) {
  const { version = '1.7.24~ds1', original, imports = [], kept = [] } = given
  const result = await planLegacy({
    configFile,
    bytes: text === undefined ? undefined : Buffer.from(text),
    imports: imports.map(([path, content]) => ({ path, bytes: Buffer.from(content) })),
    containerdVersion: version,
    folder,
    original: original === undefined ? undefined : { bytes: original === 'none' ? undefined : Buffer.from(original) },
    wishes,
    kept,
  })
  if (result.kind === 'refused') return { text: `${result.problem.code} ${result.problem.message}`, problems: [] }
  return {
    text: result.bytes?.toString('utf8'),
    problems: result.problems.map(({ code, message }) => `${code} ${message}`),
    accepted: Object.fromEntries(result.accepted),
  }
}

const section = (host: string, table = TABLE) =>
  `[${table}.configs."${host}".tls]\n  ca_file = "${folder}/${host}/ca.crt"\n`

t.test('each declared registry gets a section, in the table that this containerd reads', async (t) => {
  for (const version of ['1.6.20~ds1', '1.7.24'])
    t.equal(
      (await plan('# ours\nversion = 2\n', [wish(HOST), wish('a.test:5000')], { version })).text,
      `# ours\nversion = 2\n\n${section('a.test:5000')}\n${section(HOST)}`,
    )
  t.equal((await plan('[plugins.cri]\n', [wish(HOST)])).text, `[plugins.cri]\n\n${section(HOST, V1)}`)
  t.equal((await plan('# nothing yet\n', [wish(HOST)])).text, `# nothing yet\nversion = 2\n\n${section(HOST)}`)
  t.match((await plan(undefined, [wish(HOST)])).text, `version = 2\n\n${section(HOST)}`)
  t.match((await plan('version = 2\n', [wish('docker.io')])).text, 'configs."registry-1.docker.io".tls')
})

t.test('a client certificate goes beside it', async (t) => {
  const client = { certificate: `${folder}/${HOST}/client.cert`, key: `${folder}/${HOST}/client.key` }
  t.equal(
    (await plan('version = 2\n', [wish(HOST, { client })])).text,
    `version = 2\n\n${section(HOST)}  cert_file = "${client.certificate}"\n  key_file = "${client.key}"\n`,
  )
})

t.test("containerd's own defaults: every other byte stays, and all comes back", async (t) => {
  for (const [version, file] of [
    ['1.6.20', 'default-1.6.toml'],
    ['1.7.24', 'default-1.7.toml'],
  ] as const) {
    const text = readFileSync(join(import.meta.dirname, '../golden', file), 'utf8')
    const { text: edited = '' } = await plan(text, [wish(HOST), wish('b.test')], { version })
    t.equal(edited, `${text}\n${section('b.test')}\n${section(HOST)}`)
    t.equal((await plan(edited, [], { version, original: text })).text, text)
  }
})

t.test('what is so already is no change, in whatever order it is declared', async (t) => {
  const { text = '' } = await plan('version = 2\n', [wish(HOST), wish('b.test')])
  for (const original of ['version = 2\n', undefined])
    t.equal(
      (await plan(text, [wish('b.test'), wish(HOST)], original === undefined ? {} : { original })).text,
      text,
      `original ${original}`,
    )
})

t.test('one registry leaves: as if it had never been there', async (t) => {
  const original = 'version = 2\n[plugins]\n'
  const { text: one } = await plan(original, [wish('b.test')])
  const { text: two = '' } = await plan(original, [wish(HOST), wish('b.test')])
  t.equal((await plan(two, [wish('b.test')], { original })).text, one)
  t.equal((await plan(two, [], { original })).text, original)
  const { text: made = '' } = await plan(undefined, [wish(HOST)])
  t.equal((await plan(made, [], { original: 'none' })).text, undefined, 'no file was there before')
})

t.test('what others changed meanwhile stays', async (t) => {
  const original = 'version = 2\n'
  const { text: first = '' } = await plan(original, [wish(HOST)])
  const theirs = `${first.replace('version = 2\n', 'version = 2\noom_score = -999\n')}[debug]\n  level = "debug"\n`
  const { text: two = '' } = await plan(theirs, [wish(HOST), wish('b.test')], { original })
  t.match(two, /oom_score = -999\n[\s\S]*level = "debug"\n[\s\S]*b\.test/)
  const { text: gone = '' } = await plan(two, [], { original })
  t.match(gone, /^version = 2\noom_score = -999\n\s*\[debug\]\n {2}level = "debug"\n\s*$/)
  t.match((await plan(theirs, [], {})).text, /oom_score/, 'also where the original is not known')
})

t.test('keys of others in the same section stay and come back', async (t) => {
  const original = `version = 2\n[${TABLE}.configs."${HOST}".auth]\n  username = "u"\n[${TABLE}.configs."${HOST}".tls]\n  insecure_skip_verify = true # for now\n`
  const { text = '' } = await plan(original, [wish(HOST)])
  t.match(text, 'insecure_skip_verify = false # for now', 'verified from now on')
  t.match(text, `ca_file = "${folder}/${HOST}/ca.crt"`)
  t.match(text, 'username = "u"')
  t.equal((await plan(text, [], { original })).text, original)
  const unverified = wish(HOST, { isUnverified: true })
  t.match((await plan(original, [unverified])).text, 'insecure_skip_verify = true # for now', 'else it works on')
  t.equal((await plan(text, [unverified], { original })).text, text, 'and what is verified once stays so')
  const edited = `${text}# a note\n`
  t.equal((await plan(edited, [], { original })).text, `${original}# a note\n`, 'by a surgical edit too')
})

t.test('a CA file of someone else is kept: enough where it holds what is declared, else said', async (t) => {
  const text = `version = 2\n[${TABLE}.configs."${HOST}".tls]\n  ca_file = "/etc/pki/theirs.pem"\n`
  const refused = await plan(text, [wish(HOST), wish('b.test')])
  t.equal(refused.text, `${text}\n${section('b.test')}`, 'the other registry is served')
  t.same(refused.problems, [
    `LEGACY_CA_FOREIGN ${configFile}: registry.configs."${HOST}".tls.ca_file names /etc/pki/theirs.pem, which is not the agent's; the trust anchors of ${HOST} were not written`,
  ])
  const enough = await plan(text, [wish(HOST, { holdsAll: (file) => file === '/etc/pki/theirs.pem' })])
  t.same(enough, { text, problems: [], accepted: { [HOST]: { usesOwnCa: false } } })
})

t.test('what is kept stays as it is', async (t) => {
  const original = 'version = 2\n'
  const { text = '' } = await plan(original, [wish(HOST), wish('b.test')])
  t.equal((await plan(text, [], { original, kept: [HOST, 'b.test'] })).text, text)
  t.equal((await plan(text, [wish('b.test')], { original, kept: [HOST] })).text, text)
  const three = (await plan(original, [wish('a.test'), wish(HOST), wish('b.test')])).text
  for (const kept of [[HOST], ['b.test']])
    t.equal(
      (
        await plan(
          text,
          [HOST, 'a.test', 'b.test'].filter((host) => !kept.includes(host)).map((host) => wish(host)),
          { original, kept },
        )
      ).text,
      three,
      'beside a new one too: the same bytes, whichever is kept',
    )
  t.equal((await plan(original, [], { kept: [HOST] })).text, original, 'and nothing is made of nothing')
})

t.test('refused where containerd would not read it, or not start', async (t) => {
  const table: readonly (readonly [text: string, given: Given, says: RegExp])[] = [
    [
      'version = 2\n',
      { version: 'v2.1.9' },
      /^LAYOUT_LEGACY_UNUSABLE .*containerd v2\.1\.9 does not read registry\.configs\.\*\.tls/,
    ],
    ['version = 2\n', { version: 'unknown' }, /^LAYOUT_LEGACY_UNUSABLE/],
    [
      `version = 2\n[${TABLE}]\n  config_path = "/etc/containerd/certs.d"\n`,
      {},
      /^LAYOUT_LEGACY_UNUSABLE .*config\.toml: sets config_path to "\/etc\/containerd\/certs\.d"/,
    ],
    [
      'version = 2\nimports = ["/x.toml"]\n',
      { imports: [['/x.toml', `version = 2\n[${TABLE}]\n  config_path = "/certs"\n`]] },
      /^LAYOUT_LEGACY_UNUSABLE \/x\.toml: sets config_path/,
    ],
    [
      'version = 2\nimports = ["/x.toml"]\n',
      { imports: [['/x.toml', '[plugins."io.containerd.grpc.v1.cri"]\n  sandbox_image = "p"\n']] },
      /^LAYOUT_LEGACY_UNUSABLE \/x\.toml: containerd 1\.7 replaces the whole CRI section/,
    ],
    ['version = 3\n', {}, /^CONTAINERD_CONFIG_UNSUPPORTED .*declares version 3/],
    [`[${TABLE}]\n`, {}, /^CONTAINERD_CONFIG_UNSUPPORTED .*ignores/],
    ['version = \n', {}, /^CONTAINERD_CONFIG_UNREADABLE .*:1:/],
  ]
  for (const [text, given, says] of table) t.match((await plan(text, [wish(HOST)], given)).text, says, text)
})

t.test('a section that cannot be read is a problem of that registry alone', async (t) => {
  const text = `version = 2\n[${TABLE}.configs."${HOST}"]\n  tls = "no table"\n`
  const { problems, accepted } = await plan(text, [wish(HOST), wish('b.test')])
  t.match(problems, [/^LAYOUT_LEGACY_UNUSABLE .*is not a table/])
  t.same(Object.keys(accepted ?? {}), ['b.test'])
  const twice = await plan('version = 2\n', [wish('docker.io'), wish('registry-1.docker.io')])
  t.match(twice.problems, [/another declared registry is asked at registry-1\.docker\.io/])
})

t.test('the sections can be taken out where a newer containerd does not read them any more', async (t) => {
  const { text = '' } = await plan('version = 2\n', [wish(HOST)])
  const v3 = text
    .replace('version = 2', 'version = 3')
    .replace('io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.images')
  for (const [now, left] of [
    [text, 'version = 2\n'],
    [v3, 'version = 3\n\n'],
  ] as const) {
    const original = { bytes: Buffer.from('version = 2\n') }
    const rest = await withoutOwnLegacy({ configFile, bytes: Buffer.from(now), folder, original })
    t.equal(rest?.toString('utf8'), left)
  }
})
