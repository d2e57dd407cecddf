// What the component says of nodes while the API server refuses it: nothing is lost, nothing is said twice, and the
// server is left in peace.
import { setImmediate as soon } from 'node:timers/promises'
import t from 'tap'
import { createAnnouncer } from '../../agent/fleet/steps/announcer.ts'
import { AgentError } from '../../agent/model/errors.ts'
import type { FleetEvent, SeenCondition, SeenNode } from '../../agent/model/fleet-cluster.ts'
import { SILENT } from '../fixtures/scratch/carry-out.ts'

const WELL: SeenCondition = { status: 'True', reason: 'Trusted', message: 'well' }
const ILL: SeenCondition = { status: 'False', reason: 'UnknownAuthority', message: 'ill' }
const BUSY = new AgentError('CLUSTER_FAILED', 'the API server answered 429', { status: 429 })

function cluster(count: number, refusal: (node: string, nowMs: number) => AgentError | undefined) {
  let nowMs = 0
  const nodes = new Map<string, SeenNode>()
  for (let index = 0; index < count; index += 1) {
    const name = `n${index}`
    const base = { name, uid: name, zone: '', isControlPlane: false, labels: {}, isReady: true, isCordoned: false }
    nodes.set(name, { ...base, isTainted: false, condition: WELL })
  }
  const events: FleetEvent[] = []
  const asked: number[] = []
  const answer = (node: string) => {
    asked.push(nowMs)
    const thrown = refusal(node, nowMs)
    if (thrown !== undefined) throw thrown
  }
  const api = {
    async setCondition(name: string, condition: SeenCondition) {
      answer(name)
      const node = nodes.get(name)
      if (node !== undefined) nodes.set(name, { ...node, condition })
    },
    async removeStartupTaint() {},
    async tell(event: FleetEvent) {
      answer(event.node)
      events.push(event)
    },
  }
  const announcer = createAnnouncer(api, SILENT, () => nowMs)
  return {
    events,
    asked,
    isSaid: (condition: SeenCondition) =>
      [...nodes.values()].every((node) => node.condition?.status === condition.status),
    async pass(seconds: number, condition: SeenCondition) {
      for (const end = nowMs + seconds * 1_000; nowMs < end; nowMs += 500) {
        const all = [...nodes.values()].map((node) => ({ node, state: 'untrusted', condition }) as const)
        announcer.announce(all, { removesTaint: false }, nowMs)
        await soon()
      }
    },
  }
}

t.test('a server that has no time is asked less and less often, and then told everything once', async (t) => {
  const { pass, asked, events, isSaid } = cluster(40, (_node, nowMs) => (nowMs < 120_000 ? BUSY : undefined))
  await pass(120, ILL)
  t.ok(asked.length < 250, `${asked.length} writes in two minutes, 20 a second would be 2,400`)
  await pass(90, ILL)
  t.ok(isSaid(ILL))
  t.same(events.map(({ node }) => node).sort(), Array.from({ length: 40 }, (_, index) => `n${index}`).sort())
  const before = asked.length
  await pass(60, ILL)
  t.equal(asked.length, before, 'and no more')
})

t.test('an Event that the server has no time for is told later', async (t) => {
  let tells = 0
  const { pass, events, isSaid } = cluster(1, () => {
    tells += 1
    return tells === 2 ? BUSY : undefined
  })
  await pass(60, ILL)
  t.ok(isSaid(ILL))
  t.match(events, [{ node: 'n0', reason: 'RegistryTrustLost' }])
})

t.test('a Node that is refused by itself holds up no other, and its Event is not told again and again', async (t) => {
  const forbidden = new AgentError('CLUSTER_FORBIDDEN', 'the API server answered 403', { status: 403 })
  const { pass, asked, events } = cluster(10, (node) => (node === 'n3' ? forbidden : undefined))
  await pass(5, ILL)
  t.equal(events.length, 9)
  await pass(300, ILL)
  t.equal(events.length, 9)
  t.ok(asked.length <= 18 + 11, `${asked.length} writes: it is tried again every half minute`)
})
