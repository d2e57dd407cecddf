import { mkdirSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { nodeFiles } from '../../../agent/node/files/files.ts'
import { watcher } from '../../../agent/node/watch/watch.ts'
import { until } from '../../fixtures/node/private-containerd.ts'

/** Longer than the longest wait of the watcher: what has not been told by then will not be. */
const SETTLED_MS = 250

type Watched = {
  readonly count: () => number
  /** How many calls there were once nothing more comes. */
  readonly settled: () => Promise<number>
  /** The same, after at least one, however late. */
  readonly told: () => Promise<number>
  readonly reset: () => void
}

/** Watches, and comes back when the watch has proved that it is live. */
async function watched(
  test: { teardown(work: () => unknown): unknown },
  path: string,
  depth = 0,
  live = true,
): Promise<Watched> {
  let count = 0
  const { close, ready } = watcher().watch([{ path, depth }], () => {
    count += 1
  })
  test.teardown(close)
  await ready
  const settled = async () => {
    await sleep(SETTLED_MS)
    return count
  }
  const told = async () => {
    await until(() => count > 0)
    return settled()
  }
  if (live) await until(() => probe(path, () => count))
  await settled()
  count = 0
  return { count: () => count, settled, told, reset: () => (count = 0) }
}

/** Half of what the watcher waits for quiet: who is kept from running for less sees a burst as one. */
const HINDERED_MS = 10
const ROUNDS = 5
const MOST_ROUNDS = 20

/** How long this process was kept from a look at a file at most, in ms, from now until it is asked. */
function hindrance(path: string): () => Promise<number> {
  let isOver = false
  let most = 0
  const looking = (async () => {
    while (!isOver) {
      const began = performance.now()
      await lstat(path)
      await sleep(1)
      most = Math.max(most, performance.now() - began)
    }
  })()
  return async () => {
    isOver = true
    await looking
    return most
  }
}

/**
 * One act is one call. A machine that is busy for longer than the watcher waits for quiet may tell one of several
 * twice: such a round is taken again, and of all rounds those count that were hindered least.
 */
async function isOneCallEach(t: Test, { told, reset }: Watched, act: (round: number) => unknown): Promise<void> {
  const rounds: { readonly calls: number; readonly hindered: number }[] = []
  const free = () => rounds.filter(({ hindered }) => hindered < HINDERED_MS).length
  while (free() < ROUNDS && rounds.length < MOST_ROUNDS) {
    const hindered = hindrance(import.meta.filename)
    let calls = 0
    try {
      await act(rounds.length + 2)
      calls = await told()
    } finally {
      rounds.push({ calls, hindered: await hindered() })
    }
    reset()
  }
  const least = rounds.toSorted((a, b) => a.hindered - b.hindered).slice(0, ROUNDS)
  const calls = least.map((round) => round.calls).toSorted((a, b) => a - b)
  t.equal(calls[2], 1, `the median of ${calls}`)
}

async function probe(path: string, count: () => number): Promise<boolean> {
  writeFileSync(join(path, 'probe'), String(Math.random()))
  await sleep(50)
  unlinkSync(join(path, 'probe'))
  return count() > 0
}

/** As kubelet's AtomicWriter: a new folder, a new link beside the old, rename, the keys' links, the old folder away. */
function swap(volume: string, from: string | undefined, to: string, keys: { readonly [key: string]: string }): void {
  mkdirSync(join(volume, to))
  for (const [key, text] of Object.entries(keys)) writeFileSync(join(volume, to, key), text)
  symlinkSync(to, join(volume, '..data_tmp'))
  renameSync(join(volume, '..data_tmp'), join(volume, '..data'))
  if (from === undefined) for (const key of Object.keys(keys)) symlinkSync(`..data/${key}`, join(volume, key))
  else rmSync(join(volume, from), { recursive: true })
}

t.test('a swap of a ConfigMap volume is one call', async (t) => {
  const volume = t.testdir({})
  swap(volume, undefined, '..2026_1', { 'trust.yaml': '1', 'ca.pem': '1' })
  await isOneCallEach(t, await watched(t, volume), (round) =>
    swap(volume, `..2026_${round - 1}`, `..2026_${round}`, { 'trust.yaml': `${round}`, 'ca.pem': `${round}` }),
  )
})

t.test('a change, a new file and a removal are each told', async (t) => {
  const folder = t.testdir({ 'a.pem': 'a' })
  for (let round = 0; round <= MOST_ROUNDS + 1; round += 1) writeFileSync(join(folder, `${round}.old`), 'b')
  const watching = await watched(t, folder)
  await isOneCallEach(t, watching, (round) => writeFileSync(join(folder, 'a.pem'), String(round)))
  await isOneCallEach(t, watching, (round) => writeFileSync(join(folder, `${round}.pem`), 'b'))
  await isOneCallEach(t, watching, (round) => unlinkSync(join(folder, `${round}.old`)))
})

t.test('a folder that is deleted and made again stays watched', async (t) => {
  const root = t.testdir({ containerd: { 'certs.d': { 'h.test': { 'hosts.toml': 'x' } } } })
  const folder = join(root, 'containerd/certs.d')
  const { count, told, reset } = await watched(t, folder, 1)
  rmSync(folder, { recursive: true })
  t.ok((await told()) >= 1, 'the deletion is told')
  reset()
  mkdirSync(join(folder, 'h.test'), { recursive: true })
  t.ok((await told()) >= 1, 'the new folder is told')
  reset()
  writeFileSync(join(folder, 'h.test/hosts.toml'), 'y')
  await until(() => count() >= 1)
  t.ok(count() >= 1, 'what happens in the new folder is told')
})

t.test('a folder that does not exist yet is watched from the moment it is made', async (t) => {
  const root = t.testdir({ containerd: {} })
  const folder = join(root, 'containerd/certs.d')
  const { count, told, reset } = await watched(t, folder, 1, false)
  mkdirSync(folder)
  t.ok((await told()) >= 1)
  reset()
  mkdirSync(join(folder, 'h.test'))
  writeFileSync(join(folder, 'h.test/hosts.toml'), 'y')
  await until(() => count() >= 1)
  t.ok(count() >= 1)
})

t.test('neighbours of the folder and what lies deeper are not told', async (t) => {
  const root = t.testdir({ certs: { h: { deep: {} } }, neighbour: {} })
  const { settled } = await watched(t, join(root, 'certs'), 1)
  writeFileSync(join(root, 'neighbour/x'), 'x')
  writeFileSync(join(root, 'file'), 'x')
  writeFileSync(join(root, 'certs/h/deep/x'), 'x')
  t.equal(await settled(), 0)
})

t.test('a write of our own is one call, not one for each temporary file', async (t) => {
  const root = t.testdir({ certs: {} })
  const content = (round: number) =>
    ({ kind: 'file', bytes: Buffer.from(`CA ${round}`), mode: 0o644, uid: 0, gid: 0 }) as const
  await isOneCallEach(t, await watched(t, join(root, 'certs'), 1), (round) =>
    nodeFiles({ root }).put('/certs/ca.crt', content(round), { folder: '/certs' }),
  )
})

t.test('a folder that is reached through a link is watched', async (t) => {
  const root = t.testdir({ real: { certs: {} }, link: t.fixture('symlink', 'real') })
  await isOneCallEach(t, await watched(t, join(root, 'link/certs')), (round) =>
    writeFileSync(join(root, 'real/certs/a.pem'), String(round)),
  )
})

t.test('a long burst is told while it lasts', async (t) => {
  const folder = t.testdir({})
  const { count, settled } = await watched(t, folder)
  let pauses = 0
  for (let index = 0; index < 40; index += 1) {
    const began = performance.now()
    writeFileSync(join(folder, `f${index}`), 'x')
    await sleep(10)
    // Quiet long enough to be told by itself: the machine was busy.
    if (performance.now() - began > 18) pauses += 1
  }
  t.ok(count() >= 2, 'not only at the end')
  t.ok((await settled()) <= 10 + pauses, 'but far fewer calls than files')
})

t.test('after close nothing is told', async (t) => {
  const folder = t.testdir({})
  let count = 0
  const watching = watcher().watch([{ path: folder, depth: 0 }], () => {
    count += 1
  })
  await until(() => probe(folder, () => count))
  writeFileSync(join(folder, 'b'), 'b')
  await watching.close()
  count = 0
  writeFileSync(join(folder, 'c'), 'c')
  await sleep(SETTLED_MS)
  t.equal(count, 0)
})
