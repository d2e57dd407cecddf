// The CRI client on a node with a private registry: pulls that fail and succeed for real, and what is on the node
// afterwards.
import t from 'tap'
import { connectCri } from '../../../agent/node/cri/client.ts'
import { createAuthority, issueServer } from '../../fixtures/node/certificates.ts'
import { eachGeneration, sandboxNode } from '../../fixtures/node/node-tests.ts'
import { startRegistry } from '../../fixtures/node/registry.ts'
import { CERTS_D, defaultConfig, withConfigPath } from '../../fixtures/node/sandbox-node.ts'

const SOON = { timeoutMs: 20_000 }
const HOST = 'harbor.example.net'

eachGeneration(t, 'pulls as containerd does, and lists what came', async (t, generation) => {
  const node = await sandboxNode(t, { generation, config: withConfigPath(defaultConfig(generation)) })
  const ca = await createAuthority(node.scratch, 'Private Root')
  const certificate = await issueServer(ca, node.scratch, [HOST])
  const registry = await startRegistry(node, { host: HOST, certificate })
  const cri = connectCri(node.path('/run/containerd/containerd.sock'))
  t.teardown(() => cri.close())

  const unknownAuthority = { ok: false, status: 'UNKNOWN', text: /x509: certificate signed by unknown authority/ }
  t.match(await cri.pullImage(registry.reference(), SOON), unknownAuthority)
  t.same(await cri.imageDigests(SOON), [])

  await node.writeFile(`${CERTS_D}/${HOST}/ca.crt`, ca.pem)
  await node.writeFile(`${CERTS_D}/${HOST}/hosts.toml`, `server = "https://${HOST}"\nca = "ca.crt"\n[host]\n`)
  t.match(await cri.pullImage(registry.reference(), SOON), { ok: true, imageRef: /^sha256:[0-9a-f]{64}$/ })
  const missing = `${HOST}/registry-trust/probe:does-not-exist`
  t.match(await cri.pullImage(missing, SOON), {
    ok: false,
    status: 'NOT_FOUND',
    text: new RegExp(`${missing}: not found$`),
  })

  const digests = await cri.imageDigests(SOON)
  t.match(digests, [/^harbor\.example\.net\/library\/hello@sha256:[0-9a-f]{64}$/])
  t.match(await cri.pullImage(digests[0] ?? '', SOON), { ok: true }, 'a digest that is there is asked for again')
  t.equal(await cri.imageExists(registry.reference(), SOON), true)
  t.equal(await cri.imageExists(missing, SOON), false)
})
