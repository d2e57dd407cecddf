// Restarts on a node with a real systemd: asked for over D-Bus, awaited, refused where they would kill containers,
// undone where containerd does not come back.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Log } from '../../agent/model/ports.ts'
import type { RuntimeMemory } from '../../agent/model/restart.ts'
import { systemClock } from '../../agent/node/clock.ts'
import { connectCri } from '../../agent/node/cri/client.ts'
import { nodeFiles } from '../../agent/node/files/files.ts'
import { processes } from '../../agent/node/processes/processes.ts'
import { restartStore } from '../../agent/node/state/restart-store.ts'
import { systemd } from '../../agent/node/systemd/systemd.ts'
import { rememberDaemon, rememberRuntime } from '../../agent/reconcile/restart/restart.ts'
import { type Driven, Machine } from '../../agent/restart/driver.ts'
import { AgentOnNode, contents, startPrivateRegistry, TRUST_FOLDERS } from '../fixtures/e2e/agent-on-node.ts'
import { Builders } from '../fixtures/node/builders.ts'
import type { RunningContainer } from '../fixtures/node/fixture-node.ts'
import { CONTAINERD_CONFIG, CONTAINERD_SOCKET } from '../fixtures/node/fixture-node.ts'
import { cacheFolder, type Generation } from '../fixtures/node/generations.ts'
import { eachSystemdGeneration, newestSystemdGeneration } from '../fixtures/node/node-tests.ts'
import { CERTS_D } from '../fixtures/node/sandbox-node.ts'
import { type SystemdNode, startSystemdNode } from '../fixtures/node/systemd-node.ts'
import { partOf } from '../fixtures/turn.ts'

const HOST = 'harbor.example.net'
const UNIT = 'containerd.service'
const DROP_IN = `/etc/systemd/system/${UNIT}.d/test.conf`
const REPOSITORY = join(import.meta.dirname, '../..')
const RESTARTS_IN_A_ROW = process.env['REGISTRY_TRUST_FULL'] === '1' ? 100 : 5
const ROLLBACK_LIMIT_MS = 20_000

t.setTimeout(400_000)

/**
 * A node with the agent's files on it, a private registry, a running container and a configuration for the registry.
 */
async function agentOnSystemd(
  t: Test,
  generation: Generation,
  options: { readonly dropIn?: string; readonly trust?: object; readonly binds?: readonly string[] } = {},
) {
  const config = mkdtempSync(join(tmpdir(), 'rt-config-'))
  t.teardown(() => rmSync(config, { recursive: true, force: true }))
  const files = options.dropIn === undefined ? {} : { [DROP_IN]: options.dropIn }
  const node = await startSystemdNode({
    generation,
    runContainers: true,
    binds: [REPOSITORY, config, ...(options.binds ?? [])],
    files,
  })
  t.teardown(() => node.dispose())
  const { registry, authority } = await startPrivateRegistry(node, HOST)
  const container = await node.runContainer()
  const agent = await AgentOnNode.on(node, config)
  await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }], ...options.trust }, { 'ca.pem': authority.pem })
  return { node, agent, registry, container, facts: await container.facts() }
}

type Lab = Awaited<ReturnType<typeof agentOnSystemd>>

async function runsOn(t: Test, container: RunningContainer, before: Awaited<ReturnType<RunningContainer['facts']>>) {
  t.same(await container.facts(), before, 'the container runs on: same pid, same start')
}

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} }
const READY: RuntimeMemory = { runtimeReady: true, networkReady: false, containers: [] }

/** The agent's own restart, from outside of the node: nothing of config.toml changes. */
async function restartOnce(
  node: SystemdNode,
  runtime: RuntimeMemory,
): Promise<Driven & { readonly durationMs: number }> {
  const root = node.path('/').replace(/\/$/, '')
  const files = nodeFiles({ root })
  const audit = async () => undefined
  const ports = {
    files,
    clock: systemClock(),
    log: SILENT,
    audit,
    restarts: restartStore({
      files,
      folder: '/var/lib/registry-trust',
      root,
      clock: systemClock(),
      log: SILENT,
      audit,
    }),
    systemd: systemd({ busSocket: node.dbusSocket() }),
    processes: processes({ root }),
    connectCri: (socket: string) => connectCri(node.path(socket)),
  }
  const started = performance.now()
  const machine = await Machine.arm(ports, 'agent', {
    id: `test-${started}`,
    reason: 'test',
    unit: UNIT,
    socket: CONTAINERD_SOCKET,
    configFile: CONTAINERD_CONFIG,
    daemon: await rememberDaemon({ kind: 'systemd', unit: UNIT }, CONTAINERD_SOCKET, ports),
    runtime,
    before: null,
    after: null,
  })
  const driven = await machine.restart()
  if (driven.end === 'ready') await machine.commit()
  return { ...driven, durationMs: performance.now() - started }
}

eachSystemdGeneration(
  t,
  'apply restarts containerd over D-Bus, once, and waits 40 s for its start',
  async (t, generation) => {
    const { node, agent, registry, container, facts } = await agentOnSystemd(t, generation)
    t.match(await node.pull(registry.reference()), { ok: false, message: /x509/ })
    const [pid, invocation] = [await node.containerdPid(), await node.unitProperty('InvocationID')]
    await node.writeFile(DROP_IN, '[Service]\nExecStartPre=/bin/sleep 40\n')
    await node.run(['systemctl', 'daemon-reload'])
    const applied = await agent.apply()
    t.equal(applied.code, 0, JSON.stringify(applied.report))
    t.match(applied.report, { outcome: 'applied', restarts: [{ result: 'ok' }], rehearsal: { verdict: 'passed' } })
    t.comment(`restart to ready: ${applied.report.restarts[0]?.durationMs} ms`)
    const log = await node.log()
    t.equal(log.match(/containerd successfully booted/g)?.length, 2, 'once at boot, and once for the agent')
    t.match(await node.pull(registry.reference()), { ok: true })
    t.not(await node.containerdPid(), pid)
    t.not(await node.unitProperty('InvocationID'), invocation)
    t.equal(await node.restarts(), 0, 'systemd itself had nothing to repair')
    await runsOn(t, container, facts)
    t.match(await agent.apply(), { code: 0, report: { outcome: 'unchanged', restarts: [] } })
    await node.writeFile(DROP_IN, '')
    await node.run(['systemctl', 'daemon-reload'])
    const { code } = await agent.command('uninstall')
    t.equal(code, 0, 'and back')
    await runsOn(t, container, facts)
  },
)

newestSystemdGeneration(
  t,
  'dockerd runs with an older store: doctor names it until it is restarted',
  async (t, generation) => {
    const trust = { targets: { docker: { enabled: false }, containers: { enabled: false } } }
    const { node, agent, registry } = await agentOnSystemd(t, generation, { trust, binds: [cacheFolder()] })
    const builders = await Builders.on(node)
    const { argv, env } = builders.dockerd()
    const settings = Object.entries(env).map(([name, value]) => `--setenv=${name}=${value}`)
    // As some distributions do: the unit's main process is a shell that starts the daemon.
    const wrapped = ['systemd-run', '--unit=docker.service', ...settings, 'sh', '-c', '"$@" & wait', 'sh', ...argv]
    await node.run(wrapped)
    await builders.dockerAnswers()
    const pulls = () => builders.docker('pull', registry.reference())
    t.match((await pulls()).stderr, /x509/)
    const daemons = async () =>
      (await agent.command('doctor')).stdout.split('\n').filter((line) => /docker\.service/.test(line))
    t.same(await daemons(), [], 'nothing has changed')
    t.equal((await agent.apply()).code, 0)
    t.match((await pulls()).stderr, /x509/, 'the store is read once')
    const pid = await node.run(['pidof', 'dockerd'])
    t.match(await daemons(), [/info +docker\.service \(dockerd\): runs since .* changed at .*/])
    t.equal(await node.run(['pidof', 'dockerd']), pid, 'nobody restarts it')
    await node.run([
      'sh',
      '-c',
      `kill ${pid.trim()}; while kill -0 ${pid.trim()} 2>/dev/null; do sleep 0.05; done; systemctl reset-failed docker.service 2>/dev/null; true`,
    ])
    await node.run(wrapped)
    await builders.dockerAnswers()
    t.equal((await pulls()).code, 0)
    t.same(await daemons(), [])
  },
)

/** A unit that must not be restarted, as its drop-in says or a command makes it, and why. */
const OBSTACLES: readonly { readonly dropIn?: string; readonly command?: string; readonly reason: string }[] = [
  {
    dropIn: '[Service]\nKillMode=control-group\n',
    reason: `unit ${UNIT} has KillMode=control-group: a restart would kill the running containers`,
  },
  {
    dropIn: '[Unit]\nRefuseManualStop=yes\n',
    reason: `unit ${UNIT} has RefuseManualStop=yes: systemd does not allow restarting it`,
  },
  {
    dropIn: '[Unit]\nFailureAction=reboot\n',
    reason: `unit ${UNIT} has FailureAction=reboot: a restart that fails would not leave the node as it is`,
  },
  {
    dropIn: '[Service]\nExecStart=\nExecStart=/usr/bin/containerd --config /etc/nowhere.toml\n',
    reason: `unit ${UNIT} would start containerd with /etc/nowhere.toml, and the running one has /etc/containerd/config.toml: its command line has changed since. Restart it by hand, or put the unit back`,
  },
  {
    command: `systemctl mask --runtime ${UNIT}`,
    reason: `unit ${UNIT} cannot be started: systemd says that it is masked`,
  },
]

newestSystemdGeneration(
  t,
  'a unit that a restart would not bring back as it was is left alone; the start limit is neither run into nor an obstacle',
  async (t, generation) => {
    const { node, agent, registry, container, facts } = await agentOnSystemd(t, generation)
    const [pid, config] = [await node.containerdPid(), await node.readFile(CONTAINERD_CONFIG)]
    for (const { dropIn = '', command = 'true', reason } of partOf(OBSTACLES, 2)) {
      await node.writeFile(DROP_IN, dropIn)
      await node.run(['sh', '-c', `systemctl daemon-reload && ${command}`])
      const applied = await agent.apply()
      t.equal(applied.code, 6, reason)
      t.match(applied.report, { outcome: 'deferred', restarts: [], restartPending: reason })
      t.equal(await node.readFile(CONTAINERD_CONFIG), config, 'what only a restart makes valid is not written')
      t.match(await node.run(['ls', `${CERTS_D}/${HOST}`]), /ca\.crt\nhosts\.toml/, 'what does no harm is')
      t.equal(await node.containerdPid(), pid)
    }

    // Strategy never: the restart is told as due, and made by nobody.
    await node.writeFile(DROP_IN, '')
    await node.run(['sh', '-c', `systemctl unmask --runtime ${UNIT} && systemctl daemon-reload`])
    await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }], restart: { strategy: 'never' } })
    const message = /does not read the files of .*config_path is not set.*not restarted: restart\.strategy is never/
    const findings = [{ host: HOST, finding: { code: 'hosts-file-ignored', message } }]
    t.match(await agent.apply(), { code: 6, report: { restartPending: 'restart.strategy is never', findings } })
    const daemon = await agent.startDaemon()
    t.match(await daemon.until(({ state }) => state === 'restart-pending'), { restart: { pending: true } })
    await daemon.service.stop()
    t.equal(await node.containerdPid(), pid)
    await runsOn(t, container, facts)

    // Three starts in ten minutes, so that a slow machine tests the same.
    await node.writeFile(DROP_IN, '[Unit]\nStartLimitIntervalSec=600\nStartLimitBurst=3\n')
    await node.run(['sh', '-c', `systemctl daemon-reload && systemctl reset-failed ${UNIT}`])
    await agent.configure({ registries: [{ host: HOST, ca: 'ca.pem' }] })
    for (let starts = 0; starts < 3; starts++) await node.run(['systemctl', 'restart', UNIT])
    await node.ready()
    const applied = await agent.apply()
    t.equal(applied.code, 0, `the next start would have been one too many: ${JSON.stringify(applied.report)}`)
    t.match(await node.pull(registry.reference()), { ok: true })

    let failed = 0
    for (let starts = 0; starts < 4 && failed === 0; starts++)
      failed = (await node.exec(['systemctl', 'restart', UNIT])).code
    t.not(failed, 0)
    t.equal(await node.unitProperty('Result'), 'start-limit-hit', 'without the agent it is run into')
    t.equal(await node.containerdPid(), undefined)
    t.match(await restartOnce(node, READY), { end: 'ready' })
    t.match(await node.criVersion(), { ok: true }, "the agent's restart gets containerd out of it")
    await runsOn(t, container, facts)
  },
)

type Sabotage = {
  readonly name: string
  /** Of the unit; the default is that of the distribution, notify. */
  readonly type?: string
  readonly start: string
  readonly says: RegExp
}

/** What becomes of the unit's containerd once config.toml has the agent's edit. */
const SABOTAGES: readonly Sabotage[] = [
  {
    name: 'it ends at once',
    start: 'exit 1',
    says: /does not start with the new configuration: containerd\.service is .*Result=exit-code/,
  },
  {
    name: 'it runs without its CRI plugin',
    start: `sed 's/^disabled_plugins = .*/disabled_plugins = ["io.containerd.grpc.v1.cri"]/' /etc/containerd/config.toml >/run/bad.toml\nexec /usr/bin/containerd -c /run/bad.toml`,
    says: /its CRI plugin does not/,
  },
  {
    name: 'it ends long after systemd calls it started',
    type: 'simple',
    start: 'sleep 3; exit 1',
    says: /ended after its start with the new configuration: containerd\.service is .*Result=exit-code/,
  },
  {
    name: 'it never gets ready',
    start: 'exec sleep 600',
    says: /does not start with the new configuration: containerd\.service is .*Result=timeout/,
  },
]

async function putBackAsItWas(t: Test, { node, agent, registry, container, facts }: Lab) {
  // The rehearsal runs the binary of the running process and is not fooled by the unit.
  const unit = '[Service]\nExecStart=\nExecStart=/run/wrapper\nTimeoutStartSec=8\n'
  const tree = await contents(node, ...TRUST_FOLDERS)
  for (const { name, type = 'notify', start, says } of partOf(SABOTAGES, 2)) {
    await node.writeFile(DROP_IN, `${unit}Type=${type}\n`)
    const script = `#!/bin/sh\ngrep -q certs.d /etc/containerd/config.toml || exec /usr/bin/containerd\n${start}\n`
    await node.writeFile('/run/wrapper', script, 0o755)
    await node.run(['systemctl', 'daemon-reload'])
    const applied = await agent.apply()
    const took = applied.report.restarts[0]?.durationMs ?? ROLLBACK_LIMIT_MS
    t.comment(`${name}: from the decision to restart until ready again ${took} ms`)
    t.equal(applied.code, 4, `${name}: ${JSON.stringify(applied.report)}`)
    t.match(applied.report, { outcome: 'rolled-back', problems: [{ code: 'RESTART_FAILED', message: says }] })
    t.ok(took < ROLLBACK_LIMIT_MS, 'before the cluster would see it')
    t.equal(await contents(node, ...TRUST_FOLDERS), tree, `${name}: the files are as before`)
    t.match(await node.criVersion(), { ok: true })
    t.equal(await node.unitProperty('ActiveState'), 'active')
    await runsOn(t, container, facts)
  }

  // The unit is replaced while containerd starts: the start that is under way counts.
  await node.writeFile('/run/wrapper', '#!/bin/sh\nsleep 3\nexec /usr/bin/containerd\n', 0o755)
  await node.writeFile(DROP_IN, unit)
  await node.run(['systemctl', 'daemon-reload'])
  const applying = agent.apply()
  while ((await node.unitProperty('ActiveState')) === 'active') await sleep(50)
  await node.writeFile(DROP_IN, `${unit}Environment=REPLACED=1\n`)
  await node.run(['systemctl', 'daemon-reload'])
  t.match(await applying, { code: 0, report: { restarts: [{ result: 'ok' }] } })
  t.match(await node.pull(registry.reference()), { ok: true })
  await runsOn(t, container, facts)
}

const IN_A_ROW = `${RESTARTS_IN_A_ROW} restarts in a row, after one without rights, lose no container and leave nothing behind`
async function restartedInARow(t: Test, { node, agent, container, facts }: Lab) {
  await restartedWithoutRights(t, node)
  await runsOn(t, container, facts)
  const tree = await contents(node, ...TRUST_FOLDERS)
  const folders = await node.run(['ls', '-A', '/var/lib', '/run'])
  t.equal((await agent.apply()).code, 0)
  const more = [await node.runContainer(), await node.runContainer()]
  const before = await Promise.all(more.map((one) => one.facts()))
  const cri = connectCri(node.path(CONTAINERD_SOCKET))
  const runtime = await rememberRuntime(cri, await cri.status({ timeoutMs: 5_000 }))
  cri.close()
  t.equal(runtime.containers.length, 3)
  const took: number[] = []
  for (let round = 0; round < RESTARTS_IN_A_ROW; round++) {
    const driven = await restartOnce(node, runtime)
    if (driven.end !== 'ready' || driven.notes.length > 0) t.fail(`${round}: ${JSON.stringify(driven)}`)
    took.push(driven.durationMs)
  }
  took.sort((a, b) => a - b)
  t.comment(`to ready: median ${took[Math.floor(took.length / 2)]} ms, slowest ${took.at(-1)} ms`)
  await runsOn(t, container, facts)
  const uninstalled = await agent.command('uninstall')
  t.equal(uninstalled.code, 0, uninstalled.stdout)
  t.equal(await contents(node, ...TRUST_FOLDERS), tree, 'byte for byte')
  t.equal(await node.run(['ls', '-A', '/var/lib', '/run']), folders, 'nor is there anything of its state folder')
  t.same(await Promise.all([container, ...more].map((one) => one.facts())), [facts, ...before])
  t.equal(await node.unitProperty('Result'), 'success')
  t.equal(await node.restarts(), 0)
}

newestSystemdGeneration(t, 'one node whose containerd is restarted again and again', async (t, generation) => {
  const lab = await agentOnSystemd(t, generation)
  await t.test(IN_A_ROW, (t) => restartedInARow(t, lab))
  await t.test('a containerd that does not come back is put back as it was', (t) => putBackAsItWas(t, lab))
})

/** A process without rights, with nothing of the node but its bus, restarts containerd. */
async function restartedWithoutRights(t: Test, node: SystemdNode): Promise<void> {
  const pid = await node.containerdPid()
  // Like a Pod: own pid, mount, network, ipc and uts namespaces, a root with programs alone, and one folder of the
  // node.
  const box = [
    'set -e',
    'mkdir -p /tmp/box && mount -t tmpfs tmpfs /tmp/box && cd /tmp/box',
    `mkdir -p usr proc run/dbus dev ".${REPOSITORY}"`,
    'for link in bin lib lib64; do ln -s usr/$link $link; done',
    `mount --rbind -o ro /usr usr && mount --bind -o ro "${REPOSITORY}" ".${REPOSITORY}"`,
    'mount --bind /run/dbus run/dbus && mount -o remount,bind,ro run/dbus',
    'mount -t proc proc proc',
    'exec chroot . setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all --no-new-privs -- "$@"',
  ].join('\n')
  const program = [
    process.execPath,
    join(import.meta.dirname, '../fixtures/e2e/restart-by-bus.ts'),
    '/run/dbus/system_bus_socket',
    UNIT,
  ]
  const unshare = ['unshare', '--pid', '--fork', '--mount', '--net', '--ipc', '--uts']
  const { code, stdout, stderr } = await node.exec([...unshare, 'sh', '-c', box, 'sh', ...program])
  t.equal(code, 0, stderr)
  t.match(JSON.parse(stdout), {
    result: 'done',
    pid: 1,
    uid: 0,
    capabilities: '0000000000000000',
    bounding: '0000000000000000',
    run: ['dbus'],
  })
  t.not(await node.restartedSince(pid), pid)
}
