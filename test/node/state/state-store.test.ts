import { appendFileSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { JournalEntry, NodeFiles } from '../../../agent/model/ports.ts'
import { type AgentState, EMPTY_STATE } from '../../../agent/model/state.ts'
import { nodeFiles } from '../../../agent/node/files/files.ts'
import { stateStore } from '../../../agent/node/state/state-store.ts'
import { tree } from '../../fixtures/scratch/tree.ts'

const FOLDER = '/var/lib/registry-trust'
const CA_SHA256 = '6d4db5ff0c117864a02827bad3c361b9af8d2dd2cc3dff3f4ee2e0ee1e0c5fe2'

const STATE: AgentState = {
  version: 1,
  generation: '0123456789ab',
  owned: {
    '/etc/containerd/certs.d/h.test/ca.crt': {
      kind: 'whole',
      target: 'containerd-hosts',
      subject: 'h.test',
      sha256: CA_SHA256,
      before: { kind: 'file', sha256: CA_SHA256, mode: 0o644, uid: 0, gid: 0 },
    },
    '/etc/containerd/certs.d/h.test': {
      kind: 'whole',
      target: 'containerd-hosts',
      subject: 'h.test',
      sha256: '',
      before: { kind: 'absent' },
    },
  },
  transactions: [
    {
      id: 't1',
      generation: '0123456789ab',
      at: '2026-11-21T00:00:00Z',
      durationMs: 12,
      result: 'committed',
      changes: 2,
      restarted: false,
      reason: 'apply',
    },
  ],
}

const ENTRY: JournalEntry = {
  transaction: 't2',
  generation: '0123456789ab',
  at: '2026-11-21T00:00:00Z',
  steps: [
    {
      path: '/etc/ssl/certs/a.pem',
      folder: '/etc/ssl/certs',
      before: { kind: 'link', to: 'x' },
      after: { kind: 'file', sha256: CA_SHA256, mode: 0o644 },
    },
    {
      path: '/etc/ssl/certs/b.pem',
      folder: '/etc/ssl/certs',
      before: { kind: 'folder', mode: 0o755 },
      after: { kind: 'absent' },
    },
  ],
  restarted: true,
}

function fresh(test: Test) {
  const root = test.testdir({ var: { lib: {} } })
  return { root, folder: join(root, FOLDER), store: stateStore({ files: nodeFiles({ root }), folder: FOLDER }) }
}

t.test('nothing remembered is the empty state, and asking makes no folder', async (t) => {
  const { root, store } = fresh(t)
  t.same(await store.load(), EMPTY_STATE)
  t.equal(await store.journal.read(), undefined)
  await store.journal.clear()
  await store.forget(new Set())
  t.same(Object.keys(tree(root)), ['var', 'var/lib'])
})

t.test('what is saved is loaded again', async (t) => {
  const { store } = fresh(t)
  await store.save(STATE)
  t.same(await store.load(), STATE)
  const { owned, generation } = STATE
  const previous = { generation, owned, steps: ENTRY.steps, restarted: true }
  const heals = { '/etc/ssl/certs/a.pem': ['2026-11-21T00:00:00Z'] }
  const refused = { ...STATE, refusedGeneration: 'ba9876543210', previous, heals }
  await store.save(refused)
  t.same(await store.load(), refused)
})

t.test('a state that nobody has written since is not read again, and what anybody writes is seen', async (t) => {
  const root = t.testdir({ var: { lib: {} } })
  const real = nodeFiles({ root })
  let read = 0
  const files: NodeFiles = {
    ...real,
    read(path) {
      if (path.endsWith('/state.json')) read += 1
      return real.read(path)
    },
  }
  const store = stateStore({ files, folder: FOLDER })
  await store.save(STATE)
  // A change within one tick of the kernel's clock would leave no trace.
  await sleep(150)
  const first = await store.load()
  t.same(first, STATE)
  for (let look = 0; look < 3; look += 1) t.equal(await store.load(), first)
  t.equal(read, 1)
  await stateStore({ files: real, folder: FOLDER }).save({ ...STATE, generation: 'ba9876543210' })
  t.equal((await store.load()).generation, 'ba9876543210', 'of another process')
  await sleep(150)
  await store.load()
  const path = join(root, FOLDER, 'state.json')
  const { atime, mtime } = statSync(path)
  writeFileSync(path, readFileSync(path, 'utf8').replace('ba9876543210', 'ca9876543210'))
  utimesSync(path, atime, mtime)
  t.equal((await store.load()).generation, 'ca9876543210', 'although its time was put back')
  rmSync(path)
  t.same(await store.load(), EMPTY_STATE)
})

t.test('everything is readable by root alone', async (t) => {
  const { folder, store } = fresh(t)
  const umask = process.umask(0)
  t.teardown(() => process.umask(umask))
  await store.save(STATE)
  const sha256 = await store.keep(Buffer.from('CA'))
  await store.journal.write(ENTRY)
  await store.audit({ path: '/x' })
  const modes = Object.fromEntries(
    Object.keys(tree(folder)).map((name) => [name, (statSync(join(folder, name)).mode & 0o777).toString(8)]),
  )
  t.same(modes, {
    'audit.jsonl': '600',
    backup: '700',
    [`backup/${sha256}`]: '600',
    journal: '700',
    'journal/transaction.json': '600',
    'state.json': '600',
  })
  t.equal(statSync(folder).mode & 0o777, 0o700)
})

t.test('a state that cannot be understood is an error that says where', async (t) => {
  const { folder, store } = fresh(t)
  await store.save(STATE)
  const owned = Object.entries(STATE.owned)[0]
  const broken: readonly (readonly [string, string])[] = [
    ['', 'it is not JSON'],
    ['{"version":1', 'it is not JSON'],
    ['[]', 'it must be an object'],
    ['{}', 'version is of a version that this agent does not know'],
    [JSON.stringify({ ...STATE, version: 2 }), 'version is of a version'],
    [JSON.stringify({ ...STATE, generation: 5 }), 'generation must be a string'],
    [JSON.stringify({ ...STATE, transactions: {} }), 'transactions must be a list'],
    [JSON.stringify({ ...STATE, heals: { '/x': 5 } }), 'heals./x must be a list'],
    [JSON.stringify({ ...STATE, previous: { steps: [] } }), 'previous.generation must be a string'],
    [JSON.stringify({ ...STATE, owned: { 'etc/x': owned?.[1] } }), 'the key etc/x must be an absolute path'],
    [JSON.stringify({ ...STATE, owned: { '/etc/../x': owned?.[1] } }), 'must be an absolute path'],
    [
      JSON.stringify({ ...STATE, owned: { '/x': { ...owned?.[1], sha256: '../../etc/shadow' } } }),
      'owned./x.sha256 must be a SHA-256',
    ],
    [
      JSON.stringify({ ...STATE, owned: { '/x': { ...owned?.[1], before: { kind: 'file' } } } }),
      'owned./x.before.sha256 must be a SHA-256',
    ],
    [
      JSON.stringify({ ...STATE, owned: { '/x': { ...owned?.[1], before: { kind: 'gone' } } } }),
      'owned./x.before.kind must be one of',
    ],
  ]
  for (const [text, why] of broken) {
    writeFileSync(join(folder, 'state.json'), text)
    await t.rejects(
      store.load(),
      { code: 'STATE_UNREADABLE', message: new RegExp(`^${FOLDER}/state.json: .*${why}`) },
      text,
    )
  }
})

t.test('a state that is a link or a folder is not followed', async (t) => {
  const { root, store } = fresh(t)
  const files = nodeFiles({ root })
  await store.save(STATE)
  await files.put(`${FOLDER}/state.json`, { kind: 'link', to: '/etc/shadow' }, { folder: FOLDER })
  await t.rejects(store.load(), {
    code: 'STATE_UNREADABLE',
    message: `cannot read ${FOLDER}/state.json: it is a link`,
  })
})

t.test('backups are kept once, found by hash, checked, and forgotten when nothing refers to them', async (t) => {
  const { folder, store } = fresh(t)
  const bytes = Buffer.from([0, 255, 10, 13])
  const sha256 = await store.keep(bytes)
  const { ino } = statSync(join(folder, 'backup', sha256))
  t.equal(await store.keep(bytes), sha256)
  t.equal(statSync(join(folder, 'backup', sha256)).ino, ino)
  t.ok((await store.backup(sha256)).equals(bytes))
  const other = await store.keep(Buffer.from('other'))
  await store.forget(new Set([other]))
  t.same(Object.keys(tree(join(folder, 'backup'))), [other])
  await t.rejects(store.backup(sha256), { code: 'STATE_UNREADABLE', message: /is absent/ })
  await t.rejects(store.backup('../state.json'), { code: 'STATE_UNREADABLE', message: /names no backup/ })
})

t.test('a damaged backup is not given out, and is put right when the bytes are kept again', async (t) => {
  const { folder, store } = fresh(t)
  const sha256 = await store.keep(Buffer.from('CA'))
  appendFileSync(join(folder, 'backup', sha256), 'x')
  await t.rejects(store.backup(sha256), { code: 'STATE_UNREADABLE', message: /no longer holds what was kept/ })
  await store.keep(Buffer.from('CA'))
  t.equal((await store.backup(sha256)).toString(), 'CA')
})

t.test('the journal is written, read and cleared', async (t) => {
  const { folder, store } = fresh(t)
  await store.journal.write(ENTRY)
  t.same(await store.journal.read(), ENTRY)
  await store.journal.clear()
  t.equal(await store.journal.read(), undefined)
  await store.journal.write(ENTRY)
  writeFileSync(
    join(folder, 'journal/transaction.json'),
    JSON.stringify({ ...ENTRY, steps: [{ ...ENTRY.steps[0], path: 'relative' }] }),
  )
  await t.rejects(store.journal.read(), {
    code: 'STATE_UNREADABLE',
    message: /steps\[0\]\.path must be an absolute path/,
  })
})

t.test('audit lines are appended; half a line of a crash does not spoil the next', async (t) => {
  const { folder, store } = fresh(t)
  const path = join(folder, 'audit.jsonl')
  await store.audit({ path: '/a' })
  appendFileSync(path, '{"path":"/half')
  await store.audit({ path: '/b' })
  await store.audit({ path: '/c' })
  t.equal(readFileSync(path, 'utf8'), '{"path":"/a"}\n{"path":"/half\n{"path":"/b"}\n{"path":"/c"}\n')
})

t.test('the audit file is rotated before it grows over 5 MiB, and one older file is kept', async (t) => {
  const { folder, store } = fresh(t)
  await store.audit({ path: '/first' })
  const path = join(folder, 'audit.jsonl')
  for (const round of [1, 2]) {
    writeFileSync(path, `${'x'.repeat(5 * 1024 * 1024 - 10)}\n`)
    await store.audit({ round })
    t.equal(readFileSync(path, 'utf8'), `{"round":${round}}\n`)
  }
  t.same(Object.keys(tree(folder)), ['audit.jsonl', 'audit.jsonl.1'])
  t.equal(statSync(path).mode & 0o777, 0o600)
})

t.test('destroy forgets everything but the lock of whoever calls it', async (t) => {
  const { folder, store } = fresh(t)
  await store.destroy()
  await store.save(STATE)
  await store.keep(Buffer.from('CA'))
  await store.journal.write(ENTRY)
  await store.audit({ path: '/a' })
  writeFileSync(join(folder, 'lock'), '')
  await store.destroy()
  t.same(Object.keys(tree(folder)), ['lock'])
  t.same(await store.load(), EMPTY_STATE)
})

t.test('a backup that one call cannot read is read again', async (t) => {
  const files = nodeFiles({ root: t.testdir({ var: { lib: {} } }) })
  const sha256 = await stateStore({ files, folder: FOLDER }).keep(Buffer.from('original'))
  let isFirst = true
  const failingOnce: typeof files = {
    ...files,
    async read(path) {
      if (!path.endsWith(sha256) || !isFirst) return files.read(path)
      isFirst = false
      return { kind: 'unreadable', reason: 'EIO' }
    },
  }
  t.equal(String(await stateStore({ files: failingOnce, folder: FOLDER }).backup(sha256)), 'original')
})
