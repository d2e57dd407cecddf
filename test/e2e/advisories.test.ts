// Drift that no file puts right: a registry that changes its chain, a system store newer than the running containerd,
// inputs that cannot change, folders that were replaced below the agent. It is told with its cure, and it goes away by
// itself when the cause does.
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import {
  AgentOnNode,
  BY_SIGNAL,
  generationsToTest,
  sampledGenerations,
  startPrivateRegistry,
} from '../fixtures/e2e/agent-on-node.ts'
import { createAuthority, issueServer } from '../fixtures/node/certificates.ts'
import type { Generation } from '../fixtures/node/generations.ts'
import { startRegistry } from '../fixtures/node/registry.ts'
import { defaultConfig, startSandboxNode, withConfigPath } from '../fixtures/node/sandbox-node.ts'

const HOST = 'harbor.example.net'
const QUICK = { proof: { every: '1s' } }
const generations = generationsToTest()
const generation = generations[0]
if (generation === undefined) throw new Error('no containerd to test on')

async function place(t: Test, on: Generation = generation as Generation) {
  const node = await startSandboxNode({ generation: on, config: withConfigPath(defaultConfig(on)) })
  t.teardown(() => node.dispose())
  return { node, agent: await AgentOnNode.on(node) }
}

/** The sample: the help text is there before. */
const SERVED = /^registry_trust_served_certificate_not_after_timestamp_seconds\{/m

t.test('a registry that presents another chain: told with both issuers until a proof succeeds', async (t) => {
  const { node, agent } = await place(t)
  const pki = join(node.scratch, 'pki')
  await mkdir(pki)
  const [declared, other] = [await createAuthority(pki, 'Declared Root'), await createAuthority(pki, 'Other Root')]
  const address = await node.newAddress()
  const serve = async (authority: typeof declared) =>
    startRegistry(node, { host: HOST, address, certificate: await issueServer(authority, pki, [HOST]) })
  let registry = await serve(declared)
  await agent.configure(
    { registries: [{ host: HOST, ca: 'ca.pem', ...QUICK }], ...BY_SIGNAL },
    { 'ca.pem': declared.pem },
  )
  const daemon = await agent.startDaemon()
  await daemon.until(({ state }) => state === 'converged')
  // The first look at what is served is beside the first run.
  while (!SERVED.test((await daemon.get('/metrics')).body)) await sleep(40)
  await registry.stop()
  registry = await serve(other)
  const changed = await daemon.until(({ drift }) => drift.length > 0)
  t.match(changed.drift, [
    {
      target: 'registry',
      path: HOST,
      kind: 'chain-changed',
      reason: /by CN=Other Root,.*before: .*by CN=Declared Root/,
    },
  ])
  t.match(changed.registries, [{ state: 'untrusted', finding: { code: 'unknown-authority' } }])
  t.equal(changed.state, 'converged', 'nothing of ours on the node differs')
  await daemon.service.waitFor(/"msg":"drift-found"/)
  t.match((await daemon.get('/metrics')).body, /^registry_trust_drift\{target="registry",kind="chain-changed"\} 1$/m)
  t.match((await daemon.get('/')).body, /chain-changed/)
  await registry.stop()
  await serve(declared)
  const healed = await daemon.until(({ drift, registries }) => drift.length === 0 && registries[0]?.state === 'trusted')
  t.same(healed.drift, [], 'a renewed certificate of the same authority is no drift once it is proved')
})

for (const each of sampledGenerations()) {
  t.test(`${each.label}: a CA added to the system store after containerd started: one restart, or told`, async (t) => {
    const { node, agent } = await place(t, each)
    const { registry, authority } = await startPrivateRegistry(node, HOST)
    t.match(await node.pull(registry.reference()), { ok: false }, 'containerd has read its roots')
    const pid = await node.containerdPid()
    await sleep(150)
    await writeFile(node.path('/usr/local/share/ca-certificates/by-hand.crt'), authority.pem)
    await node.run(['update-ca-certificates'])
    t.match(await node.pull(registry.reference()), { ok: false }, 'and does not read them again')

    await agent.configure({ registries: [{ host: HOST }], restart: { strategy: 'never' } })
    const told = await agent.apply()
    t.equal(told.code, 6)
    t.match(told.report.restartPending, /\S/)
    const daemon = await agent.startDaemon()
    const status = await daemon.until(({ drift }) => drift.length > 0)
    t.match(status.drift, [
      {
        target: 'system-trust',
        path: '/etc/ssl/certs/ca-certificates.crt',
        kind: 'os-bundle-newer',
        reason: new RegExp(`does not trust ${HOST}: restart containerd`),
      },
    ])
    await sleep(500)
    t.match(await daemon.status(), { state: 'restart-pending', restart: { pending: true } }, 'also after the next look')
    t.equal(await node.containerdPid(), pid, 'strategy never')
    await daemon.service.stop()

    await agent.configure({ registries: [{ host: HOST }], ...BY_SIGNAL })
    const { code, report } = await agent.apply()
    t.equal(code, 0, JSON.stringify(report))
    t.equal(report.restarts.length, 1)
    t.match(report, { outcome: 'applied' })
    t.match(await node.pull(registry.reference()), { ok: true })
    const again = await agent.apply()
    t.same([again.code, again.report.restarts.length], [0, 0], 'one restart, and no other')
  })
}

t.test('an anchor that was taken out is told until containerd is restarted', async (t) => {
  const { node, agent } = await place(t)
  const { authority } = await startPrivateRegistry(node, HOST)
  const withdrawn = await createAuthority(node.scratch, 'Withdrawn Root')
  const registries = [{ host: HOST, anchors: ['kept'] }]
  const anchors = { kept: { file: 'kept.pem' }, old: { file: 'old.pem' } }
  const settings = { ...BY_SIGNAL, drift: { resync: '1s' } }
  await agent.configure({ anchors, registries, ...settings }, { 'kept.pem': authority.pem, 'old.pem': withdrawn.pem })
  t.equal((await agent.apply()).code, 0)
  await agent.configure({ anchors: { kept: anchors.kept }, registries, ...settings })
  const daemon = await agent.startDaemon()
  const status = await daemon.until(({ drift }) => drift.length > 0)
  t.match(status.drift, [
    { target: 'system-trust', kind: 'os-bundle-newer', reason: /^old \(sha256:.*may still trust it until/ },
  ])
  t.equal(status.state, 'converged')
  t.match((await agent.command('doctor')).stdout, /info {2}\/etc\/ssl\/certs\/ca-certificates\.crt: old \(sha256:/)
  await node.stopContainerd()
  await node.startContainerd()
  t.same((await daemon.until(({ drift, state }) => drift.length === 0 && state === 'converged')).drift, [])
})

t.test(
  'an input that is mounted as a file is told as stale; a folder replaced below its mount fails livez',
  async (t) => {
    const { node, agent } = await place(t)
    const { authority } = await startPrivateRegistry(node, HOST)
    await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL }, { 'ca.pem': authority.pem })
    const [source, file] = [join(node.scratch, 'volume-ca.pem'), join(agent.config, 'ca.pem')]
    await writeFile(source, authority.pem)
    await node.run(['mount', '--bind', source, file])
    await node.run(['sh', '-c', 'mkdir -p /etc/docker /run/replaced && mount --bind /run/replaced /etc/docker'])
    const daemon = await agent.startDaemon()
    const status = await daemon.until(({ drift, state }) => drift.length > 0 && state === 'converged')
    t.match(status.drift, [{ target: 'source', path: file, kind: 'source-stale', reason: /mount its folder/ }])
    t.match((await agent.status()).stdout, /source-stale +\S+ca\.pem/)
    t.match((await agent.command('doctor')).stdout, /warning {2}\S+ca\.pem: it is mounted as a single file/)
    await node.run(['umount', file])
    t.same((await daemon.until(({ drift }) => drift.length === 0)).drift, [], 'its folder is not')

    t.equal((await daemon.get('/livez')).status, 200)
    await node.run(['rm', '-r', '/run/replaced'])
    const { status: code, body } = await daemon.get('/livez')
    t.equal(code, 503)
    t.match(body, /\[-\]mounts failed: replaced on the node since they were mounted: \/etc\/docker\/certs\.d/)
  },
)
