// Pods that wait for an image: which nodes pull what for them, and when they are touched.
import { setImmediate as soon } from 'node:timers/promises'
import type { KubernetesObject } from '@kubernetes/client-node'
import fc from 'fast-check'
import t from 'tap'
import { waitingPod } from '../../agent/cluster/waiting-pods.ts'
import { parseNote, pullId, renderNote } from '../../agent/config/fleet-note.ts'
import { createWaker } from '../../agent/fleet/steps/waker.ts'
import { type Attempts, stepWaking, type WakingInput, type WakingNode } from '../../agent/fleet/steps/waking.ts'
import { AgentError } from '../../agent/model/errors.ts'
import type { PullReport } from '../../agent/model/fleet.ts'
import type { WaitingPod } from '../../agent/model/fleet-cluster.ts'
import type { NodeSummary } from '../../agent/model/summary.ts'
import { SUMMARY } from '../fixtures/http/sample-status.ts'
import { SILENT } from '../fixtures/scratch/carry-out.ts'

const HOST = 'harbor.example.net'
const IMAGE = `${HOST}/team/app:1`
const WELL: NodeSummary = {
  ...SUMMARY,
  node: 'n1',
  state: 'converged',
  runtimeReady: true,
  untrusted: [],
  untrustedMore: 0,
}

function pod(image = IMAGE, uid = 'u1', node = 'n1'): WaitingPod {
  return { namespace: 'apps', name: uid, uid, node, images: [image] }
}

function node(pulls: readonly PullReport[] | undefined, more: Partial<NodeSummary> = {}, askedAtMs = 0): WakingNode {
  return { summary: { ...WELL, ...(pulls && { pulls }), ...more }, askedAtMs, isSettled: true }
}

function step(given: Partial<WakingInput>) {
  return stepWaking({
    ...{ waiting: [pod()], nodeOf: () => node([]), hosts: new Set([HOST]), attempts: new Map(), nowMs: 0 },
    ...{ mayAsk: () => true, ...given },
  })
}

t.test('a node pulls the image once, and its Pods are touched once it is there', async (t) => {
  const first = step({})
  t.same([...first.pulls], [['n1', [IMAGE]]])
  t.same(first.wake, [])
  const waits = step({ attempts: first.attempts, nowMs: 1_000 })
  t.same([...waits.pulls], [['n1', [IMAGE]]], 'the note stays as it is')
  const done = node([{ image: pullId(IMAGE), ok: true }], {}, 1_500)
  const second = step({ attempts: waits.attempts, nowMs: 2_000, nodeOf: () => done })
  t.match(second, { wake: [{ uid: 'u1' }], pulled: 1, refused: 0 })
  t.same([...second.pulls], [], 'the note names it no longer')
  const third = step({ attempts: second.attempts, nowMs: 3_000, nodeOf: () => done })
  t.match(third, { wake: [], pulled: 0 })
  const late = step({ attempts: third.attempts, nowMs: 4_000, waiting: [pod(), pod(IMAGE, 'u2')] })
  t.match(late, { wake: [{ uid: 'u2' }], pulls: new Map() }, 'another Pod of the same image is touched alone')
})

t.test('what needs a login is not tried again for ten minutes, and no Pod is touched for it', async (t) => {
  const { attempts } = step({})
  const refusing = node([{ image: pullId(IMAGE), ok: false }], {}, 500)
  const refused = step({ attempts, nowMs: 1_000, nodeOf: () => refusing })
  t.match(refused, { wake: [], refused: 1 })
  t.equal(step({ attempts: refused.attempts, nowMs: 599_000 }).pulls.size, 0)
  t.equal(step({ attempts: refused.attempts, nowMs: 602_000 }).pulls.size, 1)
})

t.test('what was answered before it was told is no answer', async (t) => {
  const { attempts } = step({ nowMs: 1_000 })
  const old = node([{ image: pullId(IMAGE), ok: true }], {}, 900)
  t.match(step({ attempts, nowMs: 1_100, nodeOf: () => old }), { wake: [], pulled: 0 })
})

const UNFIT: { readonly [what: string]: Partial<WakingInput> } = {
  'a registry that is not declared': { hosts: new Set(['other.example.net']) },
  'a short name': { waiting: [pod('nginx')] },
  'a reference with a space': { waiting: [pod(`${HOST}/a b`)] },
  'a node that is not known': { nodeOf: () => undefined },
  'an agent that does not serve it, or an older one': { nodeOf: () => node(undefined) },
  'a node that does not trust the registry': {
    nodeOf: () => node([], { untrusted: [{ host: HOST, code: 'unknown-authority' }] }),
  },
  'a node with more untrusted registries than it names': { nodeOf: () => node([], { untrustedMore: 1 }) },
  'a runtime that is away': { nodeOf: () => node([], { runtimeReady: false }) },
  'a node in the middle of something': { nodeOf: () => ({ ...node([]), isSettled: false }) },
  'a registry that was asked often enough': { mayAsk: () => false },
}
for (const [what, given] of Object.entries(UNFIT))
  t.test(`nothing is pulled for: ${what}`, async (t) => {
    t.equal(step(given).pulls.size, 0)
  })

t.test('a node pulls two images at once, and the others afterwards', async (t) => {
  const images = ['a', 'b', 'c'].map((name) => `${HOST}/${name}:1`)
  const waiting = images.map((image, index) => pod(image, `u${index}`))
  const first = step({ waiting })
  t.equal(first.pulls.get('n1')?.length, 2)
  const done = node(
    images.map((image) => ({ image: pullId(image), ok: true })),
    {},
    500,
  )
  const second = step({ waiting, attempts: first.attempts, nowMs: 1_000, nodeOf: () => done })
  t.same([...second.pulls], [['n1', [images[2]]]])
})

t.test('a Pod that has left takes its pull with it', async (t) => {
  const { attempts } = step({})
  t.match(step({ attempts, waiting: [], nowMs: 1_000 }), { pulls: new Map(), attempts: new Map() })
})

/** A Pod as the API server shows it. */
function shown(more: {
  readonly policy?: string
  readonly reason?: string
  readonly meta?: object
  readonly node?: string
}) {
  const { policy = 'IfNotPresent', reason = 'ImagePullBackOff', meta = {}, node = 'n1' } = more
  return {
    metadata: { namespace: 'apps', name: 'web', uid: 'u', ...meta },
    spec: { nodeName: node, containers: [{ name: 'main', image: IMAGE, imagePullPolicy: policy }] },
    status: { phase: 'Pending', containerStatuses: [{ name: 'main', state: { waiting: { reason } } }] },
  } as KubernetesObject
}

t.test('a Pod counts where its kubelet looks for the image before it asks', async (t) => {
  t.same(waitingPod(shown({})), { namespace: 'apps', name: 'web', uid: 'u', node: 'n1', images: [IMAGE] })
  t.ok(waitingPod(shown({ reason: 'ErrImagePull' })))
  const none = [
    { policy: 'Always' },
    { policy: 'Never' },
    { reason: 'ContainerCreating' },
    { reason: 'CrashLoopBackOff' },
    { node: '' },
    { meta: { deletionTimestamp: new Date() } },
    { meta: { annotations: { 'kubernetes.io/config.mirror': 'x' } } },
    { meta: { labels: { 'app.kubernetes.io/name': 'registry-trust' } } },
  ]
  for (const more of none) t.equal(waitingPod(shown(more)), undefined, JSON.stringify(more))
})

t.test('a note with anything but references with a host names no pulls, and stays a note', async (t) => {
  const note = { config: 'c'.repeat(64), nodes: 3, pull: [IMAGE] }
  t.same(parseNote(renderNote(note)), note)
  for (const pull of [[], 'x', [1], ['nginx'], [IMAGE, IMAGE, IMAGE], [`${HOST}/a b`], [`${HOST}/${'a'.repeat(600)}`]])
    t.same(parseNote(JSON.stringify({ ...note, pull })), { config: note.config, nodes: 3 }, JSON.stringify(pull))
})

t.test('whatever happens, a node is told two images at most, and no Pod is touched before its image is there', (t) => {
  const images = ['a', 'b', 'c', 'd'].map((name) => `${HOST}/${name}:1`)
  const event = fc.record({
    waiting: fc.uniqueArray(fc.nat(11), { maxLength: 12 }),
    passMs: fc.constantFrom(0, 500, 30_000, 700_000),
    ended: fc.array(fc.record({ image: fc.nat(3), ok: fc.boolean() }), { maxLength: 4 }),
    lagMs: fc.constantFrom(0, 400, 60_000),
  })
  fc.assert(
    fc.property(fc.array(event, { maxLength: 30 }), (events) => {
      let attempts: Attempts = new Map()
      let nowMs = 0
      const touched = new Map<string, number>()
      for (const { waiting, passMs, ended, lagMs } of events) {
        nowMs += passMs
        const pulls = ended.map(({ image, ok }) => ({ image: pullId(images[image] ?? ''), ok }))
        const pods = waiting.map((index) => pod(images[index % 4], `u${index}`, `n${index % 2}`))
        const nodeOf = () => node(pulls, {}, nowMs - lagMs)
        const done = step({ attempts, nowMs, waiting: pods, nodeOf })
        attempts = done.attempts
        for (const [, told] of done.pulls) if (told.length > 2) throw new Error(`${told.length} at once`)
        for (const one of done.wake) {
          const attempt = attempts.get(`${one.node} ${one.images[0]}`)
          if (attempt?.phase !== 'pulled') throw new Error('touched before its image was there')
          const last = touched.get(one.uid)
          if (last !== undefined && nowMs - last < 600_000) throw new Error('touched twice')
          touched.set(one.uid, nowMs)
        }
      }
    }),
    { numRuns: 500 },
  )
  t.end()
})

t.test('a Pod that the API server refuses is tried again, ever later, and counted', async (t) => {
  let nowMs = 0
  const tries: number[] = []
  const waker = createWaker(
    {
      watchWaiting: () => ({
        pods: () => new Map([['apps/u1', pod()]]),
        problem: () => undefined,
        close: () => undefined,
      }),
      async wake() {
        tries.push(nowMs)
        if (tries.length < 4) throw new AgentError('CLUSTER_FAILED', 'the API server answered 429')
        return true
      },
    },
    () => undefined,
    SILENT,
  )
  for (; nowMs < 60_000; nowMs += 500) {
    const pulls = nowMs < 1_000 ? [] : [{ image: pullId(IMAGE), ok: true }]
    waker.turn({ isOn: true, hosts: new Set([HOST]), nodeOf: () => node(pulls, {}, nowMs), nowMs })
    await soon()
  }
  t.same(
    tries.map((at, index) => at - (tries[index - 1] ?? at)),
    [0, 1_000, 2_000, 4_000],
  )
  t.match(waker.counts, { pulls: 1, refusals: 0, wakes: 1, wakeFailures: 3 })
})

t.test('Pods are watched only while it is wanted, and what keeps them from being seen is told', async (t) => {
  let watches = 0
  const view = {
    pods: () => new Map(),
    problem: () => 'HTTP 403',
    close() {
      watches -= 1
    },
  }
  const api = {
    watchWaiting() {
      watches += 1
      return view
    },
    wake: async () => true,
  }
  const waker = createWaker(api, () => undefined, SILENT)
  const turn = (isOn: boolean, nowMs: number) =>
    waker.turn({ isOn, hosts: new Set([HOST]), nodeOf: () => undefined, nowMs })
  turn(false, 0)
  t.equal(watches, 0)
  turn(true, 0)
  turn(true, 1_000)
  t.equal(watches, 1)
  t.equal(waker.problem(1_000), undefined, 'a start is no problem')
  t.match(waker.problem(31_000), /fleet\.wakePods is true.*wake-pods.*HTTP 403/)
  turn(false, 32_000)
  t.equal(watches, 0)
  t.equal(waker.problem(32_000), undefined)
})
