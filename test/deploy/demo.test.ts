// The demo as a person runs it in a terminal: its page opens on the machine, and Ctrl-C ends it cleanly. One day with the
// containerd that it finds, the next with one that it is told; both with REGISTRY_TRUST_FULL=1.
import { spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { machineGeneration } from '../fixtures/node/generations.ts'
import { Output } from '../fixtures/node/namespaces.ts'
import { partOf } from '../fixtures/turn.ts'

const DEMO = join(import.meta.dirname, '../..', 'scripts/demo')

const FOUND: readonly string[] = []
const TOLD = ['--containerd', join(machineGeneration().bin, 'containerd')]

for (const flags of partOf([FOUND, TOLD], 2))
  t.test(
    `${['--keep', ...flags.slice(0, 1)].join(' ')} shows the page on 127.0.0.1 until Ctrl-C, then ends with 0 and leaves nothing`,
    async (t) => {
      // The documentation shows it without --keep: it ends by itself then, after the same steps.
      const program = spawn(DEMO, ['--keep', ...flags], {
        stdio: ['ignore', 'pipe', 'pipe'],
        // A process group of its own, as a terminal gives it.
        detached: true,
      })
      const ended = new Promise<number | null>((resolve) => program.once('exit', resolve))
      t.teardown(() => program.exitCode ?? program.kill('SIGKILL'))
      const [out, err] = [new Output(program.stdout), new Output(program.stderr)]
      const [, target = ''] = (await out.match(/nsenter --target (\d+) --all/, { timeoutMs: 120_000 })) ?? []
      const [url = ''] = /http:\/\/127\.0\.0\.1:\d+\//.exec(out.text) ?? []
      t.not(url, '', err.text)
      const page = await fetch(url)
      t.match([page.status, await page.text()], [200, /<html[\s\S]*harbor\.example\.net/])
      t.match(await (await fetch(`${url}status`)).json(), { state: 'converged' })
      process.kill(-(program.pid ?? 0), 'SIGINT')
      t.equal(await ended, 0, err.text)
      t.match(out.text, /What was shown\n[\s\S]*the pull before +fails: x509[\s\S]*the same pull after it +succeeds/)
      t.notOk(existsSync(`/proc/${target}`), 'the sandbox is gone')
      const left = ['/tmp', '/var/tmp', '/dev/shm'].flatMap((folder) => readdirSync(folder))
      t.same(
        left.filter((name) => name.startsWith(`rtnode-${program.pid}-`)),
        [],
      )
    },
  )
