// Access lists, extended attributes and labels stay on a file that is replaced, or it is said that they could not.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { attributeCopier } from '../../../agent/node/files/attributes.ts'
import { nodeFiles } from '../../../agent/node/files/files.ts'
import { attributesOf, giveAttributes } from '../../fixtures/scratch/attributes.ts'

const MACHINE = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }[process.arch as string] ?? ''

function content(text: string, mode = 0o644) {
  return { kind: 'file', bytes: Buffer.from(text), mode, uid: 0, gid: 0 } as const
}

/** Of each kind of file system that nodes have and this machine can show. */
const FOLDERS = [tmpdir(), ...(existsSync('/dev/shm') ? ['/dev/shm'] : [])]

function scratch(t: Test, base = tmpdir()): string {
  const root = mkdtempSync(join(base, 'rt-attributes-'))
  t.teardown(() => rmSync(root, { recursive: true, force: true }))
  mkdirSync(join(root, 'd'))
  return root
}

for (const base of FOLDERS)
  t.test(`an edit below ${base} keeps access list, extended attributes and label`, async (t) => {
    const root = scratch(t, base)
    const file = join(root, 'd/config.toml')
    writeFileSync(file, 'theirs', { mode: 0o640 })
    giveAttributes(file)
    const before = attributesOf(file)
    t.match(before, /^user:nobody:r--$/m)
    t.match(before, /^security\.selinux=.*etc_t/m)
    const lost: string[] = []
    const options = { folder: '/d', ifAttributesLost: (reason: string) => lost.push(reason) }
    await nodeFiles({ root }).put('/d/config.toml', content('ours', 0o640), options)
    t.equal(readFileSync(file, 'utf8'), 'ours')
    t.equal(attributesOf(file), before)
    t.same(lost, [])
    await nodeFiles({ root }).put('/d/config.toml', content('theirs', 0o644), options)
    t.equal(statSync(file).mode & 0o777, 0o644, 'the mode is the one that is asked for')
    t.match(attributesOf(file), /^user\.note="theirs"$/m)
  })

t.test('without the option, and where there was no file, nothing is taken over', async (t) => {
  const root = scratch(t)
  const files = nodeFiles({ root })
  writeFileSync(join(root, 'd/a'), 'x')
  giveAttributes(join(root, 'd/a'))
  await files.put('/d/a', content('y'), { folder: '/d' })
  t.notMatch(attributesOf(join(root, 'd/a')), /user\.note/)
  symlinkSync('a', join(root, 'd/link'))
  for (const path of ['/d/new', '/d/link'])
    await files.put(path, content('z'), { folder: '/d', ifAttributesLost: (reason) => t.fail(reason) })
})

t.test('in a Pod the cp of the node does it, with the loader and the libraries of the node', async (t) => {
  const root = scratch(t)
  const folder = join(root, 'usr/lib', MACHINE)
  mkdirSync(join(root, 'usr/bin'), { recursive: true })
  mkdirSync(folder, { recursive: true })
  for (const library of execFileSync('ldd', ['/usr/bin/cp'], { encoding: 'utf8' }).matchAll(/(\/\S+)/g))
    execFileSync('cp', ['-L', library[1] ?? '', folder])
  execFileSync('cp', ['/usr/bin/cp', join(root, 'usr/bin')])
  t.equal(await copied(t, root, []), undefined)
  rmSync(join(root, 'usr/bin/cp'))
  t.match(await copied(t, root, []), /there is no cp/)
})

t.test('what cannot be copied is said, and what is written stays written', async (t) => {
  const root = scratch(t)
  mkdirSync(join(root, 'bin'))
  for (const [script, said] of [
    ['echo "cp: unrecognized option: attributes-only" >&2; exit 1', /unrecognized option/],
    ['exit 3', /^cp ended with 3$/],
    ['kill -9 $$', /ended by SIGKILL/],
  ] as const) {
    writeFileSync(join(root, 'bin/cp'), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
    t.match(await copied(t, root, [join(root, 'bin/cp')]), said)
  }
  // Whoever has no capability may read security.note, and not set it.
  const dropped = '#!/bin/sh\nexec setpriv --bounding-set -all --inh-caps -all --no-new-privs /usr/bin/cp "$@"\n'
  writeFileSync(join(root, 'bin/cp'), dropped, { mode: 0o755 })
  t.match(await copied(t, root, [join(root, 'bin/cp')]), /security\.note.*Operation not permitted/)
})

async function copied(t: Test, root: string, own: readonly string[]): Promise<string | undefined> {
  const [from, to] = [join(root, 'd/from'), join(root, 'd/to')]
  writeFileSync(from, 'x')
  giveAttributes(from)
  execFileSync('setfattr', ['-n', 'security.note', '-v', 'theirs', from])
  writeFileSync(to, 'written')
  const handle = await open(to, 'r+')
  const reason = await attributeCopier({ root, own })(from, handle)
  await handle.close()
  t.equal(readFileSync(to, 'utf8'), 'written')
  if (reason === undefined) t.equal(attributesOf(to), attributesOf(from))
  return reason
}

t.test('a cp that has left somebody behind with its output, and one that does not end, hold up nobody', async (t) => {
  const folder = t.testdir({ original: 'x' })
  const left = join(folder, 'left')
  writeFileSync(left, '#!/bin/sh\nsetsid sleep 20 &\n', { mode: 0o755 })
  const endless = join(folder, 'endless')
  writeFileSync(endless, '#!/bin/sh\nsetsid sleep 20 &\nsleep 20\n', { mode: 0o755 })
  const staged = await open(join(folder, 'staged'), 'w')
  t.teardown(() => staged.close())
  const began = performance.now()
  t.equal(await attributeCopier({ root: '/', own: [left] })(join(folder, 'original'), staged), undefined)
  t.match(await attributeCopier({ root: '/', own: [endless] })(join(folder, 'original'), staged), /ended by SIGKILL/)
  const took = performance.now() - began
  t.ok(took < 12_000, `${Math.round(took)} ms`)
})
