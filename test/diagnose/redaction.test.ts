import t from 'tap'
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
