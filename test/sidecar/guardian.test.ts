// How often the restarter looks for a restart that was left half done: rarely where it would be told, else often.
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { watchFolder } from '../../agent/node/watch/folder-watch.ts'
import { Guardian, type WatchRecords } from '../../agent/sidecar/guardian.ts'
import { SimulatedNode } from '../fixtures/restart/simulated-node.ts'
import { SimulatedProcess } from '../fixtures/restart/simulated-process.ts'

const MINUTE_MS = 60_000

type Guarded = { readonly guardian: Guardian; looksWithin(ms: number): Promise<number>; looks(): number }

function guarded(t: Test, watchRecords?: WatchRecords): Guarded {
  const node = new SimulatedNode({ behaviour: 'starts', startMs: 0 })
  const ports = node.portsOf(new SimulatedProcess())
  let looks = 0
  const read = () => {
    looks += 1
    return ports.restarts.read()
  }
  const guardian = new Guardian({ ...ports, restarts: { ...ports.restarts, read } }, async () => true, watchRecords)
  t.teardown(() => void guardian.stop())
  return {
    guardian,
    looks: () => looks,
    async looksWithin(ms) {
      const before = looks
      await node.time.passUntil(() => false, ms)
      return looks - before
    },
  }
}

t.test('one that is told of changes looks twice a minute, and often after a change or a question', async (t) => {
  let tell: Parameters<WatchRecords>[0] | undefined
  const { guardian, looksWithin } = guarded(t, (told) => {
    tell = told
    return { close() {} }
  })
  t.ok((await looksWithin(10_000)) >= 20, 'after its start it looks often')
  await looksWithin(MINUTE_MS)
  const quiet = await looksWithin(10 * MINUTE_MS)
  t.ok(quiet >= 19 && quiet <= 21, `${quiet} looks in ten quiet minutes`)
  for (const sign of [() => guardian.poke(), () => tell?.onChange()]) {
    sign()
    t.ok((await looksWithin(10_000)) >= 20, 'after a sign it looks often')
    await looksWithin(MINUTE_MS)
    t.ok((await looksWithin(10 * MINUTE_MS)) <= 21, 'and then rarely again')
  }
  tell?.onFailure(new Error('no inotify watch is left'))
  t.ok((await looksWithin(10 * MINUTE_MS)) >= 1_190, 'where it may miss a change it looks often all the time')
})

t.test('one that nobody tells looks often all the time', async (t) => {
  const { looksWithin } = guarded(t)
  t.ok((await looksWithin(10 * MINUTE_MS)) >= 1_190)
})

t.test('a record in the folder on the disk is seen at once, also where the folder came later', async (t) => {
  const state = join(t.testdir({ state: {} }), 'state')
  const folder = join(state, 'restart')
  const { looksWithin, looks } = guarded(t, (told) => watchFolder(folder, 0, told))
  await looksWithin(5 * MINUTE_MS)
  const signs = [
    () => mkdirSync(folder),
    () => writeFileSync(join(folder, '00000001.json'), '{}'),
    () => writeFileSync(join(folder, '00000002.json'), '{}'),
  ]
  for (const sign of signs) {
    const before = looks()
    sign()
    const began = performance.now()
    while (looks() === before && performance.now() - began < 5_000) await sleep(5)
    t.ok(looks() > before, `after ${Math.round(performance.now() - began)} ms`)
    await looksWithin(5 * MINUTE_MS)
  }
})
