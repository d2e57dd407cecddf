// What is not systemd: no bus, a dead one, a silent one, one without systemd behind it, and a systemd that behaves
// badly, played by a service of that name on a real private dbus-daemon.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { linkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { createClient, type InterfaceDescriptor } from 'dbus-native'
import t, { type Test } from 'tap'
import { systemd } from '../../../agent/node/systemd/systemd.ts'
import { listening, shortFolder } from '../../fixtures/node/private-containerd.ts'

const SOON = { timeoutMs: 20_000 }
const MANAGER = 'org.freedesktop.systemd1.Manager'

type Bus = { readonly socket: string; readonly daemon: ChildProcess }

async function privateBus(test: Test): Promise<Bus> {
  const folder = shortFolder(test)
  const socket = join(folder, 'bus')
  const config = `<busconfig><type>system</type><listen>unix:path=${socket}</listen><auth>EXTERNAL</auth>
    <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>`
  writeFileSync(join(folder, 'bus.conf'), config)
  const daemon = spawn('dbus-daemon', [`--config-file=${join(folder, 'bus.conf')}`, '--nofork'], { stdio: 'ignore' })
  test.teardown(() => daemon.kill('SIGKILL'))
  await listening(socket)
  return { socket, daemon }
}

/** A Manager whose RestartUnit does as told; `emit` sends JobRemoved. */
async function badSystemd(
  test: Test,
  { socket }: Bus,
  onRestart: (emit: (job: string, result: string) => void) => string,
): Promise<void> {
  const bus = createClient({ socket, authMethods: ['EXTERNAL'] })
  bus.connection.on('error', () => undefined)
  test.teardown(() => bus.connection.stream.destroy())
  const path = '/org/freedesktop/systemd1'
  const emit = (job: string, result: string) =>
    bus.sendSignal(path, MANAGER, 'JobRemoved', 'uoss', [1, job, 'x.service', result])
  const implementation = { Subscribe: () => null, RestartUnit: () => onRestart(emit) }
  const description: InterfaceDescriptor = {
    name: MANAGER,
    methods: { Subscribe: ['', '', [], []], RestartUnit: ['ss', 'o', [], []] },
  }
  bus.exportInterface(implementation, path, description)
  await bus.requestName('org.freedesktop.systemd1', 0)
}

t.test('without a bus', async (t) => {
  const port = systemd({ busSocket: join(shortFolder(t), 'none') })
  t.equal(await port.isAvailable(), false)
  await t.rejects(port.unit('x.service'), { code: 'RESTART_UNAVAILABLE', message: /no D-Bus at .*ENOENT/ })
  await t.rejects(port.restart('x.service', SOON), { code: 'RESTART_UNAVAILABLE' })
})

t.test('a bus that died does not end the process', async (t) => {
  const folder = shortFolder(t)
  const server = createServer().listen(join(folder, 'bus'))
  await once(server, 'listening')
  linkSync(join(folder, 'bus'), join(folder, 'stale'))
  server.close()
  const port = systemd({ busSocket: join(folder, 'stale') })
  t.equal(await port.isAvailable(), false)
  await t.rejects(port.restart('x.service', SOON), { code: 'RESTART_UNAVAILABLE', message: /ECONNREFUSED/ })
})

t.test('a bus that accepts and says nothing is given up after the deadline', async (t) => {
  const folder = shortFolder(t)
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    t.teardown(() => socket.destroy())
  }).listen(join(folder, 'bus'))
  t.teardown(() => server.close())
  await once(server, 'listening')
  const started = Date.now()
  await t.rejects(systemd({ busSocket: join(folder, 'bus') }).restart('x.service', { timeoutMs: 200 }), {
    code: /RESTART_(UNAVAILABLE|FAILED)/,
  })
  t.ok(Date.now() - started < 10_000)
})

t.test('a bus without systemd', async (t) => {
  const { socket } = await privateBus(t)
  const port = systemd({ busSocket: socket })
  t.equal(await port.isAvailable(), false)
  await t.rejects(port.unit('x.service'), { code: 'RESTART_UNAVAILABLE', message: /systemd refused.*ServiceUnknown/ })
})

t.test('the end of a job that is told before the reply that names it is not missed', async (t) => {
  const bus = await privateBus(t)
  await badSystemd(t, bus, (emit) => {
    emit('/org/freedesktop/systemd1/job/6', 'failed')
    emit('/org/freedesktop/systemd1/job/7', 'done')
    return '/org/freedesktop/systemd1/job/7'
  })
  t.match(await systemd({ busSocket: bus.socket }).restart('x.service', SOON), { result: 'done' })
})

t.test('the end of another job is not taken for ours', async (t) => {
  const bus = await privateBus(t)
  await badSystemd(t, bus, (emit) => {
    setTimeout(() => emit('/org/freedesktop/systemd1/job/8', 'done'), 10)
    setTimeout(() => emit('/org/freedesktop/systemd1/job/7', 'timeout'), 30)
    return '/org/freedesktop/systemd1/job/7'
  })
  t.match(await systemd({ busSocket: bus.socket }).restart('x.service', SOON), { result: 'timeout' })
})

t.test('a job that never ends is given up at the deadline', async (t) => {
  const bus = await privateBus(t)
  await badSystemd(t, bus, () => '/org/freedesktop/systemd1/job/7')
  await t.rejects(systemd({ busSocket: bus.socket }).restart('x.service', { timeoutMs: 200 }), {
    code: 'RESTART_FAILED',
    message: /within 200 ms/,
  })
})

t.test('a bus that dies while we wait ends the waiting', async (t) => {
  const bus = await privateBus(t)
  await badSystemd(t, bus, () => {
    setTimeout(() => bus.daemon.kill('SIGKILL'), 20)
    return '/org/freedesktop/systemd1/job/7'
  })
  await t.rejects(systemd({ busSocket: bus.socket }).restart('x.service', SOON), {
    code: 'RESTART_FAILED',
    message: /connection ended/,
  })
})

t.test('a signal that comes before systemd names the job ends the waiting at once', async (t) => {
  const bus = await privateBus(t)
  const abort = new AbortController()
  await badSystemd(t, bus, () => {
    abort.abort(new Error('the agent stops'))
    return '/org/freedesktop/systemd1/job/1'
  })
  const started = performance.now()
  const waiting = systemd({ busSocket: bus.socket }).restart('x.service', { ...SOON, signal: abort.signal })
  await t.rejects(waiting, { message: 'the agent stops' })
  t.ok(performance.now() - started < SOON.timeoutMs / 2, 'not only when the time for the job is over')
})
