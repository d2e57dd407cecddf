import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { RestartRecord } from '../../../agent/model/restart.ts'
import { nodeFiles } from '../../../agent/node/files/files.ts'
import { restartStore } from '../../../agent/node/state/restart-store.ts'

const STATE = '/var/lib/registry-trust'

t.test('a driver that was away while others wrote many records cannot take a number that is free again', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'rt-restarts-'))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  mkdirSync(join(root, STATE), { recursive: true })
  const clock = { now: Date.now, monotonic: () => performance.now() }
  const store = () => restartStore({ files: nodeFiles({ root }), folder: STATE, root, clock })
  const [sleeper, others] = [store(), store()]
  const record = (sequence: number) =>
    ({
      version: 1,
      id: 'one',
      sequence,
      phase: 'armed',
      driver: 'agent',
      leaseUntil: 0,
      bootId: '',
      at: '2026-11-26T12:00:00Z',
      reason: 'test',
      socket: '/run/containerd/containerd.sock',
      configFile: '/etc/containerd/config.toml',
      before: null,
      after: null,
      daemon: { pid: 1 },
      runtime: { runtimeReady: true, networkReady: true, containers: [] },
      starts: { forward: 0, back: 0 },
    }) satisfies RestartRecord
  t.ok(await sleeper.append(record(1), { durable: true }))
  for (let number = 2; number <= 9; number += 1) t.ok(await others.append(record(number), { durable: true }))
  for (let number = 2; number <= 9; number += 1)
    t.notOk(await sleeper.append(record(number), { durable: number % 2 === 0 }), `number ${number}`)
  t.equal((await sleeper.read())?.sequence, 9)
  t.same(
    readdirSync(join(root, STATE, 'restart')).filter((name) => name.endsWith('.json')),
    ['00000008.json', '00000009.json'],
    'and nothing of it is left',
  )
})
