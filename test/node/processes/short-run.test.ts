// A program that is asked something short holds up nobody, whatever it does.
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { shortRun } from '../../../agent/node/processes/short-run.ts'

function program(t: Test, script: string): string {
  const path = join(t.testdir(), 'program')
  writeFileSync(path, `#!/bin/sh\n${script}\n`)
  chmodSync(path, 0o755)
  return path
}

t.test('gives what the program wrote', async (t) => {
  t.equal(await shortRun(program(t, 'echo "$1 $NAME"'), ['a'], { timeoutMs: 5_000, env: { NAME: 'b' } }), 'a b\n')
})

t.test('a program that ignores SIGTERM is waited for no longer than said', async (t) => {
  const began = performance.now()
  await t.rejects(shortRun(program(t, 'trap "" TERM\nsleep 20; exit 1'), [], { timeoutMs: 300 }))
  const took = performance.now() - began
  t.ok(took < 5_000, `${Math.round(took)} ms`)
})

t.test('what it has left behind with its output is waited for no longer either', async (t) => {
  const began = performance.now()
  const left = program(t, 'echo said; setsid sleep 20 &')
  await shortRun(left, [], { timeoutMs: 300 }).catch(() => undefined)
  const took = performance.now() - began
  t.ok(took < 5_000, `${Math.round(took)} ms`)
})
