// The daemon refuses, behind the agent's back, what its private copy accepted: everything is put back and containerd
// runs as before. Every kind of configuration with which containerd runs, but without its CRI plugin (and so looks
// healthy to its supervisor), is tried: half of them in a run, others the next day, all with REGISTRY_TRUST_FULL=1.
import t from 'tap'
import {
  AgentOnNode,
  BY_SIGNAL,
  contents,
  sampledGenerations,
  startPrivateRegistry,
  TRUST_FOLDERS,
} from '../fixtures/e2e/agent-on-node.ts'
import { spoil, unspoil, wrapContainerd } from '../fixtures/e2e/refusing-containerd.ts'
import type { Generation } from '../fixtures/node/generations.ts'
import { startSandboxNode } from '../fixtures/node/sandbox-node.ts'
import { partOf } from '../fixtures/turn.ts'

const HOST = 'harbor.example.net'
const ROLLBACK_LIMIT_MS = 20_000

t.setTimeout(480_000)

type Sabotage = {
  readonly name: string
  /** Shell that makes /run/bad.toml of config.toml, or ends. */
  readonly spoil: string
  readonly says: RegExp
}

const CRI_DEAD = /containerd runs, but its CRI plugin does not/

/** What the supervisor's containerd is given once config.toml has the agent's edit. */
function sabotages({ expected, label }: Generation, isFirst: boolean): readonly Sabotage[] {
  const registry = `[plugins.\\"${expected.registryPlugin}\\".registry`
  const append = (lines: string) => `{ cat /etc/containerd/config.toml; printf "${lines}"; } >/run/bad.toml`
  const replace = (from: string, to: string) => `sed 's/${from}/${to}/' /etc/containerd/config.toml >/run/bad.toml`
  const all: readonly Sabotage[] = [
    {
      name: 'mirrors beside config_path',
      spoil: append(`${registry}.mirrors.\\"m.test\\"]\\nendpoint = [\\"https://m.test\\"]\\n`),
      says: CRI_DEAD,
    },
    {
      name: 'a default runtime that is not defined',
      spoil: replace('default_runtime_name = .*', 'default_runtime_name = "no-such"'),
      says: CRI_DEAD,
    },
    {
      name: 'the CRI plugin switched off',
      spoil: replace('^disabled_plugins = .*', 'disabled_plugins = ["io.containerd.grpc.v1.cri"]'),
      says: CRI_DEAD,
    },
  ]
  const tls: Sabotage = {
    name: 'configs.tls beside config_path',
    spoil: append(`${registry}.configs.\\"m.test\\".tls]\\nca_file = \\"/m.crt\\"\\n`),
    says: CRI_DEAD,
  }
  // Waiting for a supervisor that never succeeds takes its 15 s: once is enough.
  const exits: Sabotage = {
    name: 'it ends at once',
    spoil: 'exit 1',
    says: /nothing has started containerd for 15 s|ended before it listened/,
  }
  // From 2.0 on containerd only warns of configs.tls.
  const withoutCri = [...all, ...(label.startsWith('1.') ? [tls] : [])]
  return [...partOf(withoutCri, 2), ...(isFirst ? [exits] : [])]
}

for (const [index, generation] of sampledGenerations().entries())
  t.test(`containerd ${generation.version}`, async (t) => {
    const node = await startSandboxNode({ generation, runContainers: true })
    t.teardown(() => node.dispose())
    const { registry, authority } = await startPrivateRegistry(node, HOST)
    const container = await node.runContainer()
    const before = await container.facts()
    const tree = await contents(node, ...TRUST_FOLDERS)
    const agent = await AgentOnNode.on(node)
    await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL }, { 'ca.pem': authority.pem })
    await wrapContainerd(node)

    for (const { name, spoil: shell, says } of sabotages(generation, index === 0))
      await t.test(name, async (t) => {
        await spoil(node, shell)
        const began = Date.now()
        const applied = await agent.apply()
        const tookMs = Date.now() - began
        t.comment(
          `from the restart to ready again ${applied.report.restarts[0]?.durationMs} ms, the whole run ${tookMs} ms`,
        )
        t.equal(applied.code, 4, JSON.stringify(applied.report))
        t.match(applied.report, { outcome: 'rolled-back', restarts: [{ result: 'rolled-back' }] })
        t.match(applied.report.problems, [{ code: 'RESTART_FAILED', message: says }])
        t.ok((applied.report.restarts[0]?.durationMs ?? ROLLBACK_LIMIT_MS) < ROLLBACK_LIMIT_MS)
        t.equal(await contents(node, ...TRUST_FOLDERS), tree, 'the node is as before')
        t.match(await node.criVersion(), { ok: true })
        t.match(await container.facts(), { pid: before.pid, startedAt: before.startedAt, state: 'CONTAINER_RUNNING' })
        t.match(await node.pull(registry.reference()), { ok: false, message: /x509/ })
      })

    const daemon = await agent.startDaemon()
    const { transactions } = await daemon.until(({ state }) => state === 'rolled-back')
    t.ok(
      transactions.every(({ result }) => result === 'rolled-back'),
      'the daemon does not try the same again by itself',
    )
    t.equal(transactions.length, sabotages(generation, index === 0).length)
    await daemon.service.stop()

    await unspoil(node)
    t.equal((await agent.apply()).code, 0, 'a person may try again')
    t.match(await node.pull(registry.reference()), { ok: true })
    t.match(await container.facts(), { pid: before.pid, startedAt: before.startedAt, state: 'CONTAINER_RUNNING' })
  })
