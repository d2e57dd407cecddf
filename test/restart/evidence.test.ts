// What counts as evidence: containers as before, and what systemd says of a unit.
import t from 'tap'
import { AgentError } from '../../agent/model/errors.ts'
import type { ContainerStart, CriClient, UnitFacts } from '../../agent/model/ports.ts'
import { criEvidence, unitEvidence } from '../../agent/restart/evidence.ts'
import { scratchPorts } from '../fixtures/scratch/scratch-runtime.ts'

t.test('containers after a restart', async (t) => {
  const ports = scratchPorts(t.testdir({}))
  const container: ContainerStart = { id: 'c1', state: 'RUNNING', startedAt: '2026-11-21T10:00:00Z', pid: 77 }
  const other = { ...container, id: 'c2', pid: 78 }
  const restart = (
    after: (id: string) => ContainerStart | undefined,
    isAlive: boolean,
    containers: readonly ContainerStart[] = [container],
  ) => {
    const connectCri = (socket: string): CriClient => ({
      ...ports.connectCri(socket),
      async containerStart(id) {
        const now = after(id)
        if (now === undefined) throw new AgentError('CRI_CALL_FAILED', 'not found', { status: 'NOT_FOUND' })
        return now
      },
    })
    const processes = { ...ports.processes, isAlive: () => isAlive }
    const before = { runtimeReady: true, networkReady: true, containers }
    return criEvidence(connectCri('/run/containerd/containerd.sock'), before, { timeoutMs: 2_000, processes })
  }
  t.match(await restart(() => container, true), { state: 'ready', notes: [] }, 'the same')
  t.match(await restart(() => ({ ...container, state: 'EXITED' }), false), { notes: [/c1 ended/] }, 'ended by itself')
  t.match(await restart(() => undefined, false), { notes: [/c1 ended/] }, 'ended and was removed')
  t.match(await restart(() => undefined, true), { state: 'worse', text: /lost container c1/ })
  t.match(await restart(() => ({ ...container, startedAt: 'later' }), true), { state: 'worse', text: /not the same/ })
  t.match(await restart(() => ({ ...container, pid: 79 }), true), { state: 'worse', text: /not the same/ })
  const withoutPids = [container, other].map(({ pid: _, ...rest }) => rest)
  t.match(await restart(() => undefined, true, withoutPids), { state: 'worse', text: /knows none of the 2 containers/ })
})

t.test('a unit in the words of the machine', async (t) => {
  const base: UnitFacts = {
    name: 'containerd.service',
    loadState: 'loaded',
    activeState: 'active',
    subState: 'running',
    mainPid: 10,
    killMode: 'process',
    execStart: [],
    environment: {},
    restarts: 0,
    result: 'success',
    executedAt: 100,
    hasJob: false,
    exitStatus: 0,
  }
  const before = { pid: 10, beganAt: 100 }
  const of = (changes: Partial<UnitFacts>) => unitEvidence({ ...base, ...changes }, before)
  t.match(of({}), { state: 'same' })
  t.match(of({ executedAt: 200 }), { state: 'running', beganAt: 200 }, 'the same number, another process')
  t.match(of({ activeState: 'deactivating', subState: 'stop-sigterm' }), { state: 'stopping' })
  t.match(of({ activeState: 'activating', subState: 'start-pre', mainPid: 0 }), {
    state: 'starting',
    beganAt: undefined,
  })
  t.match(of({ activeState: 'activating', subState: 'start', mainPid: 12 }), { state: 'starting', beganAt: 100 })
  // Type=forking: systemd learns of the main process long after it has read its file.
  const forking = { activeState: 'activating', mainPid: 0, forkedAt: 150 }
  t.match(of({ ...forking, subState: 'start' }), { state: 'starting', beganAt: 150 })
  t.match(of({ ...forking, subState: 'start-pre' }), { state: 'starting', beganAt: undefined })
  t.match(of({ mainPid: 12, executedAt: 200, forkedAt: 150 }), { state: 'running', beganAt: 150 })
  t.match(of({ forkedAt: 150 }), { state: 'same' })
  t.match(of({ activeState: 'inactive', subState: 'dead', mainPid: 0, hasJob: true }), { state: 'starting' })
  const failed = { mainPid: 0, result: 'exit-code', exitStatus: 1, restarts: 3 }
  t.match(of({ activeState: 'activating', subState: 'auto-restart', ...failed }), {
    state: 'between',
    text: 'containerd.service is activating/auto-restart, Result=exit-code, ExecMainStatus=1, NRestarts=3',
  })
  t.match(of({ activeState: 'failed', subState: 'failed', ...failed }), { state: 'ended' })
  t.match(of({ activeState: 'failed', subState: 'failed', loadState: 'masked', ...failed }), {
    text: 'containerd.service is failed/failed, Result=exit-code, ExecMainStatus=1, NRestarts=3, LoadState=masked',
  })
  t.match(of({ startLimitMs: 90_000 }), { startLimitMs: 90_000 })
})
