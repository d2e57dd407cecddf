// Three clients before the same broken servers: the proof of `apply`, `probe` and `explain` name one fault, the same in all three.
import t from 'tap'
import { AgentOnNode } from '../fixtures/e2e/agent-on-node.ts'
import { newestGeneration, sandboxNode } from '../fixtures/node/node-tests.ts'
import { defaultConfig, withConfigPath } from '../fixtures/node/sandbox-node.ts'
import { startFaultServer } from '../fixtures/node/tls-servers.ts'
import { brokenServers, ISSUER_HOST, type Row } from '../fixtures/probe/broken-servers.ts'
import { pullCode } from '../fixtures/probe/probe-order.ts'
import { registryOf, startServers } from '../fixtures/probe/start-servers.ts'

const AT_ONCE = 3

type Told = { readonly code: string; readonly message: string }
type Report = { readonly proofs: readonly { readonly host: string; readonly finding: Told }[] }

t.setTimeout(480_000)

newestGeneration(t, 'apply, probe and explain say the same', async (t, generation) => {
  const node = await sandboxNode(t, { generation, config: withConfigPath(defaultConfig(generation)) })
  const { rows, systemRoot, issuing } = await brokenServers(t.testdir())
  await node.writeFile('/etc/ssl/certs/matrix-system.pem', systemRoot.pem)
  const registries = await startServers(node, rows)
  const answer = { status: 200, body: issuing.pem }
  await startFaultServer(node, { host: ISSUER_HOST, port: 80, fault: 'plain-http', answer })

  const agent = await AgentOnNode.on(node)
  const files = Object.fromEntries(rows.flatMap((row) => filesOf(row)))
  const declared = rows.map((row) => ({
    host: registryOf(row, registries),
    ...(row.anchors && { ca: Object.keys(row.anchors).map((name) => fileOf(row, name)) }),
  }))
  const targets = { systemTrust: { enabled: false } }
  await agent.configure({ registries: declared, targets, restart: { strategy: 'never' } }, files)
  const { stdout, stderr } = await agent.command('apply', '--json')
  const report = JSON.parse(stdout) as Report
  t.ok(report.proofs.length === rows.length, `${report.proofs.length} of ${rows.length} are proved: ${stderr}`)

  const waiting = [...rows]
  const worker = async () => {
    for (let row = waiting.shift(); row !== undefined; row = waiting.shift()) {
      const host = registryOf(row, registries)
      const proof = report.proofs.find((one) => one.host === host)?.finding
      const probed = await agent.command('probe', host, '--json')
      const explained = await agent.command('explain', `${host}/registry-trust/probe:does-not-exist`, '--json')
      const probe = pullCode(JSON.parse(probed.stdout))
      const { finding, endpoints } = JSON.parse(explained.stdout)
      const seen = { proof, probed: probed.stdout, explained: explained.stdout }
      t.equal(proof?.code, row.code, `${host}: the proof of apply`, seen)
      t.equal(probe, row.code, `${host}: probe`, seen)
      t.equal(finding.code === 'not-found' ? 'trusted' : finding.code, row.code, `${host}: explain`, seen)
      t.equal(endpoints.length, 1)
      t.equal(endpoints[0]?.finding.code, row.code, `${host}: the endpoint in explain`, seen)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
})

function fileOf({ host }: Row, anchor: string): string {
  return `${host}-${anchor}.pem`
}

function filesOf(row: Row): [string, string][] {
  return Object.entries(row.anchors ?? {}).map(([name, pem]) => [fileOf(row, name), pem])
}
