// Files that are not read again: how often the disk is asked, and that no change stays unseen.
import { chmodSync, mkdirSync, renameSync, statSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { NodeFiles } from '../../../agent/model/ports.ts'
import { nodeFiles } from '../../../agent/node/files/files.ts'
import { rememberedFiles } from '../../../agent/node/files/remembered-files.ts'

const LATER_MS = 5_000

function node(t: Test, { now = () => Date.now() + LATER_MS }: { readonly now?: () => number } = {}) {
  const root = t.testdir({ etc: { certs: { host: { 'ca.crt': 'one' } } }, other: { 'ca.crt': 'two' } })
  const real = nodeFiles({ root })
  let reads = 0
  const counting: NodeFiles = {
    ...real,
    read(path) {
      reads += 1
      return real.read(path)
    },
    list(folder) {
      reads += 1
      return real.list(folder)
    },
  }
  return { root, real, files: rememberedFiles(counting, { root, now }), count: () => reads }
}

const CA = '/etc/certs/host/ca.crt'

t.test('reads a file, a folder and what is missing once', async (t) => {
  const { files, count } = node(t)
  const look = async () => [
    await files.read(CA),
    await files.read('/etc/certs/none/ca.crt'),
    await files.list('/etc/certs'),
  ]
  const first = await look()
  t.equal(count(), 3)
  const second = await look()
  t.equal(count(), 3)
  for (const [index, answer] of first.entries()) t.equal(second[index], answer)
})

const changes: { readonly [what: string]: (root: string) => void } = {
  'other bytes of the same length': (root) => writeFileSync(join(root, CA), 'two'),
  'other bytes of the same length, and the time of their change put back'(root) {
    const { atime, mtime } = statSync(join(root, CA))
    writeFileSync(join(root, CA), 'two')
    utimesSync(join(root, CA), atime, mtime)
  },
  'another mode': (root) => chmodSync(join(root, CA), 0o600),
  'a file renamed over it': (root) => renameSync(join(root, 'other/ca.crt'), join(root, CA)),
  'a deletion': (root) => unlinkSync(join(root, CA)),
  'a link in its place'(root) {
    unlinkSync(join(root, CA))
    symlinkSync('/other/ca.crt', join(root, CA))
  },
  'a link to another folder in place of its folder'(root) {
    renameSync(join(root, 'etc/certs/host'), join(root, 'etc/certs/gone'))
    symlinkSync('/other', join(root, 'etc/certs/host'))
  },
  'a folder swapped'(root) {
    renameSync(join(root, 'etc/certs/host'), join(root, 'etc/certs/gone'))
    renameSync(join(root, 'other'), join(root, 'etc/certs/host'))
  },
}

t.test('sees whatever changes', async (t) => {
  for (const [what, change] of Object.entries(changes))
    await t.test(what, async (t) => {
      const { root, real, files } = node(t)
      for (const path of [CA, '/etc/certs', '/etc/certs/host']) await files.read(path)
      await files.readFollowing(CA)
      change(root)
      t.strictSame(await files.read(CA), await real.read(CA))
      t.strictSame(await files.readFollowing(CA), await real.readFollowing(CA))
    })
})

t.test('tells without reading that everything is as it was', async (t) => {
  const { root, files, count } = node(t)
  symlinkSync('host/ca.crt', join(root, 'etc/certs/link'))
  const { result, isSame } = await files.witnessed(async (seen) => [
    await seen.read(CA),
    await seen.read('/etc/certs/none/ca.crt'),
    await seen.readFollowing('/etc/certs/link'),
    await seen.readSettled(CA, () => true),
    await seen.list('/etc/certs'),
    await seen.isWritable('/etc/certs'),
  ])
  t.equal(result.at(-1), true)
  const before = count()
  for (let look = 0; look < 3; look += 1) t.ok(await isSame())
  t.equal(count(), before)
  files.forget()
  t.ok(await isSame())
  t.ok(count() >= before + 4, 'what was forgotten is read again')
  const after = count()
  t.ok(await isSame())
  t.equal(count(), after)
})

t.test('tells whatever changes to whom has read it', async (t) => {
  for (const [what, change] of Object.entries(changes))
    await t.test(what, async (t) => {
      const { root, files } = node(t)
      const { isSame } = await files.witnessed((seen) => seen.read(CA))
      t.ok(await isSame())
      change(root)
      t.notOk(await isSame())
    })
  const others: { readonly [what: string]: (root: string) => void } = {
    'a file in a folder that was listed': (root) => writeFileSync(join(root, 'etc/certs/new'), ''),
    'a file where nothing was': (root) => writeFileSync(join(root, 'etc/none'), ''),
    'another target of a link that was followed'(root) {
      renameSync(join(root, 'etc/certs/host/ca.crt'), join(root, 'etc/certs/host/gone'))
      symlinkSync('/other/ca.crt', join(root, 'etc/certs/host/ca.crt'))
    },
    'a folder that may not be written any more': (root) => chmodSync(join(root, 'etc'), 0o500),
  }
  for (const [what, change] of Object.entries(others))
    await t.test(what, async (t) => {
      const { root, files } = node(t)
      symlinkSync('certs/host/ca.crt', join(root, 'etc/link'))
      const { isSame } = await files.witnessed(async (seen) => [
        await seen.list('/etc/certs'),
        await seen.read('/etc/none'),
        await seen.readFollowing('/etc/link'),
        await seen.read('/etc'),
      ])
      t.ok(await isSame())
      change(root)
      t.notOk(await isSame())
    })
})

t.test('tells a change between two readings of one path', async (t) => {
  const { root, files } = node(t)
  const { isSame } = await files.witnessed(async (seen) => {
    await seen.read(CA)
    writeFileSync(join(root, CA), 'two')
    await seen.readFollowing(CA)
  })
  t.notOk(await isSame())
})

t.test('reads what was touched again, and nothing else', async (t) => {
  const { root, files, count } = node(t)
  symlinkSync('host/ca.crt', join(root, 'etc/certs/link'))
  const { isSame } = await files.witnessed(async (seen) => [
    await seen.readFollowing('/etc/certs/link'),
    await seen.read('/etc/certs'),
    await seen.list('/other'),
    await seen.read('/other/ca.crt'),
  ])
  for (let touch = 0; touch < 3; touch += 1) {
    const before = count()
    chmodSync(join(root, CA), 0o644)
    t.ok(await isSame())
    t.equal(count(), before + 1)
    t.ok(await isSame())
    t.equal(count(), before + 1)
  }
  writeFileSync(join(root, CA), 'two')
  t.notOk(await isSame())
})

t.test('tells a change of what has just been written, although it looks the same', async (t) => {
  const { root, files, count } = node(t, { now: Date.now })
  const { isSame } = await files.witnessed((seen) => seen.read(CA))
  t.ok(await isSame())
  t.equal(count(), 2, 'it is read again until it is old enough')
  writeFileSync(join(root, CA), 'two')
  t.notOk(await isSame())
})

t.test('sees what appears where nothing was, also below a folder that was missing', async (t) => {
  const { root, files } = node(t)
  t.match(await files.read('/etc/new/ca.crt'), { kind: 'absent' })
  t.strictSame(await files.list('/etc/new'), [])
  mkdirSync(join(root, 'etc/new'))
  writeFileSync(join(root, 'etc/new/ca.crt'), 'new')
  t.match(await files.read('/etc/new/ca.crt'), { kind: 'file' })
  t.strictSame(await files.list('/etc/new'), ['ca.crt'])
})

t.test('reads again what has just been written, because a second change may look the same', async (t) => {
  const { files, count } = node(t, { now: Date.now })
  await files.read(CA)
  await files.read(CA)
  t.equal(count(), 2)
})

t.test('reads again what lies behind a link, which may lead elsewhere for this process', async (t) => {
  const { root, files, count } = node(t)
  symlinkSync('/other', join(root, 'etc/link'))
  await files.read('/etc/link/ca.crt')
  await files.read('/etc/link/ca.crt')
  t.equal(count(), 2)
})

t.test('follows links as a program on the node does', async (t) => {
  const { root, real, files, count } = node(t)
  symlinkSync('../certs/host/ca.crt', join(root, 'etc/certs/relative'))
  symlinkSync('/etc/certs/host/ca.crt', join(root, 'etc/certs/absolute'))
  for (const path of ['/etc/certs/relative', '/etc/certs/absolute']) {
    const state = await files.readFollowing(path)
    t.strictSame(state, await real.readFollowing(path))
  }
  const before = count()
  await files.readFollowing('/etc/certs/absolute')
  t.equal(count(), before)
})

t.test('reads everything again when it is told to forget', async (t) => {
  const { files, count } = node(t)
  await files.read(CA)
  files.forget()
  await files.read(CA)
  t.equal(count(), 2)
})
