// Making system calls fail: which calls a program makes below a folder, and the same program with one of them failing or its last.
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** Every call with which a file comes, changes or goes, and those that make it durable. */
const CALLS =
  'openat,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,symlink,symlinkat,link,linkat,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,ftruncate'

const HANGS_MS = 10_000

/** The `when`th call of that name in a thread. */
export type Point = { readonly call: string; readonly when: number }

export type Fault = Point & { readonly effect: 'KILL' | 'EIO' | 'ENOSPC' | 'EROFS' | 'EACCES' }

export type Ended = {
  readonly stdout: string
  readonly killed: boolean
  /** How often the program came to the fault: never, when its threads ran in another order. */
  readonly hits: number
  /** The first time was before it went on to rename a file that matches `watershed`. */
  readonly isEarly: boolean
}

/** The points at which the program touches something below `folder`, each once. */
export async function trace(
  argv: readonly string[],
  { folder, log }: { readonly folder: string; readonly log: string },
): Promise<readonly Point[]> {
  await run(['strace', '-f', '-y', '--seccomp-bpf', '-e', `trace=${CALLS}`, '-o', log, '--', ...argv])
  const counts = new Map<string, number>()
  const points = new Map<string, Point>()
  for (const line of readFileSync(log, 'utf8').split('\n')) {
    const [, thread, call = ''] = /^(\d+) +(\w+)\(/.exec(line) ?? []
    if (thread === undefined) continue
    const when = (counts.get(`${thread} ${call}`) ?? 0) + 1
    counts.set(`${thread} ${call}`, when)
    // The agent reaches everything below its root through open folders.
    const isBelow = line.includes(`${folder}/`) || line.includes('"/proc/self/fd/')
    if (isBelow) {
      // A fault happens in each thread that comes to it: the first one counts.
      const key = `${call} ${when}`
      points.set(key, points.get(key) ?? { call, when })
    }
  }
  return [...points.values()]
}

/** Runs the program with one fault. */
export async function withFault(
  argv: readonly string[],
  { call, when, effect }: Fault,
  { watershed, log }: { readonly watershed: RegExp; readonly log: string },
): Promise<Ended> {
  // With its seccomp filter strace is quicker, but then it sends no signals.
  const what = effect === 'KILL' ? ['-e', `inject=${call}:signal=KILL:when=${when}`] : []
  const fails = effect === 'KILL' ? [] : ['--seccomp-bpf', '-e', `inject=${call}:error=${effect}:when=${when}`]
  const options = ['-f', '-e', `trace=${call},?rename,?renameat,?renameat2`, ...what, ...fails, '-o', log]
  const { stdout, killed } = await run(['strace', ...options, '--', ...argv])
  const lines = readFileSync(log, 'utf8').split('\n')
  const hits = lines.flatMap((line, index) => (line.includes('(INJECTED)') ? [index] : []))
  const isOver = (line: string) => /\brename\w*\(/.test(line) && watershed.test(line) && !line.includes('(INJECTED)')
  const isEarly = (hits[0] ?? Number.POSITIVE_INFINITY) < lines.findIndex(isOver)
  return { stdout, killed, hits: killed ? 1 : hits.length, isEarly }
}

function run(argv: readonly string[]): Promise<{ readonly stdout: string; readonly killed: boolean }> {
  // One thread does all file calls, so that they come in the same order each time.
  const env = { PATH: process.env['PATH'], UV_THREADPOOL_SIZE: '1' }
  // tap would have each child load its own modules first, and the fault would happen there.
  const child = spawn('env', ['-u', 'NODE_OPTIONS', ...argv], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  })
  // A failed write may also be one with which a thread wakes another: the program waits for ever then, and is killed as well.
  const timer = setTimeout(() => process.kill(-(child.pid ?? 0), 'SIGKILL'), HANGS_MS)
  let stdout = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    // strace ends as its program did.
    child.once('close', (_, signal) => {
      clearTimeout(timer)
      resolve({ stdout, killed: signal !== null })
    })
  })
}
