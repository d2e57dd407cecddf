// The restarter on a real systemd node: what it does, what it refuses, and that a node comes back by itself when the agent does not.
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import type { Log, RestartPermit } from '../../agent/model/ports.ts'
import { systemClock } from '../../agent/node/clock.ts'
import { nodeFiles } from '../../agent/node/files/files.ts'
import { heldPermit, restarterClient } from '../../agent/node/systemd/restarter-client.ts'
import { systemd } from '../../agent/node/systemd/systemd.ts'
import { configFileOf } from '../../agent/sidecar/dead-mans-switch.ts'
import type { Declaration } from '../../agent/sidecar/declared.ts'
import { startRestarter } from '../../agent/sidecar/restarter.ts'
import { CONTAINERD_CONFIG } from '../fixtures/node/fixture-node.ts'
import { newestSystemdGeneration, systemdNode } from '../fixtures/node/node-tests.ts'
import { until } from '../fixtures/node/private-containerd.ts'
import type { SystemdNode } from '../fixtures/node/systemd-node.ts'

const UNIT = 'containerd.service'
const SOON = { timeoutMs: 20_000 }
const BROKEN = 'this is = not [ toml'
const ALWAYS: RestartPermit = { ask: async () => ({ granted: true, release: async () => undefined }) }
const RESTART = { strategy: 'auto', unit: 'auto', maxPerHour: 3, backoffMinMs: 1, backoffMaxMs: 1 } as const

type Running = { readonly socket: string; readonly events: string[]; close(): Promise<void> }

async function restarterOn(
  t: Test,
  node: SystemdNode,
  { holdMs, restart = RESTART }: { readonly holdMs?: number; readonly restart?: Declaration['restart'] } = {},
): Promise<Running> {
  const events: string[] = []
  const note = (event: string) => events.push(event)
  const log: Log = { debug: note, info: note, warn: note, error: note }
  const socket = join(node.scratch, `r${Math.random().toString(36).slice(2, 8)}.sock`)
  const restarter = await startRestarter({
    socket,
    declared: { current: async () => ({ registries: [], restart }) },
    ports: {
      files: nodeFiles({ root: node.path('/') }),
      systemd: systemd({ busSocket: node.dbusSocket() }),
      clock: systemClock(),
      log,
    },
    ...(holdMs === undefined ? {} : { holdMs }),
  })
  t.teardown(() => restarter.close())
  return { socket, events, close: () => restarter.close() }
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
    t.equal((await port.restart(UNIT, SOON)).result, 'done')
    await node.restartedSince(before)
    await port.resetFailed(UNIT)
    t.same(await container.facts(), facts)
    t.equal(statSync(socket).mode & 0o777, 0o600)
  })

  t.test('other verbs, other units and things that are no request are refused', async (t) => {
    const { socket } = await restarterOn(t, node)
    const refused = await say(
      socket,
      '{"verb":"start","unit":"containerd.service"}',
      '{"verb":"restart","unit":"ssh.service","timeoutMs":1000}',
      '{"verb":"facts","unit":"dbus.service"}',
      '{"verb":"restart","unit":"containerd.service"}',
      '{"verb":"commit"}',
      'RestartUnit',
      '[]',
    )
    t.match(refused, [
      { ok: false, code: 'REQUEST_INVALID', message: /not "start"/ },
      { ok: false, code: 'RESTART_REFUSED', message: /"ssh.service" is none of containerd.service/ },
      { ok: false, code: 'RESTART_REFUSED' },
      { ok: false, code: 'REQUEST_INVALID' },
      { ok: false, code: 'REQUEST_INVALID', message: /nothing is held/ },
      { ok: false, code: 'REQUEST_INVALID' },
      { ok: false, code: 'REQUEST_INVALID' },
    ])
    await t.rejects(restarterClient({ socket }).unit('dbus.service'), { code: 'RESTART_REFUSED' })
  })

  t.test('its own limit holds: twice the budget and two', async (t) => {
    const { socket, events } = await restarterOn(t, node, { restart: { ...RESTART, maxPerHour: 0 } })
    const port = restarterClient({ socket })
    for (let time = 0; time < 2; time += 1) await port.restart(UNIT, SOON)
    await t.rejects(port.restart(UNIT, SOON), { code: 'RESTART_REFUSED', message: /2 times within the last hour/ })
    t.equal(events.filter((event) => event === 'restarted').length, 2)
  })

  t.test('restart.strategy never is its own word too', async (t) => {
    const { socket } = await restarterOn(t, node, { restart: { ...RESTART, strategy: 'never' } })
    await t.rejects(restarterClient({ socket }).restart(UNIT, SOON), { code: 'RESTART_REFUSED', message: /never/ })
  })

  t.test('the unit that the configuration names is the only one', async (t) => {
    const { socket } = await restarterOn(t, node, { restart: { ...RESTART, unit: 'dbus.service' } })
    const port = restarterClient({ socket })
    t.match(await port.unit('dbus.service'), { activeState: 'active' })
    await t.rejects(port.unit(UNIT), { code: 'RESTART_REFUSED' })
  })

  t.test('what was let go of in time stays', async (t) => {
    const { socket, events } = await restarterOn(t, node)
    const good = await node.readFile(CONTAINERD_CONFIG)
    const permit = await heldPermit(ALWAYS, { socket }).ask({ reason: 'test' })
    if (!permit.granted) throw new Error(permit.reason)
    const second = await heldPermit(ALWAYS, { socket }).ask({ reason: 'test' })
    t.match(second, { granted: false, reason: /held already/ })
    await node.writeFile(CONTAINERD_CONFIG, `${good}# changed\n`)
    await restarterClient({ socket }).restart(UNIT, SOON)
    await permit.release()
    await permit.release()
    t.equal(await node.readFile(CONTAINERD_CONFIG), `${good}# changed\n`)
    t.notOk(events.includes('dead-mans-switch'))
    await node.writeFile(CONTAINERD_CONFIG, good)
  })

  t.test('nobody commits: the old file and containerd come back by themselves', async (t) => {
    const { socket, events } = await restarterOn(t, node, { holdMs: 500 })
    const good = await node.readFile(CONTAINERD_CONFIG)
    const permit = await heldPermit(ALWAYS, { socket }).ask({ reason: 'test' })
    if (!permit.granted) throw new Error(permit.reason)
    await node.writeFile(CONTAINERD_CONFIG, BROKEN)
    t.equal((await restarterClient({ socket }).restart(UNIT, SOON)).result, 'failed')
    t.match(await node.criVersion(), { ok: false })
    await until(() => events.includes('config-put-back'))
    t.equal(await node.readFile(CONTAINERD_CONFIG), good)
    t.match(await node.ready(), { ok: true })
    await t.rejects(permit.release(), { code: 'RESTART_FAILED', message: /put .*config\.toml back/ })
    t.same(await container.facts(), facts)
  })

  t.test('the holder is gone: it does not wait for the clock', async (t) => {
    const { socket, events } = await restarterOn(t, node)
    const good = await node.readFile(CONTAINERD_CONFIG)
    const connection = connect(socket)
    connection.write('{"verb":"hold"}\n')
    t.match(JSON.parse(String((await once(createInterface({ input: connection }), 'line'))[0])), { ok: true })
    await node.writeFile(CONTAINERD_CONFIG, BROKEN)
    await restarterClient({ socket }).restart(UNIT, SOON)
    const started = performance.now()
    connection.destroy()
    await until(() => events.includes('config-put-back'))
    t.comment(`back after ${Math.round(performance.now() - started)} ms`)
    t.equal(await node.readFile(CONTAINERD_CONFIG), good)
    t.match(await node.ready(), { ok: true })
    t.same(await container.facts(), facts)
  })

  t.test('gone before containerd was touched: the file is put back, nothing is restarted', async (t) => {
    const { socket, events } = await restarterOn(t, node)
    const [good, pid] = [await node.readFile(CONTAINERD_CONFIG), await node.containerdPid()]
    const connection = connect(socket)
    connection.write('{"verb":"hold"}\n')
    await once(createInterface({ input: connection }), 'line')
    await node.writeFile(CONTAINERD_CONFIG, BROKEN)
    connection.destroy()
    await until(() => events.includes('config-put-back'))
    t.equal(await node.readFile(CONTAINERD_CONFIG), good)
    t.equal(await node.containerdPid(), pid)
  })

  t.test('SIGTERM waits for what is held', async (t) => {
    const { socket, events, close } = await restarterOn(t, node, { holdMs: 400 })
    const good = await node.readFile(CONTAINERD_CONFIG)
    const permit = await heldPermit(ALWAYS, { socket }).ask({ reason: 'test' })
    t.ok(permit.granted)
    await node.writeFile(CONTAINERD_CONFIG, BROKEN)
    await close()
    t.ok(events.includes('config-put-back'))
    t.equal(await node.readFile(CONTAINERD_CONFIG), good)
  })
})

t.test('without a restarter nothing is granted and nothing is restarted', async (t) => {
  const socket = join(t.testdir({}), 'none.sock')
  t.equal(await restarterClient({ socket }).isAvailable(), false)
  t.match(await heldPermit(ALWAYS, { socket }).ask({ reason: 'test' }), { granted: false, reason: /no restarter at/ })
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
