import { readFileSync } from 'node:fs'
import t from 'tap'
import { readContainerdRegistries } from '../../agent/config/foreign/containerd-registries.ts'
import { readK3sRegistries } from '../../agent/config/foreign/k3s-registries.ts'
import { checkRegistryHost } from '../../agent/config/reading/registry-host.ts'
import { desiredOf, type Files, loadFiles, told, wrongWith } from '../fixtures/config/fixture.ts'
import { clientPair } from '../fixtures/pki/client-pair.ts'
import { makeCa } from '../fixtures/scratch/sample.ts'

const [caA, caB] = [makeCa('Corp Root A'), makeCa('Corp Root B')]

async function registries(folder: string, files: Files, paths: readonly string[]) {
  const desired = desiredOf(await loadFiles(folder, files, paths))
  const held = new Map(
    desired.anchors.map(({ name, certificates }) => [name, certificates.map(({ fingerprint }) => fingerprint)]),
  )
  return desired.registries.map(({ host, anchors, mirrors }) => ({
    host,
    trusts: anchors.flatMap((name) => held.get(name) ?? []),
    ...(mirrors === undefined
      ? {}
      : { mirrors: mirrors.map(({ url, anchors: names }) => [url, ...names.flatMap((name) => held.get(name) ?? [])]) }),
  }))
}

t.test("OpenShift's additional CAs: one file for each host, a port after two dots", async (t) => {
  const files = {
    'cas/registry.example.net': caA.pem,
    'cas/harbor.example.net..5000': caB.pem,
    'cas/updateservice-registry': caA.pem,
  }
  t.same(await registries(t.testdir(), files, ['cas']), [
    { host: 'harbor.example.net:5000', trusts: [caB.fingerprint] },
    { host: 'registry.example.net', trusts: [caA.fingerprint] },
  ])
})

t.test('a tree as docker has it: all *.crt of a host', async (t) => {
  const files = {
    'certs.d/harbor.example.net:5000/ca.crt': caA.pem,
    'certs.d/harbor.example.net:5000/next.crt': caB.pem,
    'certs.d/harbor.example.net:5000/client.cert': 'x',
  }
  t.same(await registries(t.testdir(), files, ['certs.d']), [
    { host: 'harbor.example.net:5000', trusts: [caA.fingerprint, caB.fingerprint] },
  ])
})

t.test('it adds to trust.yaml, and a host in both is a conflict', async (t) => {
  const files = {
    'trust.yaml': 'registries: [{ host: a.example.net, ca: a.pem }]',
    'a.pem': caA.pem,
    'cas/b.example.net': caB.pem,
  }
  t.match(await registries(t.testdir(), files, ['.', 'cas']), [{ host: 'a.example.net' }, { host: 'b.example.net' }])
  const folder = t.testdir()
  const both = await loadFiles(folder, { ...files, 'cas/a.example.net': caB.pem }, ['.', 'cas'])
  t.match(told(wrongWith(both), folder), [/^CONFIG_CONFLICT cas:.*is already declared at trust\.yaml/])
})

t.test('a folder of CA files stays a folder of CA files', async (t) => {
  const files = {
    'trust.yaml': 'registries: [{ host: a.example.net, ca: corp-root.pem }]',
    'cas/corp-root.pem': caA.pem,
    'cas/other.example.net': 'no certificate',
  }
  t.same(await registries(t.testdir(), files, ['.', 'cas']), [{ host: 'a.example.net', trusts: [caA.fingerprint] }])
})

t.test('the registries.yaml of k3s and RKE2', async (t) => {
  const yaml = `mirrors:
  harbor.example.net:
    endpoint: ["https://mirror.example.net:5000", "https://harbor.example.net"]
  "docker.io":
    endpoint: [https://mirror.example.net:5000/v2]
configs:
  harbor.example.net: { tls: { ca_file: corp.pem }, auth: { username: u, password: hunter2 } }
  "mirror.example.net:5000": { tls: { ca_file: lab.pem } }
`
  const files = { 'registries.yaml': yaml, 'corp.pem': caA.pem, 'lab.pem': caB.pem }
  const mirrors = [['https://mirror.example.net:5000', caB.fingerprint]]
  t.same(await registries(t.testdir(), files, ['registries.yaml']), [
    { host: 'harbor.example.net', trusts: [caA.fingerprint], mirrors },
    { host: 'mirror.example.net:5000', trusts: [caB.fingerprint] },
    { host: 'docker.io', trusts: [], mirrors },
  ])
  t.notMatch(JSON.stringify(readK3sRegistries(yaml)), /hunter2/)
})

t.test('what k3s can do and containerd cannot is refused as a whole', async (t) => {
  const folder = t.testdir()
  const files = {
    'registries.yaml': 'mirrors: { docker.io: { endpoint: ["https://m.example.net"], rewrite: { "^a": b } } }',
  }
  const result = await loadFiles(folder, files, ['registries.yaml'])
  t.match(told(result.problems, folder), [
    /^CONFIG_NOT_SUPPORTED_YET registries\.yaml:1:62: mirrors\["docker\.io"\]\.rewrite has no counterpart/,
  ])
})

const CRI = 'plugins."io.containerd.grpc.v1.cri".registry'

t.test('the config.toml of another node, and blocks of it', async (t) => {
  const blocks = `[${CRI}.mirrors."docker.io"]
  endpoint = ["https://mirror.example.net:5000", "https://registry-1.docker.io"]
[${CRI}.configs."harbor.example.net".tls]
  ca_file = "corp.pem"
[${CRI}.configs."mirror.example.net:5000".tls]
  ca_file = "lab.pem"
[${CRI}.configs."harbor.example.net".auth]
  password = "hunter2"
`
  const root = `version = 2
root = "/data/containerd"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.9"
`
  const expected = [
    { host: 'docker.io', trusts: [], mirrors: [['https://mirror.example.net:5000', caB.fingerprint]] },
    { host: 'harbor.example.net', trusts: [caA.fingerprint] },
    { host: 'mirror.example.net:5000', trusts: [caB.fingerprint] },
  ]
  const version1 = `version = 1\n${blocks.replaceAll(CRI, 'plugins.cri.registry')}`
  const cas = { 'corp.pem': caA.pem, 'lab.pem': caB.pem }
  for (const [name, text] of Object.entries({
    'config.toml': root + blocks,
    'blocks.txt': blocks,
    'v1.toml': version1,
  }))
    t.same(await registries(t.testdir(), { ...cas, [name]: text }, [name]), expected, name)
  t.notMatch(JSON.stringify(await readContainerdRegistries(root + blocks, true)), /hunter2/)
})

t.test("what containerd's tables say beyond trust.yaml is refused as a whole, each key at its place", async (t) => {
  const refusals = async (text: string) => {
    const folder = t.testdir()
    return told((await loadFiles(folder, { 'config.toml': text }, ['config.toml'])).problems, folder)
  }
  const text = `imports = ["/etc/containerd/conf.d/*.toml"]
version = 2
[${CRI}]
  config_path = "/etc/containerd/certs.d"
  colour = 1
  headers.X-Team = ["a"]
[${CRI}.mirrors.docker.io]
  endpoint = ["https://m.example.net"]
[${CRI}.mirrors."h.example.net"]
  endpoint = ["https://m.example.net", "ftp://m.example.net", "https://u:hunter2@h.example.net"]
[${CRI}.configs."m.example.net".tls]
  insecure_skip_verify = true
  cert_file = "client.pem"
[${CRI}.configs."http.example.net".tls]
  ca_file = "corp.pem"
[${CRI}.mirrors."http.example.net"]
  endpoint = ["http://http.example.net"]
[plugins."io.containerd.cri.v1.images".registry.mirrors."a.example.net"]
  endpoint = []
`
  const all = await refusals(text)
  t.notMatch(all.join(), /hunter2/)
  t.match(all, [
    /^CONFIG_NOT_SUPPORTED_YET config\.toml:1:1: imports names other files/,
    /:4:3: registry\.config_path names folders with a hosts\.toml/,
    /:5:3: registry\.colour is not a key that containerd reads/,
    /:6:3: registry\.headers is for every registry/,
    /:7:1: registry\.mirrors\.docker\.io is not a key .* needs quotes, as in registry\.mirrors\."docker\.io"/,
    /:10:40: registry\.mirrors\."h\.example\.net"\.endpoint\[1\] is an address that cannot be used/,
    /:10:63: registry\.mirrors\."h\.example\.net"\.endpoint\[2\] must not hold a user or a password/,
    /:12:3: registry\.configs\."m\.example\.net"\.tls\.insecure_skip_verify is for m\.example\.net as a mirror/,
    /:13:3: registry\.configs\."m\.example\.net"\.tls\.cert_file is for m\.example\.net as a mirror/,
    /:13:3: registry\.configs\."m\.example\.net"\.tls\.cert_file needs key_file beside it/,
    /:14:1: registry\.configs\."http\.example\.net"\.tls has no use: http\.example\.net is asked over plain HTTP/,
    /:18:1: plugins\."io\.containerd\.cri\.v1\.images"\.registry is a table of version 3, but the file has version = 2/,
  ])
  t.equal(all.length, 12)
  const images = "plugins.'io.containerd.cri.v1.images'.registry"
  t.match(await refusals(`version = 3\n[${images}.configs.'h.example.net'.tls]\nca_file = 'a.pem'\n`), [
    /config\.toml:2:1: registry\.configs\."h\.example\.net"\.tls is not read by containerd 2/,
  ])
  t.match(await refusals('version = 2\n[plugins\n'), [/^CONFIG_INVALID config\.toml:\d+:\d+: the TOML cannot be read/])
  t.match(await refusals('version = 7\n'), [/config\.toml:1:1: version must be 1, 2, 3 or 4/])
  for (const version of ['1.6', '1.7', '2.1']) {
    const written = readFileSync(new URL(`../containerd/golden/default-${version}.toml`, import.meta.url), 'utf8')
    t.match(await refusals(written), [/^CONFIG_INVALID config\.toml:\d+:\d+: this config\.toml declares no registry/])
  }
})

t.test('insecure_skip_verify needs the policy here too', async (t) => {
  const folder = t.testdir()
  const files = { 'registries.yaml': 'configs: { h.example.net: { tls: { insecure_skip_verify: true } } }' }
  const result = await loadFiles(folder, files, ['registries.yaml'])
  t.match(told(result.problems, folder), [/tls\.insecure_skip_verify is true, which needs policy\.allowSkipVerify/])
})

t.test(
  'a bundle of trust-manager, a projected ClusterTrustBundle and a TKG value are anchors like any other',
  async (t) => {
    const twice = Buffer.from(Buffer.from(caB.pem).toString('base64')).toString('base64')
    const files = {
      'trust.yaml': 'registries: [{ host: a.example.net, ca: trust-bundle.pem }, { host: b.example.net, ca: tkg }]',
      'trust-bundle.pem': `# Corp\n${caA.pem}${caB.pem}`,
      tkg: twice,
    }
    t.same(await registries(t.testdir(), files, ['.']), [
      { host: 'a.example.net', trusts: [caA.fingerprint, caB.fingerprint] },
      { host: 'b.example.net', trusts: [caB.fingerprint] },
    ])
  },
)

t.test(
  'the folder of a mounted Secret of cert-manager is its ca.crt, that of a trust-manager target its only file',
  async (t) => {
    const folder = t.testdir()
    const files = {
      'trust.yaml': `anchors: { corp: { file: bundle } }
registries: [{ host: a.example.net, ca: harbor-tls }, { host: b.example.net, ca: harbor-tls }, { host: c.example.net, anchors: [corp] }]`,
      'harbor-tls/ca.crt': caA.pem,
      'harbor-tls/tls.crt': caB.pem,
      'harbor-tls/tls.key': 'never read',
      'bundle/trust-bundle.pem': caB.pem,
      'bundle/..data/trust-bundle.pem': caB.pem,
    }
    t.same(await registries(folder, files, ['.']), [
      { host: 'a.example.net', trusts: [caA.fingerprint] },
      { host: 'b.example.net', trusts: [caA.fingerprint] },
      { host: 'c.example.net', trusts: [caB.fingerprint] },
    ])
    const { anchors, sources } = desiredOf(await loadFiles(t.testdir(), files, ['.']))
    t.same(
      anchors.map(({ name }) => name),
      ['corp', 'harbor-tls'],
      'the name on the node is that of the Secret, not "ca"',
    )
    t.match(sources.join(' '), /harbor-tls\/ca\.crt/, 'the file itself is watched')
  },
)

t.test('the target of a Bundle with additionalFormats is the file that holds PEM', async (t) => {
  const target = {
    'bundle/trust-bundle.pem': caB.pem,
    'bundle/bundle.jks': 'never read',
    'bundle/bundle.p12': 'nor this',
  }
  const files = { 'trust.yaml': 'registries: [{ host: a.example.net, ca: bundle }]', ...target }
  t.same(await registries(t.testdir(), files, ['.']), [{ host: 'a.example.net', trusts: [caB.fingerprint] }])
  for (const more of ['bundle/other.pem', 'bundle/tls.key']) {
    const folder = t.testdir()
    const { problems } = await loadFiles(folder, { ...files, [more]: caA.pem }, ['.'])
    t.match(told(problems, folder), [/a folder without ca\.crt: name the file/], more)
  }
})

t.test('a Secret without ca.crt gives no anchor: tls.crt is the certificate of a server', async (t) => {
  for (const names of [['tls.crt'], ['tls.crt', 'tls.key'], ['a.pem', 'b.pem'], ['..data']]) {
    const folder = t.testdir()
    const secret = Object.fromEntries(names.map((name) => [`tls/${name}`, caA.pem]))
    const files = { 'trust.yaml': 'registries: [{ host: a.example.net, ca: tls }]', ...secret }
    const result = await loadFiles(folder, files, ['.'])
    t.match(
      told(result.problems, folder),
      [/registries\[0\]\.ca names tls, which is a folder without ca\.crt/],
      names.join(),
    )
  }
})

t.test('a fragment finds the folder of its own Secret alone', async (t) => {
  const own = {
    'trust.yaml': 'registries: []',
    'tls/ca.crt': caA.pem,
    'registries.d/team.yaml': 'registries: [{ host: a.example.net, ca: own }]',
    'registries.d/own/ca.crt': caB.pem,
  }
  t.same(await registries(t.testdir(), own, ['.']), [{ host: 'a.example.net', trusts: [caB.fingerprint] }])
  const folder = t.testdir()
  const others = { ...own, 'registries.d/team.yaml': 'registries: [{ host: a.example.net, ca: tls }]' }
  const result = await loadFiles(folder, others, ['.'])
  t.match(result.ok ? told(result.refused, folder) : [], [/ca names tls, which is tls: a fragment may only name files/])
})

t.test('an endpoint with a path stands in place of /v2, as k3s writes it', async (t) => {
  const mirrorsOf = async (endpoint: string) => {
    const files = { 'registries.yaml': `mirrors: { docker.io: { endpoint: ["${endpoint}"] } }` }
    const [registry] = desiredOf(await loadFiles(t.testdir(), files, ['registries.yaml'])).registries
    return registry?.mirrors?.map(({ url, overridePath }) => [url, overridePath])
  }
  t.same(await mirrorsOf('https://m.example.net'), [['https://m.example.net', false]])
  t.same(await mirrorsOf('https://m.example.net/'), [['https://m.example.net', false]])
  t.same(await mirrorsOf('https://m.example.net/v2'), [['https://m.example.net', false]])
  t.same(await mirrorsOf('m.example.net:5000'), [['https://m.example.net:5000', false]])
  t.same(await mirrorsOf('https://m.example.net/v2/proxy-docker'), [['https://m.example.net/v2/proxy-docker', true]])
  t.same(await mirrorsOf('https://m.example.net/x/v2'), [['https://m.example.net/x/v2', true]])
})

t.test('a mirror that is declared twice is refused by its place, and read once from k3s', async (t) => {
  const folder = t.testdir()
  const twice = 'registries: [{ host: a.net, mirrors: [{ url: "https://m.net/x" }, { url: "https://m.net/x/" }] }]'
  const refused = await loadFiles(folder, { 'trust.yaml': twice })
  t.match(told(refused.problems, folder), [
    /trust\.yaml:1:74: registries\[0\]\.mirrors\[1\]\.url names the same address/,
  ])
  const yaml = 'mirrors: { a.net: { endpoint: ["https://m.net/x", "https://m.net/x/", "https://a.net"] } }'
  const [registry] = desiredOf(
    await loadFiles(t.testdir(), { 'registries.yaml': yaml }, ['registries.yaml']),
  ).registries
  t.same(
    registry?.mirrors?.map(({ url }) => url),
    ['https://m.net/x'],
  )
})

t.test('a rewrite of k3s that puts a path before every name is the path of the mirror', async (t) => {
  const mirrorsOf = async (rewrite: string, endpoint = 'https://m.example.net') => {
    const files = { 'registries.yaml': `mirrors: { docker.io: { endpoint: ["${endpoint}"], rewrite: ${rewrite} } }` }
    const result = await loadFiles(t.testdir(), files, ['registries.yaml'])
    if (!result.ok) return result.problems.map(({ code }) => code).join()
    return result.desired.registries[0]?.mirrors?.map(({ url, overridePath }) => `${url} ${overridePath}`).join()
  }
  const table: readonly (readonly [string, string | undefined, string])[] = [
    ['{ "^(.*)$": "proxy-docker/$1" }', undefined, 'https://m.example.net/v2/proxy-docker true'],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the form of Go
    ['{ "(.*)": "a/b-c/${1}" }', undefined, 'https://m.example.net/v2/a/b-c true'],
    ['{ "^(.+)": "p/$1" }', 'https://m.example.net/v2', 'https://m.example.net/v2/p true'],
    ['{ "^(.*)": "p/$1" }', 'https://m.example.net/x/v2/', 'https://m.example.net/x/v2/p true'],
    ['{ "^(.*)": "p/$1" }', 'https://docker.io', 'https://registry-1.docker.io/v2/p true'],
    ['{}', undefined, 'https://m.example.net false'],
    // Everything else would ask for other names than k3s does.
    ['{ "^rancher/(.*)": "p/$1" }', undefined, 'CONFIG_NOT_SUPPORTED_YET'],
    ['{ "^(.*)": "p/$1/x" }', undefined, 'CONFIG_NOT_SUPPORTED_YET'],
    ['{ "^(.*)": "p/$2" }', undefined, 'CONFIG_NOT_SUPPORTED_YET'],
    ['{ "^(.*)": "p$1" }', undefined, 'CONFIG_NOT_SUPPORTED_YET'],
    ['{ "^(.*)": "$1" }', undefined, 'CONFIG_NOT_SUPPORTED_YET'],
    ['{ "^(.*)": "../p/$1" }', undefined, 'CONFIG_NOT_SUPPORTED_YET'],
    ['{ "^(.*)": "p/$1", "^a": "b" }', undefined, 'CONFIG_NOT_SUPPORTED_YET'],
    ['"p/$1"', undefined, 'CONFIG_NOT_SUPPORTED_YET'],
  ]
  for (const [rewrite, endpoint, expected] of table) t.equal(await mirrorsOf(rewrite, endpoint), expected, rewrite)
})

t.test(
  'what registries.yaml says of the host of a mirror is refused at its place where it has no counterpart',
  async (t) => {
    const folder = t.testdir()
    const yaml = `mirrors:
  docker.io:
    endpoint: ["https://m.example.net:5000"]
configs:
  "m.example.net:5000":
    tls:
      insecure_skip_verify: true
      cert_file: c.pem
      colour: red
  "https://h.example.net":
    tls: { ca_file: a.pem }
`
    const result = await loadFiles(folder, { 'registries.yaml': yaml }, ['registries.yaml'])
    t.match(told(result.problems, folder), [
      /registries\.yaml:7:7: configs\["m\.example\.net:5000"\]\.tls\.insecure_skip_verify is for m\.example\.net:5000 as a mirror/,
      /registries\.yaml:8:7: configs\["m\.example\.net:5000"\]\.tls\.cert_file needs key_file beside it/,
      /registries\.yaml:8:7: .*cert_file is for m\.example\.net:5000 as a mirror/,
      /registries\.yaml:9:7: .*colour is not a key that k3s reads/,
      /registries\.yaml:10:3: configs\["https:\/\/h\.example\.net"\] must be a host without a scheme/,
    ])
  },
)

t.test("problems found later have the place in the user's registries.yaml too", async (t) => {
  const folder = t.testdir()
  const yaml = 'configs:\n  a.example.net: {}\n  h.example.net:\n    tls:\n      ca_file: gone.pem\n'
  const result = await loadFiles(folder, { 'registries.yaml': yaml }, ['registries.yaml'])
  t.match(told(result.problems, folder), [/ANCHOR_MISSING registries\.yaml:5:7: /])
})

t.test("docker's client certificates are used, and one entry that is not does not hold up the others", async (t) => {
  const folder = t.testdir()
  const { certificate, key } = clientPair(t.testdir())
  const files = {
    'certs.d/harbor.example.net:5000/ca.crt': caA.pem,
    'certs.d/harbor.example.net:5000/client.cert': certificate,
    'certs.d/harbor.example.net:5000/client.key': key,
    'certs.d/harbor.example.net:5000/lonely.key': key,
    'certs.d/harbor.example.net:5000/notes.txt': 'x',
    'certs.d/harbor.example.net:5000/old.crt/ca.crt': caB.pem,
    'certs.d/mirror.example.net_5000_/ca.crt': caB.pem,
    'certs.d/Quay.example.net/ca.crt': caB.pem,
    'certs.d/README.md': 'x',
  }
  const result = await loadFiles(folder, files, ['certs.d'])
  const { registries: found } = desiredOf(result)
  t.same(
    found.map(({ host, clientCertificate }) => [host, clientCertificate?.certificate === certificate]),
    [
      ['harbor.example.net:5000', true],
      ['mirror.example.net:5000', false],
    ],
  )
  const words = told([...result.problems, ...('refused' in result ? (result.refused ?? []) : [])], folder).join('\n')
  for (const expected of [
    /lonely\.key: is not used: lonely\.cert is not beside it/,
    /old\.crt: is not used: it is a folder/,
    /notes\.txt: is not used: its name ends in none of \.crt/,
    /Quay\.example\.net: is not used: it must be in lower case/,
    /README\.md: is not used: it must be the name of a registry host/,
  ]) {
    t.match(words, expected)
  }
})

t.test('a host may hold "_" where image references allow it', async (t) => {
  for (const [host, isGood] of [
    ['my_registry.example.net', true],
    ['a__b.example.net', true],
    ['my_registry.example.net:5000', false],
    ['_x.example.net', false],
    ['a___b.example.net', false],
    ['my_registry', false],
  ] as const) {
    t.equal(checkRegistryHost(host) === undefined, isGood, host)
  }
})
