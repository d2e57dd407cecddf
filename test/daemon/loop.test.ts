// The daemon's loop on a scratch root: what was asked for is done, whatever else is asked for at the same moment.
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startLoop } from '../../agent/daemon/loop.ts'
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
async function atRest(t: Test) {
  const root = join(t.testdir(), 'node')
  layOut(root)
  const turns: (readonly string[])[] = []
  let runs = 0
  const loop = startLoop({
    identity: { node: 'n', version: '0' },
    address: undefined,
    consentUnrehearsed: false,
    loadConfig: async () => ({ ok: true, desired: WANTED, problems: [], refused: [], lastGood: new Map() }),
    ports: scratchPorts(root),
    events: {
      onConfig() {},
      onRun() {
        runs += 1
      },
      onProofs(proofs) {
        turns.push(proofs.filter(({ by }) => by === 'live').map(({ host }) => host))
      },
      onStatus() {},
    },
  })
  t.teardown(() => loop.stop())
  await until(() => runs > 0 && loop.status().state === 'converged')
  // Nothing is due before the interval of the proofs, which is minutes: a look proves nothing again.
  loop.poke()
  await until(() => runs === 2)
  const lastProof = (host: string) => loop.status().registries.find((one) => one.host === host)?.lastProof?.at
  const proved = async (host: string, since: string | undefined) => await until(() => lastProof(host) !== since)
  turns.length = 0
  return { loop, turns, lastProof, proved, runs: () => runs }
}

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
