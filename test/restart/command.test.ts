// The command that restarts containerd, on a disk that takes its time: a fake, as no real one can be told how long.
import t from 'tap'
import type { RestartEvidence, RestartRecord } from '../../agent/model/restart.ts'
import { RestartCommand } from '../../agent/restart/command.ts'
import { decide } from '../../agent/restart/machine.ts'
import type { MachinePorts, OwnRecord } from '../../agent/restart/own-record.ts'

const PID = 4711

t.test('a signal that was recorded long before it was given has as long as one on a fast disk', async (t) => {
  let now = 1_000
  const signalled: number[] = []
  const ports = {
    clock: { now: () => now, monotonic: () => now },
    log: { info() {}, warn() {} },
    restarts: { bootId: 'b', ledger: { add: async () => undefined } },
    processes: { listeningOn: async () => [{ pid: PID }], terminate: (pid: number) => signalled.push(pid) },
  } as unknown as MachinePorts
  let record = { phase: 'restarting', starts: { forward: 0, back: 0 }, daemon: { pid: PID } } as RestartRecord
  const own = {
    get now() {
      return record
    },
    driver: 'agent',
    async change(change: Partial<RestartRecord>) {
      record = { ...record, ...change }
      now += 5_000
    },
    audit: async () => undefined,
  } as unknown as OwnRecord
  const command = new RestartCommand(ports, own)
  await command.give('forward')
  t.same(signalled, [PID])
  // It has the signal, and has not closed its socket yet.
  const daemon = { state: 'same', text: `process ${PID} listens` } as const
  const next = () =>
    decide(record, { now, isSameBoot: true, daemon, isCommandUnderWay: command.mayBeUnseen } as RestartEvidence)
  t.same(next(), { do: 'wait' })
  now += 1_900
  t.same(next(), { do: 'wait' })
  now += 200
  t.match(next(), { change: { phase: 'reverting', failure: { message: /^containerd was not restarted/ } } })
})
