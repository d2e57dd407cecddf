// Files that are not read again: how often the disk is asked, and that no change stays unseen.
import { chmodSync, mkdirSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
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

t.test('sees whatever changes', async (t) => {
  const changes: { readonly [what: string]: (root: string) => void } = {
    'other bytes of the same length': (root) => writeFileSync(join(root, CA), 'two'),
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
