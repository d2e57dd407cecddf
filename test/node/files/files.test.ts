import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { AgentError } from '../../../agent/model/errors.ts'
import type { FileContent } from '../../../agent/model/plan.ts'
import type { FileState } from '../../../agent/model/ports.ts'
import { nodeFiles } from '../../../agent/node/files/files.ts'
import { tree } from '../../fixtures/scratch/tree.ts'

const FOLDER = '/etc/containerd/certs.d'
const IN = { folder: FOLDER }

function file(text: string, mode = 0o644): FileContent {
  return { kind: 'file', bytes: Buffer.from(text), mode, uid: 0, gid: 0 }
}

function textOf(state: FileState): string {
  return state.kind === 'file' ? state.bytes.toString() : state.kind
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'nothing thrown',
    (error: unknown) => (error instanceof AgentError ? error.code : String(error)),
  )
}

function emptyNode(test: Test): string {
  return test.testdir({ etc: { containerd: { 'certs.d': {} } } })
}

t.test('reading', async (t) => {
  t.test('tells a file, a link, a folder, a pipe and nothing apart', async (t) => {
    const root = t.testdir({ etc: { 'a.pem': 'A', link: t.fixture('symlink', 'a.pem'), empty: {} } })
    const files = nodeFiles({ root })
    const now = await files.read('/etc/a.pem')
    t.match(now, { kind: 'file', mode: statSync(join(root, 'etc/a.pem')).mode & 0o7777, uid: 0, gid: 0 })
    t.equal(textOf(now), 'A')
    t.same(await files.read('/etc/link'), { kind: 'link', to: 'a.pem' })
    t.match(await files.read('/etc/empty'), { kind: 'folder', uid: 0 })
    t.same(await files.read('/etc/none'), { kind: 'absent' })
    t.same(await files.read('/etc/a.pem/below'), { kind: 'absent' })
    t.same(await files.read('/none/none'), { kind: 'absent' })
  })

  t.test('says what a socket is instead of reading it', async (t) => {
    t.match(await nodeFiles({ root: '/' }).read('/dev/null'), { kind: 'other', what: 'device' })
  })

  t.test('resolves an absolute link below the root, not on the machine', async (t) => {
    const root = t.testdir({
      etc: { ssl: t.fixture('symlink', '/opt/ssl'), passwd: t.fixture('symlink', '/etc/shadow') },
      opt: { ssl: { 'ca.pem': 'inside' } },
    })
    const files = nodeFiles({ root })
    t.equal(textOf(await files.readFollowing('/etc/ssl/ca.pem')), 'inside')
    t.equal(textOf(await files.read('/etc/ssl/ca.pem')), 'inside')
    t.same(await files.readFollowing('/etc/passwd'), { kind: 'absent' })
  })

  t.test('stops at the root however many .. a link has', async (t) => {
    const root = t.testdir({
      etc: { up: t.fixture('symlink', '../../../../../../../../etc/hostname'), hostname: 'node' },
    })
    t.equal(textOf(await nodeFiles({ root }).readFollowing('/etc/up')), 'node')
    t.equal(textOf(await nodeFiles({ root }).readFollowing('/../../etc/up')), 'node')
  })

  t.test('follows a chain of links through folders as kubelet lays them out', async (t) => {
    const root = t.testdir({
      v: {
        '..2026': { 'ca.pem': 'CA' },
        '..data': t.fixture('symlink', '..2026'),
        'ca.pem': t.fixture('symlink', '..data/ca.pem'),
      },
    })
    t.equal(textOf(await nodeFiles({ root }).readFollowing('/v/ca.pem')), 'CA')
  })

  t.test('reports a loop of links as unreadable', async (t) => {
    const root = t.testdir({ a: t.fixture('symlink', 'b'), b: t.fixture('symlink', 'a') })
    t.match(await nodeFiles({ root }).readFollowing('/a'), { kind: 'unreadable', reason: /symbolic links/ })
    t.match(await nodeFiles({ root }).read('/a/below'), { kind: 'unreadable', reason: /symbolic links/ })
  })

  t.test('does not read a file of more than 16 MiB', async (t) => {
    const root = t.testdir({ big: Buffer.alloc(16 * 1024 * 1024 + 1) })
    t.match(await nodeFiles({ root }).read('/big'), { kind: 'unreadable', reason: 'larger than 16 MiB' })
  })

  t.test('lists names in order, nothing for a missing folder, and an error for a file', async (t) => {
    const root = t.testdir({ d: { b: '', a: '', C: '' }, f: '' })
    const files = nodeFiles({ root })
    t.same(await files.list('/d'), ['C', 'a', 'b'])
    t.same(await files.list('/none/none'), [])
    await t.rejects(files.list('/f'), {
      code: 'NODE_FILE_UNREADABLE',
      message: 'cannot list /f: not a directory (ENOTDIR)',
    })
  })

  t.test('leaves no descriptor open', async (t) => {
    const root = t.testdir({ a: { b: { c: t.fixture('symlink', '/a/b/../b/d'), d: 'x' } } })
    const files = nodeFiles({ root })
    const before = readdirSync('/proc/self/fd').length
    for (let round = 0; round < 20; round += 1) {
      await files.readFollowing('/a/b/c')
      await files.read('/a/none/c')
      await files.list('/a/b')
      await codeOf(files.put('/a/b/none/x', file('1'), { folder: '/a' }))
      await codeOf(files.put('/a/b/x', file(String(round)), { folder: '/a' }))
    }
    t.equal(readdirSync('/proc/self/fd').length, before)
  })

  t.test('is writable only where a folder is', async (t) => {
    const root = t.testdir({ d: {}, f: '', link: t.fixture('symlink', '/d') })
    const files = nodeFiles({ root })
    t.same(await Promise.all(['/d', '/link', '/f', '/none'].map(files.isWritable)), [true, true, false, false])
    t.same(Object.keys(tree(root)), ['d', 'f', 'link'])
  })
})

t.test('put', async (t) => {
  t.test('creates a file with exactly its bytes, mode and owner, and leaves nothing else', async (t) => {
    const root = emptyNode(t)
    await nodeFiles({ root }).put(`${FOLDER}/ca.crt`, { ...file('CA'), mode: 0o640, gid: 42 } as FileContent, IN)
    t.same(tree(join(root, FOLDER)), { 'ca.crt': '640 0:42 CA' })
  })

  t.test('is not bent by the umask', async (t) => {
    const root = emptyNode(t)
    const umask = process.umask(0o077)
    t.teardown(() => process.umask(umask))
    const files = nodeFiles({ root })
    await files.put(`${FOLDER}/h`, { kind: 'folder', mode: 0o755 }, IN)
    await files.put(`${FOLDER}/h/ca.crt`, file('CA', 0o664), IN)
    t.same(tree(join(root, FOLDER)), { h: 'folder 755', 'h/ca.crt': '664 0:0 CA' })
  })

  t.test('replaces a file by rename: a reader that has it open keeps the old bytes', async (t) => {
    const root = emptyNode(t)
    const files = nodeFiles({ root })
    await files.put(`${FOLDER}/ca.crt`, file('old'), IN)
    const inode = statSync(join(root, FOLDER, 'ca.crt')).ino
    await files.put(`${FOLDER}/ca.crt`, file('new'), IN)
    t.equal(readFileSync(join(root, FOLDER, 'ca.crt'), 'utf8'), 'new')
    t.not(statSync(join(root, FOLDER, 'ca.crt')).ino, inode)
  })

  t.test('touches nothing when the file is right already', async (t) => {
    const root = emptyNode(t)
    const files = nodeFiles({ root })
    await files.put(`${FOLDER}/ca.crt`, file('CA'), IN)
    utimesSync(join(root, FOLDER), 1, 1)
    const before = lstatSync(join(root, FOLDER, 'ca.crt'))
    await files.put(`${FOLDER}/ca.crt`, file('CA'), IN)
    const after = lstatSync(join(root, FOLDER, 'ca.crt'))
    t.same([after.ino, after.mtimeMs, after.ctimeMs], [before.ino, before.mtimeMs, before.ctimeMs])
    t.equal(lstatSync(join(root, FOLDER)).mtimeMs, 1000, 'the folder was not even used for a temporary file')
  })

  for (const [what, content] of [
    ['bytes of the same length', file('CB')],
    ['the mode', file('CA', 0o600)],
    ['the group', { ...file('CA'), gid: 42 } as FileContent],
  ] as const) {
    t.test(`replaces the file when only ${what} differ`, async (t) => {
      const root = emptyNode(t)
      const files = nodeFiles({ root })
      await files.put(`${FOLDER}/ca.crt`, file('CA'), IN)
      await files.put(`${FOLDER}/ca.crt`, content, IN)
      const now = await files.read(`${FOLDER}/ca.crt`)
      t.match({ ...now, bytes: undefined }, { ...content, bytes: undefined })
      t.same(textOf(now), content.kind === 'file' ? content.bytes.toString() : '')
    })
  }

  t.test('makes and changes links in one step, and turns a link into a file without following it', async (t) => {
    const root = t.testdir({ etc: { ssl: { certs: {} } }, secret: 'untouched' })
    const files = nodeFiles({ root })
    const folder = '/etc/ssl/certs'
    await files.put(`${folder}/a.pem`, { kind: 'link', to: '/secret' }, { folder })
    const inode = lstatSync(join(root, folder, 'a.pem')).ino
    await files.put(`${folder}/a.pem`, { kind: 'link', to: '/secret' }, { folder })
    t.equal(lstatSync(join(root, folder, 'a.pem')).ino, inode, 'the same link again is no change')
    await files.put(`${folder}/a.pem`, { kind: 'link', to: '/usr/local/a.crt' }, { folder })
    t.same(tree(join(root, folder)), { 'a.pem': '-> /usr/local/a.crt' })
    await files.put(`${folder}/a.pem`, file('CA'), { folder })
    t.same(tree(join(root, folder)), { 'a.pem': '644 0:0 CA' })
    t.equal(readFileSync(join(root, 'secret'), 'utf8'), 'untouched')
  })

  t.test('makes a folder, corrects its mode, and is content with one that is right', async (t) => {
    const root = emptyNode(t)
    const files = nodeFiles({ root })
    await files.put(`${FOLDER}/h`, { kind: 'folder', mode: 0o700 }, IN)
    t.same(tree(join(root, FOLDER)), { h: 'folder 700' })
    await files.put(`${FOLDER}/h`, { kind: 'folder', mode: 0o755 }, IN)
    const { ctimeMs } = lstatSync(join(root, FOLDER, 'h'))
    await files.put(`${FOLDER}/h`, { kind: 'folder', mode: 0o755 }, IN)
    t.same(tree(join(root, FOLDER)), { h: 'folder 755' })
    t.equal(lstatSync(join(root, FOLDER, 'h')).ctimeMs, ctimeMs)
  })

  t.test('removes files, links and empty folders, and is content when there is nothing', async (t) => {
    const root = t.testdir({ d: { f: 'x', l: t.fixture('symlink', '/keep'), e: {} }, keep: 'kept' })
    const files = nodeFiles({ root })
    for (const name of ['f', 'l', 'e', 'none', 'none/none'])
      await files.put(`/d/${name}`, { kind: 'absent' }, { folder: '/d' })
    t.same(tree(join(root, 'd')), {})
    t.equal(readFileSync(join(root, 'keep'), 'utf8'), 'kept')
    await files.put('/none/none', { kind: 'absent' }, { folder: '/none' })
  })

  t.test('does not remove a folder that holds something', async (t) => {
    const root = t.testdir({ d: { e: { foreign: 'x' } } })
    await t.rejects(nodeFiles({ root }).put('/d/e', { kind: 'absent' }, { folder: '/d' }), {
      code: 'WRITE_FAILED',
      message: /cannot remove \/d\/e: directory not empty \(ENOTEMPTY\)/,
    })
    t.ok(tree(root)['d/e/foreign'])
  })

  t.test('reaches the folder of the target through links inside the root', async (t) => {
    const root = t.testdir({
      etc: { containerd: t.fixture('symlink', '/data/containerd') },
      data: { containerd: { 'certs.d': {} } },
    })
    await nodeFiles({ root }).put(`${FOLDER}/ca.crt`, file('CA'), IN)
    t.same(tree(join(root, 'data')), {
      containerd: 'folder 755',
      'containerd/certs.d': 'folder 755',
      'containerd/certs.d/ca.crt': '644 0:0 CA',
    })
  })

  t.test('says which parent is missing', async (t) => {
    const root = emptyNode(t)
    await t.rejects(nodeFiles({ root }).put(`${FOLDER}/h/ca.crt`, file('CA'), IN), {
      code: 'WRITE_FAILED',
      message: `cannot write ${FOLDER}/h/ca.crt: there is no such parent folder`,
    })
    t.same(tree(join(root, FOLDER)), {})
  })

  t.test('runs many changes of one folder at once without losing one', async (t) => {
    const root = emptyNode(t)
    const files = nodeFiles({ root })
    const names = Array.from({ length: 40 }, (_, index) => `n${index}`)
    await Promise.all(names.map((name) => files.put(`${FOLDER}/${name}`, file(name), IN)))
    t.same(Object.keys(tree(join(root, FOLDER))), [...names].sort())
  })

  t.test('goes on after a change that failed', async (t) => {
    const root = emptyNode(t)
    const files = nodeFiles({ root })
    const failing = files.put(`${FOLDER}/none/x`, file('x'), IN)
    const working = files.put(`${FOLDER}/x`, file('x'), IN)
    t.equal(await codeOf(failing), 'WRITE_FAILED')
    await working
    t.same(Object.keys(tree(join(root, FOLDER))), ['x'])
  })
})

t.test('a foreign owner', async (t) => {
  const setUp = (t: Test) => {
    const root = t.testdir({ d: { foreign: 'theirs', folder: { 'hosts.toml': 'theirs' } } })
    chownSync(join(root, 'd/foreign'), 1000, 1000)
    chownSync(join(root, 'd/folder'), 1000, 1000)
    return { root, files: nodeFiles({ root }), before: tree(root) }
  }
  for (const [what, change] of [
    ['a file is not replaced', (files) => files.put('/d/foreign', file('ours'), { folder: '/d' })],
    [
      'a file is not replaced by a link',
      (files) => files.put('/d/foreign', { kind: 'link', to: 'x' }, { folder: '/d' }),
    ],
    ['a file is not removed', (files) => files.put('/d/foreign', { kind: 'absent' }, { folder: '/d' })],
    [
      'the mode of a folder is not changed',
      (files) => files.put('/d/folder', { kind: 'folder', mode: 0o700 }, { folder: '/d' }),
    ],
    ['a folder is not removed', (files) => files.removeFolder('/d/folder', { folder: '/d' })],
  ] satisfies [string, (files: ReturnType<typeof nodeFiles>) => Promise<void>][]) {
    t.test(what, async (t) => {
      const { root, files, before } = setUp(t)
      await t.rejects(change(files), { code: 'FILE_FOREIGN_OWNER', message: /belongs to uid 1000, not to root/ })
      t.same(tree(root), before)
    })
  }
})

t.test('putFolder', async (t) => {
  const files = (test: Test) => {
    const root = emptyNode(test)
    return { root, port: nodeFiles({ root }), path: `${FOLDER}/harbor.test` }
  }
  const content = [
    { name: 'ca.crt', content: file('CA') },
    { name: 'hosts.toml', content: file('ca = "ca.crt"', 0o600) },
    { name: 'link', content: { kind: 'link', to: 'ca.crt' } as const },
  ]
  const complete = {
    'harbor.test': 'folder 755',
    'harbor.test/ca.crt': '644 0:0 CA',
    'harbor.test/hosts.toml': '600 0:0 ca = "ca.crt"',
    'harbor.test/link': '-> ca.crt',
  }

  t.test('puts a complete folder where there was none', async (t) => {
    const { root, port, path } = files(t)
    await port.putFolder(path, content, { ...IN, mode: 0o755 })
    t.same(tree(join(root, FOLDER)), complete)
  })

  t.test('puts it over an empty folder', async (t) => {
    const { root, port, path } = files(t)
    mkdirSync(join(root, path), { mode: 0o700 })
    await port.putFolder(path, content, { ...IN, mode: 0o755 })
    t.same(tree(join(root, FOLDER)), complete)
  })

  t.test('does not replace a folder that holds something', async (t) => {
    const { root, port, path } = files(t)
    mkdirSync(join(root, path))
    writeFileSync(join(root, path, 'foreign'), 'x')
    await t.rejects(port.putFolder(path, content, { ...IN, mode: 0o755 }), {
      code: 'WRITE_FAILED',
      message: /not empty/,
    })
    t.same(Object.keys(tree(join(root, FOLDER))), ['harbor.test', 'harbor.test/foreign'])
  })

  for (const name of ['../x', 'a/b', '..', '.', '', 'a\0b']) {
    t.test(`refuses the member name ${JSON.stringify(name)} and leaves nothing`, async (t) => {
      const { root, port, path } = files(t)
      const members = [...content, { name, content: file('x') }]
      t.equal(await codeOf(port.putFolder(path, members, { ...IN, mode: 0o755 })), 'FILE_OUTSIDE_TARGET')
      t.same(tree(join(root, FOLDER)), {})
    })
  }
})

t.test('removeFolder', async (t) => {
  t.test('removes a folder with all that is in it, links not followed', async (t) => {
    const root = t.testdir({
      d: { h: { 'ca.crt': 'x', sub: { deep: 'y' }, out: t.fixture('symlink', '../../keep') } },
      keep: { this: 'kept' },
    })
    const files = nodeFiles({ root })
    await files.removeFolder('/d/h', { folder: '/d' })
    await files.removeFolder('/d/h', { folder: '/d' })
    t.same(tree(root), { d: 'folder 755', keep: 'folder 755', 'keep/this': '644 0:0 kept' })
  })

  t.test('does not remove a file or a link', async (t) => {
    const root = t.testdir({ d: { f: 'x', l: t.fixture('symlink', '../keep') }, keep: { this: 'kept' } })
    const files = nodeFiles({ root })
    t.equal(await codeOf(files.removeFolder('/d/f', { folder: '/d' })), 'WRITE_FAILED')
    t.equal(await codeOf(files.removeFolder('/d/l', { folder: '/d' })), 'FILE_OUTSIDE_TARGET')
    t.ok(tree(root)['keep/this'])
  })
})

t.test('sweep removes what a crash left, and only that', async (t) => {
  const root = t.testdir({ d: { '.registry-trust.tmp': { half: 'x', h: { 'ca.crt': 'y' } }, 'a.pem': 'A' } })
  const files = nodeFiles({ root })
  await files.sweep('/d')
  await files.sweep('/d')
  await files.sweep('/none')
  t.same(tree(root), { d: 'folder 755', 'd/a.pem': '644 0:0 A' })
})

t.test('works in a folder where a crash left temporary files', async (t) => {
  const root = t.testdir({ d: { '.registry-trust.tmp': { half: 'x' } } })
  chmodSync(join(root, 'd/.registry-trust.tmp'), 0o777)
  const files = nodeFiles({ root })
  await files.put('/d/a.pem', file('A'), { folder: '/d' })
  t.same(tree(root), {
    d: 'folder 755',
    'd/a.pem': '644 0:0 A',
    'd/.registry-trust.tmp': 'folder 700',
    'd/.registry-trust.tmp/half': '644 0:0 x',
  })
})

t.test('hostPath joins the root', async (t) => {
  t.equal(nodeFiles({ root: '/host' }).hostPath('/etc/x'), '/host/etc/x')
  t.equal(nodeFiles({ root: '/' }).hostPath('/etc/x'), '/etc/x')
})
