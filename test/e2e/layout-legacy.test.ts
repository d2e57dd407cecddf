// `layout: legacy` on real nodes: sections of config.toml instead of host directories, one restart, none for a
// rotation, and everything given back. containerd 2 does not read them and is left unchanged.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import {
  AgentOnNode,
  BY_SIGNAL,
  contents,
  contentsUntil,
  fingerprint,
  generationsToTest,
  startPrivateRegistry,
  TRUST_FOLDERS,
} from '../fixtures/e2e/agent-on-node.ts'
import { createAuthority, issueClient, issueServer } from '../fixtures/node/certificates.ts'
import { type Generation, sampleOf } from '../fixtures/node/generations.ts'
import { startRegistry } from '../fixtures/node/registry.ts'
import { startSandboxNode } from '../fixtures/node/sandbox-node.ts'
import { startFaultServer } from '../fixtures/node/tls-servers.ts'

const HOST = 'harbor.example.net'
const OTHER = 'other.example.net'
const OTHER_PORT = `${OTHER}:5000`
const CONFIG = '/etc/containerd/config.toml'
const FOLDER = '/etc/containerd/registry-trust'
const UNKNOWN_AUTHORITY = /x509: certificate signed by unknown authority/
// The system store is off: what is proved is proved by the sections alone.
const LEGACY = {
  targets: { containerd: { layout: 'legacy' }, systemTrust: { enabled: false } },
  ...BY_SIGNAL,
}
const AUTO = { ...LEGACY, targets: { systemTrust: { enabled: false } } }
const one = { host: HOST, ca: 'ca.pem' }
const two = { host: OTHER_PORT, ca: 'other.pem' }

t.setTimeout(480_000)

const [first, ...later] = generationsToTest()
if (first === undefined) throw new Error('no containerd to test on')
const readers = sampleOf([first, ...later].filter(({ label }) => label.startsWith('1.')))

async function lab(t: Test, generation: Generation, config?: string) {
  const node = await startSandboxNode({ generation, ...(config === undefined ? {} : { config }) })
  t.teardown(() => node.dispose())
  const a = await startPrivateRegistry(node, HOST)
  const b = await startPrivateRegistry(node, OTHER, { port: 5000 })
  const agent = await AgentOnNode.on(node)
  const files = { 'ca.pem': a.authority.pem, 'other.pem': b.authority.pem }
  return { node, a, b, agent, files, before: await contents(node, ...TRUST_FOLDERS) }
}

for (const generation of readers) {
  t.test(
    `containerd ${generation.version}: sections come with one restart, rotate with none, and go again`,
    async (t) => {
      const { node, a, b, agent, files, before } = await lab(t, generation)
      await agent.configure({ registries: [one, two], ...LEGACY }, files)
      t.match(await node.pull(a.registry.reference()), { ok: false, message: UNKNOWN_AUTHORITY })

      const planned = await agent.plan()
      t.match(planned.plan, { restart: { required: true }, rehearsal: { verdict: 'passed' } })
      t.match(
        planned.plan.findings,
        [{ finding: { code: 'trusted' } }, { finding: { code: 'trusted' } }],
        'the rehearsal',
      )
      t.equal(await contents(node, ...TRUST_FOLDERS), before, 'plan writes nothing')

      const applied = await agent.apply()
      t.equal(applied.code, 0, JSON.stringify(applied.report))
      t.equal(applied.report.restarts.length, 1)
      t.match(await node.pull(a.registry.reference()), { ok: true })
      t.match(await node.pull(b.registry.reference()), { ok: true })
      t.not((await node.exec(['test', '-e', '/etc/containerd/certs.d'])).code, 0, 'no host directories')
      t.match(
        await node.readFile(CONFIG),
        `registry.configs."${OTHER_PORT}".tls]\n  ca_file = "${FOLDER}/${OTHER_PORT}/ca.crt"`,
      )
      const both = await fingerprint(node, '/etc/containerd')
      t.equal((await agent.apply()).report.outcome, 'unchanged')
      t.equal(await fingerprint(node, '/etc/containerd'), both, 'the second apply wrote nothing')
      t.match((await agent.command('explain', a.registry.reference())).stdout, `${FOLDER}/${HOST}/ca.crt`)

      // The registry gets a certificate of another CA.
      const pid = await node.containerdPid()
      const next = await createAuthority(node.scratch, 'Next Root')
      const address = await node.newAddress()
      await node.setHost(HOST, address)
      await startRegistry(node, { host: HOST, address, certificate: await issueServer(next, node.scratch, [HOST]) })
      t.match(await node.pull(a.registry.reference()), { ok: false, message: UNKNOWN_AUTHORITY })
      await agent.configure({ registries: [one, two], ...LEGACY }, { 'ca.pem': next.pem })
      const rotated = await agent.apply()
      t.equal(rotated.code, 0, JSON.stringify(rotated.report))
      t.match(rotated.report.changes, [{ target: 'containerd-hosts', path: `${FOLDER}/${HOST}/ca.crt` }])
      t.equal(rotated.report.changes.length, 1)
      t.match(await node.pull(a.registry.reference()), { ok: true }, 'the new chain is trusted')
      t.equal(await node.containerdPid(), pid, 'and containerd was not restarted')

      // One registry leaves, the other stays.
      await agent.configure({ registries: [two], ...LEGACY })
      const left = await agent.apply()
      t.equal(left.code, 0, JSON.stringify(left.report))
      t.match(await node.pull(a.registry.reference()), { ok: false, message: UNKNOWN_AUTHORITY })
      t.match(await node.pull(b.registry.reference()), { ok: true })
      t.notMatch(await node.readFile(CONFIG), HOST)
      t.equal((await node.run(['ls', FOLDER])).trim(), OTHER_PORT)
      t.equal(await node.restarts(), 2)

      const back = await agent.command('rollback')
      t.equal(back.code, 0, back.stdout)
      t.match(await node.pull(a.registry.reference()), { ok: true }, 'one state back')
      t.match(await node.readFile(CONFIG), HOST)

      // Where containerd may not be restarted, no pull fails for a file that is gone.
      await agent.configure({ registries: [one, two], ...LEGACY, restart: { strategy: 'never' } })
      t.equal((await agent.command('uninstall')).code, 6)
      t.notMatch(await node.readFile(CONFIG), /registry-trust/, 'the next start is one without it')
      t.match(await node.pull(b.registry.reference()), { ok: true }, 'until then it reads its file')
      await node.stopContainerd()
      await node.startContainerd()
      const gone = await agent.command('uninstall')
      t.equal(gone.code, 0, gone.stdout)
      t.equal(await contents(node, ...TRUST_FOLDERS), before, 'equal trees')
      t.match(
        await node.pull(b.registry.reference()),
        { ok: false, message: UNKNOWN_AUTHORITY },
        'containerd as before',
      )
      t.equal((await node.exec(['test', '-e', '/var/lib/registry-trust'])).code, 1, 'its state folder is gone too')
    },
  )
}

t.test('damage is healed, and the layout may change later', async (t) => {
  const { node, a, b, agent, files, before } = await lab(t, readers.at(-1) ?? first)
  await agent.configure({ registries: [one, two], ...LEGACY }, files)
  t.equal((await agent.apply()).code, 0)
  const good = await contents(node, ...TRUST_FOLDERS)
  const config = await node.readFile(CONFIG)
  const daemon = await agent.startDaemon()
  await daemon.until(({ state }) => state === 'converged')
  const times: number[] = []
  for (const damage of [`echo x > ${FOLDER}/${HOST}/ca.crt`, `rm -r ${FOLDER}/${HOST}`, `rm -r ${FOLDER}`]) {
    await node.run(['sh', '-c', damage])
    const began = Date.now()
    t.equal(await contentsUntil(good, node), good, `${damage}: healed`)
    times.push(Date.now() - began)
  }
  t.ok((times.toSorted((a, b) => a - b)[1] ?? Infinity) < 5_000, `ms until each was seen healed: ${times}`)
  t.equal(await node.restarts(), 1, 'without a restart')
  await node.stopContainerd()
  await node.writeFile(CONFIG, config.replace(/\n\s*ca_file[^\n]*harbor[^\n]*/, ''))
  await node.startContainerd()
  // Between two restarts lies a minute at least.
  await daemon.until(({ transactions }) => transactions.filter(({ restarted }) => restarted).length === 2, 120_000)
  t.equal(await node.readFile(CONFIG), config, 'a key that someone took out is back')
  t.match(await node.pull(a.registry.reference()), { ok: true })
  await daemon.service.stop()

  await agent.configure({ registries: [one, two], ...AUTO })
  const restarts = await node.restarts()
  const moved = await agent.apply()
  t.equal(moved.code, 0, JSON.stringify(moved.report))
  t.equal(await node.restarts(), restarts + 1)
  t.notMatch(await node.readFile(CONFIG), /registry-trust/)
  t.not((await node.exec(['test', '-e', FOLDER])).code, 0, 'the old files are gone')
  t.match(await node.pull(a.registry.reference()), { ok: true })
  t.match(await node.pull(b.registry.reference()), { ok: true })
  t.equal((await node.run(['ls', `/etc/containerd/certs.d/${HOST}`])).trim(), 'ca.crt\nhosts.toml')

  await agent.configure({ registries: [one, two], ...LEGACY })
  const there = await contents(node, ...TRUST_FOLDERS)
  const refused = await agent.apply()
  t.match(refused.report.problems, [
    { code: 'LAYOUT_LEGACY_UNUSABLE', message: /config_path/, remedy: /targets\.containerd\.layout to auto/ },
  ])
  t.equal(await contents(node, ...TRUST_FOLDERS), there, 'config_path is set: nothing changed')
  t.match(await node.pull(a.registry.reference()), { ok: true })
  await agent.configure({ registries: [one, two], ...AUTO })
  const gone = await agent.command('uninstall')
  t.equal(gone.code, 0, gone.stdout)
  t.equal(await contents(node, ...TRUST_FOLDERS), before)
})

t.test('a client certificate: named in config.toml, renewed without a restart, its key nowhere else', async (t) => {
  const node = await startSandboxNode({ generation: first })
  t.teardown(() => node.dispose())
  const authority = await createAuthority(node.scratch, 'Root of mutual')
  const certificate = await issueServer(authority, node.scratch, [HOST])
  const body = '{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'
  const answer = { status: 404, headers: { 'content-type': 'application/json' }, body }
  await startFaultServer(node, {
    host: HOST,
    fault: 'client-certificate',
    certificate,
    clientAuthority: authority,
    answer,
  })
  const agent = await AgentOnNode.on(node)
  const before = await contents(node, ...TRUST_FOLDERS)
  const issue = async (name: string) => {
    const { pem, keyFile } = await issueClient(authority, node.scratch, name)
    return { 'client.pem': pem, 'client.key': await readFile(keyFile, 'utf8') }
  }
  const clientCertificate = { certFile: 'client.pem', keyFile: 'client.key' }
  await agent.configure(
    { registries: [{ ...one, clientCertificate }], ...LEGACY },
    { 'ca.pem': authority.pem, ...(await issue('node')) },
  )
  const applied = await agent.apply()
  t.equal(applied.code, 0, JSON.stringify(applied.report))
  t.match(applied.report.findings, [{ finding: { code: 'trusted' } }])
  t.equal((await node.run(['stat', '-c', '%a %u', `${FOLDER}/${HOST}/client.key`])).trim(), '600 0')
  const renewed = await issue('node-renewed')
  await agent.configure({ registries: [{ ...one, clientCertificate }], ...LEGACY }, renewed)
  t.equal((await agent.apply()).code, 0)
  t.equal(await node.readFile(`${FOLDER}/${HOST}/client.key`), renewed['client.key'])
  t.equal(await node.restarts(), 1)
  t.equal((await agent.command('uninstall')).code, 0)
  t.equal(await contents(node, ...TRUST_FOLDERS), before)
  const places = ['/etc/containerd', '/var/lib/registry-trust', '/dev/shm', '/run']
  t.equal((await node.exec(['grep', '-rl', 'PRIVATE KEY', ...places])).stdout, '', 'no private key is left anywhere')
})

t.test('what others say of a host stays, and containerd that does not come back is put back', async (t) => {
  const plugin = `plugins."${first.expected.registryPlugin}".registry`
  const theirs = [
    'version = 2',
    `[${plugin}.configs."${HOST}".tls]`,
    '  insecure_skip_verify = true',
    `[${plugin}.configs."${OTHER_PORT}".tls]`,
    '  ca_file = "/etc/pki/theirs.pem"',
    '',
  ].join('\n')
  const { node, a, b, agent, files, before } = await lab(t, first, theirs)
  await node.writeFile('/etc/pki/theirs.pem', b.authority.pem)
  await agent.configure({ registries: [one, { ...two, ca: 'ca.pem' }], ...LEGACY }, files)
  const applied = await agent.apply()
  t.equal(applied.code, 0, 'theirs verifies it: trusted, and said')
  t.match(applied.report.problems, [
    { code: 'LEGACY_CA_FOREIGN', message: /other\.example\.net:5000"\.tls\.ca_file names \/etc\/pki\/theirs\.pem/ },
  ])
  const config = await node.readFile(CONFIG)
  t.match(config, `ca_file = "${FOLDER}/${HOST}/ca.crt"`)
  t.match(config, 'ca_file = "/etc/pki/theirs.pem"')
  t.match(config, 'insecure_skip_verify = false', 'verified from now on: the declared CA verifies it')
  t.match(await node.pull(a.registry.reference()), { ok: true })
  await agent.configure({ registries: [one, two], ...LEGACY })
  t.same((await agent.apply()).report.problems, [], 'their file holds what is declared')

  const edited = await contents(node, ...TRUST_FOLDERS)
  const wrapper = [
    '#!/bin/sh',
    'case "$*" in *-c\\ *) exec /run/real-containerd "$@";; esac',
    `grep -q third ${CONFIG} || exec /run/real-containerd "$@"`,
    `{ echo 'disabled_plugins = ["io.containerd.grpc.v1.cri"]'; cat ${CONFIG}; } >/run/bad.toml`,
    'exec /run/real-containerd -c /run/bad.toml "$@"',
    '',
  ].join('\n')
  const binary = join(first.bin, 'containerd')
  await node.run(['sh', '-c', `cp -L ${binary} /run/real-containerd`])
  await node.writeFile('/run/wrapper', wrapper, 0o755)
  await node.run(['mount', '--bind', '/run/wrapper', binary])
  await agent.configure({ registries: [one, two, { host: 'third.example.net', ca: 'ca.pem' }], ...LEGACY })
  const failed = await agent.apply()
  t.equal(failed.code, 4, JSON.stringify(failed.report))
  t.match(failed.report, { outcome: 'rolled-back', problems: [{ code: 'RESTART_FAILED' }] })
  t.equal(await contents(node, ...TRUST_FOLDERS), edited, 'the node is as before')
  t.match(await node.pull(a.registry.reference()), { ok: true })

  const restarts = await node.restarts()
  const gone = await agent.command('uninstall')
  t.equal(gone.code, 0, gone.stdout)
  t.equal(await contents(node, ...TRUST_FOLDERS), before)
  t.equal(await node.restarts(), restarts + 1, 'uninstalled with one restart')
})

for (const generation of later.filter(({ label }) => !label.startsWith('1.')))
  t.test(`containerd ${generation.version} does not read these sections: refused, nothing changed`, async (t) => {
    const { node, agent, files, before } = await lab(t, generation)
    await agent.configure({ registries: [one], ...LEGACY }, files)
    const applied = await agent.apply()
    t.equal(applied.code, 1)
    t.match(applied.report.problems, [
      {
        code: 'LAYOUT_LEGACY_UNUSABLE',
        message: new RegExp(`containerd v?${generation.version}.* does not read registry\\.configs`),
        remedy: /targets\.containerd\.layout to auto/,
      },
    ])
    t.equal(await contents(node, ...TRUST_FOLDERS), before)
    t.equal(await node.restarts(), 0)
  })
