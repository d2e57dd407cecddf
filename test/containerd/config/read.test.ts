import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ignoredTables } from '../../../agent/containerd/config/ignored.ts'
import { readContainerdConfig } from '../../../agent/containerd/config/read.ts'
import type { ContainerdVersion } from '../../../agent/containerd/config/schema-version.ts'
import { AgentError } from '../../../agent/model/errors.ts'

const path = '/etc/containerd/config.toml'
const read = (text: string) => readContainerdConfig(Buffer.from(text), { path })
const golden = (name: string) =>
  readContainerdConfig(readFileSync(join(import.meta.dirname, '../golden', name)), { path })

const V1: ContainerdVersion = { major: 1, minor: 7, patch: 24 }
const V2_1: ContainerdVersion = { major: 2, minor: 1, patch: 9 }
const V2_3: ContainerdVersion = { major: 2, minor: 3, patch: 4 }

t.test('reads the defaults of real generations', async (t) => {
  const table = {
    'debian-12.toml': { version: 2, sandboxImage: undefined, configPath: undefined, hasRegistryTable: false },
    'default-1.6.toml': {
      version: 2,
      sandboxImage: 'registry.k8s.io/pause:3.6',
      configPath: '',
      hasRegistryTable: true,
    },
    'default-1.7.toml': {
      version: 2,
      sandboxImage: 'registry.k8s.io/pause:3.8',
      configPath: '',
      hasRegistryTable: true,
    },
    'default-2.1.toml': {
      version: 3,
      sandboxImage: 'registry.k8s.io/pause:3.10',
      configPath: '',
      hasRegistryTable: true,
    },
  }
  for (const [name, { version, ...facts }] of Object.entries(table)) {
    const config = golden(name)
    t.equal(config.declaredVersion, version, name)
    t.equal(config.effectiveVersion, version, name)
    t.has(config, facts, name)
    t.strictSame(config.configPathDirectories, [], name)
    t.strictSame(ignoredTables(config, version < 3 ? V1 : V2_1), [], name)
    t.notOk(config.hasMirrors || config.hasConfigsTls || config.hasConfigsAuth || config.hasAuths, name)
    t.notOk(config.isEmpty, name)
  }
})

t.test('reads addresses and folders that a restart and a rehearsal need', async (t) => {
  const config = read(
    'version = 2\nroot = "/r"\nstate = "/s"\n[grpc]\naddress = "/g"\n[debug]\naddress = "/d"\n[metrics]\naddress = "127.0.0.1:1338"\n',
  )
  t.has(config, {
    root: '/r',
    state: '/s',
    grpcAddress: '/g',
    debugAddress: '/d',
    metricsAddress: '127.0.0.1:1338',
    lineEnding: '\n',
  })
  const v4 = read("version = 4\n[plugins.'io.containerd.server.v1.debug']\naddress = '/d4'\n")
  t.equal(v4.debugAddress, '/d4')
})

t.test('names hosts of the legacy sections and nothing of their credentials', async (t) => {
  const table = 'plugins."io.containerd.grpc.v1.cri".registry'
  const config = read(`version = 2
[${table}.mirrors."docker.io"]
  endpoint = ["https://mirror.test"]
[${table}.configs."a.test".tls]
  ca_file = "/a.crt"
[${table}.configs."b.test".auth]
  password = "hunter2"
[${table}.configs."c.test"]
[${table}.auths."https://d.test"]
  auth = "aHVudGVyMg=="
`)
  t.strictSame(config.registries[2], {
    configPath: undefined,
    mirrors: ['docker.io'],
    configsTls: ['a.test'],
    configsAuth: ['b.test'],
    auths: ['https://d.test'],
  })
  t.has(config, { hasMirrors: true, hasConfigsTls: true, hasConfigsAuth: true, hasAuths: true })
})

t.test('takes empty legacy tables for nothing, as containerd does', async (t) => {
  const table = 'plugins."io.containerd.grpc.v1.cri".registry'
  const config = read(
    `version = 2\n[${table}]\nconfig_path = "/c"\n[${table}.mirrors]\n[${table}.configs]\n[${table}.auths]\n`,
  )
  t.has(config, { hasMirrors: false, hasConfigsTls: false, hasConfigsAuth: false, hasAuths: false, configPath: '/c' })
})

t.test('splits a config_path list', async (t) => {
  const config = read('version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/a:/b/:"\n')
  t.strictSame(config.configPathDirectories, ['/a', '/b/'])
})

t.test('resolves imports against the folder of the file', async (t) => {
  const config = read('version = 2\nimports = ["conf.d/*.toml", "/abs/x.toml", "../y.toml", "./z.toml"]\n')
  t.strictSame(config.imports, [
    '/etc/containerd/conf.d/*.toml',
    '/abs/x.toml',
    '/etc/y.toml',
    '/etc/containerd/z.toml',
  ])
})

t.test('counts a file without a version line as version 1 and says what is ignored', async (t) => {
  const config = read('[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/c"\n')
  t.equal(config.declaredVersion, undefined)
  t.equal(config.effectiveVersion, 1)
  t.equal(config.configPath, undefined)
  t.strictSame(ignoredTables(config, V1), [
    {
      table: 'plugins."io.containerd.grpc.v1.cri"',
      reason: 'without a version line the file counts as version 1',
    },
  ])
})

t.test('says which tables of another schema are ignored', async (t) => {
  const inThree = read(
    'version = 3\n[plugins.cri]\n[plugins."io.containerd.grpc.v1.cri"]\nstream_server_port = "0"\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/c"\n',
  )
  t.equal(inThree.configPath, undefined)
  t.strictSame(
    ignoredTables(inThree, V2_1).map(({ table }) => table),
    ['plugins.cri', 'plugins."io.containerd.grpc.v1.cri".registry'],
  )
  const stream = read('version = 3\n[plugins."io.containerd.grpc.v1.cri"]\nstream_server_port = "0"\n')
  t.strictSame(ignoredTables(stream, V2_1), [])
})

t.test('what is ignored depends on the containerd too', async (t) => {
  const [two, three] = [
    'plugins."io.containerd.grpc.v1.cri".registry',
    'plugins."io.containerd.cri.v1.images".registry',
  ]
  const both = (line: string) => read(`${line}\n[${two}]\nconfig_path = "/c"\n[${three}]\nconfig_path = "/d"\n`)
  const ignored = (line: string, version: ContainerdVersion) =>
    ignoredTables(both(line), version).map(({ table }) => table)
  t.strictSame(ignored('version = 2', V1), ['plugins."io.containerd.cri.v1.images"'])
  t.strictSame(ignored('version = 2', V2_1), [three], 'the older one takes its place')
  t.strictSame(ignored('version = 3', V2_1), [two])
  t.strictSame(ignored('version = 3', V2_3), [three], 'from 2.3 on each file is moved')
  t.strictSame(ignored('version = 4', V2_3), [two])
  t.strictSame(ignored('', V2_1), [two])
  t.strictSame(ignored('', V2_3), [three])
})

t.test('tells an empty file from one with keys', async (t) => {
  t.ok(read('').isEmpty)
  t.ok(read('# disabled_plugins = ["cri"]\n\n').isEmpty)
  t.notOk(read('[plugins]\n').isEmpty)
})

t.test('sees that the CRI plugin is disabled, under both of its names', async (t) => {
  t.ok(read('disabled_plugins = ["cri"]\n').disablesCri)
  t.ok(read('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n').disablesCri)
  t.notOk(read('version = 2\ndisabled_plugins = ["io.containerd.snapshotter.v1.zfs"]\n').disablesCri)
})

t.test('remembers CRLF line ends', async (t) => {
  t.equal(read('version = 2\r\n').lineEnding, '\r\n')
})

t.test('reads where 2.x was told to pull locally', async (t) => {
  t.ok(read("version = 3\n[plugins.'io.containerd.cri.v1.images']\nuse_local_image_pull = true\n").usesLocalImagePull)
  t.notOk(golden('default-2.1.toml').usesLocalImagePull)
})

t.test('throws with path, line and column for what is not TOML', async (t) => {
  t.throws(
    () => read('version = 2\n[plugins]\nx = "a\n'),
    new AgentError('CONTAINERD_CONFIG_UNREADABLE', `${path}:3:7: unterminated string`, { path, line: 3, column: 7 }),
  )
})

t.test('what was read once is parsed once; other bytes and another place are read anew', async (t) => {
  const bytes = Buffer.from('version = 3\nimports = ["conf.d/*.toml"]\n')
  const first = readContainerdConfig(bytes, { path: '/etc/containerd/config.toml' })
  t.equal(readContainerdConfig(bytes, { path: '/etc/containerd/config.toml' }), first)
  t.same(readContainerdConfig(bytes, { path: '/opt/config.toml' }).imports, ['/opt/conf.d/*.toml'])
  const others = Buffer.from('version = 2\n')
  t.equal(readContainerdConfig(others, { path: '/etc/containerd/config.toml' }).declaredVersion, 2)
})
