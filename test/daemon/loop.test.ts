// The daemon's loop on a scratch root: what was asked for is done, whatever else is asked for at the same moment.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startLoop } from '../../agent/daemon/loop.ts'
import { keptCertificates } from '../../agent/daemon/watch/kept-certificates.ts'
import type { DesiredState } from '../../agent/model/desired-state.ts'
import type { Clock } from '../../agent/model/ports.ts'
import type { AgentState } from '../../agent/model/state.ts'
import { systemClock } from '../../agent/node/clock.ts'
import { nodeFiles } from '../../agent/node/files/files.ts'
import { readCertificates } from '../../agent/telemetry/certificate-samples.ts'
import { until } from '../fixtures/node/private-containerd.ts'
import { layOut } from '../fixtures/scratch/fault-scenes.ts'
import { anchor, desired, makeCa, registry } from '../fixtures/scratch/sample.ts'
import { scratchPorts } from '../fixtures/scratch/scratch-runtime.ts'

const HOST = 'harbor.example.net'
const OTHER = 'other.example.net'
const WANTED = desired({
  generation: '111111111111',
  anchors: [anchor('corp', makeCa('Root'))],
  registries: [registry(HOST, 'corp'), registry(OTHER, 'corp')],
})

/** A loop that has come to rest; tells which registries each later turn proved. */
async function atRest(t: Test, more: Partial<DesiredState> = {}) {
  const wanted = { ...WANTED, ...more }
  const root = join(t.testdir(), 'node')
  layOut(root)
  const turns: (readonly string[])[] = []
  let runs = 0
  let owned: AgentState['owned'] = {}
  const [found, put]: [string[], string[]] = [[], []]
  const loop = startLoop({
    identity: { node: 'n', version: '0' },
    address: undefined,
    consentUnrehearsed: false,
    loadConfig: async () => ({ ok: true, desired: wanted, problems: [], refused: [], lastGood: new Map() }),
    ports: scratchPorts(root),
    events: {
      onConfig() {},
      onRun(run, { detected, healed }) {
        runs += 1
        owned = run.state.owned
        found.push(...detected.map(({ target }) => target))
        put.push(...healed.map(({ target }) => target))
      },
      onProofs(proofs) {
        turns.push(proofs.filter(({ by }) => by === 'live').map(({ host }) => host))
      },
      onStatus() {},
    },
  })
  t.teardown(() => loop.stop())
  await loop.firstTurn()
  t.equal(runs, 1, 'the first look has ended, and there was no other')
  await until(() => (runs > 0 && loop.status().state === 'converged') || loop.status().state === 'audit')
  // Nothing is due before the interval of the proofs, which is minutes: a look proves nothing again.
  loop.poke()
  await until(() => runs === 2)
  const lastProof = (host: string) => loop.status().registries.find((one) => one.host === host)?.lastProof?.at
  const proved = async (host: string, since: string | undefined) => await until(() => lastProof(host) !== since)
  turns.length = 0
  const look = async () => {
    const before = runs
    loop.poke()
    await until(() => runs > before)
  }
  return { loop, root, turns, lastProof, proved, look, found, put, runs: () => runs, owned: () => owned }
}

t.test('a containerd that stopped answering is told before the look that follows has begun', async (t) => {
  const { loop, runs } = await atRest(t)
  loop.lost('Version was not answered within 650 ms')
  const { state, problems } = loop.status()
  t.equal(state, 'no-containerd')
  t.match(problems, [{ code: 'CRI_UNREACHABLE', message: /stopped answering: Version was not answered/ }])
  // This one answers: the look finds it.
  await until(() => runs() === 3)
  t.match(loop.status(), { state: 'converged', problems: [] })
})

t.test('one registry soon: that one alone, without a look at the node', async (t) => {
  const { loop, turns, lastProof, proved, runs } = await atRest(t)
  const [mine, others] = [lastProof(HOST), lastProof(OTHER)]
  loop.proveSoon(HOST)
  await proved(HOST, mine)
  t.same(turns, [[HOST]])
  t.equal(lastProof(OTHER), others)
  t.equal(runs(), 2)
})

t.test('one registry soon and a look at the node in the same moment: both happen', async (t) => {
  const { loop, lastProof, proved, runs } = await atRest(t)
  const [mine, others] = [lastProof(HOST), lastProof(OTHER)]
  loop.proveSoon(HOST)
  loop.poke()
  await until(() => runs() === 3)
  await proved(HOST, mine)
  t.equal(lastProof(OTHER), others)
})

const CA_FILE = `etc/containerd/certs.d/${HOST}/ca.crt`

t.test('drift that is healed is detected once each time', async (t) => {
  const { root, look, found, put } = await atRest(t)
  for (const _ of [1, 2]) {
    rmSync(join(root, CA_FILE))
    await look()
    await look()
  }
  t.same(found, ['containerd-hosts', 'containerd-hosts'])
  t.same(put, found)
})

t.test('in a fight, what the agent no longer puts right is detected too', async (t) => {
  const { root, loop, look, found, put } = await atRest(t)
  while (loop.status().state === 'converged' && put.length < 50) {
    rmSync(join(root, CA_FILE), { force: true })
    await look()
  }
  await look()
  t.equal(loop.status().state, 'drifted')
  t.equal(found.length, put.length + 1)
})

t.test('drift that stays is detected once, and anew when it comes again', async (t) => {
  const drift = { ...WANTED.drift, heal: false }
  const { root, look, found, put } = await atRest(t, { drift })
  rmSync(join(root, CA_FILE))
  for (const _ of [1, 2, 3]) await look()
  t.same([found, put], [['containerd-hosts'], []])
})

t.test('in mode audit everything that differs from what is declared is detected, once', async (t) => {
  const { loop, look, found, put } = await atRest(t, { mode: 'audit' })
  const differs = loop.status().drift.map(({ target }) => target)
  await look()
  t.ok(found.includes('system-trust') && found.includes('containerd-hosts'))
  t.same([found, put], [differs, []])
})

t.test('the certificates of every target are told, and read again only when they change', async (t) => {
  const { root, owned } = await atRest(t)
  const files = nodeFiles({ root })
  const kept = keptCertificates(files)
  const found = (await kept(owned())) ?? []
  const paths = found.map(({ path }) => path)
  for (const path of [
    `/${CA_FILE}`,
    `/etc/containerd/certs.d/${OTHER}/ca.crt`,
    '/usr/local/share/ca-certificates/corp.crt',
  ])
    t.ok(paths.includes(path), path)
  t.equal(readCertificates(found)[0]?.labels.subject_CN, 'Root')
  t.equal(await kept(owned()), undefined, 'nothing new')
  t.same(await kept({}), [], 'what is given back is told no longer')
})

/** A hundred times as fast as the clock of the machine. */
function fastClock(): Clock {
  const clock = systemClock()
  return {
    now: () => clock.now(),
    monotonic: () => clock.monotonic() * 100,
    sleep: (ms, options) => clock.sleep(ms / 100, options),
  }
}

t.test('a look that waits for a disk is told with what it waits for, until it goes on', async (t) => {
  const root = join(t.testdir(), 'node')
  layOut(root)
  const told: object[] = []
  const ports = scratchPorts(root)
  const disk = Promise.withResolvers<void>()
  const { ledger } = ports.restarts
  const loop = startLoop({
    identity: { node: 'n', version: '0' },
    address: undefined,
    consentUnrehearsed: false,
    loadConfig: async () => ({ ok: true, desired: WANTED, problems: [], refused: [], lastGood: new Map() }),
    ports: {
      ...ports,
      clock: fastClock(),
      log: { ...ports.log, warn: (event, fields) => event === 'reconcile-slow' && told.push(fields ?? {}) },
      restarts: { ...ports.restarts, ledger: { ...ledger, read: () => disk.promise.then(() => ledger.read()) } },
    },
    events: { onConfig() {}, onRun() {}, onProofs() {}, onStatus() {} },
  })
  t.teardown(() => loop.stop())
  await until(() => told.length === 2)
  const waitsFor = [/^restarts\.ledger\.read for \d+ s$/]
  t.match(told, [{ waitsFor }, { waitsFor }])
  const [first, second] = told as { underWayMs: number }[]
  // A timer may be early by a millisecond, which here is a tenth of a second.
  t.ok((first?.underWayMs ?? 0) > 29_500 && (second?.underWayMs ?? 0) > 59_500, JSON.stringify(told))
  t.equal(loop.liveness().ready, true, 'not stuck yet')
  await until(() => !loop.liveness().ready)
  t.match(loop.liveness().checks, [{ name: 'loop', message: /a run has been under way for 6\d\d s/ }, {}])
  disk.resolve()
  await loop.firstTurn()
  const count = told.length
  await until(() => loop.status().state === 'converged')
  t.match(loop.liveness(), { ready: true })
  t.equal(told.length, count, 'nothing is told of what has ended')
})
