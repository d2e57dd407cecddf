import t from 'tap'
import { isManaged, parseHostsFile } from '../../../agent/containerd/hosts/hosts-toml.ts'
import { renderAskedHosts } from '../../../agent/containerd/hosts/mirrors.ts'

t.test('mirrors are tables in their order, the registry itself stands at the top', async (t) => {
  const text = renderAskedHosts({
    mirrors: [
      {
        url: 'https://mirror.lab:5001',
        ca: 'mirror-1.crt',
        capabilities: ['pull', 'resolve'],
        headers: { 'X-Cluster': 'blue', A: 'b' },
      },
      { url: 'https://second.lab/proxy/v2', overridePath: true },
    ],
    server: {
      url: 'https://harbor.example.net',
      ca: 'ca.crt',
      client: { certificate: 'client.cert', key: 'client.key' },
      headers: { 'X-Team': 'a' },
    },
    repeatServer: false,
  })
  t.equal(
    text.split('\n').slice(1).join('\n'),
    `server = "https://harbor.example.net"
ca = "ca.crt"
client = [["client.cert", "client.key"]]

[header]
X-Team = "a"

[host."https://mirror.lab:5001"]
  capabilities = ["pull", "resolve"]
  ca = "mirror-1.crt"

  [host."https://mirror.lab:5001".header]
  A = "b"
  X-Cluster = "blue"

[host."https://second.lab/proxy/v2"]
  override_path = true
`,
  )
  t.ok(isManaged(text))
  t.match(parseHostsFile(text), {
    ok: true,
    file: { hosts: [{ url: 'https://mirror.lab:5001' }, { overridePath: true }] },
  })
})

t.test('without any mirror an empty [host] table stands there, which older containerd asks for', async (t) => {
  const text = renderAskedHosts({
    mirrors: [],
    server: { url: 'https://h.example.net', skipVerify: true },
    repeatServer: false,
  })
  t.match(text, /\nskip_verify = true\n\n\[host\]\n$/)
})

t.test('for "*" there is no server: it is the host of the reference', async (t) => {
  const text = renderAskedHosts({ mirrors: [], server: { ca: 'ca.crt' }, repeatServer: true })
  t.notMatch(text, 'server')
  t.match(text, /\nca = "ca\.crt"\n\n\[host\]\n$/)
})

t.test('for Spegel the server is repeated as the last table', async (t) => {
  const text = renderAskedHosts({
    mirrors: [{ url: 'https://m.lab' }],
    server: { url: 'https://h.example.net', ca: 'ca.crt' },
    repeatServer: true,
  })
  t.match(parseHostsFile(text), {
    ok: true,
    file: { hosts: [{ url: 'https://m.lab' }, { url: 'https://h.example.net', ca: ['ca.crt'] }] },
  })
})

t.test('an address stands there once, whatever is declared: twice it would make the file worthless', async (t) => {
  const [one, own] = [{ url: 'https://m.lab', ca: 'm.crt' }, { url: 'https://h.example.net' }]
  const server = { url: 'https://h.example.net', ca: 'ca.crt' }
  for (const mirrors of [[one, { url: 'https://m.lab' }], [own], [own, one, own]])
    for (const repeatServer of [false, true]) {
      const parsed = parseHostsFile(renderAskedHosts({ mirrors, server, repeatServer }))
      const urls = parsed.ok ? parsed.file.hosts.map(({ url }) => url) : ['ignored']
      const expected = [...new Set([...mirrors.map(({ url }) => url), ...(repeatServer ? [server.url] : [])])]
      t.same(urls, expected)
    }
})

t.test('a value cannot break out of its place', async (t) => {
  const text = renderAskedHosts({
    mirrors: [{ url: 'https://m.lab', headers: { 'X-A': 'a"\n[host."https://evil"]' } }],
    server: { url: 'https://h.example.net' },
    repeatServer: false,
  })
  t.match(parseHostsFile(text), { ok: true, file: { hosts: [{ url: 'https://m.lab' }] } })
  const parsed = parseHostsFile(text)
  t.equal(parsed.ok && parsed.file.hosts.length, 1)
})

t.test('extra keys stand with the others of their endpoint, before its tables', async (t) => {
  const text = renderAskedHosts({
    mirrors: [{ url: 'https://m.lab', extra: { zeta: ['a', 'b'], dial_timeout: '5s' }, headers: { A: 'b' } }],
    server: { url: 'https://h.example.net', ca: 'ca.crt', extra: { dial_timeout: '1m', n: 3, b: true } },
    repeatServer: false,
  })
  t.match(text, '\nca = "ca.crt"\nb = true\ndial_timeout = "1m"\nn = 3\n')
  t.match(
    text,
    '[host."https://m.lab"]\n  dial_timeout = "5s"\n  zeta = ["a", "b"]\n\n  [host."https://m.lab".header]\n',
  )
  t.match(parseHostsFile(text, { version: { major: 2, minor: 1, patch: 0 } }), { ok: true })
})
