// Proofs by tracing: the order of writes, syncs and renames, and what is left when the process dies at each of them.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { nodeFiles } from '../../../agent/node/files/files.ts'
import type { Operation } from '../../fixtures/scratch/file-operations.ts'
import { runOperations } from '../../fixtures/scratch/run-operations.ts'
import { tree } from '../../fixtures/scratch/tree.ts'

/** The calls that change or sync something below the root, without their numbers: `fsync d/.registry-trust.tmp/T`. */
function tracedCalls(root: string, operations: readonly Operation[]): readonly string[] {
  const log = join(root, 'trace')
  const calls =
    'fsync,fdatasync,rename,renameat,renameat2,write,pwrite64,fchmod,chmod,fchown,mkdir,mkdirat,rmdir,unlink,unlinkat,symlink,symlinkat'
  const { outcomes, stderr } = runOperations(root, operations, [
    'strace',
    '-f',
    '-y',
    '-e',
    `trace=${calls}`,
    '-o',
    log,
  ])
  t.same(
    outcomes,
    operations.map(() => ({})),
    stderr,
  )
  const lines = readFileSync(log, 'utf8')
    .split('\n')
    .filter((line) => line.includes(root) || line.includes('/proc/self/fd/'))
  return lines.map((line) => simplify(line, root)).filter((line) => line !== '')
}

function simplify(line: string, root: string): string {
  const call = /^\d+\s+(\w+)\((.*)\)\s+= 0|^\d+\s+(\w+)\((.*)\)\s+= \d+$/.exec(line)
  const name = call?.[1] ?? call?.[3]
  const args = call?.[2] ?? call?.[4] ?? ''
  if (name === undefined) return ''
  const short = (text: string) =>
    text
      .replaceAll(`${root}/`, '')
      .replaceAll(/\/proc\/self\/fd\/\d+/g, 'FD')
      .replaceAll(/[0-9a-f]{16}/g, 'T')
  const descriptor = /^\d+<([^>]*)>/.exec(args)?.[1]
  const paths =
    descriptor === undefined ? [...args.matchAll(/"([^"]*)"/g)].map((match) => match[1] ?? '') : [descriptor]
  return `${name} ${paths.map(short).join(' -> ')}`
}

t.test('a file is on disk before it gets its name, and the name before the call returns', async (t) => {
  const root = t.testdir({ d: { h: { 'ca.crt': 'old' } } })
  t.same(tracedCalls(root, [{ put: '/d/h/ca.crt', folder: '/d', text: 'new' }]), [
    'mkdir FD/.registry-trust.tmp',
    'write d/.registry-trust.tmp/T',
    'fchmod d/.registry-trust.tmp/T',
    'fsync d/.registry-trust.tmp/T',
    'rename FD/T -> FD/ca.crt',
    'fsync d/h',
    'fsync d/.registry-trust.tmp',
    'rmdir FD/.registry-trust.tmp',
  ])
})

t.test('a folder is on disk with all its files before it gets its name', async (t) => {
  const root = t.testdir({ d: {} })
  t.same(tracedCalls(root, [{ putFolder: '/d/h', folder: '/d', files: { 'ca.crt': 'CA', 'hosts.toml': 'ca' } }]), [
    'mkdir FD/.registry-trust.tmp',
    'mkdir FD/T',
    'write d/.registry-trust.tmp/T/ca.crt',
    'write d/.registry-trust.tmp/T/hosts.toml',
    'fchmod d/.registry-trust.tmp/T/ca.crt',
    'fchmod d/.registry-trust.tmp/T/hosts.toml',
    'fsync d/.registry-trust.tmp/T/ca.crt',
    'fsync d/.registry-trust.tmp/T/hosts.toml',
    'chmod FD/.',
    'fsync d/.registry-trust.tmp/T',
    'rename FD/T -> FD/h',
    'fsync d',
    'fsync d/.registry-trust.tmp',
    'rmdir FD/.registry-trust.tmp',
  ])
})

t.test('a folder is renamed out of sight before anything in it is deleted', async (t) => {
  const root = t.testdir({ d: { h: { 'ca.crt': 'CA' } } })
  const calls = tracedCalls(root, [{ removeFolder: '/d/h', folder: '/d' }])
  t.same(calls.slice(0, 3), ['mkdir FD/.registry-trust.tmp', 'rename FD/h -> FD/T', 'fsync d'])
  t.ok(calls.slice(3).length > 0)
  t.same(tree(join(root, 'd')), {})
})

t.test('a removed file is gone from the disk when the call returns', async (t) => {
  const root = t.testdir({ d: { 'ca.crt': 'CA' } })
  t.same(tracedCalls(root, [{ remove: '/d/ca.crt', folder: '/d' }]), ['unlink FD/ca.crt', 'fsync d'])
})

t.test('what is right already causes no call at all', async (t) => {
  const root = t.testdir({ d: {} })
  await nodeFiles({ root }).put(
    '/d/ca.crt',
    { kind: 'file', bytes: Buffer.from('CA'), mode: 0o644, uid: 0, gid: 0 },
    { folder: '/d' },
  )
  t.same(tracedCalls(root, [{ put: '/d/ca.crt', folder: '/d', text: 'CA' }]), [])
})

t.test('death at any call leaves the old or the new, and sweep the rest', { timeout: 240_000 }, async (t) => {
  const root = t.testdir({})
  const before = { 'old.crt': 'old', h: { 'ca.crt': 'CA' } }
  const operations: readonly Operation[] = [
    { put: '/d/old.crt', folder: '/d', text: 'new' },
    { putFolder: '/d/fresh', folder: '/d', files: { 'ca.crt': 'CA', 'hosts.toml': 'ca' } },
    { removeFolder: '/d/h', folder: '/d' },
  ]
  const deaths = [
    ...[1, 2, 3, 4, 5, 6, 7, 8, 9].map((count) => `fsync:signal=KILL:when=${count}`),
    ...[1, 2, 3].map((count) => `rename:signal=KILL:when=${count}`),
    ...[1, 2, 3].map((count) => `rmdir:signal=KILL:when=${count}`),
    'fchmod:signal=KILL:when=1',
  ]
  const seen = new Set<string>()
  for (const death of deaths) {
    layOut(join(root, 'd'), before)
    const { signal } = runOperations(root, operations, [
      'strace',
      '-f',
      '-qq',
      '-e',
      `trace=${death.split(':')[0]}`,
      '-e',
      `inject=${death}`,
      '-o',
      '/dev/null',
    ])
    t.equal(signal, 'SIGKILL', `${death}: died`)
    await nodeFiles({ root }).sweep('/d')
    const {
      'old.crt': file,
      fresh,
      'fresh/ca.crt': ca,
      'fresh/hosts.toml': hosts,
      h,
      'h/ca.crt': removed,
      ...rest
    } = tree(join(root, 'd'))
    t.same(rest, {}, `${death}: nothing else is there`)
    t.match(file, /^644 0:0 (old|new)$/, `${death}: the file is old or new`)
    t.same(
      [ca, hosts],
      fresh === undefined ? [undefined, undefined] : ['644 0:0 CA', '644 0:0 ca'],
      `${death}: the new folder is complete or absent`,
    )
    t.equal(removed, h === undefined ? undefined : '644 0:0 CA', `${death}: the removed folder is complete or absent`)
    seen.add([file?.slice(8), fresh === undefined, h === undefined].join())
  }
  t.ok(seen.size >= 4, `the deaths were spread over the three operations: ${[...seen].join(' ')}`)
})

function layOut(
  folder: string,
  content: { readonly 'old.crt': string; readonly h: { readonly 'ca.crt': string } },
): void {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(join(folder, 'h'), { recursive: true })
  writeFileSync(join(folder, 'old.crt'), content['old.crt'])
  writeFileSync(join(folder, 'h/ca.crt'), content.h['ca.crt'])
}
