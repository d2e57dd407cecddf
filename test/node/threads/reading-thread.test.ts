// A thread that reads the configuration holds up nobody: it is given up when it does not end.
import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readingThread } from '../../../agent/node/threads/reading-thread.ts'

t.test('a thread that waits in the kernel and cannot be ended is not waited for', async (t) => {
  const folder = t.testdir()
  const pipe = join(folder, 'pipe')
  const program = join(folder, 'blocked.mjs')
  execFileSync('mkfifo', [pipe])
  // Stands for a mount that hangs: opening a pipe that nobody writes to does not return, and no signal is sent to it.
  writeFileSync(program, `import { openSync } from 'node:fs'\nopenSync(${JSON.stringify(pipe)}, 'r')\n`)
  const began = performance.now()
  const end = await Promise.race([
    readingThread({ program, patienceMs: 200 })({}, () => undefined),
    new Promise((resolve) => setTimeout(resolve, 8_000, 'still waiting')),
  ])
  // Lets it go, so that this process can end.
  closeSync(openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK))
  t.match(end, { ok: false, reason: /reading it takes longer than 0\.2 s/ })
  t.ok(performance.now() - began < 6_000)
})
