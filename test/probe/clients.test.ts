// Three clients before the same broken servers: the proof of `apply`, `probe` and `explain` name one fault, the same in
// all three, and ask its server for no more than that needs: the servers' own logs of requests judge that.
import { join } from 'node:path'
import t from 'tap'
import type { Explanation } from '../../agent/diagnose/explain-image.ts'
import { breaksTrust } from '../../agent/model/finding.ts'
import { AgentOnNode } from '../fixtures/e2e/agent-on-node.ts'
import { newestGeneration, sandboxNode } from '../fixtures/node/node-tests.ts'
import { defaultConfig, withConfigPath } from '../fixtures/node/sandbox-node.ts'
import { type SeenRequest, startFaultServer } from '../fixtures/node/tls-servers.ts'
import { brokenServers, ISSUER_HOST, type Row, rowsOfTurn } from '../fixtures/probe/broken-servers.ts'
import { probeOn, pullCode } from '../fixtures/probe/probe-order.ts'
import { orderOf, registryOf, startServers } from '../fixtures/probe/start-servers.ts'

type Told = Pick<Explanation, 'finding' | 'endpoints'>

t.setTimeout(480_000)

newestGeneration(t, 'apply, probe and explain say the same', async (t, generation) => {
  const node = await sandboxNode(t, { generation, config: withConfigPath(defaultConfig(generation)) })
  const { rows: all, systemRoot, issuing } = await brokenServers(t.testdir())
  // One trust.yaml for all rows declares the intermediate that this row is about, for another registry.
  const rows = rowsOfTurn(all.filter(({ host }) => host !== 'unproven'))
  await node.writeFile('/etc/ssl/certs/matrix-system.pem', systemRoot.pem)
  const { registries, requests } = await startServers(node, rows)
  const answer = { status: 200, body: issuing.pem }
  await startFaultServer(node, { host: ISSUER_HOST, port: 80, fault: 'plain-http', answer })

  const agent = await AgentOnNode.on(node)
  const files = Object.fromEntries(rows.map((row) => [fileOf(row), Object.values(row.anchors ?? {}).join('')]))
  const declared = rows.map((row) => ({
    host: registryOf(row, registries),
    ...(row.anchors ? { ca: fileOf(row) } : { anchors: [] }),
  }))
  const targets = { systemTrust: { enabled: false } }
  const anchors = Object.fromEntries(
    rows.flatMap(({ others = {} }) => Object.keys(others)).map((name) => [name, { file: `other-${name}.pem` }]),
  )
  for (const { others = {} } of rows) for (const [name, pem] of Object.entries(others)) files[`other-${name}.pem`] = pem
  await agent.configure({ anchors, registries: declared, targets, restart: { strategy: 'never' } }, files)
  const {
    report: { findings },
    stderr,
  } = await agent.apply()
  t.ok(findings.length === rows.length, `${findings.length} of ${rows.length} are proved: ${stderr}`)
  const afterApply = await requests()

  const reports = await probeOn(
    node,
    rows.map((row) => orderOf(row, registries)),
  )
  const afterProbe = await requests()
  const images = rows.map((row) => `${registryOf(row, registries)}/registry-trust/probe:does-not-exist`)
  const argv = [process.execPath, join(import.meta.dirname, '../fixtures/probe/run-explains.ts'), agent.config]
  const explanations = JSON.parse(await node.run(argv, { input: JSON.stringify(images), timeoutMs: 120_000 })) as Told[]
  const afterExplain = await requests()
  t.ok(rows.filter(reachesHttp).length >= 8, 'so many are judged by their requests')
  rows.forEach((row, index) => {
    const host = registryOf(row, registries)
    const [proof, report, explained] = [
      findings.find((one) => one.host === host)?.finding,
      reports[index],
      explanations[index],
    ]
    const seen = { proof, report, explained }
    t.equal(proof?.code, row.code, `${host}: the proof of apply`, seen)
    t.equal(report && pullCode(report), row.code, `${host}: probe`, seen)
    const said = explained?.finding.code
    t.equal(said === 'not-found' ? 'trusted' : said, row.code, `${host}: explain`, seen)
    t.equal(explained?.endpoints[0]?.finding?.code, row.code, `${host}: the endpoint in explain`, seen)
    const logs = [new Map<string, readonly SeenRequest[]>(), afterApply, afterProbe, afterExplain].map(
      (log) => log.get(host) ?? [],
    )
    const asked = [1, 2, 3].map((phase) => logs[phase]?.slice(logs[phase - 1]?.length) ?? [])
    const counts = asked.map(({ length }) => length).join(', ')
    if (reachesHttp(row)) {
      t.ok(
        asked.every(({ length }) => length > 0),
        `${host} was asked by each of the three: ${counts}`,
      )
      t.ok(asked[0]?.some(isByContainerd), `${host}: the proof of apply is a pull of containerd`)
    } else t.equal(asked[0]?.length, 0, `${host}: apply sends no request over a connection that is not trusted`)
    t.ok(
      asked.flat().every(({ method, authorization }) => /^(GET|HEAD)$/.test(method) && !authorization),
      `${host}: nobody sends it a login, or more than a question`,
    )
  })
})

/** TLS is well, so what is wrong is told by the answers to requests. */
function reachesHttp({ code, server }: Row): boolean {
  const faults = ['answer', 'asks-for-certificate', 'silent-http']
  return faults.includes(server?.fault ?? '') && !breaksTrust(code) && code !== 'tls-version'
}

function isByContainerd({ headers }: SeenRequest): boolean {
  return headers['user-agent']?.startsWith('containerd/') ?? false
}

/** The anchors of a row in one file. */
function fileOf({ host }: Row): string {
  return `${host}.pem`
}
