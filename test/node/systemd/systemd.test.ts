// Against a real systemd as process 1 of a node, with Debian's containerd unit.
import t from 'tap'
import { connectCri } from '../../../agent/node/cri/client.ts'
import { processes } from '../../../agent/node/processes/processes.ts'
import { systemd } from '../../../agent/node/systemd/systemd.ts'
import { generations, until } from '../../fixtures/node/private-containerd.ts'
import { startSystemdNode } from '../../fixtures/node/systemd-node.ts'

const UNIT = 'containerd.service'
const SOON = { timeoutMs: 20_000 }
const SOCKET = '/run/containerd/containerd.sock'

const [generation] = generations()
if (generation === undefined) throw new Error('no containerd')

const node = await startSystemdNode({
  generation,
  config: 'default',
  runContainers: true,
  files: {
    [`/etc/systemd/system/${UNIT}.d/proxy.conf`]:
      '[Service]\nEnvironment="HTTPS_PROXY=http://proxy.test:3128" "NO_PROXY=10.0.0.0/8,.test" "TOKEN=hidden"\n',
    '/etc/systemd/system/once.service': '[Service]\nType=oneshot\nExecStart=/bin/false\n',
    '/etc/systemd/system/slow.service': '[Service]\nType=oneshot\nExecStart=/bin/sleep 60\n',
  },
})
t.teardown(() => node.dispose())
const port = systemd({ busSocket: node.dbusSocket() })

t.test('tells that it is there', async (t) => {
  t.equal(await port.isAvailable(), true)
})

t.test('tells the facts of a unit, of its variables only those that matter', async (t) => {
  const facts = await port.unit(UNIT)
  t.match(facts, {
    name: UNIT,
    loadState: 'loaded',
    activeState: 'active',
    subState: 'running',
    mainPid: await node.containerdPid(),
    killMode: 'process',
    execStart: ['/usr/bin/containerd'],
    restarts: 0,
    result: 'success',
  })
  t.same(facts?.environment, { HTTPS_PROXY: 'http://proxy.test:3128', NO_PROXY: '10.0.0.0/8,.test' })
})

t.test('tells a stopped unit from one that does not exist', async (t) => {
  t.match(await port.unit('once.service'), { activeState: 'inactive', execStart: ['/bin/false'] })
  t.match(await port.unit('multi-user.target'), { activeState: 'active', execStart: [] })
  t.equal(await port.unit('no-such-unit.service'), undefined)
})

t.test('a restart is over when the job is; containers run on, the socket and the CRI are found again', async (t) => {
  const container = await node.runContainer()
  const socket = node.path(SOCKET)
  const root = node.path('/').replace(/\/$/, '')
  const cri = connectCri(socket)
  t.teardown(() => cri.close())
  const running = await cri.runningContainers(SOON)
  t.same(
    running.map(({ id, state }) => ({ id, state })),
    [{ id: container.id, state: 'RUNNING' }],
  )
  const before = await cri.containerStart(container.id, SOON)
  t.match(before, { state: 'RUNNING', startedAt: /^20\d\d-.*\.\d{9}Z$/, pid: Number })
  const [daemon] = await processes({ root }).listeningOn(socket)
  t.match(daemon, {
    executable: '/usr/bin/containerd',
    unit: UNIT,
    argv: ['/usr/bin/containerd'],
    environment: { HTTPS_PROXY: 'http://proxy.test:3128' },
  })

  const outcome = await port.restart(UNIT, SOON)
  t.equal(outcome.result, 'done')
  t.ok(outcome.durationMs > 0 && outcome.durationMs < 10_000, `${outcome.durationMs} ms`)

  await until(() =>
    cri.version(SOON).then(
      () => true,
      () => false,
    ),
  )
  t.same(await cri.containerStart(container.id, SOON), before, 'the same container, never stopped')
  const after = await processes({ root }).listeningOn(socket)
  t.equal(after.length, 1)
  t.not(after[0]?.pid, daemon?.pid)
  t.ok((after[0]?.startedAt ?? 0) > (daemon?.startedAt ?? 0))
  const told = (await port.unit(UNIT))?.startedAt ?? 0
  t.ok(Math.abs(told - (after[0]?.startedAt ?? 0)) < 100, 'systemd and /proc agree when it started')
  t.match(await port.unit(UNIT), { activeState: 'active', mainPid: await node.containerdPid() })
})

t.test('a job that fails is a result, not an error', async (t) => {
  t.match(await port.restart('once.service', SOON), { result: 'failed' })
  t.match(await port.unit('once.service'), { activeState: 'failed', result: 'exit-code' })
  await port.resetFailed('once.service')
  t.match(await port.unit('once.service'), { activeState: 'inactive' })
})

t.test('a broken configuration ends as a failed job, and heals by the next restart', async (t) => {
  const config = await node.readFile('/etc/containerd/config.toml')
  await node.writeFile('/etc/containerd/config.toml', '[broken')
  t.match(await port.restart(UNIT, SOON), { result: 'failed' })
  t.not((await port.unit(UNIT))?.activeState, 'active')
  await node.writeFile('/etc/containerd/config.toml', config)
  await port.resetFailed(UNIT)
  t.match(await port.restart(UNIT, SOON), { result: 'done' })
  t.match(await port.unit(UNIT), { activeState: 'active', result: 'success' })
})

t.test('a unit that does not exist cannot be restarted', async (t) => {
  await t.rejects(port.restart('no-such-unit.service', SOON), {
    code: 'RESTART_UNAVAILABLE',
    message: /systemd refused: .*no-such-unit\.service.*NoSuchUnit/,
  })
})

t.test('the deadline and the signal end the waiting', async (t) => {
  const started = Date.now()
  await t.rejects(port.restart('slow.service', { timeoutMs: 300 }), {
    code: 'RESTART_FAILED',
    message: 'systemd did not finish restarting slow.service within 300 ms',
  })
  const abort = new AbortController()
  const waiting = port.restart('slow.service', { timeoutMs: 10_000, signal: abort.signal })
  setTimeout(() => abort.abort(new Error('the agent stops')), 50)
  await t.rejects(waiting, { message: 'the agent stops' })
  t.ok(Date.now() - started < 9_000)
  await node.run(['systemctl', 'stop', 'slow.service'])
})
