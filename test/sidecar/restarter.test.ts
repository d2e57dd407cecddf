// The restarter on a real systemd node: what it does, what it refuses, and that a node comes back by itself when the
// agent does not.
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { configFileOf } from '../../agent/containerd/unit-config.ts'
import type { Log } from '../../agent/model/ports.ts'
import type { RestartStore } from '../../agent/model/restart.ts'
import { systemClock } from '../../agent/node/clock.ts'
import { connectCri } from '../../agent/node/cri/client.ts'
import { nodeFiles } from '../../agent/node/files/files.ts'
import { KEPT, restartStore } from '../../agent/node/state/restart-store.ts'
import { restarterClient } from '../../agent/node/systemd/restarter-client.ts'
import { systemd } from '../../agent/node/systemd/systemd.ts'
import { Machine } from '../../agent/restart/driver.ts'
import type { MachinePorts } from '../../agent/restart/own-record.ts'
import { settle } from '../../agent/restart/settle.ts'
import type { Declaration } from '../../agent/sidecar/declared.ts'
import { startRestarter } from '../../agent/sidecar/restarter.ts'
import { sha256 } from '../../agent/targets/files/files.ts'
import { CONTAINERD_CONFIG, CONTAINERD_SOCKET } from '../fixtures/node/fixture-node.ts'
import { newestSystemdGeneration, systemdNode } from '../fixtures/node/node-tests.ts'
import { until } from '../fixtures/node/private-containerd.ts'
import type { SystemdNode } from '../fixtures/node/systemd-node.ts'

const UNIT = 'containerd.service'
const SOON = { timeoutMs: 20_000 }
const BROKEN = 'this is = not [ toml'
const STATE = '/var/lib/registry-trust'
const RESTART = { strategy: 'auto', unit: 'auto', maxPerHour: 3, backoffMinMs: 1, backoffMaxMs: 1 } as const

t.setTimeout(200_000)

type Running = { readonly socket: string; readonly events: string[]; close(): Promise<void> }

function portsOf(node: SystemdNode, log: Log): MachinePorts {
  const files = nodeFiles({ root: node.path('/') })
  const audit = async () => undefined
  return {
    files,
    systemd: systemd({ busSocket: node.dbusSocket() }),
    clock: systemClock(),
    restarts: restartStore({ files, folder: STATE, root: node.path('/'), clock: systemClock(), log, audit }),
    connectCri: (socket) => connectCri(node.path(socket)),
    audit,
    log,
  }
}

async function restarterOn(
  t: Test,
  node: SystemdNode,
  { restart = RESTART }: { readonly restart?: Declaration['restart'] } = {},
): Promise<Running> {
  const events: string[] = []
  const note = (event: string) => events.push(event)
  const log: Log = { debug: note, info: note, warn: note, error: note }
  const socket = join(node.scratch, `r${Math.random().toString(36).slice(2, 8)}.sock`)
  const restarter = await startRestarter({
    socket,
    declared: { current: async () => ({ registries: [], restart }) },
    ports: portsOf(node, log),
  })
  t.teardown(() => restarter.close())
  return { socket, events, close: () => restarter.close() }
}

const SILENT: Log = { debug() {}, info() {}, warn() {}, error() {} }

/** The agent's side of a restart that goes through the restarter at `socket`. */
async function armed(node: SystemdNode, socket: string, content: string): Promise<Machine> {
  const ports = { ...portsOf(node, SILENT), systemd: restarterClient({ socket }) }
  const unit = await ports.systemd.unit(UNIT)
  const before = Buffer.from(await node.readFile(CONTAINERD_CONFIG))
  const machine = await Machine.arm(
    ports,
    'agent',
    {
      id: `test-${Math.random()}`,
      reason: 'test',
      unit: UNIT,
      socket: CONTAINERD_SOCKET,
      configFile: CONTAINERD_CONFIG,
      daemon: { pid: unit?.mainPid ?? 0, ...(unit?.executedAt === undefined ? {} : { beganAt: unit.executedAt }) },
      runtime: { runtimeReady: true, networkReady: false, containers: [] },
      before: sha256(before),
      after: sha256(Buffer.from(content)),
    },
    Buffer.from(content),
  )
  await ports.files.put(
    CONTAINERD_CONFIG,
    { kind: 'file', bytes: Buffer.from(content), mode: 0o644, uid: 0, gid: 0 },
    { folder: '/etc/containerd' },
  )
  await machine.written()
  return machine
}

/** The next test may restart at once: all that the ledger tells is a restart of ten minutes ago. */
async function forgetLedger(node: SystemdNode): Promise<void> {
  await removeLedger(node)
  const [{ ledger, bootId }, clock] = [portsOf(node, SILENT).restarts, systemClock()]
  const uptimeMs = clock.monotonic() - 600_000
  const at = new Date(clock.now() - 600_000).toISOString()
  await ledger.add({ id: 'earlier', at, bootId, uptimeMs, kind: 'forward', by: 'agent', reason: 'test', result: 'ok' })
}

async function removeLedger(node: SystemdNode): Promise<void> {
  await node.run(['rm', '-f', `${STATE}/restart/ledger.jsonl`])
}

async function say(socket: string, ...lines: readonly string[]): Promise<unknown[]> {
  const connection = connect(socket)
  const answers: unknown[] = []
  const reader = createInterface({ input: connection })
  for (const line of lines) {
    connection.write(`${line}\n`)
    const [answer] = await once(reader, 'line')
    answers.push(JSON.parse(String(answer)))
  }
  connection.destroy()
  return answers
}

newestSystemdGeneration(t, 'the restarter', async (t, generation) => {
  const node = await systemdNode(t, { generation, runContainers: true })
  const container = await node.runContainer()
  const facts = await container.facts()

  t.test('the agent restarts containerd through it, as through D-Bus', async (t) => {
    const { socket } = await restarterOn(t, node)
    const port = restarterClient({ socket })
    const direct = systemd({ busSocket: node.dbusSocket() })
    t.equal(await port.isAvailable(), true)
    t.same(await port.unit(UNIT), await direct.unit(UNIT))
    const before = await node.containerdPid()
    const good = await node.readFile(CONTAINERD_CONFIG)
    const inode = statSync(node.path(CONTAINERD_CONFIG)).ino
    const machine = await armed(node, socket, `${good}# changed\n`)
    t.match(await machine.restart(), { end: 'ready' })
    await machine.commit()
    t.notOk(await portsOf(node, SILENT).restarts.isKept(CONTAINERD_CONFIG), 'nothing is left beside it')
    await node.restartedSince(before)
    t.not(statSync(node.path(CONTAINERD_CONFIG)).ino, inode)
    await port.resetFailed(UNIT)
    t.same(await container.facts(), facts)
    t.equal(statSync(socket).mode & 0o777, 0o600)
  })

  t.test('other verbs, other units and things that are no request are refused', async (t) => {
    const { socket } = await restarterOn(t, node)
    const refused = await say(
      socket,
      '{"verb":"start","unit":"containerd.service"}',
      '{"verb":"restart","unit":"ssh.service","timeoutMs":1000,"machine":"1"}',
      '{"verb":"facts","unit":"dbus.service"}',
      '{"verb":"restart","unit":"containerd.service"}',
      '{"verb":"hold"}',
      'RestartUnit',
      '[]',
    )
    t.match(refused, [
      { ok: false, code: 'REQUEST_INVALID', message: /not "start"/ },
      { ok: false, code: 'RESTART_REFUSED', message: /"ssh.service" is not one of containerd.service/ },
      { ok: false, code: 'RESTART_REFUSED' },
      { ok: false, code: 'REQUEST_INVALID' },
      { ok: false, code: 'REQUEST_INVALID', message: /not "hold"/ },
      { ok: false, code: 'REQUEST_INVALID' },
      { ok: false, code: 'REQUEST_INVALID' },
    ])
    await t.rejects(restarterClient({ socket }).unit('dbus.service'), { code: 'RESTART_REFUSED' })
  })

  t.test('what is not recorded is not restarted, and a command is given once', async (t) => {
    const { socket } = await restarterOn(t, node)
    const port = restarterClient({ socket })
    const pid = await node.containerdPid()
    const refused = { code: 'RESTART_REFUSED' }
    await t.rejects(port.restart(UNIT, SOON), { ...refused, message: /is not the recorded one/ })
    const last = await portsOf(node, SILENT).restarts.read()
    await t.rejects(port.restart(UNIT, { ...SOON, machine: last?.id ?? '' }), { ...refused, message: /is over/ })
    t.equal(await node.containerdPid(), pid)
  })

  t.test('a minute lies between two restarts, and the restarter knows it also when it starts anew', async (t) => {
    const { socket } = await restarterOn(t, node)
    const pid = await node.containerdPid()
    const good = await node.readFile(CONTAINERD_CONFIG)
    const machine = await armed(node, socket, `${good}# again\n`)
    const driven = await machine.restart()
    machine.leave()
    t.match(driven, { end: 'reverted', record: { failure: { message: /less than a minute ago/ } } })
    t.equal(await node.containerdPid(), pid)
    t.equal(await node.readFile(CONTAINERD_CONFIG), good)
    await forgetLedger(node)
  })

  t.test(
    'the ledger is removed and the restarter begins anew: no flood brings a restart within the minute',
    async (t) => {
      const before = await node.containerdPid()
      await node.manager('RestartUnit', 'ss', UNIT, 'replace')
      // Until systemd has begun with its job the old one answers.
      const isAnother = async () => ![before, undefined].includes(await node.containerdPid())
      await until(async () => (await isAnother()) && (await node.ready()).ok)
      const pid = await node.containerdPid()
      const good = await node.readFile(CONTAINERD_CONFIG)
      for (let time = 0; time < 2; time += 1) {
        const { socket, events, close } = await restarterOn(t, node)
        await removeLedger(node)
        const machine = await armed(node, socket, `${good}# flood ${time}\n`)
        const { id } = (await portsOf(node, SILENT).restarts.read()) ?? {}
        const line = JSON.stringify({ verb: 'restart', unit: UNIT, timeoutMs: 20_000, machine: id })
        let isDriven = false
        let asked = 0
        const flood = async () => {
          while (!isDriven) {
            const answers = await say(socket, ...Array.from({ length: 20 }, () => line))
            asked += answers.filter((answer) => (answer as { ok: boolean }).ok === false).length
          }
        }
        const flooding = Promise.all(Array.from({ length: 8 }, flood))
        const driven = await machine.restart()
        machine.leave()
        isDriven = true
        await flooding
        t.match(driven, { end: 'reverted', record: { failure: { message: /less than a minute ago/ } } })
        t.ok(asked >= 160, `${asked} questions were refused`)
        t.notOk(events.includes('restarted'))
        t.equal(await node.containerdPid(), pid)
        t.equal(await node.readFile(CONTAINERD_CONFIG), good)
        await close()
      }
      await forgetLedger(node)
    },
  )

  t.test('restart.strategy never is its own word too', async (t) => {
    const { socket } = await restarterOn(t, node, { restart: { ...RESTART, strategy: 'never' } })
    const machine = await armed(node, socket, `${await node.readFile(CONTAINERD_CONFIG)}# never\n`)
    t.match(await machine.restart(), { end: 'reverted', record: { failure: { message: /strategy is never/ } } })
    machine.leave()
    await forgetLedger(node)
  })

  t.test('the unit that the configuration names is the only one', async (t) => {
    const { socket } = await restarterOn(t, node, { restart: { ...RESTART, unit: 'dbus.service' } })
    const port = restarterClient({ socket })
    t.match(await port.unit('dbus.service'), { activeState: 'active' })
    await t.rejects(port.unit(UNIT), { code: 'RESTART_REFUSED' })
  })

  t.test('an agent that is gone after the command: its broken file goes back, by the same inode', async (t) => {
    const { socket, events } = await restarterOn(t, node)
    const good = await node.readFile(CONTAINERD_CONFIG)
    const inode = statSync(node.path(CONTAINERD_CONFIG)).ino
    const machine = await armed(node, socket, BROKEN)
    const gone = machine.restart().catch(() => undefined)
    await until(() => node.path(CONTAINERD_CONFIG) !== '' && events.includes('restarted'))
    machine.die()
    const started = performance.now()
    await until(() => events.includes('restart-settled'))
    t.comment(`settled after ${Math.round(performance.now() - started)} ms`)
    t.equal(await node.readFile(CONTAINERD_CONFIG), good)
    t.equal(statSync(node.path(CONTAINERD_CONFIG)).ino, inode)
    t.match(await node.ready(), { ok: true })
    t.same(await container.facts(), facts)
    await gone
    await forgetLedger(node)
  })

  t.test('gone before containerd was touched: the file is put back, nothing is restarted', async (t) => {
    const { socket, events } = await restarterOn(t, node)
    const [good, pid] = [await node.readFile(CONTAINERD_CONFIG), await node.containerdPid()]
    const machine = await armed(node, socket, BROKEN)
    machine.die()
    await until(() => events.includes('restart-settled'))
    t.equal(await node.readFile(CONTAINERD_CONFIG), good)
    t.equal(await node.containerdPid(), pid)
    t.notOk(events.includes('restarting'))
  })

  t.test('both were gone: the next start of the restarter finishes', async (t) => {
    const first = await restarterOn(t, node)
    const good = await node.readFile(CONTAINERD_CONFIG)
    const machine = await armed(node, first.socket, BROKEN)
    machine.die()
    // Nobody is left: the restarter ends before the lease does.
    const restarts: RestartStore = portsOf(node, SILENT).restarts
    t.match(await restarts.read(), { phase: 'written', driver: 'agent' })
    const { events } = await restarterOn(t, node)
    await until(() => events.includes('restart-settled') || first.events.includes('restart-settled'))
    t.equal(await node.readFile(CONTAINERD_CONFIG), good)
    t.match(await restarts.read(), { phase: 'reverted' })
  })

  t.test('a record that names another file or another unit is not obeyed', async (t) => {
    const { socket, events } = await restarterOn(t, node)
    await node.writeFile('/etc/containerd/other.toml', 'theirs\n')
    const ports = portsOf(node, SILENT)
    for (const order of [{ configFile: '/etc/containerd/other.toml' }, { unit: 'dbus.service' }]) {
      const last = await ports.restarts.read()
      if (last === undefined) return t.fail('there is a record')
      const forged = {
        ...last,
        ...order,
        phase: 'written' as const,
        driver: 'agent' as const,
        leaseUntil: 0,
        id: JSON.stringify(order),
      }
      await ports.restarts.append({ ...forged, sequence: last.sequence + 1 }, { durable: true })
      events.length = 0
      await until(() => events.includes('restart-record-refused'))
      t.match(await ports.restarts.read(), { phase: 'written', driver: 'agent' })
    }
    await node.run(['rm', '-r', '/etc/containerd/other.toml', `${STATE}/restart`])
    t.ok(socket)
    return undefined
  })

  t.test('what others wrote meanwhile is kept beside the original', async (t) => {
    const { socket, events } = await restarterOn(t, node)
    const good = await node.readFile(CONTAINERD_CONFIG)
    const machine = await armed(node, socket, BROKEN)
    machine.die()
    await node.writeFile(CONTAINERD_CONFIG, `${BROKEN}\n# theirs\n`)
    await until(() => events.includes('restart-settled'))
    t.equal(await node.readFile(CONTAINERD_CONFIG), good)
    const [kept = ''] = (await node.run(['sh', '-c', `ls ${CONTAINERD_CONFIG}.registry-trust-other-*`]))
      .trim()
      .split('\n')
    t.equal(await node.readFile(kept), `${BROKEN}\n# theirs\n`)
    await node.run(['rm', kept])
  })

  t.test('what others wrote elsewhere in the file stays in it', async (t) => {
    const { socket, events } = await restarterOn(t, node)
    const good = await node.readFile(CONTAINERD_CONFIG)
    const broken = `${good}bad = [\n`
    const machine = await armed(node, socket, broken)
    machine.die()
    await node.writeFile(CONTAINERD_CONFIG, `# theirs\n${broken}`)
    await until(() => events.includes('restart-settled'))
    t.equal(await node.readFile(CONTAINERD_CONFIG), `# theirs\n${good}`)
    await node.run(['sh', '-c', `rm ${CONTAINERD_CONFIG}.registry-trust-other-*`])
    await node.writeFile(CONTAINERD_CONFIG, good)
  })

  t.test('the agent that starts again before the lease is over goes on itself', async (t) => {
    const { socket } = await restarterOn(t, node)
    const good = await node.readFile(CONTAINERD_CONFIG)
    const machine = await armed(node, socket, BROKEN)
    machine.die()
    const ports = { ...portsOf(node, SILENT), systemd: restarterClient({ socket }) }
    t.match(await settle(ports, 'agent', { isMine: true, isPatient: false }), { phase: 'reverted', driver: 'agent' })
    t.equal(await node.readFile(CONTAINERD_CONFIG), good)
    t.notOk(await ports.restarts.isKept(CONTAINERD_CONFIG), `no ${KEPT} is left`)
  })
})

t.test('without a restarter nothing is restarted', async (t) => {
  const socket = join(t.testdir({}), 'none.sock')
  t.equal(await restarterClient({ socket }).isAvailable(), false)
  await t.rejects(restarterClient({ socket }).restart(UNIT, SOON), { code: 'RESTART_UNAVAILABLE' })
})

t.test('the file of a unit is the one that containerd itself takes', async (t) => {
  const of = (name: string, ...execStart: string[]) => configFileOf({ name, execStart })
  t.equal(of(UNIT, '/usr/bin/containerd'), '/etc/containerd/config.toml')
  t.equal(of(UNIT, '/usr/bin/containerd', '-c', '/etc/other.toml'), '/etc/other.toml')
  t.equal(of(UNIT, '/usr/bin/containerd', '--config=/etc/other.toml'), '/etc/other.toml')
  const k3s = '/var/lib/rancher/k3s/agent/etc/containerd/config.toml'
  t.equal(of('k3s.service', '/usr/local/bin/k3s', 'server', '--config', '/etc/rancher/k3s/config.yaml'), k3s)
})
