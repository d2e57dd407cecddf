// Where a restart waits for the fleet: the order of the questions, and who never waits. The runtime is a stand-in: it
// has nothing to say here.
import t from 'tap'
import type { FleetGate, Systemd } from '../../../agent/model/ports.ts'
import type { Context } from '../../../agent/model/run.ts'
import { checkRestart } from '../../../agent/reconcile/restart/gate.ts'
import { desired } from '../../fixtures/scratch/sample.ts'

type Setup = { readonly fleet?: FleetGate; readonly byHand?: boolean; readonly permit?: 'local' | 'fleet' }

function contextOf({ fleet, byHand = false, permit = 'fleet' }: Setup, calls: string[]): Context {
  const base = desired({})
  let time = 0
  const sleep = async (ms: number) => {
    time += ms
  }
  return {
    desired: { ...base, generation: '0123456789ab', restart: { ...base.restart, strategy: 'signal', permit } },
    state: { version: 1, generation: '', owned: {}, transactions: [] },
    facts: { socket: '/run/containerd/containerd.sock', status: {} },
    cri: { runningContainers: async () => [], activity: async () => ({ downloads: [], created: [] }) },
    options: { byHand, consentUnrehearsed: false },
    ports: {
      clock: { now: () => time, monotonic: () => time, sleep },
      restarts: { bootId: 'this', ledger: { read: async () => [] } },
      files: { freeBytes: async () => undefined },
      processes: { listeningOn: async () => [{ pid: 1 }] },
      permit: {
        async ask() {
          calls.push('hold')
          return { granted: true, release: async () => void calls.push('release') }
        },
      },
      ...(fleet === undefined ? {} : { fleet }),
    },
  } as unknown as Context
}

const REHEARSED = { verdict: 'passed', proofs: [] } as unknown as Parameters<typeof checkRestart>[1]

function gate(calls: string[], answers: { readonly check?: string; readonly take?: string }): FleetGate {
  return {
    async check(generation) {
      calls.push(`check ${generation}`)
      return answers.check
    },
    async take(generation) {
      calls.push(`take ${generation}`)
      return answers.take
    },
  }
}

t.test('a restart waits for the grant, and takes it last', async (t) => {
  const calls: string[] = []
  const waits = await checkRestart(contextOf({ fleet: gate(calls, { check: 'waits' }) }, calls), REHEARSED, 'test')
  t.match(waits, { allowed: false, reason: 'waits' })
  t.same(calls.splice(0), ['check 0123456789ab'])
  t.match(await checkRestart(contextOf({ fleet: gate(calls, {}) }, calls), REHEARSED, 'test'), { allowed: true })
  t.same(calls.splice(0), ['check 0123456789ab', 'hold', 'take 0123456789ab'])
  const lost = await checkRestart(contextOf({ fleet: gate(calls, { take: 'used up' }) }, calls), REHEARSED, 'test')
  t.match(lost, { allowed: false, reason: 'used up' })
  t.same(calls, ['check 0123456789ab', 'hold', 'take 0123456789ab', 'release'], 'what was held is given back')
})

t.test('by hand, and with permit local, nobody waits', async (t) => {
  const calls: string[] = []
  const fleet = gate(calls, { check: 'waits' })
  t.match(await checkRestart(contextOf({ fleet, byHand: true }, calls), REHEARSED, 'test'), { allowed: true })
  t.match(await checkRestart(contextOf({ fleet, permit: 'local' }, calls), REHEARSED, 'test'), { allowed: true })
  t.same(calls, ['hold', 'hold'])
})

t.test('an agent that reads no note says so', async (t) => {
  t.match(await checkRestart(contextOf({}, []), REHEARSED, 'test'), {
    allowed: false,
    reason: /^waits for the fleet's grant \(this agent reads no note/,
  })
})

t.test(
  'what passes by itself is asked again when it is over: the window at its opening, a pull within a minute',
  async (t) => {
    const context = contextOf({ permit: 'local' }, [])
    const window = { days: ['Thu'], from: '02:00', to: '03:00', timeZone: 'UTC' } as const
    const outside = { ...context, desired: { ...context.desired, restart: { ...context.desired.restart, window } } }
    // The clock of the stand-in begins at 1970-01-01T00:00Z, a Thursday.
    t.match(await checkRestart(outside, REHEARSED, 'test'), { allowed: false, waitMs: 2 * 3_600_000 })
    const now = new Date(0).toISOString()
    const created = [{ id: 'c', createdAt: now }]
    const pulls = { ...context, cri: { ...context.cri, activity: async () => ({ downloads: [], created }) } }
    t.match(await checkRestart(pulls as unknown as Context, REHEARSED, 'test'), { allowed: false, waitMs: 60_000 })
    const files = { ...context.ports.files, freeBytes: async () => 0 }
    const full = { ...context, ports: { ...context.ports, files } }
    t.match(await checkRestart(full, REHEARSED, 'test'), { allowed: false, waitMs: 60_000 })
    const ended = { verdict: 'not-rehearsed', reason: 'the private copy ended twice' } as const
    t.match(await checkRestart(context, ended, 'test'), { allowed: false, waitMs: 60_000 })
    const silent = (systemd: Partial<Systemd>) => ({
      ...context,
      desired: { ...context.desired, restart: { ...context.desired.restart, strategy: 'systemd' as const } },
      ports: { ...context.ports, systemd: { isAvailable: async () => false, ...systemd } as Systemd },
    })
    t.match(await checkRestart(silent({ restarter: '/run/r.sock' }), REHEARSED, 'test'), {
      reason: /^the restarter at \/run\/r\.sock does not answer/,
      waitMs: 60_000,
    })
    const none = await checkRestart(silent({}), REHEARSED, 'test')
    t.match(none, { allowed: false, reason: /no way to restart containerd here/ })
    t.notOk('waitMs' in none, 'without a restarter nothing comes by itself')
  },
)
