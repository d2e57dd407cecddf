import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { nodeLock } from '../../../agent/node/state/lock.ts'

const SCRIPT = fileURLToPath(new URL('../../fixtures/scratch/hold-lock.ts', import.meta.url))

async function holder(
  test: { teardown(work: () => unknown): unknown },
  folder: string,
  through: readonly string[] = [],
): Promise<ChildProcess> {
  const [command = '', ...args] = [...through, process.execPath, SCRIPT, folder]
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  test.teardown(() => child.kill('SIGKILL'))
  if (child.stdout !== null) await once(child.stdout, 'data')
  return child
}

t.test('a second agent is told who holds the lock', async (t) => {
  const folder = t.testdir({})
  const child = await holder(t, folder)
  await t.rejects(nodeLock({ folder }).acquire(), {
    code: 'LOCKED',
    message: new RegExp(
      `another agent \\(pid ${child.pid} on .+, since 20.+Z\\) works on this node and holds ${folder}/lock`,
    ),
    detail: { pid: child.pid },
  })
})

t.test('the lock of an agent that was killed is free at once', async (t) => {
  const folder = t.testdir({})
  const child = await holder(t, folder)
  child.kill('SIGKILL')
  await once(child, 'exit')
  const lock = await nodeLock({ folder }).acquire()
  await lock.release()
  t.same(readdirSync(folder), ['lock'])
})

t.test('it holds across network and pid namespaces, as between a Pod and the node', async (t) => {
  const folder = t.testdir({})
  await holder(t, folder, ['unshare', '--net', '--pid', '--fork', '--kill-child', '--mount'])
  await t.rejects(nodeLock({ folder }).acquire(), { code: 'LOCKED' })
})

t.test('two locks of one process exclude each other, and release frees', async (t) => {
  const folder = join(t.testdir({}), 'made/when/needed')
  const first = await nodeLock({ folder }).acquire()
  t.equal(statSync(folder).mode & 0o777, 0o700)
  t.equal(statSync(join(folder, 'lock')).mode & 0o777, 0o600)
  await t.rejects(nodeLock({ folder }).acquire(), { code: 'LOCKED', message: new RegExp(`pid ${process.pid} on`) })
  await t.rejects(nodeLock({ folder }).acquire(), { code: 'LOCKED' }, 'a refused attempt does not free it')
  await first.release()
  await first.release()
  const second = await nodeLock({ folder }).acquire()
  await t.rejects(
    nodeLock({ folder }).acquire(),
    { code: 'LOCKED' },
    'releasing twice freed nothing of the next holder',
  )
  await second.release()
})

t.test('says what is wrong with the folder', async (t) => {
  const root = t.testdir({ file: '' })
  await t.rejects(nodeLock({ folder: join(root, 'file/below') }).acquire(), {
    code: 'WRITE_FAILED',
    message: /cannot lock .*file\/below\/lock: not a directory/,
  })
})

t.test('does without the name of a holder that left nonsense', async (t) => {
  const folder = t.testdir({})
  await holder(t, folder)
  for (const text of ['', 'null', '{"pid":"x"}']) {
    writeFileSync(join(folder, 'lock-holder.json'), text)
    await t.rejects(nodeLock({ folder }).acquire(), { code: 'LOCKED', message: /^another agent works on this node/ })
  }
})
