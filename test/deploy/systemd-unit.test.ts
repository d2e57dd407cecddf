// Without Kubernetes: the unit as it is shipped, on a real systemd, does the whole job with no capability.
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { startPrivateRegistry } from '../fixtures/e2e/agent-on-node.ts'
import { newestSystemdGeneration, systemdNode } from '../fixtures/node/node-tests.ts'
import { until } from '../fixtures/node/private-containerd.ts'

const ROOT = join(import.meta.dirname, '../..')
const HOST = 'harbor.example.net'
const UNIT = 'registry-trust.service'

newestSystemdGeneration(t, 'the systemd unit', async (t, generation) => {
  const program = `#!/bin/sh\nunset NODE_OPTIONS\nexec /usr/local/lib/node /usr/local/lib/registry-trust.cjs "$@"\n`
  const node = await systemdNode(t, {
    generation,
    runContainers: true,
    binds: [join(ROOT, 'dist'), dirname(process.execPath)],
    files: { [`/etc/systemd/system/${UNIT}`]: readFileSync(join(ROOT, 'daemonset/systemd', UNIT), 'utf8') },
  })
  // Installed on the node: a checkout may lie in /tmp, which the unit does not see (PrivateTmp).
  await node.run(['cp', process.execPath, '/usr/local/lib/node'])
  await node.run(['cp', join(ROOT, 'dist/registry-trust.cjs'), '/usr/local/lib/registry-trust.cjs'])
  await node.writeFile('/usr/local/bin/registry-trust', program, 0o755)
  const { registry, authority } = await startPrivateRegistry(node, HOST)
  await node.writeFile('/etc/registry-trust/ca.pem', authority.pem)
  await node.writeFile('/etc/registry-trust/trust.yaml', JSON.stringify({ registries: [{ host: HOST, ca: 'ca.pem' }] }))
  const witness = await node.runContainer()
  const facts = await witness.facts()

  await node.run(['systemctl', 'daemon-reload'])
  await node.run(['systemctl', 'enable', '--now', UNIT])
  const status = async () =>
    (await node.exec(['/usr/local/bin/registry-trust', 'status', '--json', '--listen', '127.0.0.1:9461'])).stdout
  const log = async () => (await node.exec(['journalctl', '--no-pager', '--unit', UNIT, '--output', 'cat'])).stdout
  await until(async () => (await status()).includes('"converged"'), 40_000).catch(async () =>
    t.fail(`${await status()}${await log()}`),
  )
  t.match(await node.pull(registry.reference()), { ok: true })
  t.same(await witness.facts(), facts)
  const pid = await node.unitProperty('MainPID', UNIT)
  t.match(await node.readFile(`/proc/${pid}/status`), /^CapEff:\t0+$/m)
  t.equal(await node.unitProperty('Result', UNIT), 'success')

  await node.run(['systemctl', 'stop', UNIT])
  t.equal(await node.unitProperty('Result', UNIT), 'success', 'SIGTERM ends it well')
  t.match(await node.pull(registry.reference()), { ok: true }, 'stopping it takes nothing off')
  t.match(await node.exec(['/usr/local/bin/registry-trust', 'uninstall'], { timeoutMs: 60_000 }), { code: 0 })
  t.match(await node.pull(`${HOST}/library/other:1`), { ok: false, message: /x509/ })
})
