// A set of private Linux namespaces (mount, network, pid, ipc, uts, cgroup) with one process 1, and ways to run programs in them.
// Everything in them dies and everything they wrote vanishes with `dispose`, or with this process: holder.sh sees to it.
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'

export type ExecResult = { readonly code: number; readonly stdout: string; readonly stderr: string }

export type ExecOptions = {
  readonly env?: { readonly [name: string]: string }
  readonly input?: string | Buffer
  readonly timeoutMs?: number
  /** A folder inside the node; default "/". */
  readonly cwd?: string
}

/** `node`: all namespaces, as a program on the node. `neighbour`: the node's network alone, with the machine's own files. */
export type Place = 'node' | 'neighbour'

export type StartOptions = {
  readonly env?: { readonly [name: string]: string }
  readonly cwd?: string
  readonly place?: Place
}

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
const NAMESPACE_FLAGS = {
  node: ['--mount', '--net', '--uts', '--ipc', '--pid', '--cgroup', '--root'],
  neighbour: ['--net', '--pid'],
} as const satisfies Record<Place, readonly string[]>
const OVERLAY_MAGIC = 0x794c7630
const BOOT_MS = 60_000

/** A program that goes on running inside the namespaces. */
export class Service {
  /** The pid as the node sees it. */
  readonly pid: number
  /** The exit code; 137 when a signal ended the program. */
  readonly exited: Promise<number>
  readonly #signal: (name: NodeJS.Signals) => Promise<void>
  readonly #out: Output
  readonly #err: Output

  constructor(
    pid: number,
    exited: Promise<number>,
    out: Output,
    err: Output,
    signal: (name: NodeJS.Signals) => Promise<void>,
  ) {
    this.pid = pid
    this.exited = exited
    this.#out = out
    this.#err = err
    this.#signal = signal
  }

  get stdout(): string {
    return this.#out.text
  }

  get stderr(): string {
    return this.#err.text
  }

  /**
   * Resolves when all that the program has written so far stands in `stdout` and `stderr`. What it did before it wrote can be seen
   * earlier: its answer comes by another way than its log.
   */
  async settled(): Promise<void> {
    // the event loop reads every pipe that has something between one turn and the next; twice, for a turn that has begun
    await turn()
    await turn()
  }

  /** Resolves with the first match in what the program has printed or will print, on either stream. */
  async waitFor(pattern: RegExp, timeoutMs = 30_000): Promise<RegExpExecArray> {
    const stop = new AbortController()
    const limits = { timeoutMs, signal: stop.signal }
    const found = await Promise.race([
      this.#out.match(pattern, limits),
      this.#err.match(pattern, limits),
      this.exited.then(() => undefined),
    ])
    stop.abort()
    const late = found ?? pattern.exec(this.stdout) ?? pattern.exec(this.stderr)
    if (late !== null && late !== undefined) return late
    throw new Error(`the program did not print ${pattern} within ${timeoutMs} ms:\n${this.stdout}${this.stderr}`)
  }

  async kill(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.#signal(signal)
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number> {
    await this.#signal(signal)
    return await this.exited
  }
}

/** What a stream has printed so far, and a way to wait for more without polling. */
export class Output {
  text = ''
  readonly #waiting = new Set<() => void>()

  constructor(stream: Readable) {
    stream.setEncoding('utf8')
    stream.on('data', (chunk: string) => {
      this.text += chunk
      for (const check of this.#waiting) check()
    })
  }

  /** The first match in what came or will come; undefined when time or the caller's patience ends first. */
  async match(
    pattern: RegExp,
    options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
  ): Promise<RegExpExecArray | undefined> {
    return await new Promise((resolve) => {
      const done = (found: RegExpExecArray | undefined) => {
        clearTimeout(timer)
        this.#waiting.delete(check)
        resolve(found)
      }
      const check = () => {
        const found = pattern.exec(this.text)
        if (found !== null) done(found)
      }
      const timer = setTimeout(done, options.timeoutMs, undefined)
      options.signal?.addEventListener('abort', () => done(undefined), { once: true })
      this.#waiting.add(check)
      check()
    })
  }
}

export class Namespaces {
  readonly name: string
  /** Folder of the machine that holds all the node writes; removed by dispose. */
  readonly scratch: string
  /** Process 1 of the node, as this machine sees it. */
  readonly pid: number
  readonly #holder: ChildProcess
  readonly #end: Promise<void>

  private constructor(name: string, scratch: string, pid: number, holder: ChildProcess, end: Promise<void>) {
    this.name = name
    this.scratch = scratch
    this.pid = pid
    this.#holder = holder
    this.#end = end
  }

  /** `prepare` fills the scratch folder before process 1 starts. */
  static async open(options: {
    readonly init: string
    readonly argv: (name: string, scratch: string) => readonly string[]
    readonly prepare?: (scratch: string) => void
  }): Promise<Namespaces> {
    const name = `rtnode-${process.pid}-${randomBytes(4).toString('hex')}`
    const scratch = mkdtempSync(join(scratchBase(), `${name}-`))
    try {
      options.prepare?.(scratch)
    } catch (error) {
      rmSync(scratch, { recursive: true, force: true })
      throw error
    }
    const holder = spawn(
      'bash',
      [script('holder.sh'), name, scratch, script(options.init), ...options.argv(name, scratch)],
      // its own session: Ctrl-C in the terminal must not kill the one process that cleans up
      { detached: true, stdio: ['pipe', 'pipe', 'pipe'], env: { PATH, LC_ALL: 'C' } },
    )
    const end = once(holder, 'exit').then(() => undefined)
    const out = new Output(holder.stdout)
    const err = new Output(holder.stderr)
    const ready = await Promise.race([out.match(/^ready (\d+)$/m, { timeoutMs: BOOT_MS }), end.then(() => undefined)])
    const pid = Number(ready?.[1])
    if (!Number.isInteger(pid)) {
      holder.stdin.destroy()
      await end
      throw new Error(`the namespaces of ${name} did not come up: ${err.text.trim() || 'no message'}`)
    }
    // a forgotten node must not keep the test process alive
    for (const stream of [holder.stdin, holder.stdout, holder.stderr]) {
      if ('unref' in stream && typeof stream.unref === 'function') stream.unref()
    }
    holder.unref()
    return new Namespaces(name, scratch, pid, holder, end)
  }

  /**
   * How a file of the node is reached from outside. The kernel resolves absolute links in it against the machine's own root:
   * read and write through `exec` where the path may hold one.
   */
  path(path: string): string {
    return `/proc/${this.pid}/root${path}`
  }

  async exec(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    const { timeoutMs = 60_000, input = '' } = options
    const child = spawn(
      'nsenter',
      this.#enter('node', options.cwd, ['setpriv', '--pdeathsig', 'KILL', '--', ...argv]),
      {
        env: environment(options.env),
        stdio: ['pipe', 'pipe', 'pipe'],
      },
    )
    const out = collect(child.stdout)
    const err = collect(child.stderr)
    // a program that does not read its input closes the pipe: that is no error of ours
    child.stdin.on('error', () => undefined)
    child.stdin.end(input)
    let timedOut = false
    const timer = setTimeout(() => {
      timedOut = true
      child.kill('SIGKILL')
    }, timeoutMs)
    const code = await exitCode(child)
    clearTimeout(timer)
    const [stdout, stderr] = [await out, await err]
    if (timedOut) throw new Error(`${argv.join(' ')}: no end within ${timeoutMs} ms\n${stdout}${stderr}`)
    return { code, stdout, stderr }
  }

  /** Starts a program that goes on running until it is stopped or the node ends. */
  async start(argv: readonly string[], options: StartOptions = {}): Promise<Service> {
    // the shell tells its pid inside and becomes the program: nsenter stays outside, and a signal to it would not arrive
    const tell = ['sh', '-c', 'echo $$ >&3; exec 3>&-; exec setpriv --pdeathsig KILL -- "$@"', 'sh', ...argv]
    const child = spawn('nsenter', this.#enter(options.place ?? 'node', options.cwd, tell), {
      env: environment(options.env),
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    })
    const [out, err, third] = [child.stdout, child.stderr, child.stdio[3]] as [Readable, Readable, Readable]
    const exited = exitCode(child)
    const stdout = new Output(out)
    const stderr = new Output(err)
    // nsenter keeps its end of the pipe open as long as the program runs: wait for the line, not for the end
    const line = await Promise.race([
      new Output(third).match(/^(\d+)$/m, { timeoutMs: BOOT_MS }),
      exited.then(() => undefined),
    ])
    const pid = Number(line?.[1])
    if (!Number.isInteger(pid)) throw new Error(`${argv.join(' ')}: did not start: ${stderr.text}`)
    return new Service(pid, exited, stdout, stderr, async (signal) => {
      await this.exec(['sh', '-c', `kill -s ${signal.slice(3)} ${pid} 2>/dev/null`])
    })
  }

  /** Resolves when no process, mount, cgroup or file of the node is left. */
  async dispose(): Promise<void> {
    this.#holder.ref()
    this.#holder.stdin?.destroy()
    await this.#end
  }

  #enter(place: Place, cwd: string | undefined, argv: readonly string[]): string[] {
    const folder = place === 'node' ? [`--wd=${this.path(cwd ?? '/')}`] : []
    return ['--target', String(this.pid), ...NAMESPACE_FLAGS[place], ...folder, '--', ...argv]
  }
}

function script(name: string): string {
  return join(import.meta.dirname, name)
}

function environment(extra: { readonly [name: string]: string } | undefined): NodeJS.ProcessEnv {
  return { PATH, HOME: '/root', LANG: 'C.UTF-8', ...extra }
}

async function exitCode(child: ChildProcess): Promise<number> {
  return await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => resolve(code ?? 137))
  })
}

async function collect(stream: Readable): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

/** The first usual folder for temporary files that is no overlay: the kernel does not put an overlay's upper layer on an overlay. */
function scratchBase(): string {
  const candidates = [tmpdir(), '/var/tmp', '/dev/shm']
  const base = candidates.find((folder) => {
    try {
      return statfsSync(folder).type !== OVERLAY_MAGIC
    } catch {
      return false
    }
  })
  if (base === undefined) throw new Error(`no folder for a node's files: ${candidates.join(', ')} are overlays`)
  mkdirSync(base, { recursive: true })
  return base
}
