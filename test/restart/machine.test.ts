// The machine as a pure function: for any record and any evidence it says something that never makes a node worse.
import fc from 'fast-check'
import t from 'tap'
import type { RestartEvidence, RestartRecord } from '../../agent/model/restart.ts'
import {
  type Action,
  asksCri,
  asksDaemon,
  decide,
  isOver,
  LONGEST_START_MS,
  startLimit,
} from '../../agent/restart/machine.ts'

const BEFORE = 'b'.repeat(64)
const AFTER = 'a'.repeat(64)
const NOW = 10_000_000

const PHASES = ['armed', 'written', 'restarting', 'verifying', 'committed', 'reverting', 'reverted'] as const
/** Within, and a little beyond, the longest limit of a start. */
const moment = fc.integer({ min: NOW - 700_000, max: NOW })

const records: fc.Arbitrary<RestartRecord> = fc
  .record({
    phase: fc.constantFrom(...PHASES),
    driver: fc.constantFrom('agent' as const, 'restarter' as const),
    isSystemd: fc.boolean(),
    after: fc.constantFrom(BEFORE, AFTER, null),
    pid: fc.constantFrom(0, 10),
    forward: fc.nat(2),
    back: fc.nat(3),
    commandedAt: fc.option(moment, { nil: undefined }),
    putBackAt: fc.option(moment, { nil: undefined }),
    runningAt: fc.option(moment, { nil: undefined }),
    wentDown: fc.boolean(),
    stuck: fc.option(fc.constant({ code: 'RESTART_FAILED', message: 'stuck' }), { nil: undefined }),
  })
  .map(({ isSystemd, pid, forward, back, commandedAt, putBackAt, runningAt, stuck, ...rest }) => ({
    version: 1,
    id: 'one',
    sequence: 1,
    leaseUntil: 0,
    bootId: 'this',
    at: '2026-11-21T12:00:00Z',
    reason: 'test',
    ...(isSystemd ? { unit: 'containerd.service' } : {}),
    socket: '/run/containerd/containerd.sock',
    configFile: '/etc/containerd/config.toml',
    before: BEFORE,
    daemon: { pid },
    runtime: { runtimeReady: true, networkReady: true, containers: [] },
    starts: { forward, back },
    ...(commandedAt === undefined ? {} : { commandedAt }),
    ...(putBackAt === undefined ? {} : { putBackAt }),
    ...(runningAt === undefined ? {} : { runningAt }),
    ...(stuck === undefined ? {} : { stuck }),
    ...rest,
  }))

const evidences: fc.Arbitrary<RestartEvidence> = fc.record({
  now: fc.constant(NOW),
  isSameBoot: fc.boolean(),
  config: fc.constantFrom('before', 'after', 'merged', 'other', 'unreadable'),
  isKept: fc.boolean(),
  isCommandUnderWay: fc.boolean(),
  daemon: fc
    .record({
      state: fc.constantFrom('same', 'running', 'starting', 'stopping', 'between', 'ended', 'unknown'),
      beganAt: fc.option(moment, { nil: undefined }),
      startLimitMs: fc.option(fc.constantFrom(1_000, 90_000), { nil: undefined }),
    })
    .map(({ state, beganAt, startLimitMs }) => ({
      state,
      text: state,
      ...(beganAt === undefined ? {} : { beganAt }),
      ...(startLimitMs === undefined ? {} : { startLimitMs }),
    })),
  cri: fc.record({ state: fc.constantFrom('ready', 'not-ready', 'silent', 'dead', 'worse'), text: fc.constant('cri') }),
})

function holds(name: string, property: (record: RestartRecord, evidence: RestartEvidence, action: Action) => boolean) {
  t.test(name, async (t) => {
    fc.assert(
      fc.property(records, evidences, (record, evidence) => property(record, evidence, decide(record, evidence))),
      { numRuns: 20_000 },
    )
    t.pass()
  })
}

holds('what is over is touched by nobody', (record, _, action) => !isOver(record) || action.do === 'nothing')

holds('what is not over is never left', (record, _, action) => isOver(record) || action.do !== 'nothing')

holds(
  'the new file stays only where a containerd that has read it answers as before',
  (_, { cri, daemon }, action) =>
    !(action.do === 'record' && action.change.phase === 'committed') ||
    (cri.state === 'ready' && (daemon.state === 'running' || daemon.state === 'unknown')),
)

holds(
  'config.toml goes back before containerd is restarted with it',
  (record, { config }, action) =>
    !(action.do === 'restart' && action.direction === 'back') ||
    record.putBackAt !== undefined ||
    record.before === record.after ||
    config === 'before',
)

t.test('what is not asked would change nothing', async (t) => {
  const property = fc.property(records, evidences, evidences, (record, evidence, other) => {
    const said = JSON.stringify(decide(record, evidence))
    const { daemon, cri } = other
    const isDaemonFree = asksDaemon(record) || said === JSON.stringify(decide(record, { ...evidence, daemon, cri }))
    const isCriFree = asksCri(record, evidence) || said === JSON.stringify(decide(record, { ...evidence, cri }))
    return isDaemonFree && isCriFree
  })
  fc.assert(property, { numRuns: 50_000 })
  t.pass()
})

holds(
  'what others wrote before the original was kept stays',
  (record, { config, isKept }, { do: what, ...rest }) =>
    !(record.phase === 'armed' && record.before !== null && !isKept && config === 'other') ||
    (what === 'record' && 'change' in rest && rest.change.putBackAt !== undefined),
)

holds('a start with the right file is never replaced within the limit of the unit', (record, evidence, action) => {
  const { daemon, now, isSameBoot } = evidence
  if (action.do !== 'restart' || daemon.state !== 'starting' || record.phase !== 'reverting') return true
  const isRight = (daemon.beganAt ?? Number.POSITIVE_INFINITY) > (record.putBackAt ?? 0) || record.starts.back > 0
  const since = isSameBoot ? now - ((record.starts.back > 0 ? record.commandedAt : record.putBackAt) ?? 0) : now
  return !isRight || since >= startLimit(record, evidence)
})

holds(
  'a containerd that ended, loops, or has no CRI is not waited for with the new file',
  (record, { daemon, cri, isSameBoot }, action) => {
    if (record.phase !== 'restarting' && record.phase !== 'verifying') return true
    if (record.commandedAt === undefined || record.daemon.pid === 0) return true
    const isJudged =
      daemon.state === 'between' || daemon.state === 'ended' || (daemon.state === 'unknown' && cri.state === 'dead')
    return !isJudged || !isSameBoot || (action.do === 'record' && action.change.phase === 'reverting')
  },
)

holds(
  'the daemon that has the old file loaded is not restarted to go back',
  (record, { daemon }, action) =>
    record.phase !== 'reverting' || record.starts.back > 0 || daemon.state !== 'same' || action.do !== 'restart',
)

holds('no wait is without an end: at the limit of the start it becomes something else', (record, evidence, action) => {
  const isLong = (at: number | undefined) => at === undefined || NOW - at > LONGEST_START_MS
  const isLate = isLong(record.commandedAt) && isLong(record.putBackAt) && isLong(record.runningAt)
  // On the way back a containerd that does not start is told as stuck, and then watched for ever.
  return (
    !isLate ||
    action.do !== 'wait' ||
    record.stuck !== undefined ||
    !evidence.isSameBoot ||
    record.putBackAt === undefined
  )
})

t.test('CRI has half a minute to answer once containerd runs, whatever the limit of the unit', async (t) => {
  const state = fc.constantFrom('silent' as const, 'not-ready' as const)
  const property = fc.property(records, evidences, state, (record, evidence, state) => {
    const waiting = { ...record, phase: 'verifying' as const, runningAt: NOW - 29_999 }
    const daemon = { ...evidence.daemon, state: 'running' as const }
    return decide(waiting, { ...evidence, isSameBoot: true, daemon, cri: { state, text: 'cri' } }).do === 'wait'
  })
  fc.assert(property, { numRuns: 2_000 })
  t.pass()
})
