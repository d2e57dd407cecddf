import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdirSync, symlinkSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { systemClock } from '../../../agent/node/clock.ts'
import { inputFiles } from '../../../agent/node/files/input-files.ts'

const BOUND = { maxBytes: 8 }
const ROOMY = { maxBytes: 64 }

t.test('tells a file, a folder, nothing, too much and the unreadable apart', async (t) => {
  const root = t.testdir({
    eight: '12345678',
    nine: '123456789',
    empty: '',
    dir: {},
    loop: t.fixture('symlink', 'loop'),
  })
  execFileSync('mkfifo', [join(root, 'pipe')])
  const read = (name: string) => inputFiles().read(join(root, name), BOUND)
  t.same(await read('eight'), { kind: 'file', bytes: Buffer.from('12345678') })
  t.same(await read('empty'), { kind: 'file', bytes: Buffer.alloc(0) })
  t.same(await read('nine'), { kind: 'too-large', bytes: 9 })
  t.same(await read('dir'), { kind: 'folder' })
  t.same(await read('none'), { kind: 'absent' })
  t.same(await read('eight/below'), { kind: 'absent' })
  t.same(await read('pipe'), { kind: 'unreadable', reason: 'not a regular file' })
  t.match(await read('loop'), { kind: 'unreadable', reason: /too many symbolic links/ })
})

t.test('reads the keys of a ConfigMap through its links and does not list how kubelet swaps them', async (t) => {
  const root = t.testdir({ '..2026': { 'ca.pem': 'CA', 'trust.yaml': 'a: 1' } })
  symlinkSync('..2026', join(root, '..data'))
  for (const key of ['trust.yaml', 'ca.pem']) symlinkSync(`..data/${key}`, join(root, key))
  mkdirSync(join(root, 'registries.d'))
  t.same(await inputFiles().list(root), ['ca.pem', 'registries.d', 'trust.yaml'])
  t.same(await inputFiles().read(join(root, 'ca.pem'), BOUND), { kind: 'file', bytes: Buffer.from('CA') })
  t.same(await inputFiles().list(join(root, 'none')), [])
})

t.test(
  'a file that somebody writes slowly is not taken for the whole; what the kubelet swaps is read at once',
  async (t) => {
    const root = t.testdir({ slow: 'registries:\n  - host: a.exam', whole: 'a', '..1': { key: 'no line feed' } })
    const slow = inputFiles().read(join(root, 'slow'), ROOMY)
    await sleep(100)
    appendFileSync(join(root, 'slow'), 'ple.net\n')
    t.same(await slow, { kind: 'file', bytes: Buffer.from('registries:\n  - host: a.example.net\n') })
    symlinkSync('..1/key', join(root, 'key'))
    const begun = performance.now()
    t.match(await inputFiles().read(join(root, 'key'), ROOMY), { kind: 'file' })
    t.ok(performance.now() - begun < 100)
    const old = new Date(Date.now() - 60_000)
    utimesSync(join(root, 'whole'), old, old)
    t.match(await inputFiles().read(join(root, 'whole'), ROOMY), { kind: 'file' })
    t.ok(performance.now() - begun < 100, 'nor is a file that has no line feed for longer')
  },
)

t.test('the clock sleeps as long as asked, or until the signal with its reason', async (t) => {
  const clock = systemClock()
  const started = clock.now()
  await clock.sleep(20)
  t.ok(clock.now() - started >= 19)
  const abort = new AbortController()
  const sleeping = clock.sleep(60_000, { signal: abort.signal })
  abort.abort(new Error('the agent stops'))
  await t.rejects(sleeping, { message: 'the agent stops' })
  await t.rejects(clock.sleep(1, { signal: abort.signal }), { message: 'the agent stops' })
})
