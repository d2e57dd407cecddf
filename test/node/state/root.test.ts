// Every path of the state folder is one of the node: a link on the way to it is resolved below the root, whoever
// follows it.
import { chmodSync, existsSync, mkdirSync, readFileSync, statfsSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { nodeFiles } from '../../../agent/node/files/files.ts'
import { nodeLock } from '../../../agent/node/state/lock.ts'
import { stateStore } from '../../../agent/node/state/state-store.ts'

const STATE = '/var/lib/registry-trust'

t.test('the audit log is written below the root, where a link on the way leads out of it', async (t) => {
  const folder = t.testdir({ root: { var: {}, real: {} }, real: {} })
  const root = join(folder, 'root')
  symlinkSync('/real', join(root, 'var/lib'))
  const files = nodeFiles({ root })
  await stateStore({ files, folder: STATE }).audit({ event: 'test' })
  t.match(readFileSync(join(root, 'real/registry-trust/audit.jsonl'), 'utf8'), /"event":"test"/)
  t.notOk(existsSync(join(folder, 'real/registry-trust')))
})

t.test('a link that leads above the root ends at the root', async (t) => {
  const folder = t.testdir({ root: { var: {} }, outside: {} })
  const root = join(folder, 'root')
  symlinkSync('../../outside', join(root, 'var/lib'))
  const files = nodeFiles({ root })
  mkdirSync(join(root, 'outside'))
  await stateStore({ files, folder: STATE }).audit({ event: 'test' })
  t.ok(existsSync(join(root, 'outside/registry-trust/audit.jsonl')))
  t.notOk(existsSync(join(folder, 'outside/registry-trust')))
})

t.test('free room is asked of the folder below the root', async (t) => {
  const root = t.testdir({ var: {} })
  symlinkSync('/proc', join(root, 'var/lib'))
  t.equal(await nodeFiles({ root }).freeBytes('/var/lib'), undefined, 'there is no /proc below the root')
  const { bfree, bsize } = statfsSync(root)
  const free = (await nodeFiles({ root }).freeBytes('/var')) ?? 0
  t.ok(Math.abs(free - bfree * bsize) < 2 ** 30)
})

t.test('a state folder that others can write to is not used', async (t) => {
  const folder = join(t.testdir({ state: {} }), 'state')
  for (const mode of [0o777, 0o702, 0o1777]) {
    chmodSync(folder, mode)
    const message = new RegExp(`can be written by others \\(mode ${mode.toString(8)}\\).*chmod 700`)
    await t.rejects(nodeLock({ folder }).acquire(), { code: 'STATE_UNREADABLE', message })
  }
  chmodSync(folder, 0o755)
  const held = await nodeLock({ folder }).acquire()
  await held.release()
})
