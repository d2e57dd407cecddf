// registries.yaml with CA files of ours named and taken out again: whole text in, whole text out, and the properties
// that must hold for any.
import fc from 'fast-check'
import t from 'tap'
import { parse } from 'yaml'
import { editRegistries, type RegistriesEdit } from '../../../agent/targets/k3s/registries-yaml.ts'

const FOLDER = '/etc/rancher/k3s/registry-trust'
const HOST = 'harbor.example.net:5000'
const MARK = '# registry-trust-agent'

function edit(text: string, hosts: readonly string[], noDefaultEndpoint = false): RegistriesEdit {
  const caFiles = new Map(hosts.map((host) => [host, `${FOLDER}/${host}/ca.crt`]))
  return editRegistries(text, { caFiles, ownFolder: FOLDER, noDefaultEndpoint })
}

function edited(text: string, hosts: readonly string[]): string {
  const result = edit(text, hosts)
  if (!result.ok) throw new Error(result.reason)
  if (result.refused.size > 0) throw new Error(JSON.stringify([...result.refused]))
  return result.text
}

function ours(indent: number, ...lines: readonly string[]): string {
  return lines.map((line, index) => `${' '.repeat(indent + index * 2)}${line} ${MARK}\n`).join('')
}

const CA = `ca_file: "${FOLDER}/${HOST}/ca.crt"`
const CASES: readonly (readonly [name: string, before: string, after: string])[] = [
  ['a file that is not there yet', '', ours(0, 'configs:', `"${HOST}":`, 'tls:', CA)],
  ['comments alone', '# later\n', `# later\n${ours(0, 'configs:', `"${HOST}":`, 'tls:', CA)}`],
  [
    'mirrors alone',
    '---\nmirrors:\n  docker.io:\n    endpoint: ["https://m"]\n',
    `---\nmirrors:\n  docker.io:\n    endpoint: ["https://m"]\n${ours(0, 'configs:', `"${HOST}":`, 'tls:', CA)}`,
  ],
  [
    'other hosts, in their indentation',
    'configs:\n    # theirs\n    a.net:\n        auth: {password: "p # q"}\n',
    `configs:\n${ours(4, `"${HOST}":`, 'tls:', CA)}    # theirs\n    a.net:\n        auth: {password: "p # q"}\n`,
  ],
  [
    'a login for the host',
    `configs:\n  "${HOST}":\n    auth:\n      username: u\n      password: |\n        tls: # no\n`,
    `configs:\n  "${HOST}":\n${ours(4, 'tls:', CA)}    auth:\n      username: u\n      password: |\n        tls: # no\n`,
  ],
  [
    'a tls table without a CA',
    `configs:\n  ${HOST}:\n    tls: # client\n      cert_file: /c\n      key_file: /k\n`,
    `configs:\n  ${HOST}:\n    tls: # client\n${ours(6, CA)}      cert_file: /c\n      key_file: /k\n`,
  ],
  ['an empty table', 'configs:\nmirrors:\n', `configs:\n${ours(2, `"${HOST}":`, 'tls:', CA)}mirrors:\n`],
]

for (const [name, before, after] of CASES)
  t.test(`names the CA: ${name}`, async (t) => {
    t.equal(edited(before, [HOST]), after)
    t.equal(edited(after, [HOST]), after, 'a second time changes nothing')
    t.equal(edited(after, []), before, 'and it comes out again')
  })

t.test('line ends of Windows and a missing last one stay', async (t) => {
  const windows = 'configs:\r\n  a.net:\r\n    auth: {}\r\n'
  const after = edited(windows, [HOST])
  t.notMatch(after, /[^\r]\n/)
  t.equal(edited(after, []), windows)
  const unended = 'mirrors:\n  a.net: {}'
  t.equal(edited(edited(unended, [HOST]), []), unended)
})

t.test('what a person wrote below our keys stays with them', async (t) => {
  const mine = edited('', [HOST, 'a.net'])
  const theirs = mine.replace(
    /^ {4}tls:.*\n(?= {6}ca_file: "[^"]*a\.net)/m,
    (line) => `    auth: {username: u}\n${line}`,
  )
  const left = edited(theirs, [])
  t.same(parse(left), { configs: { 'a.net': { auth: { username: 'u' } } } })
})

t.test('a CA of someone else for the host stays, and is told', async (t) => {
  const text = `configs:\n  "${HOST}": {tls: {ca_file: /theirs.pem}}\n`
  const result = edit(text, [HOST])
  t.match(result, { ok: true, text, refused: new Map([[HOST, { kind: 'foreign', reason: /\/theirs\.pem/ }]]) })
})

const REFUSED: readonly (readonly [name: string, text: string, reason: RegExp])[] = [
  ['flow form', `configs: {}\n`, /block form/],
  ['JSON', `{"configs": {"${HOST}": {}}}`, /line of its own/],
  ['an alias', 'x: &a\n  b.net: {}\nconfigs: *a\n', /anchor or is an alias/],
  ['an anchor', 'configs: &a\n  b.net: {}\nx: *a\n', /anchor or is an alias/],
  ['a merge key', 'x: &a\n  b.net: {}\nconfigs:\n  <<: *a\n', /<</],
  ['a list', 'configs:\n  - a\n', /not a table/],
  ['null in words', 'configs: ~\n', /value already/],
]
for (const [name, text, reason] of REFUSED)
  t.test(`refuses ${name}, and changes nothing`, async (t) => {
    t.match(edit(text, [HOST]), { ok: true, text, refused: new Map([[HOST, { kind: 'unsupported', reason }]]) })
  })

t.test('what is no YAML is told by its place, without a word of it', async (t) => {
  const result = edit('configs:\n\tsecret: hunter2\n', [HOST])
  t.match(result, { ok: false, reason: /^line 2, column \d+: / })
  t.notMatch(JSON.stringify(result), /hunter2|secret/)
  t.match(edit('just text', [HOST]), { ok: false, reason: /no table/ })
  t.match(edit('configs:\n...\n', ['a']), { ok: true })
  t.match(edit('mirrors: {}\n...\n', ['a']), { ok: false, reason: /changing something else/ })
})

t.test('a host that is asked at its mirrors alone does not get its own address back', async (t) => {
  const text = 'mirrors:\n  a.net:\n    endpoint: ["https://m"]\n'
  t.match(edit(text, ['a.net'], true), { ok: true, text, refused: new Map([['a.net', { kind: 'unsupported' }]]) })
  t.match(edit(text, ['a.net'], false), { ok: true, refused: new Map() })
})

const name = fc.constantFrom('a.net', 'b.net:5000', '"c.net"', HOST)
const settings = fc.constantFrom(
  '',
  ' # none\n',
  '\n    auth: {username: u, password: "x: # y"}\n',
  '\n    auth:\n      password: p # q\n\n',
  '\n    # before\n    tls:\n      insecure_skip_verify: true\n',
  '\n    tls:\n      ca_file: /x.pem\n',
  '\n    tls: {}\n',
  ' {auth: {username: u}}\n',
)
const file = fc
  .tuple(
    fc.constantFrom('', '# head\n', '---\n', 'mirrors:\n  docker.io:\n    endpoint:\n    - https://m\n'),
    fc.uniqueArray(fc.tuple(name, settings), { selector: ([host]) => host.replaceAll('"', ''), maxLength: 4 }),
    fc.constantFrom('', '# end', 'x: 1\n', '\n\n'),
  )
  .map(([head, hosts, end]) => {
    const entries = hosts.map(([host, text]) => `  ${host}:${text.endsWith('\n') ? text : `${text}\n`}`)
    return `${head}${entries.length === 0 ? '' : `configs:\n${entries.join('')}`}${end}`
  })

t.test('for any file: nothing but our keys changes, and taking them out gives every byte back', async (t) => {
  const check = () =>
    fc.assert(
      fc.property(
        file,
        fc.uniqueArray(fc.constantFrom('a.net', 'b.net:5000', 'c.net', 'd.net', HOST)),
        (text, hosts) => {
          const result = edit(text, hosts)
          if (!result.ok) return fc.pre(false)
          const value = (parse(result.text) ?? {}) as {
            configs?: { [host: string]: { tls?: { ca_file?: string } } | null }
          }
          for (const host of hosts) {
            const path = value.configs?.[host]?.tls?.ca_file
            if (!result.refused.has(host) && path !== `${FOLDER}/${host}/ca.crt`)
              throw new Error(`${host} is not named`)
          }
          if (edited(result.text, []) !== text) throw new Error('bytes are lost')
          const others = result.text.split('\n').filter((line) => !line.endsWith(MARK))
          if (others.join('\n') !== text && text !== '') throw new Error('a line of others changed')
        },
      ),
      { numRuns: 300 },
    )
  t.doesNotThrow(check)
})
