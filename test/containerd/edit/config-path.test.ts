// Which configuration gets config_path, which has it, and which is refused because the edit would break the node or do
// nothing.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readContainerdConfig } from '../../../agent/containerd/config/read.ts'
import { planConfigPath } from '../../../agent/containerd/edit/config-path.ts'

const configFile = '/etc/containerd/config.toml'
const directory = '/etc/containerd/certs.d'
const TABLE = 'plugins."io.containerd.grpc.v1.cri".registry'
const IMAGES = "plugins.'io.containerd.cri.v1.images'.registry"

type Import = readonly [path: string, text: string]

async function plan(version: string, text: string | undefined, imports: readonly Import[] = []) {
  const result = await planConfigPath({
    configFile,
    bytes: text === undefined ? undefined : Buffer.from(text),
    imports: imports.map(([path, content]) => ({ path, bytes: Buffer.from(content) })),
    containerdVersion: version,
    directory,
  })
  if (result.kind === 'refused') return `${result.problem.code} ${result.problem.message}`
  if (result.kind === 'already-set') return `already-set ${result.directory}`
  return `${result.kind}\n${result.bytes.toString('utf8')}`
}

const V1 = ['1.6.20~ds1', '1.7.24~ds1']
const V2 = ['v2.0.5', 'v2.1.9', 'v2.2.0']
const UNSUPPORTED = 'CONTAINERD_CONFIG_UNSUPPORTED'

t.test('creates a file where containerd runs with its defaults', async (t) => {
  const first =
    '# Written by registry-trust-agent: there was no configuration file. Everything not set here has its default.'
  for (const version of V1)
    t.equal(
      await plan(version, undefined),
      `create\n${first}\nversion = 2\n\n[${TABLE}]\n  config_path = "${directory}"\n`,
      version,
    )
  for (const version of V2)
    t.equal(
      await plan(version, undefined),
      `create\n${first}\nversion = 3\n\n[plugins."io.containerd.cri.v1.images".registry]\n  config_path = "${directory}"\n`,
      version,
    )
})

t.test('adds everything below the comments of a file without a key', async (t) => {
  t.equal(
    await plan('1.7.24', '# nothing yet'),
    `edit\n# nothing yet\n\nversion = 2\n\n[${TABLE}]\n  config_path = "${directory}"\n`,
  )
  t.equal(
    await plan('1.7.24', '# nothing yet\r\n'),
    `edit\n# nothing yet\r\n\r\nversion = 2\r\n\r\n[${TABLE}]\r\n  config_path = "${directory}"\r\n`,
  )
  t.equal(await plan('1.7.24', ''), `edit\nversion = 2\n\n[${TABLE}]\n  config_path = "${directory}"\n`)
})

t.test('sets config_path where it is empty or absent, in place', async (t) => {
  for (const version of [...V1, ...V2]) {
    t.equal(
      await plan(version, `version = 2\n[${TABLE}]\n  config_path = "" # later\n`),
      `edit\nversion = 2\n[${TABLE}]\n  config_path = "${directory}" # later\n`,
      version,
    )
    t.equal(
      await plan(version, 'version = 2\n'),
      `edit\nversion = 2\n\n[${TABLE}]\n  config_path = "${directory}"\n`,
      version,
    )
  }
  for (const version of V2)
    t.equal(
      await plan(version, `version = 3\n[${IMAGES}]\n`),
      `edit\nversion = 3\n[${IMAGES}]\nconfig_path = "${directory}"\n`,
      version,
    )
  t.equal(
    await plan('2.3.0', `version = 4\n[${IMAGES}]\n`),
    `edit\nversion = 4\n[${IMAGES}]\nconfig_path = "${directory}"\n`,
  )
})

t.test('an edited default of each generation says config_path and differs in nothing else', async (t) => {
  for (const [name, version] of [
    ['default-1.6.toml', '1.6.20~ds1'],
    ['default-1.7.toml', '1.7.24~ds1'],
    ['default-2.1.toml', 'v2.1.9'],
    ['debian-12.toml', '1.6.20~ds1'],
  ] as const) {
    const bytes = readFileSync(join(import.meta.dirname, '../golden', name))
    const result = await planConfigPath({ configFile, bytes, imports: [], containerdVersion: version, directory })
    if (result.kind !== 'edit') throw new Error(`${name}: ${result.kind}`)
    const edited = readContainerdConfig(result.bytes, { path: configFile })
    t.equal(edited.configPath, directory, name)
    const again = await planConfigPath({
      configFile,
      bytes: result.bytes,
      imports: [],
      containerdVersion: version,
      directory,
    })
    t.strictSame(again, { kind: 'already-set', directory }, name)
  }
})

t.test('finds config_path set and leaves the file alone', async (t) => {
  for (const version of [...V1, ...V2])
    t.equal(
      await plan(version, `version = 2\n[${TABLE}]\nconfig_path = "/other/certs.d/"\n`),
      'already-set /other/certs.d',
    )
  for (const version of V2)
    t.equal(await plan(version, `version = 3\n[${IMAGES}]\nconfig_path = '/x'\n`), 'already-set /x', version)
  for (const version of V2)
    t.equal(await plan(version, `version = 2\n[${IMAGES}]\nconfig_path = '/x'\n`), 'already-set /x', version)
  for (const version of V1)
    t.equal(await plan(version, '[plugins.cri.registry]\nconfig_path = "/x"\n'), 'already-set /x', version)
})

t.test('is not misled by the config_path of the transfer plugin', async (t) => {
  const text = 'version = 2\n[plugins."io.containerd.transfer.v1.local"]\nconfig_path = "/x"\n'
  t.match(await plan('1.7.24', text), /^edit\n/)
})

t.test('takes the first folder of a list where lists work', async (t) => {
  const text = `version = 2\n[${TABLE}]\nconfig_path = "/a:/b"\n`
  for (const version of V1) t.equal(await plan(version, text), 'already-set /a', version)
  const local = `version = 3\n[${IMAGES}]\nconfig_path = "/a:/b"\n[plugins.'io.containerd.cri.v1.images']\nuse_local_image_pull = true\n`
  t.equal(await plan('v2.1.9', local), 'already-set /a')
  const auths = `version = 3\n[${IMAGES}]\nconfig_path = "/a:/b"\n[${IMAGES}.configs."h.test".auth]\nusername = "u"\n`
  t.equal(await plan('v2.1.9', auths), 'already-set /a')
})

t.test('refuses a list where containerd reads nothing of it', async (t) => {
  for (const [version, shown] of [
    ['v2.0.5', '2.0'],
    ['v2.1.9', '2.1'],
    ['v2.2.0', '2.2'],
  ] as const)
    t.equal(
      await plan(version, `version = 2\n[${TABLE}]\nconfig_path = "/etc/containerd/certs.d:/etc/docker/certs.d"\n`),
      `${UNSUPPORTED} ${configFile}: config_path = "/etc/containerd/certs.d:/etc/docker/certs.d" is a list, of which containerd ${shown} reads nothing at all, not even the first folder: name only one folder`,
    )
  t.match(await plan('v2.1.9', `version = 2\n[${TABLE}]\nconfig_path = "/a:"\n`), /is a list/)
})

t.test('refuses a relative config_path', async (t) => {
  for (const version of [...V1, ...V2])
    t.equal(
      await plan(version, `version = 2\n[${TABLE}]\nconfig_path = "certs.d"\n`),
      `${UNSUPPORTED} ${configFile}: config_path = "certs.d" is not an absolute path: write the whole path from / on`,
    )
})

t.test('refuses to set config_path beside legacy sections, naming hosts and lines', async (t) => {
  const mirrors = `version = 2\n[${TABLE}.mirrors]\n  [${TABLE}.mirrors."docker.io"]\n    endpoint = ["https://m.test"]\n  [${TABLE}.mirrors."reg.test:5000"]\n`
  const text = `LEGACY_REGISTRY_CONFIG registry.mirrors."docker.io" (${configFile}:3), registry.mirrors."reg.test:5000" (${configFile}:5): config_path cannot be set beside it: the CRI plugin would not load`
  for (const version of [...V1, ...V2]) t.equal(await plan(version, mirrors), text, version)

  const tls = `version = 2\n[${TABLE}.configs."reg.test".tls]\n  ca_file = "/ca.crt"\n`
  for (const version of V1)
    t.equal(
      await plan(version, tls),
      `LEGACY_REGISTRY_CONFIG registry.configs."reg.test".tls (${configFile}:2): config_path cannot be set beside it: the CRI plugin would not load`,
      version,
    )
  for (const version of V2) t.match(await plan(version, tls), /^edit\n/, `${version} does not read configs.*.tls`)
})

t.test('says when the file is already such that the CRI plugin will not load', async (t) => {
  const text = `version = 2\n[${TABLE}]\nconfig_path = "/x"\n[${TABLE}.mirrors."a.test"]\n`
  for (const version of [...V1, ...V2])
    t.match(
      await plan(version, text),
      /:4\): config_path is set as well: the CRI plugin will not load at the next start$/,
    )
})

t.test('minds neither credentials nor headers nor empty legacy tables', async (t) => {
  const text = `version = 2\n[${TABLE}.configs."a.test".auth]\nusername = "u"\n[${TABLE}.auths."https://b.test"]\n[${TABLE}.headers]\nX = ["y"]\n[${TABLE}.mirrors]\n`
  for (const version of [...V1, ...V2]) t.match(await plan(version, text), /^edit\n/, version)
})

t.test('a version 1 file is edited where 1.x reads version 1', async (t) => {
  for (const version of V1) {
    t.equal(
      await plan(version, '[plugins.cri.registry]\n  config_path = ""\n'),
      `edit\n[plugins.cri.registry]\n  config_path = "${directory}"\n`,
    )
    t.equal(
      await plan(version, 'version = 1\n[plugins.cri]\n  sandbox_image = "p:1"\n'),
      `edit\nversion = 1\n[plugins.cri]\n  sandbox_image = "p:1"\n\n[plugins.cri.registry]\n  config_path = "${directory}"\n`,
    )
  }
})

t.test('refuses a version 1 file where its CRI settings are not read, or that mixes versions', async (t) => {
  const mixed = `[${TABLE}]\nconfig_path = ""\n`
  t.equal(
    await plan('1.7.24', mixed),
    `${UNSUPPORTED} ${configFile}: has no version line and so counts as version 1, but has the table plugins."io.containerd.grpc.v1.cri" of another version, which containerd ignores: correct its version line`,
  )
  t.equal(
    await plan('v2.1.9', mixed),
    `${UNSUPPORTED} ${configFile}: has no version line and so counts as version 1, but containerd 2.1 uses the CRI settings of versions 2, 3 only: rewrite it as version 2 (\`containerd config migrate\` helps) or set config_path by hand`,
  )
  t.match(await plan('v2.1.9', 'version = 1\n[plugins.cri.registry]\nconfig_path = "/x"\n'), /declares version 1, but/)
})

t.test('refuses a schema whose CRI settings this containerd does not use', async (t) => {
  t.equal(
    await plan('1.6.20', `version = 3\n[${IMAGES}]\nconfig_path = "/x"\n`),
    `${UNSUPPORTED} ${configFile}: declares version 3, but containerd 1.6 uses the CRI settings of versions 1, 2 only: correct its version line`,
  )
  t.match(await plan('v2.1.9', 'version = 4\n'), /declares version 4, but containerd 2\.1/)
  t.match(await plan('v2.3.0', 'version = 9\n'), /declares version 9, but containerd 2\.3/)
})

t.test('refuses a containerd whose version cannot be read', async (t) => {
  t.equal(
    await plan('unknown', 'version = 2\n'),
    `${UNSUPPORTED} ${configFile}: containerd calls its version "unknown", so it is not known how it reads its configuration`,
  )
})

t.test('refuses a folder that cannot be one value of config_path', async (t) => {
  for (const wrong of ['certs.d', '/a:/b']) {
    const request = { configFile, bytes: undefined, imports: [], containerdVersion: '1.7.24', directory: wrong }
    const result = await planConfigPath(request)
    t.match(result, { kind: 'refused', problem: { message: `config_path must be one absolute folder, not ${wrong}` } })
  }
})

t.test('refuses broken files with their position, the imported ones as well', async (t) => {
  t.equal(
    await plan('1.7.24', 'version = 2\n[plugins\n'),
    `CONTAINERD_CONFIG_UNREADABLE ${configFile}:3:1: unterminated table-key`,
  )
  t.equal(
    await plan('1.7.24', 'version = 2\nimports = ["x.toml"]\n', [['/etc/containerd/x.toml', 'a = \n']]),
    'CONTAINERD_CONFIG_UNREADABLE /etc/containerd/x.toml:2:1: unspecified values are invalid',
  )
  t.match(await plan('1.7.24', '\ufeffversion = 2\n'), /config\.toml:1:1: starts with a byte order mark/)
})

const NVIDIA = '/etc/containerd/conf.d/99-nvidia.toml'
const MAIN = 'version = 2\nimports = ["/etc/containerd/conf.d/*.toml"]\n'

t.test('before 2.1 an import that touches the CRI section replaces it', async (t) => {
  const runtimes = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd]\ndefault_runtime_name = "nvidia"\n'
  for (const version of [...V1, 'v2.0.5']) {
    t.equal(
      await plan(version, `${MAIN}[${TABLE}]\nconfig_path = "/lost"\n`, [[NVIDIA, runtimes]]),
      `${UNSUPPORTED} ${NVIDIA}: containerd before 2.1 replaces the whole CRI section of ${configFile} by the one of this imported file, so config_path must be set in this file`,
      version,
    )
    t.equal(
      await plan(version, MAIN, [[NVIDIA, `version = 2\n[${TABLE}]\nconfig_path = "/x"\n`]]),
      'already-set /x',
      version,
    )
    t.match(
      await plan(version, MAIN, [[NVIDIA, 'version = 2\n[metrics]\naddress = "127.0.0.1:1"\n']]),
      /^edit\n/,
      version,
    )
  }
})

t.test('before 2.1 the last import that touches the section decides', async (t) => {
  const imports: readonly Import[] = [
    ['/etc/containerd/conf.d/1.toml', `[${TABLE}]\nconfig_path = "/one"\n`],
    ['/etc/containerd/conf.d/2.toml', `[${TABLE}]\nconfig_path = "/two"\n[${TABLE}.mirrors]\n`],
  ]
  for (const version of V1) t.equal(await plan(version, MAIN, imports), 'already-set /two', version)
})

t.test('from 2.1 on the tables are merged, and legacy sections of an import count', async (t) => {
  const runtimes = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".containerd]\ndefault_runtime_name = "nvidia"\n'
  t.match(await plan('v2.1.9', MAIN, [[NVIDIA, runtimes]]), /^edit\n/)
  t.equal(await plan('v2.1.9', `${MAIN}[${TABLE}]\nconfig_path = "/x"\n`, [[NVIDIA, runtimes]]), 'already-set /x')
  t.equal(
    await plan('v2.1.9', `${MAIN}[${TABLE}]\nconfig_path = "/x"\n`, [[NVIDIA, `[${TABLE}]\nconfig_path = ""\n`]]),
    `${UNSUPPORTED} ${NVIDIA}: sets config_path to nothing for ${configFile}, which imports it; the agent edits only ${configFile}`,
    'an empty value counts over a set one, as in a part of `containerd config default`',
  )
  t.equal(await plan('v2.1.9', MAIN, [[NVIDIA, `[${IMAGES}]\nconfig_path = "/three"\n`]]), 'already-set /three')
  t.equal(
    await plan('v2.1.9', MAIN, [[NVIDIA, `version = 2\n[${TABLE}.mirrors."a.test"]\n`]]),
    `LEGACY_REGISTRY_CONFIG registry.mirrors."a.test" (${NVIDIA}:2): config_path cannot be set beside it: the CRI plugin would not load`,
  )
})

t.test(
  'from 2.1 on keys of schema 2 in an import of a version 3 file count only under their own version line',
  async (t) => {
    const main = 'version = 3\nimports = ["/etc/containerd/conf.d/*.toml"]\n'
    t.match(await plan('v2.1.9', main, [[NVIDIA, `[${TABLE}]\nconfig_path = "/x"\n`]]), /^edit\n/)
    t.equal(await plan('v2.1.9', main, [[NVIDIA, `version = 2\n[${TABLE}]\nconfig_path = "/x"\n`]]), 'already-set /x')
  },
)

t.test(
  'from 2.3 on a table of version 2 takes the place of the other one, and an edit goes where it counts',
  async (t) => {
    const two = `version = 3\n[${TABLE}]\nconfig_path = "/x"\n`
    t.equal(await plan('2.3.4', two), 'already-set /x')
    t.match(await plan('2.1.9', two), /^edit\n/, 'before, the file is of version 3, and the table is read past')
    const both = `version = 3\n[${IMAGES}]\nconfig_path = "/y"\n[${TABLE}]\n`
    t.equal(await plan('2.1.9', both), 'already-set /y')
    t.equal((await plan('2.3.4', both)).replace(/^ +/gm, ''), `edit\n${both}config_path = "${directory}"\n`)
    const logins = `version = 2\n[${IMAGES}.configs."a.test".auth]\nusername = "robot"\n`
    t.match(await plan('2.1.9', logins), `[${IMAGES}]\n`, 'a table of version 2 would take the logins away')
  },
)

t.test('a config_path that is no string is left to its author', async (t) => {
  for (const value of ['["/a", "/b"]', '1', 'true'])
    t.match(
      await plan('2.1.9', `version = 3\n[${IMAGES}]\nconfig_path = ${value}\n`),
      `${UNSUPPORTED} ${configFile}: config_path is not a string`,
    )
})

t.test('refuses an import of a newer version than the main file', async (t) => {
  for (const version of [...V1, ...V2])
    t.equal(
      await plan(version, MAIN, [[NVIDIA, 'version = 3\n']]),
      `${UNSUPPORTED} ${NVIDIA}: declares version 3, but ${configFile}, which imports it, is version 2: containerd exits or drops the CRI settings of the main file`,
      version,
    )
})

t.test('a list that 2.x cannot read is cut down to the one folder that is in use', async (t) => {
  const list = (value: string) => `version = 3\n[${IMAGES}]\n  config_path = "${value}" # both\n`
  const cut = async (version: string, value: string, directoriesWithHosts: readonly string[]) => {
    const bytes = Buffer.from(list(value))
    const request = { configFile, bytes, imports: [], containerdVersion: version, directory, directoriesWithHosts }
    const result = await planConfigPath(request)
    if (result.kind === 'refused') return result.problem.message
    return result.kind === 'already-set' ? result.kind : result.bytes.toString('utf8')
  }
  const both = '/etc/containerd/certs.d:/etc/docker/certs.d'
  t.equal(await cut('v2.1.9', both, ['/etc/docker/certs.d']), list('/etc/docker/certs.d'))
  t.equal(await cut('v2.1.9', both, ['/etc/containerd/certs.d', '/elsewhere']), list('/etc/containerd/certs.d'))
  t.equal(await cut('v2.1.9', both, []), list('/etc/containerd/certs.d'))
  t.equal(await cut('v2.2.0', '/x:', []), list('/x'))
  t.match(
    await cut('v2.1.9', both, ['/etc/containerd/certs.d', '/etc/docker/certs.d']),
    /config\.toml: config_path = ".*" is a list, .* there are host folders in \/etc\/containerd\/certs\.d and \/etc\/docker\/certs\.d/,
  )
  t.match(await cut('v2.1.9', 'certs.d:/x', []), /is a list.*name only one folder/)
})
