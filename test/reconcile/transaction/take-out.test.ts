// Whatever the agent and others write into one file, and in which order: what the agent wrote goes, what others wrote
// stays, or the file is left alone with the reason.
import fc from 'fast-check'
import t from 'tap'
import { editedText, editsOf, takeOut } from '../../../agent/reconcile/transaction/take-out.ts'
import { parseToml } from '../../../agent/text/toml.ts'

const CONFIG = '/etc/containerd/config.toml'
const BUNDLE = '/etc/ssl/certs/ca-certificates.crt'
const HOSTS = '/etc/containerd/certs.d/registry.example.net/hosts.toml'

const ORIGINAL = `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "pause:3.10" # keep
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = ""
`
const OURS = ORIGINAL.replace('config_path = ""', 'config_path = "/etc/containerd/certs.d"')

const HOSTS_TOML = `# Managed by registry-trust-agent
server = "https://registry.example.net"

[host."https://registry.example.net"]
  ca = "/etc/containerd/certs.d/registry.example.net/ca.crt"
`

t.test('config.toml that others edited while the agent had its line in it', async (t) => {
  const runtime = '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.kata]\n  runtime_type = "kata"\n'
  const cases: readonly (readonly [name: string, now: string, then: string])[] = [
    ['a table at the end', `${OURS}${runtime}`, `${ORIGINAL}${runtime}`],
    ['a table at the start', `${runtime}${OURS}`, `${runtime}${ORIGINAL}`],
    ['another value', OURS.replace('3.10', '3.9'), ORIGINAL.replace('3.10', '3.9')],
    [
      'a comment next to it',
      OURS.replace('  config_path', '  # ours\n  config_path'),
      ORIGINAL.replace('  config_path', '  # ours\n  config_path'),
    ],
    ['a key taken out', OURS.replace(/.*sandbox.*\n/, ''), ORIGINAL.replace(/.*sandbox.*\n/, '')],
  ]
  for (const [name, now, then] of cases)
    t.same(await takeOut({ path: CONFIG, before: ORIGINAL, after: OURS, now }), { kind: 'taken-out', text: then }, name)
})

t.test('config.toml that another tool wrote anew loses the key of the agent and no other', async (t) => {
  const now = `version=2
[plugins]
[plugins.'io.containerd.grpc.v1.cri']
sandbox_image='pause:3.10'
[plugins.'io.containerd.grpc.v1.cri'.registry]
config_path='/etc/containerd/certs.d'
[plugins.'io.containerd.grpc.v1.cri'.containerd]
snapshotter='zfs'
`
  const taken = await takeOut({ path: CONFIG, before: ORIGINAL, after: OURS, now })
  t.match(taken, { kind: 'taken-out', text: now.replace("'/etc/containerd/certs.d'", '""') })
})

t.test('what cannot be separated is left alone, with the reason', async (t) => {
  const left = async (now: string, path = CONFIG) => takeOut({ path, before: ORIGINAL, after: OURS, now })
  t.match(await left(OURS.replace('certs.d', 'mine.d')), { kind: 'kept', reason: /others changed .*config_path/ })
  t.match(await left(`${OURS}[[[ x\n`), { kind: 'kept', reason: /cannot be read as TOML/ })
  t.match(await left(`${OURS}#`, '/etc/ssl/certs/corp.pem'), { kind: 'kept', reason: /file of the agent/ })
  t.match(await left(ORIGINAL.replace('3.10', '3.9')), { kind: 'nothing-left' }, 'they took it back themselves')
})

t.test(
  'a hosts.toml of the agent that others added to keeps what they added, and goes when they added nothing',
  async (t) => {
    const theirs = '\n[host."https://mirror.example.net"]\n  capabilities = ["pull"]\n'
    const made = { path: HOSTS, before: '', after: HOSTS_TOML }
    t.same(await takeOut({ ...made, now: `${HOSTS_TOML}${theirs}` }), { kind: 'taken-out', text: theirs })
    const blank = HOSTS_TOML.replace('[host', '\n[host')
    t.same(
      await takeOut({ ...made, now: blank }),
      { kind: 'taken-out', text: undefined },
      'an empty line is no addition',
    )
    const noted = `# asked for in ticket 7\n${HOSTS_TOML}`
    t.same(await takeOut({ ...made, now: noted }), { kind: 'taken-out', text: '# asked for in ticket 7\n' })
    const inside = await takeOut({ ...made, now: `${HOSTS_TOML}  skip_verify = true\n` })
    t.match(inside, { kind: 'taken-out', text: /\[host."https:\/\/registry.example.net"\]\n {2}skip_verify = true\n$/ })
    t.notMatch(inside, { text: /ca.crt|server =/ })
  },
)

t.test('a bundle keeps every certificate of others, whatever its order is now', async (t) => {
  const certificate = fc.integer({ min: 0, max: 30 }).map((number) => pem(number))
  const bundle = fc.uniqueArray(certificate, { maxLength: 12 })
  let takenOut = 0
  await fc.assert(
    fc.asyncProperty(bundle, bundle, bundle, fc.infiniteStream(fc.nat()), async (others, ours, later, order) => {
      const before = others.join('')
      const own = ours.filter((one) => !others.includes(one))
      const added = later.filter((one) => !others.includes(one) && !own.includes(one))
      const all = [...others, ...own, ...added]
      const now = all.map((one) => ({ one, at: order.next().value })).sort((a, b) => a.at - b.at)
      const taken = await takeOut({
        path: BUNDLE,
        before,
        after: [...others, ...own].join(''),
        now: now.map(({ one }) => one).join(''),
      })
      if (own.length === 0) return taken.kind === 'nothing-left'
      if (taken.kind !== 'taken-out') return false
      takenOut += 1
      const left = (taken.text ?? '').match(/-----BEGIN[\s\S]*?-----END CERTIFICATE-----\n/g) ?? []
      return [...left].sort().join('') === [...others, ...added].sort().join('')
    }),
  )
  t.ok(takenOut > 50, `${takenOut} were taken out of`)
})

t.test(
  'keys of a TOML file: each is as before where the agent changed it, and as others left it everywhere else',
  async (t) => {
    const table = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd', 'e'), fc.constantFrom('1', '2', '3'), {
      noNullPrototype: true,
    })
    let merged = 0
    await fc.assert(
      fc.asyncProperty(table, table, table, async (before, after, now) => {
        const versions = { before: toml(before), after: toml(after), now: toml(now) }
        const taken = await takeOut({ path: CONFIG, ...versions })
        const keys = ['a', 'b', 'c', 'd', 'e']
        const touched = keys.filter((key) => before[key] !== after[key] && now[key] !== before[key])
        const isConflict = touched.some((key) => now[key] !== after[key])
        if (isConflict) return taken.kind === 'kept'
        const wanted = Object.fromEntries(
          keys.flatMap((key) => {
            const value = touched.includes(key) ? before[key] : now[key]
            return value === undefined ? [] : [[key, value]]
          }),
        )
        if (touched.length === 0) return taken.kind === 'nothing-left'
        if (taken.kind !== 'taken-out') return false
        merged += 1
        return toml(parseToml(taken.text ?? '', { path: '', code: 'INTERNAL' })) === toml(wanted)
      }),
      { numRuns: 500 },
    )
    t.ok(merged > 20, `${merged} were merged`)
  },
)

t.test('the journal keeps how a file was edited, not what was in it', async (t) => {
  const long = Array.from({ length: 150 }, (_, number) => pem(number)).join('')
  const edits = editsOf(long, `${long}${pem(999)}`)
  t.same(edits, [{ start: 150, end: 150, lines: [pem(999)] }])
  t.equal(editedText(long, edits ?? []), `${long}${pem(999)}`)
  t.equal(editedText('short', edits ?? []), undefined, 'edits of another text')
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom('a\n', 'b\n', 'c')),
      fc.array(fc.constantFrom('a\n', 'b\n', 'c')),
      async (one, other) => {
        const [from, to] = [one.join(''), other.join('')]
        return editedText(from, editsOf(from, to) ?? []) === to
      },
    ),
  )
})

function pem(number: number): string {
  return `-----BEGIN CERTIFICATE-----\n${Buffer.from(`certificate ${number}`).toString('base64')}\n-----END CERTIFICATE-----\n`
}

/** Sorted: two tables that say the same are the same text. */
function toml(table: { readonly [key: string]: unknown }): string {
  return Object.keys(table)
    .sort()
    .map((key) => `${key} = ${JSON.stringify(table[key])}\n`)
    .join('')
}
