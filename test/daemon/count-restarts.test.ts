// Restarts in the metrics: each once, whoever made it.
import t from 'tap'
import { restartCounter } from '../../agent/daemon/count-restarts.ts'
import type { RestartEntry, RestartStore } from '../../agent/model/restart.ts'

const NOW = { wall: Date.parse('2026-11-21T12:00:00Z'), uptimeMs: 100 * 3_600_000 }

function entry(id: string, minutesAgo: number, rest: Partial<RestartEntry>): RestartEntry {
  const at = new Date(NOW.wall - minutesAgo * 60_000).toISOString()
  const uptimeMs = NOW.uptimeMs - minutesAgo * 60_000
  return { id, at, bootId: 'this', uptimeMs, kind: 'forward', by: 'agent', reason: 'test', ...rest }
}

t.test('each restart is counted once, when it is over', async (t) => {
  const entries = [
    entry('old', 60, { result: 'ok' }),
    entry('a', 2, { result: 'rolled-back' }),
    entry('a', 1, { kind: 'back', by: 'restarter', result: 'rolled-back' }),
    entry('b', 0, {}),
  ]
  const ledger = { read: async () => entries } as unknown as RestartStore['ledger']
  const restarts = { bootId: 'this', ledger } as unknown as RestartStore
  const clock = { now: () => NOW.wall, monotonic: () => NOW.uptimeMs, sleep: async () => undefined }
  const counted: string[] = []
  const count = restartCounter({ restarts, clock }, { restart: (...labels) => void counted.push(labels.join(' ')) })
  await count()
  t.same(counted, ['apply failed', 'recovery succeeded'], 'what lies long before this process is of another count')
  entries[3] = entry('b', 0, { result: 'ok' })
  await count()
  await count()
  t.same(counted.slice(2), ['apply succeeded'])
})
