// `probe` and `inspect` as a user runs them on a node, without containerd and without a configuration first; and a
// PKCS#12 store as an anchor.
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import type { Inspection } from '../../agent/cli/output/inspection.ts'
import type { ProbeReport } from '../../agent/probe/probe.ts'
import { AgentOnNode, BY_SIGNAL, startPrivateRegistry } from '../fixtures/e2e/agent-on-node.ts'
import { createAuthority, issueServer } from '../fixtures/node/certificates.ts'
import { newestGeneration, sandboxNode } from '../fixtures/node/node-tests.ts'
import { defaultConfig, withConfigPath } from '../fixtures/node/sandbox-node.ts'
import { startFaultServer } from '../fixtures/node/tls-servers.ts'
import { partOf } from '../fixtures/turn.ts'

const run = promisify(execFile)

newestGeneration(t, 'a registry is diagnosed from a bare node, then declared, then trusted', async (t, generation) => {
  const node = await sandboxNode(t, { generation, startContainerd: false })
  const agent = await AgentOnNode.on(node)
  const { registry, authority } = await startPrivateRegistry(node, 'harbor.example.net', { port: 5000 })
  const probe = async (...words: readonly string[]) => {
    const { code, stdout, stderr } = await agent.command('probe', '--json', ...words)
    if (stdout === '') throw new Error(stderr)
    return { code, report: JSON.parse(stdout) as ProbeReport }
  }

  const bare = await probe(registry.host)
  t.equal(bare.code, 3)
  t.same(Object.keys(bare.report), ['host', 'port', 'declared', 'chain', 'verifiedBy', 'finding', 'related'])
  t.match(bare.report, {
    host: 'harbor.example.net',
    port: 5000,
    declared: false,
    verifiedBy: null,
    chain: [{ issuer: /CN=Root of harbor\.example\.net/, fingerprint: /^sha256:[0-9a-f]{64}$/, notAfter: /Z$/ }],
    finding: { code: 'unknown-authority', message: /issued by "Root of harbor\.example\.net"/ },
  })

  await agent.configure({ registries: [{ host: registry.host, ca: 'root.pem' }] }, { 'root.pem': 'nonsense' })
  const broken = await probe(registry.host)
  t.equal(broken.code, 3)
  t.match(broken.report, { declared: true })
  t.match(broken.report.finding.evidence.notes?.join('\n'), /^anchor root: .*holds no certificate/m)

  await agent.configure({ registries: [{ host: registry.host, ca: 'root.pem' }] }, { 'root.pem': authority.pem })
  const declared = await probe(registry.host)
  t.equal(declared.code, 0)
  t.match(declared.report, { declared: true, verifiedBy: 'root', finding: { code: 'trusted' }, related: [] })
  const text = await agent.command('probe', 'https://harbor.example.net:5000/')
  t.match(
    text.stdout,
    /^registry +harbor\.example\.net:5000\ndeclared +yes\nverified by +anchor root\nfinding +trusted\n/,
  )

  const other = await probe('harbor.example.net')
  t.match(other, { code: 3, report: { port: 443, declared: false, chain: [], finding: { code: 'refused' } } })
  await node.writeFile('/etc/ssl/certs/fixture.pem', authority.pem)
  await agent.configure('registries: []\n')
  t.match(await probe(registry.host), { code: 0, report: { declared: false, verifiedBy: 'system' } })

  await agent.configure('registries: [{ hots: x }]\n')
  const invalid = await agent.command('probe', registry.host)
  t.equal(invalid.code, 1)
  t.match(invalid.stdout, /CONFIG_INVALID/)
  const words = ['http://harbor.example.net', 'harbor.example.net/app:1', 'a b', 'harbor.example.net:99999']
  for (const word of partOf(words, 2)) {
    t.match(await agent.command('probe', word), { code: 64, stdout: '', stderr: /^registry-trust: / }, word)
  }
})

newestGeneration(
  t,
  'one unknown authority in front of unrelated registries is told as interception',
  async (t, generation) => {
    const node = await sandboxNode(t, { generation, startContainerd: false })
    const agent = await AgentOnNode.on(node)
    const [proxy, mine] = [
      await createAuthority(node.scratch, 'Inspection'),
      await createAuthority(node.scratch, 'Corp Root'),
    ]
    for (const host of ['registry.vendor.example', 'harbor.corp.test']) {
      const certificate = await issueServer(proxy, node.scratch, [host])
      await startFaultServer(node, { host, fault: 'answer', certificate, answer: { status: 200, body: '{}' } })
    }
    const registries = [
      { host: 'registry.vendor.example', ca: 'mine.pem' },
      { host: 'harbor.corp.test', ca: 'mine.pem' },
    ]
    await agent.configure({ registries }, { 'mine.pem': mine.pem })
    const { code, stdout } = await agent.command('probe', '--json', 'registry.vendor.example')
    t.equal(code, 3)
    t.match((JSON.parse(stdout) as ProbeReport).finding, {
      code: 'proxy-interception',
      message: /registry\.vendor\.example and harbor\.corp\.test both show certificates of an undeclared authority/,
    })
  },
)

newestGeneration(t, 'a PKCS#12 store with a password is inspected, declared and pulled with', async (t, generation) => {
  const node = await sandboxNode(t, { generation, config: withConfigPath(defaultConfig(generation)) })
  const agent = await AgentOnNode.on(node)
  const { registry, authority } = await startPrivateRegistry(node, 'harbor.example.net')
  const store = join(node.scratch, 'store.p12')
  await run('openssl', [
    'pkcs12',
    '-export',
    '-nokeys',
    '-in',
    authority.certFile,
    '-passout',
    'pass:hunter2',
    '-out',
    store,
  ])
  const password = join(node.scratch, 'password')
  await writeFile(password, 'hunter2\n')

  const closed = await node.exec([...agentCommand(), 'inspect', store])
  t.match(closed, { code: 1, stdout: /ANCHOR_PASSWORD/ })
  const open = await node.exec([...agentCommand(), 'inspect', '--json', '--password-file', password, store])
  t.equal(open.code, 0)
  t.match(JSON.parse(open.stdout) as Inspection[], [
    { file: store, encoding: ['pkcs12'], certificates: [{ isCa: true }] },
  ])

  const trust = {
    ...BY_SIGNAL,
    anchors: { vendor: { file: 'store.p12', passwordFile: 'password' } },
    registries: [{ host: registry.host, anchors: ['vendor'] }],
  }
  await agent.configure(trust, { 'store.p12': await readFile(store), password: 'hunter2\n' })
  const { code, report, stderr } = await agent.apply()
  t.match({ code, outcome: report.outcome }, { code: 0, outcome: 'applied' }, stderr)
  t.match(await node.pull(registry.reference()), { ok: true })
  t.equal(await node.readFile('/etc/containerd/certs.d/harbor.example.net/ca.crt'), authority.pem)
  const left = await node.exec(['grep', '-rl', 'hunter2', '/etc/containerd', '/var/lib/registry-trust', '/etc/ssl'])
  t.equal(left.stdout, '', 'the password is nowhere on the node')
})

function agentCommand(): readonly string[] {
  return [process.execPath, join(import.meta.dirname, '../../dist/registry-trust.cjs')]
}
