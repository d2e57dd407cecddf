import t from 'tap'
import { withoutUnknown } from '../../agent/diagnose/support/known-keys.ts'
import { Redaction } from '../../agent/diagnose/support/redaction.ts'
import { parseToml } from '../../agent/text/toml.ts'

const SECRET = 'Hunter2Hunter2'
const hidden = (value: unknown) => {
  const redaction = new Redaction()
  return JSON.stringify(redaction.texts(redaction.tree(value)))
}
const toml = (text: string) => parseToml(text, { path: 'x.toml', code: 'CONTAINERD_CONFIG_UNREADABLE' })

t.test('a secret is taken out in every form that TOML has for a key and a value', async (t) => {
  const auth = 'plugins."io.containerd.grpc.v1.cri".registry.configs."r.example.net".auth'
  for (const text of [
    `[${auth}]\npassword = "${SECRET}"`,
    `${auth}.password = '${SECRET}'`,
    `${auth} = { username = "robot", password = "${SECRET}" }`,
    `[${auth}]\npassword = """\n${SECRET}\n"""`,
    `[${auth}]\n"pass\\u0077ord" = "${SECRET}"`,
    `[host."https://r.example.net".header]\n  authorization = [\n "Basic",\n "${SECRET}" ]`,
    `[host."https://r.example.net".header]\n  x-anything = "${SECRET}"`,
    `server = "https://robot:${SECRET}@r.example.net"`,
    `[[things]]\ntokens = [["${SECRET}"]]`,
  ])
    t.notMatch(hidden(toml(text)), SECRET, text)
})

t.test('a secret that was found once is taken out of every other text', async (t) => {
  const redaction = new Redaction()
  redaction.tree({ password: SECRET, passwordFile: 'registry-password' })
  t.equal(redaction.text(`containerd said ${SECRET}`), 'containerd said [redacted]')
  t.equal(redaction.text('the file registry-password'), 'the file registry-password', 'where it is is no secret')
})

t.test('numbers, dates and hosts with a telling name hide nothing that is no secret elsewhere', async (t) => {
  const redaction = new Redaction()
  const tree = redaction.tree({ 'token.example.net': { endpoint: 'https://mirror.example.net' }, pin: 1234, size: 12n })
  t.same(tree, { 'token.example.net': { endpoint: '[redacted]' }, pin: '[redacted]', size: 12 })
  t.equal(redaction.text('https://mirror.example.net'), 'https://mirror.example.net')
  t.equal(hidden({ password: '', isKnown: true, token: null }), '{"password":"","isKnown":true,"token":null}')
})

t.test('a value is a secret by what stands before it', async (t) => {
  for (const value of [
    { env: [{ name: 'REGISTRY_PASSWORD', value: SECRET }] },
    { args: ['login', '--password', SECRET] },
    { args: ['--identity-token', SECRET, '--other'] },
    { env: ['HTTPS_PROXY=http://proxy:3128', `REGISTRY_PASS=${SECRET}`] },
    { env: [`HTTPS_PROXY=http://robot:${SECRET}@proxy:3128`] },
  ])
    t.notMatch(hidden(value), SECRET, JSON.stringify(value))
  const plain = {
    env: [{ name: 'LOG_LEVEL', value: 'debug' }],
    args: ['--address', '/run/containerd.sock', 'token', 'x'],
  }
  t.same(JSON.parse(hidden(plain)), plain)
})

const TRUST = {
  anchors: { corp: { file: 'corp.pem' } },
  registries: [
    {
      host: 'harbor.example.net',
      anchors: ['corp'],
      mirrors: [{ url: 'https://mirror.example.net', capabilities: ['pull'] }],
      credentials: { usernameFile: 'user', passwordFile: 'password' },
    },
  ],
  restart: { strategy: 'signal' },
  targets: { containerd: { layout: 'auto' } },
}
const K3S = {
  mirrors: { 'docker.io': { endpoint: ['https://mirror.example.net'], rewrite: { '^(.*)': 'proxy/$1' } } },
  configs: { 'mirror.example.net': { auth: { username: 'robot' }, tls: { ca_file: '/etc/ca.pem' } } },
}

t.test('of a file of the configuration only what stands under known keys is shown', async (t) => {
  t.same(withoutUnknown(TRUST), TRUST)
  t.same(withoutUnknown(K3S), K3S)
  // Below rewrite each key is a pattern of the user's own, and its value a text.
  for (const whole of [TRUST, K3S])
    for (const place of tablesOf(whole).filter((steps) => steps.at(-1) !== 'rewrite')) {
      for (const value of [SECRET, [SECRET], { deeper: [{ still: SECRET }] }]) {
        const text = JSON.stringify(withoutUnknown(placed(whole, place, { 'some.thing': value })))
        t.notMatch(text, SECRET, `${place.join('.')}: ${JSON.stringify(value)}`)
        t.match(text, 'some.thing', 'the name of the key is told')
      }
    }
  const redaction = new Redaction()
  redaction.tree(withoutUnknown({ registries: [{ host: 'h', password: SECRET }] }))
  t.equal(redaction.text(`it said ${SECRET}`), 'it said [redacted]', 'what is taken out is remembered')
  for (const manifest of [
    { apiVersion: 'v1', kind: 'Secret', data: { '.dockerconfigjson': SECRET, ca: SECRET } },
    { apiVersion: 'v1', kind: 'List', items: [{ kind: 'Secret', stringData: { whatever: SECRET } }] },
    [{ stringData: { whatever: SECRET } }],
    SECRET,
  ])
    t.notMatch(hidden(withoutUnknown(manifest)), SECRET)
})

/** The steps to every table of a value, and to itself. */
function tablesOf(value: unknown, above: readonly string[] = []): readonly (readonly string[])[] {
  if (typeof value !== 'object' || value === null) return []
  const inside = Object.entries(value).flatMap(([key, item]) => tablesOf(item, [...above, key]))
  return Array.isArray(value) ? inside : [above, ...inside]
}

function placed(value: unknown, [first, ...rest]: readonly string[], more: object): unknown {
  if (first === undefined) return { ...(value as object), ...more }
  if (Array.isArray(value))
    return value.map((item, index) => (String(index) === first ? placed(item, rest, more) : item))
  return { ...(value as object), [first]: placed((value as { readonly [key: string]: unknown })[first], rest, more) }
}
