// Starts file-operations.ts, directly or through another program (unshare, strace, setpriv), and gives back its outcomes.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Operation, Outcome } from './file-operations.ts'

const SCRIPT = fileURLToPath(new URL('file-operations.ts', import.meta.url))

export type Run = { readonly outcomes: readonly Outcome[]; readonly signal: string | null; readonly stderr: string }

export function runOperations(root: string, operations: readonly Operation[], through: readonly string[] = []): Run {
  const command = [
    ...through,
    process.execPath,
    SCRIPT,
    root,
    ...operations.map((operation) => JSON.stringify(operation)),
  ]
  const { stdout, stderr, signal, error } = spawnSync(command[0] ?? '', command.slice(1), {
    encoding: 'utf8',
    timeout: 20_000,
    // One thread does all file calls, so that a tracer counts them in order.
    env: { PATH: process.env['PATH'], UV_THREADPOOL_SIZE: '1' },
  })
  if (error !== undefined) throw error
  return { outcomes: stdout.trim() === '' ? [] : JSON.parse(stdout), signal, stderr }
}

/** Runs the operations in a mount namespace of its own, after one shell script and before another; `$0` in them is the root. */
export function runInNamespace(root: string, script: string, operations: readonly Operation[], afterwards = ''): Run {
  return runOperations(root, operations, ['unshare', '-m', 'sh', '-ec', `${script}\n"$@"\n${afterwards}`, root])
}
