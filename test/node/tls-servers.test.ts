// Proves the servers beside a node by the one judge that counts: what containerd says when it pulls from them.
import t from 'tap'
import { createAuthority, daysFromNow, issueClient, issueServer, selfSignedServer } from './certificates.ts'
import { eachGeneration, newestGeneration, sandboxNode } from './node-tests.ts'
import { startRegistry } from './registry.ts'
import { defaultConfig, withConfigPath } from './sandbox-node.ts'
import { PORTAL, startFaultServer } from './tls-servers.ts'

eachGeneration(t, 'shows containerd each wrong certificate and each broken server', async (t, generation) => {
  const node = await sandboxNode(t, { generation, startContainerd: false })
  const folder = node.scratch
  const root = await createAuthority(folder, 'Trusted Root', { key: 'rsa' })
  const middle = await createAuthority(folder, 'Middle', { parent: root })
  const other = await createAuthority(folder, 'Other Root')
  await node.writeFile('/etc/ssl/certs/trusted-root.pem', root.pem)
  const good = await issueServer(root, folder, ['*.example.net'])
  const chained = await issueServer(middle, folder, ['chained.example.net'])
  const servers = [
    {
      host: 'unknown',
      fault: 'answer',
      certificate: await issueServer(other, folder, ['unknown.example.net']),
      says: /x509: .*unknown authority/,
    },
    { host: 'chained', fault: 'answer', certificate: chained, answer: { status: 404 }, says: /not found/ },
    {
      host: 'leafonly',
      fault: 'answer',
      certificate: { ...chained, chainFile: chained.certFile },
      says: /x509: certificate (is valid for|signed by unknown)/,
    },
    {
      host: 'self',
      fault: 'answer',
      certificate: await selfSignedServer(folder, ['self.example.net']),
      says: /x509: .*unknown authority/,
    },
    {
      host: 'misnamed',
      fault: 'answer',
      certificate: await issueServer(root, folder, ['else.example.net']),
      says: /x509: certificate is valid for else\.example\.net, not misnamed/,
    },
    {
      host: 'cn',
      fault: 'answer',
      certificate: await issueServer(root, folder, ['cn.example.net'], { commonNameOnly: true }),
      says: /legacy Common Name/,
    },
    {
      host: 'expired',
      fault: 'answer',
      certificate: await issueServer(root, folder, ['expired.example.net'], {
        notBefore: daysFromNow(-9),
        notAfter: daysFromNow(-1),
      }),
      says: /x509: certificate has expired .* is after/,
    },
    {
      host: 'early',
      fault: 'answer',
      certificate: await issueServer(root, folder, ['early.example.net'], {
        notBefore: daysFromNow(1),
        notAfter: daysFromNow(9),
      }),
      says: /x509: certificate has expired or is not yet valid: .* is before/,
    },
    { host: 'plain', fault: 'plain-http', says: /server gave HTTP response to HTTPS client/ },
    { host: 'reset', fault: 'reset', says: /connection reset by peer/ },
    { host: 'old', fault: 'old-tls', certificate: good, says: /protocol version not supported/ },
    {
      host: 'client',
      fault: 'client-certificate',
      certificate: good,
      clientAuthority: other,
      says: /tls: .*certificate/,
    },
    { host: 'no', fault: 'answer', certificate: good, answer: { status: 403 }, says: /403 Forbidden/ },
    { host: 'busy', fault: 'answer', certificate: good, answer: { status: 429 }, says: /429 Too Many Requests/ },
    { host: 'sick', fault: 'answer', certificate: good, answer: { status: 500 }, says: /500 Internal Server Error/ },
    { host: 'portal', fault: 'answer', certificate: good, answer: PORTAL, says: /text\/html|not found/ },
  ] as const
  await Promise.all(
    servers.map(
      async ({ says: _, host, ...server }) => await startFaultServer(node, { host: `${host}.example.net`, ...server }),
    ),
  )
  await node.startContainerd()
  for (const { host, says } of servers) {
    t.match(await node.pull(`${host}.example.net/library/hello:1`), { ok: false, message: says }, host)
  }
  t.match(await node.pull('nowhere.example.net/library/hello:1'), { ok: false, message: /no such host/ })
  await node.setHost('nowhere.example.net', await node.newAddress())
  t.match(
    await node.pull('nowhere.example.net/library/hello:1'),
    { ok: false, message: /connection refused/ },
    'a new name is seen at once',
  )
  for (const host of ['silent', 'silent-http'] as const) {
    await startFaultServer(node, { host: `${host}.example.net`, fault: host, certificate: good })
    t.match(
      await node.pull(`${host}.example.net/library/hello:1`, { timeoutMs: 300 }),
      { ok: false, code: /DEADLINE_EXCEEDED|CANCELLED/ },
      host,
    )
  }
})

newestGeneration(t, 'asks for a password or a client certificate where told to', async (t, generation) => {
  const node = await sandboxNode(t, {
    generation,
    config: withConfigPath(defaultConfig(generation)),
    startContainerd: false,
  })
  const root = await createAuthority(node.scratch, 'Trusted Root')
  await node.writeFile('/etc/ssl/certs/trusted-root.pem', root.pem)
  const certificate = await issueServer(root, node.scratch, ['closed.example.net'])
  const credentials = { username: 'puller', password: 'correct horse' }
  const registry = await startRegistry(node, { host: 'closed.example.net', port: 5000, certificate, credentials })
  await node.startContainerd()

  t.equal(registry.host, 'closed.example.net:5000')
  t.match(await node.pull(registry.reference()), { ok: false, message: /authorization failed|401 Unauthorized/ })
  t.match(await node.pull(registry.reference(), { credentials: { ...credentials, password: 'wrong' } }), {
    ok: false,
    message: /401/,
  })
  t.match(await node.pull(registry.reference(), { credentials }), { ok: true })
  t.ok((await registry.accessLog()).some((line) => line.status === 401))

  const server = await startFaultServer(node, {
    host: 'mutual.example.net',
    fault: 'client-certificate',
    certificate: await issueServer(root, node.scratch, ['mutual.example.net']),
    clientAuthority: root,
    answer: { status: 404 },
  })
  t.match(await node.pull('mutual.example.net/library/hello:1'), { ok: false, message: /tls: .*certificate/ })
  t.same(await server.requests(), [], 'refused during the handshake')
  const client = await issueClient(root, node.scratch, 'node')
  const hosts = `server = "https://mutual.example.net"\nclient = [["${client.certFile}", "${client.keyFile}"]]\n[host]\n`
  await node.writeFile('/etc/containerd/certs.d/mutual.example.net/hosts.toml', hosts)
  t.match(await node.pull('mutual.example.net/library/hello:1'), { ok: false, code: 'NOT_FOUND' })
  t.match((await server.requests())[0], { method: 'HEAD', url: '/v2/library/hello/manifests/1', authorization: false })

  await registry.stop()
  t.match(await node.pull(registry.reference(), { credentials }), { ok: false, message: /connection refused/ })
})
