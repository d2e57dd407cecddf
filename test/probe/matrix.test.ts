// The broken servers of the table, each asked twice: by containerd with a real pull, and by the agent's probe. Both
// must name the same fault on every generation, and where the remedy lies on our side, declaring what the probe says
// must make the pull work. Each generation takes a third of them, another one than its neighbour and than in the next
// turn, so that every server is asked in each run; all on all with REGISTRY_TRUST_FULL=1.
import t, { type Test } from 'tap'
import { classifyPull } from '../../agent/containerd/pull/classify.ts'
import { provesTrust } from '../../agent/model/finding.ts'
import type { ProbeReport } from '../../agent/probe/probe.ts'
import { isCauseOf } from '../../agent/probe/same-finding.ts'
import type { FixtureNode } from '../fixtures/node/fixture-node.ts'
import { SUITES } from '../fixtures/node/generations.ts'
import { eachGeneration, sandboxNode } from '../fixtures/node/node-tests.ts'
import { defaultConfig, withConfigPath } from '../fixtures/node/sandbox-node.ts'
import { startFaultServer } from '../fixtures/node/tls-servers.ts'
import { brokenServers, ISSUER_HOST, type Matrix, type Row, rowsOfTurn } from '../fixtures/probe/broken-servers.ts'
import { type ProbeOrder, probeOn, pullCode } from '../fixtures/probe/probe-order.ts'
import { orderOf, registryOf, startServers } from '../fixtures/probe/start-servers.ts'

const matrix: Promise<Matrix> = brokenServers(t.testdir())

eachGeneration(t, 'names every broken server as containerd does, and the remedy works', async (t, generation) => {
  const config = withConfigPath(defaultConfig(generation))
  const [node, { rows: table, systemRoot, issuing }] = await Promise.all([
    sandboxNode(t, { generation, config, startContainerd: false }),
    matrix,
  ])
  t.ok(table.length >= 60, `${table.length} cases`)
  const rows = rowsOfTurn(table, 3, Math.max(0, (SUITES as readonly string[]).indexOf(generation.suite)))
  await node.writeFile('/etc/ssl/certs/matrix-system.pem', systemRoot.pem)
  const { registries } = await startServers(node, rows)
  await startFaultServer(node, {
    host: ISSUER_HOST,
    port: 80,
    fault: 'plain-http',
    answer: { status: 200, body: issuing.pem },
  })
  await Promise.all(rows.map(async (row) => await declare(node, registryOf(row, registries), row.anchors ?? {})))
  await node.startContainerd()

  const orders = rows.map((row): ProbeOrder => orderOf(row, registries))
  const [reports, pulls] = await Promise.all([
    probeOn(node, orders),
    Promise.all(rows.map(async (row) => await pullOnce(node, registryOf(row, registries), row.timeoutMs))),
  ])
  rows.forEach((row, index) => {
    const report = reports[index]
    if (report !== undefined) compare(t, row, report, pulls[index] ?? { code: 'none', text: '' })
  })

  const remedied = rows.filter((row) => row.remedy !== undefined)
  await Promise.all(remedied.map(async (row) => await declare(node, registryOf(row, registries), row.remedy ?? {})))
  for (const row of remedied) {
    const { code, text } = await pullOnce(node, registryOf(row, registries))
    t.ok(provesTrust(code), `${row.host}: the pull works after the remedy: ${code} ${text}`)
  }
  const after = remedied.map((row): ProbeOrder => ({ ...orderOf(row, registries), anchors: row.remedy ?? {} }))
  for (const report of await probeOn(node, after)) {
    t.ok(provesTrust(report.finding.code), `${report.host}: the probe agrees: ${report.finding.message}`)
  }
})

/** As the agent writes it: shape A, one CA file. */
async function declare(
  node: FixtureNode,
  registry: string,
  anchors: { readonly [name: string]: string },
): Promise<void> {
  const pem = Object.values(anchors).join('')
  if (pem === '') return
  const folder = `/etc/containerd/certs.d/${registry}`
  await node.writeFile(`${folder}/ca.crt`, pem)
  await node.writeFile(`${folder}/hosts.toml`, `server = "https://${registry}"\nca = "ca.crt"\n\n[host]\n`)
}

async function pullOnce(node: FixtureNode, registry: string, timeoutMs = 15_000) {
  const reference = `${registry}/matrix/probe:does-not-exist`
  const pulled = await node.pull(reference, { timeoutMs })
  if (pulled.ok) return { code: 'trusted', text: 'pulled' } as const
  const { code } = classifyPull({ ok: false, status: pulled.code, text: pulled.message }, { reference, host: registry })
  return { code: code === 'not-found' ? 'trusted' : code, text: pulled.message } as const
}

function compare(t: Test, row: Row, report: ProbeReport, pull: { readonly code: string; readonly text: string }): void {
  const { host, code, message } = row
  const mine = pullCode(report)
  const seen = { finding: report.finding, related: report.related, pull }
  t.equal(mine, code, `${host}: the probe names it`, seen)
  t.ok(
    pull.code === mine || isCauseOf(mine, pull.code),
    `${host}: containerd names the same fault, or one that it cannot tell from it: ${pull.code}`,
    seen,
  )
  if (message !== undefined) t.match(report.finding.message, message, `${host}: the probe says which`)
  t.ok(report.finding.remedy.length > 0 && report.finding.message.length > 0)
}
