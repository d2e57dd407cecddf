import { setImmediate as soon } from 'node:timers/promises'
import t from 'tap'
import { parseNote } from '../../agent/config/fleet-note.ts'
import { NEW_RECORD } from '../../agent/fleet/state/record.ts'
import { createToucher } from '../../agent/fleet/steps/toucher.ts'
import { toldLabels } from '../../agent/fleet/steps/touches.ts'
import { AgentError } from '../../agent/model/errors.ts'
import type { SeenPod } from '../../agent/model/fleet-cluster.ts'
import { SILENT } from '../fixtures/scratch/carry-out.ts'

const INPUT = { config: 'c'.repeat(64), record: NEW_RECORD, isCanary: () => false }

/** Pods whose patches are refused as `refuses` says; the watch shows what was accepted at once. */
function fleet(count: number, refuses: (pod: string, nowMs: number) => boolean) {
  let nowMs = 0
  const pods = new Map<string, SeenPod>()
  for (let index = 0; index < count; index += 1) {
    const name = `pod-${index}`
    pods.set(name, { name, uid: name, node: `n${index}`, ip: '10.0.0.1', port: 1, note: '', isLeaving: false })
  }
  const api = {
    async annotatePod({ name }: { readonly name: string }, note: string) {
      if (refuses(name, nowMs)) throw new AgentError('CLUSTER_FAILED', 'the API server answered 429')
      const pod = pods.get(name)
      if (pod !== undefined) pods.set(name, { ...pod, note })
      return true
    },
  }
  const toucher = createToucher({ api, now: () => nowMs, log: SILENT })
  return {
    toucher,
    pods,
    async soonAfter(ms = 60_000) {
      await soon()
      nowMs += ms
    },
    told: () => [...pods.values()].filter(({ note }) => note !== '').length,
    async pass(turns: number, turnMs = 1_000) {
      for (let turn = 0; turn < turns; turn += 1) {
        toucher.touch({ ...INPUT, agents: count }, pods, 50)
        await soon()
        nowMs += turnMs
      }
    },
  }
}

t.test('every Pod is told once, as many a second as allowed', async (t) => {
  const { toucher, told, pass } = fleet(1_000, () => false)
  await pass(10)
  t.equal(told(), 500)
  await pass(20)
  t.same([told(), toucher.count], [1_000, 1_000])
})

t.test('an agent is told the labels that are named, and again when one of them changes', async (t) => {
  const { toucher, pods, soonAfter } = fleet(1, () => false)
  const labels: { [name: string]: string } = { pool: 'gpu', other: 'x' }
  const touch = async () => {
    const labelsOf = () => toldLabels(['pool', 'rack'], labels)
    toucher.touch({ ...INPUT, agents: 1, labelsOf }, pods, 50)
    await soonAfter()
    return parseNote(pods.get('pod-0')?.note ?? '')?.labels
  }
  t.same(await touch(), { pool: 'gpu', rack: null })
  labels['other'] = 'y'
  await touch()
  t.equal(toucher.count, 1, 'a label that nobody named is nobody’s business')
  labels['rack'] = 'r1'
  t.same(await touch(), { pool: 'gpu', rack: 'r1' })
  t.equal(toucher.count, 2)
  t.equal(toldLabels([], labels), undefined)
  t.equal(toldLabels(['pool'], undefined), undefined, 'a node that is not known yet is not without labels')
})

t.test(
  'an API server that refuses everything for a minute is asked ever less, and then everything is told',
  async (t) => {
    const { toucher, told, pass } = fleet(1_000, (_, nowMs) => nowMs < 60_000)
    await pass(60)
    t.equal(told(), 0)
    t.ok(toucher.count <= 7 * 100, `${toucher.count} patches while it refused`)
    await pass(90)
    t.equal(told(), 1_000)
  },
)

t.test('Pods that are refused for ever hold nobody else up, and are tried once a minute', async (t) => {
  const { toucher, told, pass } = fleet(200, (pod) => /^pod-.[0-4]$/.test(pod))
  await pass(60)
  t.equal(told(), 155)
  const before = toucher.count
  await pass(120)
  t.ok(toucher.count - before <= 45 * 3, `${toucher.count - before} patches in two minutes`)
})

t.test(
  'turns that come late cost nothing of the rate, and never more than two seconds of it come at once',
  async (t) => {
    const { told, pass } = fleet(2_000, () => false)
    await pass(11, 1_500)
    t.equal(told(), 50 + 10 * 75)
    const idle = fleet(300, () => false)
    await idle.pass(1, 60_000)
    await idle.pass(1)
    t.equal(idle.told(), 50 + 100)
  },
)
