// The daemon on a real node: becomes ready, follows the configuration, survives the absence of containerd, never
// reverts the node.
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { BY_SIGNAL, contents, newestToTest, TRUST_FOLDERS } from '../fixtures/e2e/agent-on-node.ts'
import { nodeWithRegistry } from '../fixtures/e2e/registry-node.ts'

/** Alone on the machine (REGISTRY_TRUST_FULL=1); each question starts a curl, which other tests on two cores make late. */
const TOLD_WITHIN_MS = process.env['REGISTRY_TRUST_FULL'] === '1' ? 2_000 : 4_000
const HOST = 'harbor.example.net'
const generation = newestToTest()

t.test('from start to ready, through a change of CA, to the end', async (t) => {
  const { node, registry, authority, agent } = await nodeWithRegistry(t, HOST, { generation })
  await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL }, { 'ca.pem': authority.pem })
  t.equal((await agent.status()).code, 1, 'without a daemon status says so')
  const daemon = await agent.startDaemon()
  const status = await daemon.until(({ state }) => state === 'converged')
  t.match(status.registries, [{ host: HOST, state: 'trusted', finding: { code: 'trusted' } }])
  t.equal((await daemon.get('/readyz')).status, 200)
  t.equal((await daemon.get('/livez')).status, 200)
  t.match((await daemon.get('/healthz?verbose')).body, /\[\+\]containerd ok/)
  const metrics = (await daemon.get('/metrics')).body
  t.match(metrics, new RegExp(`^registry_trust_registry_trusted\\{registry="${HOST}"\\} 1$`, 'm'))
  t.match(metrics, /^registry_trust_containerd_restarts_total\{reason="apply",result="succeeded"\} 1$/m)
  t.match(metrics, /^registry_trust_config_valid 1$/m)
  t.match(metrics, /^x509_cert_not_after\{[^}]*ca\.crt/m)
  const later = await until(
    async () => (await daemon.get('/metrics')).body,
    /^registry_trust_served_certificate_not_after_timestamp_seconds\{registry="harbor\.example\.net"\} \d/m,
  )
  t.match(later, /^registry_trust_proof_interval_seconds\{registry="harbor\.example\.net"\} 600$/m)
  t.match(JSON.parse((await daemon.get('/openapi.json')).body), { openapi: /^3\.1/, paths: { '/status': {} } })
  t.match(await node.pull(registry.reference()), { ok: true })
  const shown = await agent.status()
  t.equal(shown.code, 0, shown.stdout)
  t.match(shown.stdout, /harbor\.example\.net\s+trusted/)

  const pid = await node.containerdPid()
  await agent.configure({
    registries: [
      { host: HOST, ca: 'ca.pem' },
      { host: 'down.example.net', ca: 'ca.pem' },
    ],
    ...BY_SIGNAL,
  })
  await node.setHost('down.example.net', '192.0.2.250')
  const withDown = await daemon.until(({ state, registries }) => state === 'converged' && registries.length === 2)
  t.match(withDown.registries, [{ state: 'trusted' }, { host: 'down.example.net', state: 'unproved' }])
  t.equal((await agent.status()).code, 3)
  t.equal(await node.containerdPid(), pid, 'no restart for another registry')

  await agent.configure('registries: [')
  const rejected = await daemon.until(({ problems }) => problems.length > 0)
  t.match(
    rejected,
    { state: 'converged', registries: [{ host: HOST, state: 'trusted' }, {}], problems: [{ code: 'CONFIG_INVALID' }] },
    'the last good configuration stays in force',
  )
  t.match((await daemon.get('/metrics')).body, /^registry_trust_config_valid 0$/m)

  await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL })
  await daemon.until(
    ({ state, problems, registries }) => state === 'converged' && problems.length === 0 && registries.length === 1,
  )
  const before = await contents(node, ...TRUST_FOLDERS)
  await daemon.service.kill('SIGTERM')
  t.equal(await daemon.service.exited, 0, 'SIGTERM ends it cleanly')
  t.equal(await contents(node, ...TRUST_FOLDERS), before, 'and reverts nothing')
})

t.test('a ConfigMap volume that the kubelet swaps is one change', async (t) => {
  const { node, registry, authority, agent } = await nodeWithRegistry(t, HOST, { generation })
  const volume = configMapVolume(agent.config)
  await volume.publish({ 'trust.yaml': JSON.stringify({ registries: [], ...BY_SIGNAL }) })
  const daemon = await agent.startDaemon('--log-level', 'debug')
  const first = await daemon.until(({ state }) => state === 'converged')
  await volume.publish({
    'trust.yaml': JSON.stringify({ registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL }),
    'ca.pem': authority.pem,
  })
  const second = await daemon.until(({ generation: now, state }) => now !== first.generation && state === 'converged')
  t.match(second.registries, [{ host: HOST, state: 'trusted' }])
  t.match(await node.pull(registry.reference()), { ok: true })
  await daemon.service.settled()
  const loads = daemon.service.stderr.split('\n').filter((line) => line.includes('"config-loaded"')).length
  t.equal(loads, 2, 'one load at the start, one for the swap')
  t.equal(second.transactions.length, 1)
})

t.test('containerd absent at the start and gone later: alive, not ready, and recovers', async (t) => {
  const { node, registry, authority, agent } = await nodeWithRegistry(t, HOST, { generation, startContainerd: false })
  await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL }, { 'ca.pem': authority.pem })
  const alone = await agent.apply()
  t.equal(alone.code, 1)
  t.match(alone.report, { outcome: 'no-containerd', problems: [{ code: 'CONTAINERD_NOT_FOUND' }] })
  const daemon = await agent.startDaemon()
  await daemon.until(({ state }) => state === 'no-containerd')
  t.equal((await daemon.get('/livez')).status, 200)
  t.equal((await daemon.get('/readyz')).status, 503)
  t.match((await daemon.get('/readyz')).body, /\[-\]containerd failed/)
  await node.startContainerd()
  await daemon.until(({ state }) => state === 'converged')
  t.equal((await daemon.get('/readyz')).status, 200)
  t.match(await node.pull(registry.reference()), { ok: true })

  // Both are told within 2 s, without waiting for the look that follows.
  const down = /^registry_trust_node_state\{state="no-containerd"\} 1$/m
  const signal = async (name: string) => node.run(['sh', '-c', `kill -s ${name} ${await node.containerdPid()}`])
  const faults = [
    { name: 'ended', act: () => node.stopContainerd(), mend: () => node.startContainerd() },
    { name: 'hangs', act: () => signal('STOP'), mend: () => signal('CONT') },
  ]
  for (const { name, act, mend } of faults) {
    await act()
    const at = performance.now()
    await daemon.until(({ state }) => state === 'no-containerd')
    const statusMs = Math.round(performance.now() - at)
    await until(async () => (await daemon.get('/metrics')).body, down)
    const metricMs = Math.round(performance.now() - at)
    t.ok(metricMs < TOLD_WITHIN_MS, `${name}: status after ${statusMs} ms, metric after ${metricMs} ms`)
    await mend()
    await daemon.until(({ state }) => state === 'converged')
  }
})

async function until(ask: () => Promise<string>, wanted: RegExp): Promise<string> {
  const deadline = Date.now() + 30_000
  for (;;) {
    const answer = await ask()
    if (wanted.test(answer)) return answer
    if (Date.now() > deadline) throw new Error(`not ${wanted}:\n${answer}`)
    await sleep(50)
  }
}

/** A folder as the kubelet keeps it: a new timestamped folder, then `..data` renamed over the old link. */
function configMapVolume(folder: string) {
  let version = 0
  return {
    async publish(files: { readonly [name: string]: string }): Promise<void> {
      version += 1
      const next = `..2026_11_21_${version}`
      await mkdir(join(folder, next))
      for (const [name, content] of Object.entries(files)) await writeFile(join(folder, next, name), content)
      await symlink(next, join(folder, '..data_tmp'))
      await rename(join(folder, '..data_tmp'), join(folder, '..data'))
      for (const name of Object.keys(files))
        await symlink(join('..data', name), join(folder, name)).catch(() => undefined)
      if (version > 1) await rm(join(folder, `..2026_11_21_${version - 1}`), { recursive: true })
    },
  }
}
