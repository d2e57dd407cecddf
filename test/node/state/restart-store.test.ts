import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { LogFields, NodeFiles } from '../../../agent/model/ports.ts'
import type { RestartRecord } from '../../../agent/model/restart.ts'
import { nodeFiles } from '../../../agent/node/files/files.ts'
import { restartStore } from '../../../agent/node/state/restart-store.ts'
import { stateStore } from '../../../agent/node/state/state-store.ts'

const STATE = '/var/lib/registry-trust'

const record = (sequence: number): RestartRecord => ({
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
})

function emptyStore(t: Test) {
  const root = mkdtempSync(join(tmpdir(), 'rt-restarts-'))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  mkdirSync(join(root, STATE), { recursive: true })
  const clock = { now: Date.now, monotonic: () => performance.now() }
  const files = nodeFiles({ root })
  const logged: LogFields[] = []
  const audited: object[] = []
  const log = { warn: (event: string, fields: LogFields = {}) => void logged.push({ event, ...fields }) }
  const audit = async (line: object) => void audited.push(line)
  return {
    root,
    folder: join(root, STATE, 'restart'),
    logged,
    audited,
    store: (own: NodeFiles = files) => restartStore({ files: own, folder: STATE, root, clock, log, audit }),
    files,
    /** As the finding STATE_SET_ASIDE sees it. */
    damaged: () => stateStore({ files, folder: STATE }).damaged(),
  }
}

t.test('a driver that was away while others wrote many records cannot take a number that is free again', async (t) => {
  const { folder, store } = emptyStore(t)
  const [sleeper, others] = [store(), store()]
  t.ok(await sleeper.append(record(1), { durable: true }))
  for (let number = 2; number <= 9; number += 1) t.ok(await others.append(record(number), { durable: true }))
  for (let number = 2; number <= 9; number += 1)
    t.notOk(await sleeper.append(record(number), { durable: number % 2 === 0 }), `number ${number}`)
  t.equal((await sleeper.read())?.sequence, 9)
  t.same(
    readdirSync(folder).filter((name) => name.endsWith('.json')),
    ['00000008.json', '00000009.json'],
    'and nothing of it is left',
  )
})

t.test('a record that nobody can have written is set aside, and the one before it counts', async (t) => {
  const { folder, store } = emptyStore(t)
  const one = store()
  const { bootId } = one
  const later = performance.now() + 3_600_000
  const impossible: { readonly [what: string]: object } = {
    'another number': { sequence: 3 },
    'another version': { version: 2 },
    'a lease without an end': { bootId, leaseUntil: later },
    'a command in the future': { bootId, commandedAt: later },
    'a way back in the future': { bootId, putBackAt: later },
    'a container without an id': { runtime: { containers: [{ state: 'RUNNING' }] } },
    'containers that are none': { runtime: { containers: [null] } },
    'a failure that is a text': { failure: 'broken' },
    'others that are a text': { others: 'theirs' },
    'a daemon without its words': { daemon: { pid: 1, command: { executable: '/usr/bin/containerd' } } },
    'a folder out of the node': { configFile: '/etc/../../config.toml' },
  }
  t.ok(await one.append(record(1), { durable: false }))
  for (const [what, change] of Object.entries(impossible)) {
    writeFileSync(join(folder, '00000002.json'), JSON.stringify({ ...record(2), ...change }))
    t.equal((await one.read())?.sequence, 1, what)
    t.notOk(existsSync(join(folder, '00000002.json')), `${what}: set aside`)
  }
  const ofAnotherBoot = { ...record(2), bootId: 'of an earlier boot', leaseUntil: later, commandedAt: later }
  writeFileSync(join(folder, '00000002.json'), JSON.stringify(ofAnotherBoot))
  t.equal((await one.read())?.sequence, 2, 'of another boot nothing can be told')
})

t.test('what is damaged among the records is told, and is found by the finding, until it is removed', async (t) => {
  const { root, folder, logged, audited, store, damaged } = emptyStore(t)
  const one = store()
  t.ok(await one.append(record(1), { durable: false }))
  const [newest, ledger] = [join(folder, '00000002.json'), join(folder, 'ledger.jsonl')]
  const damages: { readonly [why: string]: () => void } = {
    'it is not a restart record of this version': () => writeFileSync(newest, '{"version": 1, "sequ'),
    'its number or its times are impossible, so no driver has written it': () =>
      writeFileSync(newest, JSON.stringify(record(3))),
    'it is a folder': () => mkdirSync(newest),
    'it is a link': () => symlinkSync('00000001.json', newest),
  }
  for (const [reason, damage] of Object.entries(damages)) {
    damage()
    t.equal((await one.read())?.sequence, 1, reason)
    const aside = await damaged()
    t.equal(aside.length, 1, `${reason}: found`)
    const told = { path: `${STATE}/restart/00000002.json`, keptAs: aside[0], reason }
    t.same(logged.splice(0), [{ event: 'restart-record-set-aside', ...told }], `${reason}: logged once`)
    t.match(audited.splice(0), [{ event: 'set-aside', at: /^\d{4}-/, ...told }], `${reason}: in the audit log`)
    await one.read()
    t.same(logged, [], `${reason}: and not again`)
    rmSync(join(root, aside[0] ?? ''), { recursive: true })
    t.same(await damaged(), [], `${reason}: until it is removed`)
  }

  const entry = {
    id: 'one',
    at: '2026-11-26T12:00:00Z',
    bootId: '',
    uptimeMs: 1,
    kind: 'forward',
    by: 'agent',
  } as const
  await one.ledger.add({ ...entry, reason: 'test' })
  t.same(await damaged(), [], 'a whole ledger is written again without a word')
  writeFileSync(ledger, `${readFileSync(ledger, 'utf8')}{"id": "tw`)
  t.equal((await one.ledger.read()).length, 1, 'the lines that are whole count')
  await one.ledger.add({ ...entry, id: 'three', reason: 'test' })
  t.equal((await one.ledger.read()).length, 2)
  t.match(logged, [{ path: `${STATE}/restart/ledger.jsonl`, reason: 'lines in it that are not entries: 1' }])
  t.match(readFileSync(join(root, (await damaged())[0] ?? ''), 'utf8'), /"tw$/, 'and the rest is kept for people')
})

t.test('a record that failed after it was there can be written again, and nobody has taken over', async (t) => {
  const { files, store } = emptyStore(t)
  let fails = 0
  const once: NodeFiles = {
    ...files,
    list(folder) {
      if (fails > 0 && folder.endsWith('/restart')) {
        fails -= 1
        throw new Error('EACCES: permission denied')
      }
      return files.list(folder)
    },
  }
  const restarts = store(once)
  t.equal(await restarts.append(record(1), { durable: true }), true)
  fails = 1
  await t.rejects(restarts.append(record(2), { durable: true }), { code: /./ })
  t.equal(fails, 0, 'after the record was put there')
  t.equal(await restarts.append({ ...record(2), phase: 'written' }, { durable: true }), true)
  t.match(await restarts.read(), { sequence: 2, phase: 'written' })
})

t.test(
  'a driver says that it lives beside its records, and what no driver can have said counts for nothing',
  async (t) => {
    const { folder, store } = emptyStore(t)
    const one = store()
    const now = performance.now()
    t.equal(await one.leaseOf('agent'), undefined)
    t.ok(await one.append(record(1), { durable: true }))
    await one.renew('agent', { id: 'one', leaseUntil: now + 3_000 })
    await one.renew('restarter', { id: 'two', leaseUntil: now + 4_000 })
    t.same(await one.leaseOf('agent'), { id: 'one', bootId: one.bootId, leaseUntil: now + 3_000 })
    t.match(await one.leaseOf('restarter'), { id: 'two' }, 'each has its own')
    t.equal((await one.read())?.sequence, 1, 'and neither is a record')
    await one.release('restarter')
    await one.release('restarter')
    t.equal(await one.leaseOf('restarter'), undefined, 'taken back')
    const alive = join(folder, 'agent.alive')
    const lease = { id: 'one', bootId: one.bootId, leaseUntil: now }
    const impossible = { half: '{"id": "one", "le', endless: JSON.stringify({ ...lease, leaseUntil: now + 3_600_000 }) }
    for (const [what, text] of Object.entries({ ...impossible, nameless: JSON.stringify({ ...lease, id: 1 }) })) {
      writeFileSync(alive, text)
      t.equal(await one.leaseOf('agent'), undefined, what)
    }
    await one.renew('agent', { id: 'one', leaseUntil: now + 3_000 })
    t.match(await one.leaseOf('agent'), { id: 'one' }, 'the next one takes its place')
    await one.sweep()
    t.same(readdirSync(folder), ['00000001.json'], 'gone with what else a restart has left')
    mkdirSync(alive)
    await t.rejects(one.renew('agent', { id: 'one', leaseUntil: now }), { code: 'WRITE_FAILED' })
    t.equal(await one.leaseOf('agent'), undefined, 'a folder in its place')
    await one.sweep()
    t.notOk(existsSync(alive), 'is set aside')
  },
)
