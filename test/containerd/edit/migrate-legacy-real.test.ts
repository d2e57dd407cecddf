// The same pulls succeed and fail, and fail alike, before and after a legacy configuration is moved to host folders:
// containerd itself is asked, first with the legacy configuration loaded, then with what the plan makes of it.
import { posix } from 'node:path'
import t, { type Test } from 'tap'
import { planConfigPath } from '../../../agent/containerd/edit/config-path.ts'
import { mergeHostsFile } from '../../../agent/containerd/hosts/merge-foreign.ts'
import {
  CONFIG,
  image,
  type Lab,
  LOGIN,
  lab,
  load,
  outcomes,
  serveClients,
} from '../../fixtures/node/containerd-lab.ts'
import { eachGeneration } from '../../fixtures/node/node-tests.ts'
import { CERTS_D, type SandboxNode } from '../../fixtures/node/sandbox-node.ts'

/** Carries out the plan by hand and starts containerd again. */
async function move(node: SandboxNode, config: string, isVerifiedByAnchors: (host: string) => boolean) {
  const plan = await planConfigPath({
    configFile: CONFIG,
    bytes: Buffer.from(config),
    imports: [],
    containerdVersion: node.generation.version,
    directory: CERTS_D,
    migrate: { existingFolders: [], uselessCaFiles: ['/etc/pki/empty.pem'], isVerifiedByAnchors },
  })
  if (plan.kind !== 'edit' || plan.migration === undefined) throw new Error(JSON.stringify(plan))
  await node.stopContainerd()
  for (const { name, files } of plan.migration.hostFolders)
    for (const file of files) await node.writeFile(posix.join(CERTS_D, name, file.name), file.bytes, file.mode)
  await load(node, plan.bytes.toString('utf8'))
  return plan.migration
}

const HOSTS = [
  'harbor.test',
  'plain.test:5001',
  'mirror.test:5000',
  'port.test:8443',
  'skip.test',
  'wrong.test',
  'other.test',
  'empty.test',
  'missing.test',
]

/** No host folder is left, and containerd does not run. */
async function afresh(node: SandboxNode): Promise<void> {
  await node.stopContainerd()
  await node.run(['rm', '-rf', CERTS_D])
}

async function hostsByName(t: Test, { node, head, registry }: Lab): Promise<void> {
  const { generation } = node
  const mirror = (host: string, ...endpoints: readonly string[]) =>
    `[${registry}.mirrors."${host}"]\nendpoint = ${JSON.stringify(endpoints)}\n`
  const tls = (host: string, ...lines: readonly string[]) =>
    `[${registry}.configs."${host}".tls]\n${lines.join('\n')}\n`
  const auth = (host: string) =>
    `[${registry}.configs."${host}".auth]\nusername = "${LOGIN.username}"\npassword = "${LOGIN.password}"\n`
  const config = [
    head,
    mirror('harbor.test', 'https://harbor.test'),
    tls('harbor.test', 'ca_file = "/etc/pki/corp.pem"'),
    auth('harbor.test'),
    mirror('plain.test:5001', 'http://plain.test:5001'),
    tls('plain.test:5001', 'insecure_skip_verify = true'),
    auth('plain.test:5001'),
    mirror('docker.io', 'https://dead.test', 'https://mirror.test:5000'),
    mirror('scheme.test', 'mirror.test:5000'),
    mirror('path.test', 'https://mirror.test:5000/proxy'),
    mirror('slash.test', 'https://mirror.test:5000/'),
    mirror('v2.test', 'https://mirror.test:5000/v2/'),
    mirror('port.test:8443', 'https://port.test:8443', 'https://mirror.test:5000'),
    tls('mirror.test:5000', 'ca_file = "/etc/pki/corp.pem"'),
    tls('port.test:8443', 'ca_file = "/etc/pki/corp.pem"'),
    tls('skip.test', 'insecure_skip_verify = true'),
    tls('wrong.test', 'ca_file = "/etc/pki/corp.pem"'),
    tls('missing.test', 'ca_file = "/etc/pki/not-there.pem"'),
    tls('empty.test', 'ca_file = "/etc/pki/empty.pem"'),
    tls(
      'client.test',
      'ca_file = "/etc/pki/corp.pem"',
      'cert_file = "/etc/pki/client.pem"',
      'key_file = "/etc/pki/client.key"',
    ),
  ].join('\n')
  const references = [
    ...[
      'harbor.test',
      'plain.test:5001',
      'docker.io',
      'scheme.test',
      'path.test',
      'slash.test',
      'v2.test',
      'port.test:8443',
      'skip.test',
    ],
    ...['mirror.test:5000', 'wrong.test', 'missing.test', 'empty.test', 'other.test', 'client.test', 'nowhere.test'],
  ].flatMap(image)
  await load(node, config)
  const before = await outcomes(node, references)
  const works = (...hosts: readonly string[]) =>
    Object.fromEntries(hosts.map((host) => [image(host)[0] ?? '', 'pulled']))
  t.match(
    before,
    works('harbor.test', 'plain.test:5001', 'docker.io', 'scheme.test', 'v2.test', 'port.test:8443'),
    'the legacy form works',
  )
  if (generation.expected.configVersion === 2) t.match(before, works('skip.test'))
  t.match(before, {
    'wrong.test/library/hello:1': 'unknown-authority',
    'other.test/library/hello:1': 'unknown-authority',
  })

  const { notes } = await move(node, config, () => false)
  t.same(await outcomes(node, references), before)
  const kept = notes
    .filter(({ code }) => code === 'MIGRATION_INSECURE_KEPT')
    .map(({ message }) => message.split(':')[0])
  const insecure = ['plain.test', 'skip.test/hosts.toml'].map((name) => `${CERTS_D}/${name}`)
  t.same(kept, generation.expected.configVersion === 2 ? insecure : [])
}

async function mirrorsForAllHosts(t: Test, { node, head, registry }: Lab): Promise<void> {
  const config = `${head}
[${registry}]
  [${registry}.mirrors."*"]
    endpoint = ["https://mirror.test:5000", "http://plain.test:5001"]
  [${registry}.mirrors."other.test"]
    endpoint = []
  [${registry}.configs."mirror.test:5000".tls]
    ca_file = "/etc/pki/corp.pem"
  [${registry}.configs."skip.test".tls]
    insecure_skip_verify = true
`
  const references = [
    'nowhere.test',
    'docker.io',
    'skip.test',
    'other.test',
    'mirror.test:5000',
    'port.test:8443',
  ].flatMap(image)
  await load(node, config)
  const before = await outcomes(node, references)
  t.match(
    before,
    { 'nowhere.test/library/hello:1': 'pulled', 'other.test/library/hello:1': 'unknown-authority' },
    'the legacy form works',
  )
  await move(node, config, () => false)
  t.same(await outcomes(node, references), before)
}

async function versionOneFile(t: Test, { node }: Lab): Promise<void> {
  const { generation } = node
  if (generation.expected.configVersion > 2) {
    t.comment(`containerd ${generation.label} reads no settings of version 1; the plan refuses such a file`)
    const bytes = Buffer.from('[plugins.cri.registry.mirrors."a.test"]\nendpoint = ["https://b.test"]\n')
    const migrate = { existingFolders: [], isVerifiedByAnchors: () => false }
    const request = {
      configFile: CONFIG,
      bytes,
      imports: [],
      containerdVersion: generation.version,
      directory: CERTS_D,
      migrate,
    }
    t.match(await planConfigPath(request), { kind: 'refused', problem: { code: 'CONTAINERD_CONFIG_UNSUPPORTED' } })
    return
  }
  const config = `[plugins.cri.registry.mirrors."nowhere.test"]
endpoint = ["https://mirror.test:5000"]
[plugins.cri.registry.configs."mirror.test:5000".tls]
ca_file = "/etc/pki/corp.pem"
`
  const references = ['nowhere.test', 'mirror.test:5000', 'skip.test'].flatMap(image)
  await load(node, config)
  const before = await outcomes(node, references)
  t.match(before, { 'nowhere.test/library/hello:1': 'pulled' }, 'the legacy form works')
  await move(node, config, () => false)
  t.same(await outcomes(node, references), before)
}

async function insecureBecomesVerified(t: Test, { node, corp, head, registry }: Lab): Promise<void> {
  const { generation } = node
  if (generation.expected.configVersion > 2) {
    const bytes = Buffer.from(
      `version = 2\n[plugins."io.containerd.grpc.v1.cri".registry.configs."a.test".tls]\ninsecure_skip_verify = true\n`,
    )
    const migrate = { existingFolders: [], isVerifiedByAnchors: () => false }
    const request = {
      configFile: CONFIG,
      bytes,
      imports: [],
      containerdVersion: generation.version,
      directory: CERTS_D,
      migrate,
    }
    const plan = await planConfigPath(request)
    t.match(plan, { kind: 'edit', directory: CERTS_D })
    t.notOk(
      'migration' in plan,
      'containerd 2 does not read insecure_skip_verify in config.toml, so there is nothing to move',
    )
    return
  }
  const skip = (host: string) => `[${registry}.configs."${host}".tls]\ninsecure_skip_verify = true\n`
  const config = `${head}${skip('port.test:8443')}${skip('skip.test')}`
  const references = ['port.test:8443', 'skip.test'].flatMap(image)
  await load(node, config)
  const all = { 'port.test:8443/library/hello:1': 'pulled', 'skip.test/library/hello:1': 'pulled' }
  t.match(await outcomes(node, references), all)
  await move(node, config, (host) => host === 'port.test:8443')
  t.match(
    await outcomes(node, references),
    { ...all, 'port.test:8443/library/hello:1': 'unknown-authority' },
    'verified, and no CA yet',
  )

  const path = `${CERTS_D}/port.test:8443/hosts.toml`
  const merged = await mergeHostsFile(await node.readFile(path), {
    host: 'port.test:8443',
    ca: 'registry-trust.crt',
    path,
  })
  if (!merged.ok) throw new Error(merged.problem.message)
  await node.writeFile(`${CERTS_D}/port.test:8443/registry-trust.crt`, corp.pem)
  await node.writeFile(path, merged.text)
  t.match(await outcomes(node, references), all)
}

const MOVES: { readonly [title: string]: (t: Test, lab: Lab) => Promise<void> } = {
  'hosts by name': hostsByName,
  'mirrors for all hosts': mirrorsForAllHosts,
  'a version 1 file': versionOneFile,
  'insecure_skip_verify becomes verification by the declared CA': insecureBecomesVerified,
}

eachGeneration(t, 'the same pulls succeed and fail after the move', async (t, generation) => {
  const made = await lab(t, generation, HOSTS)
  await serveClients(made)
  for (const [title, body] of Object.entries(MOVES)) {
    await afresh(made.node)
    await t.test(title, async (t) => await body(t, made))
  }
})
