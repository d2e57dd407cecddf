// Damage by others on a real node: seen at once, put right, told; audit mode changes nothing; a fight ends with a
// finding.
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import {
  BY_SIGNAL,
  contents,
  contentsUntil,
  oldestToTest,
  sampledGenerations,
  TRUST_FOLDERS,
} from '../fixtures/e2e/agent-on-node.ts'
import { nodeWithRegistry } from '../fixtures/e2e/registry-node.ts'
import type { Generation } from '../fixtures/node/generations.ts'

const HOST = 'harbor.example.net'
const FOLDER = `/etc/containerd/certs.d/${HOST}`
/** Of the containers tools. */
const MIRRORS = '/etc/containers/registries.conf.d/50-registry-trust.conf'

async function trustedNode(
  t: { teardown(work: () => Promise<void>): void },
  extra: object = {},
  generation = oldestToTest(),
) {
  const { node, registry, authority, agent } = await nodeWithRegistry(t, HOST, { generation })
  await agent.configure(
    { registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL, ...extra },
    { 'ca.pem': authority.pem },
  )
  return { node, registry, agent }
}

async function healsDamage(t: Test, generation: Generation): Promise<void> {
  const { node, registry, agent } = await trustedNode(t, {}, generation)
  const without = join(node.scratch, 'bundle-before')
  await node.run(['cp', '/etc/ssl/certs/ca-certificates.crt', without])
  const daemon = await agent.startDaemon()
  await daemon.until(({ state }) => state === 'converged')
  const good = await contents(node, ...TRUST_FOLDERS)
  const pid = await node.containerdPid()
  const damages = [
    `rm ${FOLDER}/ca.crt`,
    `rm -r ${FOLDER}`,
    'rm -r /etc/containerd/certs.d',
    `echo garbage > ${FOLDER}/ca.crt`,
    `sed -i 's/ca.crt/other.crt/' ${FOLDER}/hosts.toml`,
    `chmod 600 ${FOLDER}/hosts.toml`,
    'rm /usr/local/share/ca-certificates/ca.crt',
    'rm /etc/ssl/certs/ca.pem',
    `cat ${without} > /etc/ssl/certs/ca-certificates.crt`,
    // Of the registries alone: NRI and tracing have keys that end like it.
    "sed -i '/ config_path = .*certs/d' /etc/containerd/config.toml",
  ]
  const times: number[] = []
  for (const damage of damages) {
    await node.run(['sh', '-c', damage])
    const began = Date.now()
    t.equal(await contentsUntil(good, node), good, damage)
    times.push(Date.now() - began)
  }
  // A bundle that somebody writes in place and slowly loses nothing.
  const bundle = '/etc/ssl/certs/ca-certificates.crt'
  for (const pause of ['0.03', '0.06', '0.15', '0.3']) {
    const write = `: > ${bundle}; sleep ${pause}; head -c 60000 ${without} >> ${bundle}; sleep ${pause}; tail -c +60001 ${without} >> ${bundle}`
    await node.run(['sh', '-c', write])
    t.equal(await contentsUntil(good, node), good, `pauses of ${pause} s`)
  }
  // Seen by programs started on the node; scripts/bench tells how long it really takes.
  t.ok((times.toSorted((a, b) => a - b)[4] ?? Infinity) < 5_000, `ms until each was seen healed: ${times}`)
  t.match(await node.pull(registry.reference()), { ok: true })
  t.equal(await node.containerdPid(), pid, 'no restart')
  const metrics = (await daemon.get('/metrics')).body
  t.match(metrics, /^registry_trust_drift_healed_total\{target="containerd-hosts"\} [1-9]/m)
  t.match(metrics, /^registry_trust_drift_healed_total\{target="system-trust"\} [1-9]/m)
}

for (const generation of sampledGenerations())
  t.test(`containerd ${generation.version}: every kind of damage is healed without a restart`, (t) =>
    healsDamage(t, generation),
  )

t.test('drift.heal: false reports only; a writer that never gives up gets a finding, and peace', async (t) => {
  const { node, agent } = await trustedNode(t, { drift: { heal: false } })
  const daemon = await agent.startDaemon()
  const { targets, anchors: shown } = await daemon.until(({ state }) => state === 'converged')
  t.match(targets, [
    { target: 'system-trust', inSync: true, pending: 0 },
    { target: 'containerd-hosts', inSync: true, pending: 0 },
    { target: 'containerd-config', inSync: true, files: 1, pending: 0 },
  ])
  const [anchor] = shown
  t.ok(anchor?.installed.includes(`${FOLDER}/ca.crt`) && anchor.installed.includes('/etc/ssl/certs/ca.pem'))
  for (const path of anchor?.installed ?? [])
    t.match(await node.readFile(path), /^-----BEGIN CERTIFICATE-----/, `${path} holds the anchor`)
  await node.run(['rm', `${FOLDER}/ca.crt`])
  const status = await daemon.until(({ state }) => state === 'drifted')
  t.match(status.drift, [{ target: 'containerd-hosts', path: `${FOLDER}/ca.crt`, kind: 'missing' }])
  t.match(status.targets[1], { target: 'containerd-hosts', inSync: false, pending: 1 })
  await sleep(300)
  t.not((await node.exec(['test', '-e', `${FOLDER}/ca.crt`])).code, 0)
  t.match((await daemon.get('/metrics')).body, /^registry_trust_drift_detected_total\{target="containerd-hosts"\} 1$/m)

  await node.run(['mkdir', '-p', '/etc/containers'])
  // Healed from now on, and at once: the resync comes after minutes.
  const mirrors = [{ url: 'https://mirror.example.net', anchors: ['ca'] }]
  const drift = { stopAfterFights: 3 }
  const anchors = { ca: { file: 'ca.pem' } }
  await agent.configure({ anchors, registries: [{ host: HOST, ca: 'ca.pem', mirrors }], ...BY_SIGNAL, drift })
  await daemon.until((now) => now.state === 'converged' && now.drift.length === 0)
  const good = await node.readFile(MIRRORS)
  await node.run(['rm', MIRRORS])
  for (const deadline = Date.now() + 30_000; Date.now() < deadline; await sleep(50))
    if ((await node.exec(['test', '-s', MIRRORS])).code === 0) break
  t.equal(await node.readFile(MIRRORS), good, 'what the containers tools read of mirrors')
  await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL, drift })
  await node.run(['sh', '-c', `while test -e ${MIRRORS}; do sleep 0.1; done`])
  await daemon.until(({ state }) => state === 'converged')

  const fighter = await node.start([
    'sh',
    '-c',
    `while :; do grep -q mine ${FOLDER}/hosts.toml || echo "# mine" > ${FOLDER}/hosts.toml; sleep 0.05; done`,
  ])
  const fought = await daemon.until(({ problems }) => problems.some(({ code }) => code === 'WRITER_CONFLICT'))
  t.match(fought.drift, [{ path: `${FOLDER}/hosts.toml`, kind: 'changed' }])
  t.equal(fought.state, 'drifted')
  await sleep(500)
  t.equal((await node.readFile(`${FOLDER}/hosts.toml`)).trim(), '# mine', 'theirs is left alone')
  await fighter.stop()
  t.equal((await agent.apply()).code, 0, 'a person puts it right')
  await daemon.until(({ problems, state }) => problems.length === 0 && state === 'converged')
})
