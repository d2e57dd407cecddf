// The copy must keep what decides whether the CRI plugin loads and must not be able to reach the live daemon.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { rehearsalConfig } from '../../../agent/containerd/config/rehearsal.ts'
import { itemAt, parseToml, type TomlTable } from '../../../agent/text/toml.ts'

const SCRATCH = '/tmp/rt-1'
const CRI = 'plugins."io.containerd.grpc.v1.cri"'
const CRI_ID = 'io.containerd.grpc.v1.cri'
const IMAGES_ID = 'io.containerd.cri.v1.images'
const RUNTIME_ID = 'io.containerd.cri.v1.runtime'

type Options = {
  readonly version?: string
  readonly imports?: readonly (readonly [path: string, text: string])[]
  readonly unloadable?: readonly string[]
  readonly certsDirectory?: string | undefined
  readonly legacyFile?: (path: string) => string
}

async function rehearse(text: string | undefined, options: Options = {}) {
  const files = await rehearsalConfig(text === undefined ? undefined : Buffer.from(text), {
    containerdVersion: options.version ?? '1.7.24~ds1',
    configFile: '/etc/containerd/config.toml',
    imports: (options.imports ?? []).map(([path, content]) => ({ path, bytes: Buffer.from(content) })),
    unloadable: options.unloadable,
    scratch: SCRATCH,
    certsDirectory: 'certsDirectory' in options ? options.certsDirectory : `${SCRATCH}/certs.d`,
    ...(options.legacyFile === undefined ? {} : { legacyFile: options.legacyFile }),
  })
  return files.map(({ relativePath, bytes }) => ({ relativePath, text: bytes.toString('utf8') }))
}

async function rehearseMain(text: string | undefined, options: Options = {}): Promise<TomlTable> {
  const [main] = await rehearse(text, options)
  return parse(main?.text ?? '')
}

function parse(text: string): TomlTable {
  return parseToml(text, { path: 'copy', code: 'CONTAINERD_CONFIG_UNREADABLE' })
}

t.test('without a config file the copy has the defaults and the places of its own', async (t) => {
  t.strictSame(await rehearse(undefined), [
    {
      relativePath: 'config.toml',
      text: `version = 2
required_plugins = ["io.containerd.grpc.v1.cri"]
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]

[grpc]
  address = "/tmp/rt-1/c.sock"

[ttrpc]
  address = "/tmp/rt-1/c.sock.ttrpc"

[plugins."io.containerd.grpc.v1.cri".cni]
  conf_dir = "/tmp/rt-1/cni"

[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "/tmp/rt-1/certs.d"
`,
    },
  ])
})

t.test('a version 3 copy has its places where 2.x looks for them', async (t) => {
  const copy = await rehearseMain(undefined, { version: 'v2.1.9' })
  t.equal(itemAt(copy, ['version']), 3)
  t.equal(itemAt(copy, ['plugins', IMAGES_ID, 'registry', 'config_path']), `${SCRATCH}/certs.d`)
  t.equal(itemAt(copy, ['plugins', RUNTIME_ID, 'cni', 'conf_dir']), `${SCRATCH}/cni`)
  t.equal(itemAt(copy, ['plugins', CRI_ID, 'stream_server_port']), '0')
  t.strictSame(itemAt(copy, ['required_plugins']), [CRI_ID])
})

t.test('a version 1 copy names plugins as version 1 does', async (t) => {
  const copy = await rehearseMain('[plugins.cri]\nsandbox_image = "p:1"\n')
  t.strictSame(itemAt(copy, ['required_plugins']), ['cri'])
  t.strictSame(itemAt(copy, ['disabled_plugins']), ['nri', 'opt'])
  t.equal(itemAt(copy, ['plugins', 'cri', 'registry', 'config_path']), `${SCRATCH}/certs.d`)
  t.equal(itemAt(copy, ['plugins', 'cri', 'sandbox_image']), 'p:1')
})

t.test('a version 4 copy keeps the ttrpc socket of the live daemon out of reach', async (t) => {
  const copy = await rehearseMain(
    "version = 4\n[plugins.'io.containerd.server.v1.ttrpc']\naddress = '/run/live.ttrpc'\nuid = 5\n[plugins.'io.containerd.server.v1.debug']\naddress = '/run/live-debug.sock'\n[plugins.'io.containerd.server.v1.grpc']\naddress = '/run/live.sock'\ngid = 5\n",
    { version: '2.3.0' },
  )
  t.same(itemAt(copy, ['plugins', 'io.containerd.server.v1.ttrpc']), { address: `${SCRATCH}/c.sock.ttrpc` })
  t.same(itemAt(copy, ['plugins', 'io.containerd.server.v1.grpc']), { address: `${SCRATCH}/c.sock` })
  t.equal(itemAt(copy, ['plugins', 'io.containerd.server.v1.debug']), undefined)
})

const LIVE = `version = 2
root = "/live/root"
state = "/live/state"
temp = "/live/temp"
oom_score = -999
required_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.native"]
disabled_plugins = ["io.containerd.snapshotter.v1.zfs"]

[debug]
  address = "/live/debug.sock" # unlinked by a careless copy
  level = "info"
[metrics]
  address = "127.0.0.1:1338"
[grpc]
  address = "/live/containerd.sock"
  tcp_address = "127.0.0.1:1339"
  gid = 12345
  max_recv_message_size = 16777216
[ttrpc]
  address = "/live/ttrpc.sock"
  gid = 12345
[cgroup]
  path = "/live/cgroup"
[proxy_plugins.stargz]
  type = "snapshot"
  address = "/live/stargz.sock"
[timeouts]
  "io.containerd.timeout.shim.load" = "5s"

[${CRI}]
  stream_server_address = "0.0.0.0"
  stream_server_port = "10010"
  sandbox_image = "p:1"
  [${CRI}.cni]
    conf_dir = "/live/cni"
    bin_dir = "/opt/cni/bin"
  [${CRI}.containerd]
    snapshotter = "stargz"
    default_runtime_name = "kata"
    [${CRI}.containerd.runtimes.kata]
      runtime_type = "io.containerd.kata.v2"
      base_runtime_spec = "/etc/containerd/spec.json"
      cni_conf_dir = "/live/cni-kata"
      snapshotter = "devmapper"
    [${CRI}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      cni_conf_dir = ""
  [${CRI}.registry]
    config_path = "/etc/containerd/certs.d"
    [${CRI}.registry.configs."a.test".auth]
      username = "u"

[plugins."io.containerd.snapshotter.v1.devmapper"]
  pool_name = "live"
  root_path = "/live/dm"
[plugins."io.containerd.snapshotter.v1.overlayfs"]
  root_path = "/live/overlay"
  upperdir_label = true
[plugins."io.containerd.service.v1.tasks-service"]
  rdt_config_file = "/live/rdt.yaml"
  blockio_config_file = "/live/blockio.yaml"
[plugins."io.containerd.tracing.processor.v1.otlp"]
  endpoint = "http://live:4317"
[plugins."io.containerd.transfer.v1.local"]
  max_concurrent_downloads = 3
  [[plugins."io.containerd.transfer.v1.local".unpack_config]]
    snapshotter = "stargz"
`

t.test('nothing that the live daemon uses is left in the copy', async (t) => {
  const [main] = await rehearse(LIVE)
  const left = main?.text.split('\n').filter((line) => /live|1338|1339|10010|12345|-999|stargz/.test(line))
  t.strictSame(left, ['  blockio_config_file = "/live/blockio.yaml"'])
})

t.test('everything else is as the candidate has it', async (t) => {
  const copy = await rehearseMain(LIVE)
  t.same(copy, {
    version: 2,
    required_plugins: ['io.containerd.snapshotter.v1.native', CRI_ID],
    disabled_plugins: ['io.containerd.snapshotter.v1.zfs', 'io.containerd.nri.v1.nri', 'io.containerd.internal.v1.opt'],
    grpc: { address: `${SCRATCH}/c.sock`, max_recv_message_size: 16777216 },
    ttrpc: { address: `${SCRATCH}/c.sock.ttrpc` },
    timeouts: { 'io.containerd.timeout.shim.load': '5s' },
    plugins: {
      [CRI_ID]: {
        stream_server_address: '127.0.0.1',
        stream_server_port: '0',
        sandbox_image: 'p:1',
        cni: { conf_dir: `${SCRATCH}/cni`, bin_dir: '/opt/cni/bin' },
        containerd: {
          snapshotter: 'overlayfs',
          default_runtime_name: 'kata',
          runtimes: {
            kata: {
              runtime_type: 'io.containerd.kata.v2',
              base_runtime_spec: '/etc/containerd/spec.json',
              cni_conf_dir: `${SCRATCH}/cni`,
              snapshotter: 'overlayfs',
            },
            runc: { runtime_type: 'io.containerd.runc.v2', cni_conf_dir: '' },
          },
        },
        registry: { config_path: `${SCRATCH}/certs.d`, configs: { 'a.test': { auth: { username: 'u' } } } },
      },
      'io.containerd.snapshotter.v1.overlayfs': { upperdir_label: true },
      'io.containerd.service.v1.tasks-service': { blockio_config_file: '/live/blockio.yaml' },
      'io.containerd.transfer.v1.local': { max_concurrent_downloads: 3 },
    },
  })
})

t.test('config_path stays as the candidate has it where no host directories are staged', async (t) => {
  const copy = await rehearseMain(LIVE, { certsDirectory: undefined })
  t.equal(itemAt(copy, ['plugins', CRI_ID, 'registry', 'config_path']), '/etc/containerd/certs.d')
})

t.test('what keeps the CRI plugin from loading stays in the copy', async (t) => {
  const mirrors = await rehearseMain(`version = 2\n[${CRI}.registry.mirrors."a.test"]\nendpoint = ["https://m"]\n`)
  t.same(itemAt(mirrors, ['plugins', CRI_ID, 'registry', 'mirrors', 'a.test']), { endpoint: ['https://m'] })
  const disabled = await rehearseMain(`version = 2\ndisabled_plugins = ["${CRI_ID}"]\n`)
  t.ok(JSON.stringify(itemAt(disabled, ['disabled_plugins'])).includes(CRI_ID))
})

t.test('a version 2 file with tables of schema 3 gets its places in both', async (t) => {
  const copy = await rehearseMain(
    `version = 2\n[plugins.'${RUNTIME_ID}'.cni]\nconf_dir = "/live"\n[plugins.'${IMAGES_ID}']\nsnapshotter = "zfs"\n[plugins.'${IMAGES_ID}'.registry]\nconfig_path = "/live"\n`,
    { version: 'v2.1.9' },
  )
  t.equal(itemAt(copy, ['plugins', RUNTIME_ID, 'cni', 'conf_dir']), `${SCRATCH}/cni`)
  t.equal(itemAt(copy, ['plugins', IMAGES_ID, 'snapshotter']), 'overlayfs')
  t.equal(itemAt(copy, ['plugins', IMAGES_ID, 'registry', 'config_path']), `${SCRATCH}/certs.d`)
  t.equal(itemAt(copy, ['plugins', CRI_ID, 'cni', 'conf_dir']), `${SCRATCH}/cni`)
})

t.test('imports are copied and sanitised too, as they could bring the live addresses back', async (t) => {
  const dropIn = `version = 2
imports = ["more.toml"]
required_plugins = ["io.containerd.internal.v1.opt"]
[debug]
  address = "/live/debug.sock"
[grpc]
  address = "/live/containerd.sock"
[ttrpc]
  address = "/live/ttrpc.sock"
[${CRI}.containerd]
  default_runtime_name = "nvidia"
`
  const files = await rehearse('version = 2\nimports = ["conf.d/*.toml"]\n', {
    imports: [
      ['/etc/containerd/conf.d/99-nvidia.toml', dropIn],
      ['/etc/containerd/conf.d/more.toml', 'version = 2\n[metrics]\naddress = "127.0.0.1:1338"\n'],
    ],
  })
  t.strictSame(
    files.map(({ relativePath }) => relativePath),
    ['config.toml', 'imports/00-99-nvidia.toml', 'imports/01-more.toml'],
  )
  const [main, first, second] = files.map(({ text }) => parse(text))
  t.strictSame(itemAt(main ?? {}, ['imports']), [
    `${SCRATCH}/imports/00-99-nvidia.toml`,
    `${SCRATCH}/imports/01-more.toml`,
  ])
  t.same(first, {
    version: 2,
    required_plugins: [],
    grpc: {},
    plugins: {
      [CRI_ID]: {
        containerd: { default_runtime_name: 'nvidia' },
        cni: { conf_dir: `${SCRATCH}/cni` },
        stream_server_address: '127.0.0.1',
        stream_server_port: '0',
        registry: { config_path: `${SCRATCH}/certs.d` },
      },
    },
  })
  t.same(second, { version: 2 })
})

t.test('an import that is named and missing still keeps the copy from starting', async (t) => {
  const copy = await rehearseMain('version = 2\nimports = ["gone.toml", "conf.d/*.toml"]\n')
  t.strictSame(itemAt(copy, ['imports']), ['/etc/containerd/gone.toml'])
})

t.test('what containerd does not start with keeps the copy from starting too', async (t) => {
  const text = 'version = 3\nimports = ["conf.d/[*.toml"]\n'
  const copy = await rehearseMain(text, { version: '2.3.4', unloadable: ['/etc/containerd/conf.d/[*.toml'] })
  t.strictSame(itemAt(copy, ['imports']), ['/etc/containerd/conf.d/[*.toml'])
})

t.test('a registry table that can take the place of the other one reads the staged host directories too', async (t) => {
  const copy = await rehearseMain(`version = 3\n[${CRI}.registry]\n`, { version: '2.3.4' })
  for (const id of [CRI_ID, IMAGES_ID])
    t.equal(itemAt(copy, ['plugins', id, 'registry', 'config_path']), `${SCRATCH}/certs.d`, id)
})

t.test('the defaults of every generation become a copy with places of its own', async (t) => {
  for (const [name, version] of [
    ['default-1.6.toml', '1.6.20~ds1'],
    ['default-1.7.toml', '1.7.24~ds1'],
    ['default-2.1.toml', 'v2.1.9'],
    ['debian-12.toml', '1.6.20~ds1'],
  ] as const) {
    const candidate = readFileSync(join(import.meta.dirname, '../golden', name), 'utf8')
    const [main] = await rehearse(candidate, { version })
    t.notMatch(main?.text, /\/run\/containerd|\/var\/lib\/containerd"|\/etc\/cni/, name)
    t.match(itemAt(parse(main?.text ?? ''), ['required_plugins']), [CRI_ID], name)
  }
})

t.test('a candidate that is not TOML is an error with its position', async (t) => {
  await t.rejects(rehearse('version = 2\n[a\n'), { code: 'CONTAINERD_CONFIG_UNREADABLE' })
  await t.rejects(rehearse('version = 7\n'), { code: 'CONTAINERD_CONFIG_UNSUPPORTED' })
  await t.rejects(rehearse(undefined, { version: 'dev' }), { code: 'REHEARSAL_UNAVAILABLE' })
})

t.test('files of legacy sections are read where the copy finds them, and nothing else of them changes', async (t) => {
  const text = `version = 2
[${CRI}.registry.configs."a.test".tls]
  ca_file = "/etc/containerd/registry-trust/a.test/ca.crt"
  insecure_skip_verify = false
[${CRI}.registry.configs."b.test".tls]
  ca_file = "etc/pki/b.pem"
  cert_file = "/b.cert"
  key_file = "/b.key"
[${CRI}.registry.configs."c.test".tls]
  ca_file = ""
`
  const legacyFile = (path: string) => `/host${path}`
  const configs = async (certsDirectory: string | undefined) =>
    itemAt(await rehearseMain(text, { certsDirectory, legacyFile }), ['plugins', CRI_ID, 'registry', 'configs'])
  t.same(await configs(undefined), {
    'a.test': { tls: { ca_file: '/host/etc/containerd/registry-trust/a.test/ca.crt', insecure_skip_verify: false } },
    'b.test': { tls: { ca_file: '/host/etc/pki/b.pem', cert_file: '/host/b.cert', key_file: '/host/b.key' } },
    'c.test': { tls: { ca_file: '' } },
  })
  t.match(await configs(`${SCRATCH}/certs.d`), { 'b.test': { tls: { cert_file: '/b.cert' } } }, 'not read there')
})
