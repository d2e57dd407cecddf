// What only a real kernel can say: full and read-only file systems, immutable and foreign folders, capabilities, mounts
// in the way.
import { chmodSync, chownSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { runInNamespace, runOperations } from '../../fixtures/scratch/run-operations.ts'
import { tree } from '../../fixtures/scratch/tree.ts'

const WITHOUT_CAPABILITIES = ['setpriv', '--bounding-set', '-all', '--inh-caps', '-all', '--no-new-privs']

t.test('a full file system is NO_SPACE, keeps the old file, and leaves no temporary file', async (t) => {
  const root = t.testdir({ d: {} })
  const operations = [
    { put: '/d/a.pem', folder: '/d', text: 'x'.repeat(100_000) },
    { putFolder: '/d/h', folder: '/d', files: { 'ca.crt': 'small', 'hosts.toml': 'x'.repeat(100_000) } },
    { put: '/d/b.pem', folder: '/d', text: 'fits' },
  ]
  const full = 'mount -t tmpfs -o size=64k tmpfs "$0/d"; echo old >"$0/d/a.pem"'
  const { outcomes, stderr } = runInNamespace(root, full, operations, '(ls -A "$0/d"; cat "$0/d/a.pem") >"$0/result"')
  t.match(
    outcomes,
    [
      { code: 'NO_SPACE', message: 'cannot write /d/a.pem: no space left on device (ENOSPC)' },
      { code: 'NO_SPACE', message: 'cannot create /d/h: no space left on device (ENOSPC)' },
      {},
    ],
    stderr,
  )
  t.equal(readFileSync(join(root, 'result'), 'utf8'), 'a.pem\nb.pem\nold\n')
})

t.test('a read-only mount is TARGET_READ_ONLY and not writable, for root too', async (t) => {
  const root = t.testdir({ d: { 'a.pem': 'old', h: {} } })
  const before = tree(root)
  const script = 'mount --bind "$0/d" "$0/d"; mount -o remount,ro,bind "$0/d"'
  const { outcomes, stderr } = runInNamespace(root, script, [
    { isWritable: '/d' },
    { put: '/d/a.pem', folder: '/d', text: 'new' },
    { remove: '/d/a.pem', folder: '/d' },
    { removeFolder: '/d/h', folder: '/d' },
    { put: '/d/a.pem', folder: '/d', text: 'old' },
  ])
  t.match(
    outcomes,
    [
      { value: false },
      { code: 'TARGET_READ_ONLY', message: 'cannot write /d/a.pem: read-only file system (EROFS)' },
      { code: 'TARGET_READ_ONLY' },
      { code: 'TARGET_READ_ONLY' },
      {},
    ],
    stderr,
  )
  t.same(tree(root), before)
})

t.test('a mount below the folder is named as the reason', async (t) => {
  const root = t.testdir({ d: { nested: {} } })
  const { outcomes, stderr } = runInNamespace(root, 'mount -t tmpfs tmpfs "$0/d/nested"', [
    { put: '/d/nested/a.pem', folder: '/d', text: 'x' },
    { put: '/d/nested/a.pem', folder: '/d/nested', text: 'x' },
    { removeFolder: '/d/nested', folder: '/d' },
  ])
  t.match(
    outcomes,
    [{ code: 'WRITE_FAILED', message: /EXDEV.*another mount begins below the folder/ }, {}, { code: 'WRITE_FAILED' }],
    stderr,
  )
  t.same(tree(root), { d: 'folder 755', 'd/nested': 'folder 755' })
})

t.test('a mounted single file is named as the reason', async (t) => {
  const root = t.testdir({ d: { 'a.pem': 'old' }, source: 'mounted' })
  const { outcomes } = runInNamespace(root, 'mount --bind "$0/source" "$0/d/a.pem"', [
    { put: '/d/a.pem', folder: '/d', text: 'x' },
  ])
  t.match(outcomes, [{ code: 'WRITE_FAILED', message: /EBUSY.*mount its folder instead/ }])
  t.same(tree(join(root, 'd')), { 'a.pem': '644 0:0 old' })
})

t.test('a mounted folder that was replaced on the node is not writable', async (t) => {
  const root = t.testdir({ host: { certs: {} }, d: {} })
  const { outcomes } = runInNamespace(root, 'mount --bind "$0/host/certs" "$0/d"; rmdir "$0/host/certs"', [
    { isWritable: '/d' },
    { put: '/d/a.pem', folder: '/d', text: 'x' },
  ])
  t.match(outcomes, [{ value: false }, { code: 'WRITE_FAILED', message: /mounted folder was replaced on the node/ }])
})

t.test('without any capability', async (t) => {
  t.test('an agent of root works in folders of root', async (t) => {
    const root = t.testdir({ d: { 'a.pem': 'old' } })
    const { outcomes, stderr } = runOperations(
      root,
      [
        { put: '/d/a.pem', folder: '/d', text: 'new' },
        { putFolder: '/d/h', folder: '/d', files: { 'ca.crt': 'CA' } },
        { removeFolder: '/d/h', folder: '/d' },
        { isWritable: '/d' },
      ],
      WITHOUT_CAPABILITIES,
    )
    t.same(outcomes, [{}, {}, {}, { value: true }], stderr)
    t.same(tree(root), { d: 'folder 755', 'd/a.pem': '644 0:0 new' })
  })

  t.test('an owner that cannot be given is FILE_FOREIGN_OWNER and nothing is written', async (t) => {
    const root = t.testdir({ d: { 'a.pem': 'old' } })
    const before = tree(root)
    const { outcomes } = runOperations(
      root,
      [{ put: '/d/a.pem', folder: '/d', text: 'new', gid: 1234 }],
      WITHOUT_CAPABILITIES,
    )
    t.match(outcomes, [{ code: 'FILE_FOREIGN_OWNER', message: /cannot give \/d\/a\.pem to 0:1234/ }])
    t.same(tree(root), before)
  })

  t.test('a folder of another user is TARGET_READ_ONLY and not writable', async (t) => {
    const root = t.testdir({ d: {} })
    chownSync(join(root, 'd'), 1000, 1000)
    chmodSync(join(root, 'd'), 0o755)
    const { outcomes } = runOperations(
      root,
      [{ put: '/d/a.pem', folder: '/d', text: 'x' }, { isWritable: '/d' }],
      WITHOUT_CAPABILITIES,
    )
    t.match(outcomes, [{ code: 'TARGET_READ_ONLY', message: /permission denied \(EACCES\)/ }, { value: false }])
  })

  t.test('a folder that may be searched but not read is no obstacle on the way', async (t) => {
    const root = t.testdir({ home: { d: {} } })
    chownSync(join(root, 'home'), 1000, 1000)
    chmodSync(join(root, 'home'), 0o711)
    const { outcomes } = runOperations(
      root,
      [{ put: '/home/d/a.pem', folder: '/home/d', text: 'x' }],
      WITHOUT_CAPABILITIES,
    )
    t.same(outcomes, [{}])
  })
})

t.test('an immutable file says so and leaves no temporary file', async (t) => {
  const root = t.testdir({ d: { 'a.pem': 'old' } })
  const before = tree(root)
  // The kernel's answer for chattr +i, which not every file system and not every container can set.
  const failing = (call: string) => [
    'strace',
    '-f',
    '-qq',
    '-e',
    `trace=${call}`,
    '-e',
    `inject=${call}:error=EPERM`,
    '-o',
    '/dev/null',
  ]
  const put = runOperations(root, [{ put: '/d/a.pem', folder: '/d', text: 'x' }], failing('rename'))
  const remove = runOperations(root, [{ remove: '/d/a.pem', folder: '/d' }], failing('unlink'))
  t.match(put.outcomes, [
    { code: 'WRITE_FAILED', message: /cannot write \/d\/a.pem: .*EPERM.*is the immutable attribute set/ },
  ])
  t.match(remove.outcomes, [{ code: 'WRITE_FAILED', message: /cannot remove \/d\/a.pem: .*EPERM/ }])
  t.same(tree(root), before)
})

t.test('the first error is told when the temporary file cannot be removed either', async (t) => {
  const root = t.testdir({ d: {} })
  const failing = [
    'strace',
    '-f',
    '-qq',
    '-e',
    'trace=fsync,unlink',
    '-e',
    'inject=fsync:error=EIO',
    '-e',
    'inject=unlink:error=EPERM',
    '-o',
    '/dev/null',
  ]
  const { outcomes } = runOperations(root, [{ put: '/d/a.pem', folder: '/d', text: 'x' }], failing)
  t.match(outcomes, [{ code: 'WRITE_FAILED', message: 'cannot write /d/a.pem: i/o error (EIO)' }])
})
