// Bad inputs and bad nodes: each has a clear error, and nothing on the node changes.
import { join } from 'node:path'
import t from 'tap'
import {
  BY_SIGNAL,
  contents,
  oldestToTest,
  startPrivateRegistry,
  TRUST_FOLDERS,
} from '../fixtures/e2e/agent-on-node.ts'
import { nodeWithRegistry } from '../fixtures/e2e/registry-node.ts'
import { issueServer } from '../fixtures/node/certificates.ts'
import type { FixtureNode } from '../fixtures/node/fixture-node.ts'
import { partOf } from '../fixtures/turn.ts'

const HOST = 'harbor.example.net'
const generation = oldestToTest()
const one = (host = HOST) => ({ registries: [{ host, ca: 'ca.pem' }], ...BY_SIGNAL })

const { node, registry, authority, agent } = await nodeWithRegistry(t, HOST, { generation })

t.test('inputs that are refused before the node is touched', async (t) => {
  const leaf = await issueServer(authority, node.scratch, [HOST])
  const before = await contents(node, ...TRUST_FOLDERS)
  const ca = { 'ca.pem': authority.pem }

  type Case = {
    readonly name: string
    readonly trust: object | string
    readonly files?: { [name: string]: string | Buffer | undefined }
    readonly says: RegExp
  }
  const cases: readonly Case[] = [
    { name: 'an empty CA', trust: one(), files: { 'ca.pem': '' }, says: /ANCHOR_EMPTY[\s\S]*ca\.pem/ },
    { name: 'a missing CA', trust: one(), files: { 'ca.pem': undefined }, says: /ANCHOR_MISSING[\s\S]*ca\.pem/ },
    {
      name: 'garbage instead of PEM',
      trust: one(),
      files: { 'ca.pem': 'hello, this is no certificate' },
      says: /ANCHOR_NOT_A_CERTIFICATE[\s\S]*ca\.pem/,
    },
    {
      name: 'a broken PEM block',
      trust: one(),
      files: { 'ca.pem': authority.pem.replace(/\n.{8}/, '\n!!!!!!!!') },
      says: /ANCHOR_NOT_A_CERTIFICATE/,
    },
    {
      name: 'a private key',
      trust: one(),
      files: {
        'ca.pem':
          '-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n',
      },
      says: /ANCHOR_PRIVATE_KEY/,
    },
    {
      name: 'a leaf instead of a CA',
      trust: one(),
      files: { 'ca.pem': leaf.pem },
      says: /ANCHOR_NOT_A_CA[\s\S]*Root of harbor/,
    },
    {
      name: 'the same host twice',
      trust: {
        registries: [
          { host: HOST, ca: 'ca.pem' },
          { host: HOST, ca: 'ca.pem' },
        ],
      },
      files: ca,
      says: /trust\.yaml:\d+:\d+[\s\S]*harbor\.example\.net/,
    },
    {
      name: 'a host with a path',
      trust: one('harbor.example.net/library'),
      files: ca,
      says: /registries\[0\]\.host[\s\S]*harbor\.example\.net/,
    },
    { name: 'a host that climbs out', trust: one('../../etc'), files: ca, says: /registries\[0\]\.host/ },
    {
      name: 'an unknown key',
      trust: { registries: [{ hots: HOST, ca: 'ca.pem' }] },
      files: ca,
      says: /did you mean "?host/i,
    },
    { name: 'tabs in YAML', trust: 'registries:\n\t- host: x\n', files: ca, says: /trust\.yaml:2:1[\s\S]*tab/i },
    {
      name: '10 MB of configuration',
      trust: `registries: []\n${'#'.repeat(10 * 1024 * 1024)}\n`,
      files: ca,
      says: /CONFIG_TOO_LARGE/,
    },
    { name: 'an empty file', trust: '', files: ca, says: /trust\.yaml/ },
    {
      name: 'what is not supported yet',
      trust: { registries: [{ host: HOST, ca: 'ca.pem', skipVerify: true }] },
      files: ca,
      says: /skipVerify/,
    },
  ]
  for (const { name, trust, files, says } of partOf(cases, 2)) {
    await agent.configure(trust, files)
    const { code, stdout, stderr } = await agent.command('apply')
    t.equal(code, 1, `${name}: exit 1\n${stdout}${stderr}`)
    t.match(stdout + stderr, says, name)
    t.match(stdout, /fix: /, `${name}: says what to do`)
    t.equal(await contents(node, ...TRUST_FOLDERS), before, `${name}: nothing changed`)
  }
})

t.test('a config that containerd refuses is refused by the rehearsal, with its words', async (t) => {
  await agent.configure({ ...one(), targets: { systemTrust: { enabled: false } } }, { 'ca.pem': authority.pem })
  const good = await node.readFile('/etc/containerd/config.toml')
  const bad = good.replace(/default_runtime_name = "runc"/, 'default_runtime_name = "does-not-exist"')
  t.not(bad, good)
  await node.writeFile('/etc/containerd/config.toml', bad)
  const applied = await agent.apply()
  t.equal(applied.code, 1)
  t.match(applied.report, { outcome: 'refused', rehearsal: { verdict: 'failed', reason: /does-not-exist/ } })
  t.equal(
    await node.readFile('/etc/containerd/config.toml'),
    bad,
    'not even a good edit is added to a file that does not load',
  )
  t.equal(await node.restarts(), 0)
  await node.writeFile('/etc/containerd/config.toml', good)
})

t.test('a node that cannot be written: read-only, full', async (t) => {
  await agent.configure({ ...one(), targets: { systemTrust: { enabled: false } } }, { 'ca.pem': authority.pem })
  const before = await contents(node, '/etc/containerd')

  await node.run(['mount', '--bind', '/etc/containerd', '/etc/containerd'])
  await node.run(['mount', '-o', 'remount,bind,ro', '/etc/containerd'])
  const readOnly = await agent.apply()
  t.equal(readOnly.code, 1)
  t.match(readOnly.report, {
    outcome: 'refused',
    problems: [{ code: 'TARGET_READ_ONLY', message: /\/etc\/containerd/ }],
  })
  t.equal(await contents(node, '/etc/containerd'), before)
  await node.run(['umount', '/etc/containerd'])

  await fullFolder(node, '/etc/containerd')
  const beforeFull = await contents(node, '/etc/containerd')
  const full = await agent.apply()
  t.equal(full.code, 1)
  t.match(full.report, { outcome: 'refused', problems: [{ code: 'NO_SPACE', message: /\/etc\/containerd/ }] })
  t.equal(await contents(node, '/etc/containerd'), beforeFull, 'everything written so far was undone')
  await node.run(['umount', '/etc/containerd'])

  t.equal((await agent.apply()).code, 0, 'and it works once there is room')
  t.match(await node.pull(registry.reference()), { ok: true })
})

t.test('garbage in place of a CA that worked: the good one stays and the registry works on', async (t) => {
  const other = await startPrivateRegistry(node, 'other.example.net')
  await agent.configure(one(), { 'ca.pem': authority.pem })
  t.equal((await agent.apply()).code, 0)
  const good = await contents(node, ...TRUST_FOLDERS)

  await agent.configure(one(), { 'ca.pem': 'garbage' })
  const applied = await agent.apply()
  t.equal(applied.code, 1)
  t.match(applied.report.problems, [{ code: 'ANCHOR_NOT_A_CERTIFICATE' }])
  t.equal(await contents(node, ...TRUST_FOLDERS), good)
  t.match(await node.pull(registry.reference()), { ok: true })

  const both = { registries: [...one().registries, { host: 'other.example.net', ca: 'other.pem' }], ...BY_SIGNAL }
  await agent.configure(both, { 'other.pem': other.authority.pem })
  const mixed = await agent.apply()
  t.equal(mixed.code, 3, 'the other registry is applied although one anchor is broken')
  t.match(await node.pull(other.registry.reference()), { ok: true })
  t.match(await node.pull(registry.reference()), { ok: true })
})

/** A copy of the folder on a file system without a free block. */
async function fullFolder(node: FixtureNode, folder: string): Promise<void> {
  const copy = join(node.scratch, 'copy')
  await node.run([
    'sh',
    '-c',
    `cp -a ${folder} ${copy} && mount -t tmpfs -o size=64k tmpfs ${folder} && cp -a ${copy}/. ${folder}/ && rm -r ${copy}`,
  ])
  await node.exec(['sh', '-c', `dd if=/dev/zero of=${folder}/filler bs=4096 2>/dev/null`])
}
