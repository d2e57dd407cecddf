// Links and names that try to lead a write out of the folder of its target, for every operation that writes.
import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { AgentError } from '../../../agent/model/errors.ts'
import type { FileContent } from '../../../agent/model/plan.ts'
import { nodeFiles } from '../../../agent/node/files/files.ts'
import { tree } from '../../fixtures/scratch/tree.ts'

function file(text: string, mode = 0o644): FileContent {
  return { kind: 'file', bytes: Buffer.from(text), mode, uid: 0, gid: 0 }
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'nothing thrown',
    (error: unknown) => (error instanceof AgentError ? error.code : String(error)),
  )
}

t.test('attacks', async (t) => {
  const attacked = (test: Test) => {
    const base = test.testdir({ root: { d: { real: {} } }, outside: { 'ca.crt': 'outside', sub: {} } })
    const root = join(base, 'root')
    return { root, files: nodeFiles({ root }), outside: join(base, 'outside'), before: tree(join(base, 'outside')) }
  }
  const operations: readonly (readonly [
    string,
    (files: ReturnType<typeof nodeFiles>, path: string) => Promise<void>,
  ])[] = [
    ['put a file', (files, path) => files.put(path, file('evil'), { folder: '/d' })],
    ['put a link', (files, path) => files.put(path, { kind: 'link', to: 'x' }, { folder: '/d' })],
    ['put a folder', (files, path) => files.put(path, { kind: 'folder', mode: 0o755 }, { folder: '/d' })],
    ['remove', (files, path) => files.put(path, { kind: 'absent' }, { folder: '/d' })],
    [
      'putFolder',
      (files, path) =>
        files.putFolder(path, [{ name: 'ca.crt', content: file('evil') }], { folder: '/d', mode: 0o755 }),
    ],
    ['removeFolder', (files, path) => files.removeFolder(path, { folder: '/d' })],
  ]
  const paths = [
    '/d/link/ca.crt',
    '/d/../outside/ca.crt',
    '/d',
    '/d/',
    '/d/.',
    '/elsewhere/ca.crt',
    'd/relative',
    '/dd/x',
    '/d/real/../../x',
    '/d/a\0b',
    '/d/.registry-trust.tmp/x',
    '/d/real/',
  ]
  for (const [what, operation] of operations) {
    for (const path of paths) {
      t.test(`${what} at ${JSON.stringify(path)} is refused`, async (t) => {
        const { root, files, outside, before } = attacked(t)
        symlinkSync(outside, join(root, 'd/link'))
        t.equal(await codeOf(operation(files, path)), 'FILE_OUTSIDE_TARGET')
        t.same(tree(outside), before)
        t.same(
          Object.keys(tree(root)).filter((name) => !name.startsWith('d/link/')),
          ['d', 'd/link', 'd/real'],
        )
      })
    }
    t.test(`${what} does not go through a staging folder that is a link`, async (t) => {
      const { root, files, outside, before } = attacked(t)
      symlinkSync(outside, join(root, 'd/.registry-trust.tmp'))
      if (what === 'remove')
        return t.equal(await codeOf(operation(files, '/d/real')), 'nothing thrown', 'removing needs no staging')
      const path = what === 'removeFolder' ? '/d/real' : '/d/new'
      t.equal(await codeOf(operation(files, path)), 'FILE_OUTSIDE_TARGET')
      t.same(tree(outside), before)
      t.equal(await codeOf(files.sweep('/d')), 'FILE_OUTSIDE_TARGET')
      return t.same(tree(outside), before)
    })
  }

  t.test('a folder of the target that links outside is looked up below the root', async (t) => {
    const { root, files, outside, before } = attacked(t)
    symlinkSync(outside, join(root, 'escape'))
    t.equal(await codeOf(files.put('/escape/ca.crt', file('evil'), { folder: '/escape' })), 'WRITE_FAILED')
    t.same(tree(outside), before)
  })
})
