// The daemon refuses, behind the agent's back, what its private copy accepted: everything is put back and containerd runs as before.
import { join } from 'node:path'
import t from 'tap'
import { startSandboxNode } from '../node/sandbox-node.ts'
import {
  AgentOnNode,
  BY_SIGNAL,
  contents,
  generationsToTest,
  startPrivateRegistry,
  TRUST_FOLDERS,
} from './agent-on-node.ts'

const HOST = 'harbor.example.net'
const ROLLBACK_LIMIT_MS = 30_000

type Sabotage = { readonly name: string; readonly start: string; readonly says: RegExp }

/** What the supervisor's containerd does once config.toml has the agent's edit. */
const SABOTAGES: readonly Sabotage[] = [
  { name: 'it exits at once', start: 'echo "containerd: sabotaged" >&2; exit 1', says: /did not come back/ },
  {
    name: 'it runs, but its CRI plugin does not load',
    start: `printf 'version = 2\\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\\n' >/run/bad.toml; exec "$real" -c /run/bad.toml "$@"`,
    says: /CRI plugin does not/,
  },
]

const generations = generationsToTest()
// Waiting for a supervisor that never succeeds takes its 15 s: once is enough.
for (const generation of generations)
  for (const { name, start, says } of generation === generations[0] ? SABOTAGES : SABOTAGES.slice(1))
    t.test(`containerd ${generation.version}: ${name}`, async (t) => {
      const node = await startSandboxNode({ generation, runContainers: true })
      t.teardown(() => node.dispose())
      const { registry, authority } = await startPrivateRegistry(node, HOST)
      const container = await node.runContainer()
      const before = await container.facts()
      const tree = await contents(node, ...TRUST_FOLDERS)
      const agent = await AgentOnNode.on(node)
      await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL }, { 'ca.pem': authority.pem })
      const binary = join(generation.bin, 'containerd')
      // The rehearsal names its config file (-c) and gets the real one.
      const wrapper = `#!/bin/sh\nreal=/run/real-containerd\ncase "$*" in *-c\\ *) exec "$real" "$@";; esac\ngrep -q certs.d /etc/containerd/config.toml || exec "$real" "$@"\n${start}\n`
      await node.run(['sh', '-c', `cp -L ${binary} /run/real-containerd`])
      await node.writeFile('/run/wrapper', wrapper, 0o755)
      await node.run(['mount', '--bind', '/run/wrapper', binary])

      const began = Date.now()
      const applied = await agent.apply()
      const tookMs = Date.now() - began
      t.comment(`rolled back within ${tookMs} ms, restart and rollback ${applied.report.restarts[0]?.durationMs} ms`)
      t.equal(applied.code, 4, JSON.stringify(applied.report))
      t.match(applied.report, { outcome: 'rolled-back', restarts: [{ result: 'rolled-back' }] })
      t.match(applied.report.problems, [{ code: 'RESTART_FAILED', message: says }])
      t.ok(tookMs < ROLLBACK_LIMIT_MS)
      t.equal(await contents(node, ...TRUST_FOLDERS), tree, 'the node is as before')
      t.match(await node.criVersion(), { ok: true })
      t.match(await container.facts(), { pid: before.pid, startedAt: before.startedAt, state: 'CONTAINER_RUNNING' })
      t.match(await node.pull(registry.reference()), { ok: false, message: /x509/ })

      const daemon = await agent.startDaemon()
      await daemon.until(({ state }) => state === 'rolled-back')
      t.equal((await daemon.status()).transactions.length, 1, 'the daemon does not try the same again by itself')
      await daemon.service.stop()

      await node.run(['umount', binary])
      t.equal((await agent.apply()).code, 0, 'a person may try again')
      t.match(await node.pull(registry.reference()), { ok: true })
    })
