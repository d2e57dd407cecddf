// Other programs that write where the agent writes, as they were measured, played against the daemon on a real node.
// Whatever they do: the node ends healed or with a finding that says why not, theirs is never deleted, and nobody
// fights or restarts without an end.
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import {
  AgentOnNode,
  BY_SIGNAL,
  contents,
  contentsUntil,
  type Daemon,
  fingerprint,
  generationsToTest,
  type StatusReport,
  startPrivateRegistry,
  TRUST_FOLDERS,
} from '../fixtures/e2e/agent-on-node.ts'
import type { Pulled } from '../fixtures/node/cri-client.ts'
import type { Generation } from '../fixtures/node/generations.ts'
import { defaultConfig, type SandboxNode, startSandboxNode, withConfigPath } from '../fixtures/node/sandbox-node.ts'
import { partOf } from '../fixtures/turn.ts'

const HOST = 'harbor.example.net'
const CERTS_D = '/etc/containerd/certs.d'
const FOLDER = `${CERTS_D}/${HOST}`
const CONFIG = '/etc/containerd/config.toml'
const DROP_IN = '/etc/containerd/conf.d/99-nvidia.toml'
/** With the time that each look takes, longer than the pause of the agent between two runs. */
const QUIET_LOOKS = 4
/** Healing takes a fraction of a second; the machine may be busy. */
const HEALED_MS = 60_000
const generations = generationsToTest()
const [oldest, newest] = [generations[0], generations.at(-1)]
if (oldest === undefined || newest === undefined) throw new Error('no containerd to test on')

t.setTimeout(480_000)

type Teardown = { teardown(work: () => Promise<void>): void }

/**
 * A node whose administrator has set config_path, a registry with a CA of its own, and what others did before the agent
 * came.
 */
async function arrange(
  t: Teardown,
  options: { generation: Generation; config?: string; before?: string; extra?: object },
) {
  const { generation, before, extra } = options
  const config = options.config ?? withConfigPath(defaultConfig(generation))
  const node = await startSandboxNode({ generation, config })
  t.teardown(() => node.dispose())
  const { registry, authority } = await startPrivateRegistry(node, HOST)
  if (before !== undefined) await node.run(['sh', '-ec', before])
  const agent = await AgentOnNode.on(node)
  await agent.configure(
    { registries: [{ host: HOST, ca: 'ca.pem' }], ...BY_SIGNAL, ...extra },
    { 'ca.pem': authority.pem },
  )
  const pull = async () => await node.pull(registry.reference())
  return { node, agent, pull }
}

async function converged(daemon: Daemon): Promise<StatusReport> {
  return await daemon.until(
    ({ state, registries }) => state === 'converged' && registries.every((one) => one.state === 'trusted'),
  )
}

/** The folders as they are once nothing changes any more; a fight never gets there. */
async function settled(node: SandboxNode): Promise<string> {
  let last = ''
  for (let same = 0, tries = 0; same < QUIET_LOOKS; tries++) {
    if (tries > 200) throw new Error('the node does not come to rest')
    const now = await fingerprint(node, ...TRUST_FOLDERS)
    same = now === last ? same + 1 : 0
    last = now
    await sleep(150)
  }
  return await contents(node, ...TRUST_FOLDERS)
}

/**
 * Waits until the image can be pulled, nothing changes any more and the agent says so; throws with the finding where it
 * never can.
 */
async function healed(node: SandboxNode, daemon: Daemon, pull: () => Promise<Pulled>): Promise<StatusReport> {
  const deadline = Date.now() + HEALED_MS
  for (let pulled = await pull(); !pulled.ok; pulled = await pull()) {
    if (Date.now() > deadline) throw new Error(`not healed in ${HEALED_MS} ms: ${JSON.stringify(pulled)}`)
    await sleep(250)
  }
  await settled(node)
  return await converged(daemon)
}

/**
 * `registries` as in Spegel's flag: first run moves what it finds to _backup, every later one deletes what was written
 * since.
 */
function spegel(...registries: readonly string[]): string {
  const write = (host: string) =>
    `mkdir -p ${host}; printf "server = 'https://${host}'\\n\\n[host.'http://127.0.0.1:30020']\\ncapabilities = ['pull', 'resolve']\\ndial_timeout = '200ms'\\n" > ${host}/hosts.toml`
  return [
    `mkdir -p ${CERTS_D}; cd ${CERTS_D}`,
    'if [ ! -d _backup ]; then mkdir .moving; for each in *; do [ "$each" = "*" ] || mv "$each" .moving/; done; mv .moving _backup; fi',
    'for each in *; do [ "$each" = _backup ] || rm -r "$each"; done',
    ...registries.map(write),
  ].join('\n')
}

t.test('Spegel comes after the agent: its own files and its backup stay, ours come back; then SIGHUP', async (t) => {
  const { node, agent, pull } = await arrange(t, { generation: newest })
  const daemon = await agent.startDaemon()
  await converged(daemon)
  await node.run(['sh', '-ec', spegel(HOST, 'docker.io')])
  await healed(node, daemon, pull)
  t.match(await pull(), { ok: true })
  t.match(
    await node.readFile(`${CERTS_D}/docker.io/hosts.toml`),
    /127\.0\.0\.1:30020/,
    "Spegel's file for another registry is left alone",
  )
  const backup = await contents(node, `${CERTS_D}/_backup`)
  t.match(backup, /harbor\.example\.net\/ca\.crt/, 'what it moved away stays there')

  for (let restart = 0; restart < 2; restart++) {
    await node.run(['sh', '-ec', spegel(HOST, 'docker.io')])
    await healed(node, daemon, pull)
    t.match(await pull(), { ok: true }, 'a later start of Spegel deletes ours: healed')
  }
  t.equal(await contents(node, `${CERTS_D}/_backup`), backup)
  const { transactions } = await converged(daemon)
  t.ok(transactions.length <= 1 + 3 * 2, `${transactions.length} transactions`)
  t.equal(await node.restarts(), 0)

  const good = await contents(node, ...TRUST_FOLDERS)
  await node.restartedSince(await node.signalContainerd('HUP'))
  t.match(await pull(), { ok: true }, 'SIGHUP ends containerd and the supervisor starts it again')
  t.equal(await settled(node), good, 'nothing to do')
  t.equal((await converged(daemon)).transactions.length, transactions.length)
  t.equal(await node.restarts(), 1)
})

t.test('Spegel was there first: our CA is added to its files, and taken out again when we go', async (t) => {
  const { node, agent, pull } = await arrange(t, { generation: newest, before: spegel(HOST, 'docker.io') })
  const before = await contents(node, CERTS_D)
  const theirs = await node.readFile(`${FOLDER}/hosts.toml`)
  const daemon = await agent.startDaemon()
  await converged(daemon)
  t.match(await pull(), { ok: true }, 'its mirror does not answer here, and the registry itself is trusted')
  const merged = await node.readFile(`${FOLDER}/hosts.toml`)
  for (const line of theirs.split('\n')) t.ok(merged.includes(line), `still there: ${line}`)

  await node.run(['sh', '-ec', spegel(HOST, 'docker.io')])
  await healed(node, daemon, pull)
  t.match(await pull(), { ok: true }, 'after its next start too')
  t.match(await node.readFile(`${FOLDER}/hosts.toml`), /127\.0\.0\.1:30020/)
  await agent.configure({ registries: [], ...BY_SIGNAL })
  await daemon.until(({ registries, state }) => registries.length === 0 && state === 'converged')
  t.equal(await contents(node, CERTS_D), before)
  t.equal(await node.restarts(), 0)
})

t.test(
  "OpenShift's node-ca deletes every folder that it does not know, again and again: a few times healed, then said",
  async (t) => {
    const theirs = `${CERTS_D}/theirs.example.net:5000`
    const { node, agent, pull } = await arrange(t, {
      generation: oldest,
      before: `mkdir -p ${theirs}; echo theirs > ${theirs}/ca.crt`,
    })
    const daemon = await agent.startDaemon()
    await converged(daemon)
    const good = await contents(node, theirs)
    // With a trap the shell ends after its rm: one that outlives it would go on under the person's apply.
    const trim = await node.start([
      'sh',
      '-c',
      `trap exit TERM; cd ${CERTS_D}; while :; do for each in *; do [ "$each" = theirs.example.net:5000 ] || rm -r "$each"; done; sleep 0.2; done`,
    ])
    const fought = await daemon.until(({ problems }) => problems.some(({ code }) => code === 'WRITER_CONFLICT'))
    t.match(fought.state, 'drifted')
    t.ok(
      fought.drift.some(({ path }) => path.startsWith(FOLDER)),
      'the status names the folder',
    )
    await settled(node)
    const { length } = (await daemon.status()).transactions
    t.ok(length <= 1 + 5 + 2, `${length} transactions`)
    await sleep(1_000)
    t.equal((await daemon.status()).transactions.length, length, 'and then there is peace')
    t.equal(await contents(node, theirs), good)
    await trim.stop()
    t.match(await agent.apply(), { code: 0, report: { restarts: [] } }, 'a person settles it')
    t.match(await pull(), { ok: true })
    await converged(daemon)
    const why = daemon.service.stderr.split('\n').filter((line) => line.includes('restart'))
    t.equal(await node.restarts(), 0, why.slice(-8).join('\n'))
  },
)

/** containerd's own print of what is in force: without a comment, every key named, as a TOML library would write it. */
function reprinted(criTable: string): string {
  return [
    `containerd --config ${CONFIG} config dump > /run/effective.toml`,
    'mkdir -p /etc/containerd/conf.d',
    // The tables of the CRI plugin alone, with the version in front.
    `{ grep '^version' /run/effective.toml; awk '/^[[:space:]]*\\[/ { on = index($0, "${criTable}") > 0 } on' /run/effective.toml; } > ${DROP_IN}`,
    `{ echo 'imports = ["/etc/containerd/conf.d/*.toml"]'; grep -v '^imports' /run/effective.toml; } > /run/reprinted.toml`,
    `cat /run/reprinted.toml > ${CONFIG}`,
  ].join('\n')
}

for (const generation of partOf([oldest, newest], 2))
  t.test(
    `nvidia-ctk prints config.toml anew, adds a drop-in with the whole CRI table and sends SIGHUP (${generation.version})`,
    async (t) => {
      const { node, agent, pull } = await arrange(t, { generation })
      const daemon = await agent.startDaemon()
      await converged(daemon)
      const env = { PATH: `${generation.bin}:/usr/bin:/bin` }
      await node.run(['sh', '-ec', reprinted(generation.expected.registryPlugin)], { env })
      await node.restartedSince(await node.signalContainerd('HUP'))
      await healed(node, daemon, pull)
      t.match(await pull(), { ok: true })
      t.equal(await node.restarts(), 1, 'the one restart was theirs')
      t.match(await node.readFile(DROP_IN), new RegExp(CERTS_D), 'their drop-in is left alone')

      // A drop-in that takes config_path away ends in a finding, not in a fight.
      await node.run(['sed', '-i', 's#^\\( *config_path = \\).*#\\1""#', DROP_IN])
      const theirs = await node.readFile(DROP_IN)
      await node.restartedSince(await node.signalContainerd('HUP'))
      const status = await daemon.until(({ problems }) =>
        problems.some(({ message }) => message.includes('99-nvidia.toml')),
      )
      t.match(status.problems, [
        { code: 'CONTAINERD_CONFIG_UNSUPPORTED', message: /99-nvidia\.toml: sets config_path to nothing/ },
      ])
      await settled(node)
      t.equal(await node.readFile(DROP_IN), theirs)
      t.ok((await node.restarts()) <= 2 + 3, `${await node.restarts()} restarts`)
    },
  )

const isOverBudget = ({ restart }: StatusReport) => restart.pending && /maxPerHour/.test(restart.reason ?? '')

t.test('Astronomer puts its own first copy of config.toml back and restarts, at every start of its pod', async (t) => {
  // With the CA in the system store too, containerd trusts the registry without its host directories.
  const targets = { systemTrust: { enabled: false } }
  const extra = { targets, restart: { ...BY_SIGNAL.restart, budget: { maxPerHour: 1 } } }
  const { node, agent, pull } = await arrange(t, { generation: newest, config: 'default', extra })
  await node.run(['cp', '-p', CONFIG, `${CONFIG}.bak`])
  let daemon = await agent.startDaemon()
  await converged(daemon)
  t.equal(await node.restarts(), 1, 'config_path is set, with one restart')
  const theirBackup = await node.readFile(`${CONFIG}.bak`)
  for (const start of [1, 2]) {
    // An agent that runs puts the file right before their restart, and containerd never reads theirs.
    await daemon.service.stop()
    await node.run(['sh', '-ec', `cat ${CONFIG}.bak > ${CONFIG}`])
    await node.restartedSince(await node.signalContainerd('TERM'))
    daemon = await agent.startDaemon()
    const status = await daemon.until(isOverBudget)
    await settled(node)
    t.equal(status.state, 'restart-pending', 'it says what it waits for')
    t.equal(await node.restarts(), 1 + start, 'and restarts no more often than its budget says')
  }
  t.equal(await node.readFile(`${CONFIG}.bak`), theirBackup)
  t.equal((await agent.apply()).code, 0, 'a person settles it')
  t.match(await pull(), { ok: true })
})

t.test('package upgrades, editors, and garbage copied over our CA by hand', async (t) => {
  // The machine's own store need not be as the tool leaves it.
  const { node, agent, pull } = await arrange(t, { generation: oldest, before: 'update-ca-certificates --fresh' })
  const daemon = await agent.startDaemon()
  await converged(daemon)
  const good = await settled(node)
  const harmless = [
    'update-ca-certificates --fresh',
    // dpkg: the new file beside the old one, then renamed over it.
    `cp -p ${CONFIG} ${CONFIG}.dpkg-new; mv ${CONFIG}.dpkg-new ${CONFIG}`,
    // vim: a probe file, a backup by rename, a new file, the backup removed.
    `cd ${FOLDER}; touch 4913; rm 4913; mv hosts.toml hosts.toml~; cp -p hosts.toml~ hosts.toml; rm hosts.toml~`,
    `sed -i 's/nothing like this//' ${FOLDER}/hosts.toml`,
    // tar of a configuration management that puts the same bytes over ours.
    `tar -C ${CERTS_D} -cf /run/same.tar . && tar -C ${CERTS_D} -xf /run/same.tar`,
  ]
  for (const act of harmless) {
    await node.run(['sh', '-ec', act], { timeoutMs: 60_000 })
    await contentsUntil(good, node)
    t.equal(await settled(node), good, `${act}: as before`)
  }
  const counted = (await converged(daemon)).transactions.length
  t.ok(counted <= 1 + 3, `${counted} transactions`)

  await node.run(['sed', '-i', '1i # a note of the administrator', CONFIG])
  const edited = await settled(node)
  t.match(
    await node.readFile(CONFIG),
    /^# a note of the administrator$/m,
    "an edit beside ours stays the administrator's",
  )
  await node.run(['sed', '-i', '1a # edited by hand', `${FOLDER}/hosts.toml`])
  await contentsUntil(edited, node)
  t.equal(await settled(node), edited, 'an edit of a file that is all ours is undone')
  for (const path of [`${FOLDER}/ca.crt`, '/usr/local/share/ca-certificates/ca.crt']) {
    await node.run(['sh', '-c', `echo garbage > ${path}`])
    await contentsUntil(edited, node)
    t.equal(await settled(node), edited, `garbage in ${path}`)
  }
  await converged(daemon)
  t.match(await pull(), { ok: true })
  t.equal(await node.restarts(), 0)
})
