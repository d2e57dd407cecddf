// registry.mirrors and registry.configs as host folders: whole files in, whole files out.
import t from 'tap'
import { planConfigPath } from '../../../agent/containerd/edit/config-path.ts'
import { legacyCaFiles } from '../../../agent/containerd/edit/migrate-legacy.ts'

const configFile = '/etc/containerd/config.toml'
const directory = '/etc/containerd/certs.d'
const R = 'plugins."io.containerd.grpc.v1.cri".registry'
const MOVED = `# Moved here from ${configFile} by registry-trust-agent. This file is yours: edit it as you like.\n`

type Facts = {
  readonly existingFolders?: readonly string[]
  readonly uselessCaFiles?: readonly string[]
  readonly anchorsFor?: readonly string[]
  readonly imports?: readonly (readonly [path: string, text: string])[]
}

async function migrate(version: string, text: string, facts: Facts = {}) {
  const plan = await planConfigPath({
    configFile,
    bytes: Buffer.from(text),
    imports: (facts.imports ?? []).map(([path, content]) => ({ path, bytes: Buffer.from(content) })),
    containerdVersion: version,
    directory,
    migrate: {
      existingFolders: facts.existingFolders ?? [],
      uselessCaFiles: facts.uselessCaFiles ?? [],
      isVerifiedByAnchors: (host) => facts.anchorsFor?.includes(host) === true,
    },
  })
  if (plan.kind === 'refused') return { refused: `${plan.problem.code} ${plan.problem.message}` }
  if (plan.kind !== 'edit') return { kind: plan.kind }
  const folders = plan.migration?.hostFolders ?? []
  return {
    config: plan.bytes.toString('utf8'),
    hosts: Object.fromEntries(
      folders.map(({ name, files }) => [name, files.map(({ bytes }) => bytes.toString('utf8')).join('')]),
    ),
    notes: (plan.migration?.notes ?? []).map(({ code, message }) => `${code} ${message}`),
    files: folders.flatMap(({ files }) => files.map(({ name, mode }) => `${name} ${mode.toString(8)}`)),
  }
}

const HARBOR = `version = 2

# the company's registry
[${R}]
  [${R}.mirrors]
    [${R}.mirrors."harbor.test"]
      endpoint = ["https://harbor.test"]
  [${R}.configs."harbor.test".tls]
    insecure_skip_verify = true
    ca_file = "/etc/ssl/harbor.pem"
  [${R}.configs."harbor.test".auth]
    username = "robot" # keep
    password = "hunter2"
[debug]
  level = "info"
`

t.test(
  'a private registry: mirrors and tls move, credentials and everything else stay, config_path is set in the same edit',
  async (t) => {
    t.same(await migrate('1.7.24', HARBOR), {
      config: `version = 2

# the company's registry
[${R}]
  config_path = "${directory}"
  [${R}.mirrors]
  [${R}.configs."harbor.test".auth]
    username = "robot" # keep
    password = "hunter2"
[debug]
  level = "info"
`,
      hosts: {
        'harbor.test': `${MOVED}server = "https://harbor.test"\nca = "/etc/ssl/harbor.pem"\nskip_verify = true\n\n[host]\n`,
      },
      files: ['hosts.toml 644'],
      notes: [
        `MIGRATION_INSECURE_KEPT ${directory}/harbor.test/hosts.toml: https://harbor.test is asked without verification, as insecure_skip_verify already said`,
      ],
    })
  },
)

t.test('where anchors verify the host, insecure_skip_verify becomes verification', async (t) => {
  const { hosts, notes } = await migrate('1.7.24', HARBOR, { anchorsFor: ['harbor.test'] })
  t.same(hosts, { 'harbor.test': `${MOVED}server = "https://harbor.test"\nca = "/etc/ssl/harbor.pem"\n\n[host]\n` })
  t.match(notes, [/^MIGRATION_NOTE .*harbor\.test is verified from now on/])
})

const mirrors = (...lines: readonly string[]) => `version = 2\n[${R}.mirrors]\n${lines.join('\n')}\n`
const mirror = (host: string, ...endpoints: readonly string[]) =>
  `[${R}.mirrors."${host}"]\nendpoint = ${JSON.stringify(endpoints)}`
const tls = (host: string, ...lines: readonly string[]) => `[${R}.configs."${host}".tls]\n${lines.join('\n')}`
const table = (url: string, ...lines: readonly string[]) =>
  ['', `[host."${url}"]`, '  capabilities = ["pull", "resolve"]', ...lines.map((line) => `  ${line}`), ''].join('\n')

t.test('endpoints are asked in their order, then the host itself, each with its own TLS settings', async (t) => {
  const text = mirrors(
    mirror('docker.io', 'https://one.test:5000', 'two.test/cache', 'http://three.test/v2/'),
    tls('one.test:5000', 'ca_file = "/one.pem"'),
    tls('two.test', 'cert_file = "/two.cert"', 'key_file = "two.key"'),
    tls('registry-1.docker.io', 'ca_file = "/hub.pem"'),
  )
  const { hosts } = await migrate('1.6.20', text)
  t.equal(
    hosts?.['docker.io'],
    `${MOVED}server = "https://registry-1.docker.io"\nca = "/hub.pem"\n` +
      table('https://one.test:5000', 'ca = "/one.pem"') +
      table('https://two.test/cache', 'client = [["/two.cert", "/two.key"]]', 'override_path = true') +
      table('http://three.test/v2/'),
  )
  t.same(Object.keys(hosts ?? {}), ['docker.io', 'one.test:5000', 'two.test', 'registry-1.docker.io'])
  t.equal(hosts?.['one.test:5000'], `${MOVED}server = "https://one.test:5000"\nca = "/one.pem"\n\n[host]\n`)
})

t.test(
  'a host that is one of its own endpoints is not asked once more; the last endpoint becomes the server',
  async (t) => {
    const { hosts } = await migrate(
      '1.7.24',
      mirrors(mirror('a.test', 'https://a.test', 'https://b.test', 'https://b.test')),
    )
    t.same(hosts, { 'a.test': `${MOVED}server = "https://b.test"\n${table('https://a.test')}` })
  },
)

t.test('plain HTTP stays plain HTTP, also where the address has no scheme and is local', async (t) => {
  const text = mirrors(mirror('lab.test:5000', 'http://lab.test:5000'), mirror('localhost:5000', 'localhost:5000'))
  t.same((await migrate('v2.1.9', text)).hosts, {
    'lab.test:5000': `${MOVED}server = "http://lab.test:5000"\n\n[host]\n`,
    'localhost:5000': `${MOVED}server = "http://localhost:5000"\n\n[host]\n`,
  })
})

t.test('the mirrors of all hosts become _default, and a host with TLS settings of its own keeps them', async (t) => {
  const text = mirrors(mirror('*', 'https://all.test'), mirror('alone.test'), tls('own.test', 'ca_file = "/own.pem"'))
  t.same((await migrate('1.7.24', text)).hosts, {
    _default: `${MOVED}${table('https://all.test')}`,
    'alone.test': `${MOVED}server = "https://alone.test"\n\n[host]\n`,
    'own.test': `${MOVED}server = "https://own.test"\nca = "/own.pem"\n${table('https://all.test')}`,
  })
})

t.test('TLS settings without mirrors get a folder; a mirror shared by two hosts gets them in both', async (t) => {
  const text = `${mirrors(mirror('a.test', 'https://m.test'), mirror('b.test', 'https://m.test'))}${tls('m.test', 'ca_file = "/m.pem"')}\n`
  const { hosts } = await migrate('1.7.24', text)
  for (const host of ['a.test', 'b.test'])
    t.equal(hosts?.[host], `${MOVED}server = "https://${host}"\n${table('https://m.test', 'ca = "/m.pem"')}`)
  t.match(hosts?.['m.test'], /^ca = "\/m\.pem"$/m)
})

t.test('2.x reads no TLS settings in config.toml: they are left there and named', async (t) => {
  const { config, hosts, notes } = await migrate('v2.1.9', HARBOR)
  t.match(config, /insecure_skip_verify = true/)
  t.same(hosts, { 'harbor.test': `${MOVED}server = "https://harbor.test"\n\n[host]\n` })
  t.match(notes, [/^MIGRATION_NOTE .*registry\.configs\."harbor\.test"\.tls is not read by containerd 2/])
})

t.test('a version 1, a version 3 and a mixed file are read where containerd reads them', async (t) => {
  const v1 = await migrate('1.6.20', '[plugins.cri.registry.mirrors."a.test"]\nendpoint = ["https://b.test"]\n')
  t.equal(v1.config, `\n[plugins.cri.registry]\n  config_path = "${directory}"\n`)
  const images = 'plugins."io.containerd.cri.v1.images".registry'
  const v3 = await migrate('v2.1.9', `version = 3\n[${images}.mirrors."a.test"]\nendpoint = ["https://b.test"]\n`)
  t.equal(v3.config, `version = 3\n\n[${images}]\n  config_path = "${directory}"\n`)
  const mixed = await migrate(
    'v2.1.9',
    `${mirrors(mirror('a.test', 'x.test'))}[${images}.mirrors."b.test"]\nendpoint = ["y.test"]\n`,
  )
  t.same(Object.keys(mixed.hosts ?? {}), ['a.test', 'b.test'])
  t.notMatch(mixed.config, /endpoint/)
})

t.test('inline tables and dotted keys move as well', async (t) => {
  const text = `version = 2\n[${R}]\nmirrors."a.test".endpoint = ["https://b.test"]\nconfigs = { "b.test" = { tls = { ca_file = "/b.pem" }, auth = { username = "u" } } }\n`
  const { config, hosts } = await migrate('1.7.24', text)
  t.equal(
    config,
    `version = 2\n[${R}]\nconfigs = { "b.test" = { auth = { username = "u" } } }\nconfig_path = "${directory}"\n`,
  )
  t.same(Object.keys(hosts ?? {}), ['a.test', 'b.test'])
})

t.test(
  'a config_path beside legacy sections, which stops the CRI plugin, is kept and the sections move there',
  async (t) => {
    const text = `version = 2\n[${R}]\n  config_path = "/certs:/more"\n${mirror('a.test', 'https://b.test')}\n`
    const plan = await migrate('1.7.24', text)
    t.equal(plan.config, `version = 2\n[${R}]\n  config_path = "/certs:/more"\n`)
    t.match((await migrate('v2.1.9', text)).refused, /is a list/)
  },
)

t.test('a CA file without a certificate is left out: in hosts.toml it would fail every pull', async (t) => {
  const text = mirrors(tls('a.test', 'ca_file = "/empty.pem"'))
  const { hosts, notes } = await migrate('1.7.24', text, { uselessCaFiles: ['/empty.pem'] })
  t.same(hosts, { 'a.test': `${MOVED}server = "https://a.test"\n\n[host]\n` })
  t.match(notes, [/^MIGRATION_NOTE .*\/empty\.pem holds no certificate/])
  const bytes = Buffer.from(text)
  t.same(legacyCaFiles(bytes, { path: configFile, containerdVersion: '1.7.24' }), ['/empty.pem'])
  t.same(legacyCaFiles(bytes, { path: configFile, containerdVersion: 'v2.1.9' }), [])
  t.same(legacyCaFiles(Buffer.from('['), { path: configFile, containerdVersion: '1.7.24' }), [])
})

t.test('what containerd reads past is named', async (t) => {
  const text = mirrors(
    `${mirror('a.test', 'https://b.test')}\nrewrite = { "^x" = "y" }`,
    mirror('https://c.test', 'https://d.test'),
    tls('https://e.test', 'insecure_skip_verify = true'),
    tls('f.test', 'cert_file = "/f.cert"'),
  )
  const { config, hosts, notes } = await migrate('1.7.24', text, { existingFolders: ['old.test'] })
  t.notMatch(config, /endpoint|tls/)
  t.same(Object.keys(hosts ?? {}), ['a.test', 'f.test'])
  t.match(notes, [
    /f\.test had only one of cert_file and key_file/,
    /registry\.mirrors\."a\.test"\.rewrite is not a setting of containerd/,
    /registry\.mirrors\."https:\/\/c\.test" is not the name of a registry host/,
    /registry\.configs\."https:\/\/e\.test"\.tls is not under the name of a registry host/,
    /certs\.d: "old\.test" was not read before and takes effect from now on/,
  ])
})

t.test('a user name or password in an address is not carried over, nor shown', async (t) => {
  const { hosts, notes } = await migrate('1.7.24', mirrors(mirror('a.test', 'https://u:hunter2@b.test/v2')))
  t.match(hosts?.['a.test'], /\[host\."https:\/\/b\.test\/v2"\]/)
  t.notMatch(JSON.stringify({ hosts, notes }), /hunter2/)
  t.notMatch((await migrate('1.7.24', mirrors(mirror('a.test', 'ftp://u:hunter2@b.test')))).refused, /hunter2/)
})

t.test('refuses what cannot be moved safely', async (t) => {
  const text = mirrors(mirror('a.test:5000', 'https://b.test'))
  const refused = async (plan: ReturnType<typeof migrate>) => (await plan).refused
  for (const existing of ['a.test:5000', 'a.test_5000_'])
    t.match(
      await refused(migrate('1.7.24', text, { existingFolders: [existing] })),
      /^LEGACY_REGISTRY_CONFIG \/etc\/containerd\/certs\.d\/a\.test:5000: already exists/,
    )
  t.match(
    await refused(migrate('1.7.24', mirrors(mirror('a.test', 'ftp://b.test')))),
    /endpoint \(number 1\) that is not an address/,
  )
  t.match(
    await refused(migrate('1.7.24', `version = 2\n[${R}.mirrors."a.test"]\nendpoint = "b"\n`)),
    /an endpoint that is not a list/,
  )
  t.match(
    await refused(migrate('1.7.24', `version = 2\n${tls('a.test', 'ca_file = 5')}\n`)),
    /tls\.ca_file is not a string/,
  )
  t.match(
    await refused(migrate('1.7.24', `version = 2\n${tls('a.test', 'insecure_skip_verify = "true"')}\n`)),
    /is not true or false/,
  )
  t.match(
    await refused(
      migrate('v2.1.9', 'version = 2\nimports = ["/etc/containerd/conf.d/m.toml"]\n', {
        imports: [['/etc/containerd/conf.d/m.toml', text]],
      }),
    ),
    /^LEGACY_REGISTRY_CONFIG registry\.mirrors \(\/etc\/containerd\/conf\.d\/m\.toml:2\): is in a file that/,
  )
})

t.test('without the option legacy sections are a refusal as before', async (t) => {
  const request = { configFile, bytes: Buffer.from(HARBOR), imports: [], containerdVersion: '1.7.24', directory }
  t.match(await planConfigPath(request), { kind: 'refused', problem: { code: 'LEGACY_REGISTRY_CONFIG' } })
})

t.test('a moved configuration is in force and there is nothing left to move', async (t) => {
  const { config = '' } = await migrate('1.7.24', HARBOR)
  t.same(await migrate('1.7.24', config), { kind: 'already-set' })
})
