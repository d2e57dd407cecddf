// Whose answer it is: what was said on a machine is forgotten when its name goes to another one.
import t from 'tap'
import { Poller } from '../../agent/fleet/steps/poller.ts'
import type { AgentClient, SeenPod } from '../../agent/model/fleet-cluster.ts'
import { SUMMARY } from '../fixtures/http/sample-status.ts'

const NODE = 'worker-1'
const POD: SeenPod = { name: 'agent', uid: 'p1', node: NODE, ip: '10.0.0.1', port: 9461, note: '', isLeaving: false }
const TEXT = JSON.stringify({ ...SUMMARY, node: NODE })

function poller(client: AgentClient) {
  let nowMs = 0
  const made = new Poller({ client, now: () => nowMs, onAnswer: () => undefined })
  return {
    answerOf: (node: string) => made.answerOf(node),
    turn(uid: string, pods: readonly SeenPod[] = [POD]) {
      nowMs += 60_000
      made.keepOnly(new Map([[NODE, { uid }]]))
      made.poll(pods, () => 'slow', nowMs)
    },
  }
}

const settled = () => new Promise((resolve) => setImmediate(resolve))

t.test('a Node that was made anew under its name between two turns has said nothing', async (t) => {
  const { turn, answerOf } = poller({ ask: async () => ({ kind: 'summary', text: TEXT, tag: undefined }) })
  turn('first')
  await settled()
  t.match(answerOf(NODE), { summary: { node: NODE } })
  turn('first', [{ ...POD, uid: 'p2', ip: '' }])
  t.match(answerOf(NODE), { summary: { node: NODE } }, 'a new Pod alone changes nothing')
  turn('second', [{ ...POD, uid: 'p3', ip: '' }])
  t.equal(answerOf(NODE), undefined)
})

t.test('an answer that comes after its machine has gone counts for nobody', async (t) => {
  const { promise, resolve } = Promise.withResolvers<Awaited<ReturnType<AgentClient['ask']>>>()
  const { turn, answerOf } = poller({ ask: () => promise })
  turn('first')
  turn('second', [])
  resolve({ kind: 'summary', text: TEXT, tag: undefined })
  await settled()
  t.equal(answerOf(NODE), undefined)
})
