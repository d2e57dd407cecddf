// Runs a program that answers at once. The rule: it is waited for no longer than said, whatever it does with SIGTERM,
// whoever holds its output, and also where the kernel cannot end it.
import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

/** From SIGKILL to the end. */
const END_MS = 1_000

/** Its standard output. Throws the errors of execFile, and an error where it goes on after SIGKILL. */
export async function shortRun(
  program: string,
  args: readonly string[],
  { timeoutMs, env = process.env }: { readonly timeoutMs: number; readonly env?: NodeJS.ProcessEnv },
): Promise<string> {
  const ended = new AbortController()
  const options = { timeout: timeoutMs, killSignal: 'SIGKILL', env } as const
  const late = sleep(timeoutMs + END_MS, undefined, { signal: ended.signal }).then(() => {
    throw new Error(`${program} did not end within ${timeoutMs + END_MS} ms, not even after SIGKILL`)
  })
  late.catch(() => undefined)
  try {
    const { stdout } = await Promise.race([promisify(execFile)(program, [...args], options), late])
    return stdout
  } finally {
    ended.abort()
  }
}
