// Runs a private copy of the node's own containerd on temporary folders (port RehearsalRunner). The rules: it gets no
// capability, its own process group and bounded memory, dies with the agent, and leaves nothing behind; only
// containerd's own words about its configuration count as a refusal: whatever else kept it from running is
// REHEARSAL_UNAVAILABLE.
import { type ChildProcess, spawn } from 'node:child_process'
import { accessSync, constants, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path/posix'
import { setTimeout as sleep } from 'node:timers/promises'
import { AgentError } from '../../model/errors.ts'
import type { CriClient, CriConnector, RehearsalDaemon, RehearsalRunner } from '../../model/ports.ts'
import { shortRun } from '../processes/short-run.ts'
import { isOwnTrouble, refusalOf } from './rehearsal-output.ts'
import { rehearsalScratches } from './rehearsal-scratch.ts'

const POLL_MS = 5
const MEMORY_CHECK_MS = 100
/** From the end of the copy to the end of what it wrote. */
const LAST_WORDS_MS = 500
/** From the kill to the end. */
const END_MS = 5_000
const MAX_RESIDENT_BYTES = 256 * 1024 * 1024
/** A hint for Go's collector, well below the limit. */
const GO_MEMORY_LIMIT = '160MiB'
const MAX_OUTPUT = 64 * 1024
const PAGE_BYTES = 4096

type Options = Parameters<RehearsalRunner['start']>[0]

type Running = {
  readonly child: ChildProcess
  readonly exit: Promise<Exit>
  /** The end of what it wrote to stderr, bounded. */
  output(): string
  /** Why the agent itself ended it, if it did. */
  stopped(): string | undefined
}

type Exit = { readonly code: number | null; readonly signal: NodeJS.Signals | null; readonly error?: Error }

export function rehearsalRunner(options: {
  readonly connect: CriConnector
  readonly baseFolder?: string
}): RehearsalRunner {
  const scratches = rehearsalScratches(options.baseFolder)
  return {
    scratch: scratches.create,
    start: (run) => start(run, options.connect),
    version: versionOf,
  }
}

const VERSION_MS = 5_000

/** `containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+b1`; upstream's builds write `v2.1.0`. */
async function versionOf(binary: string): Promise<string> {
  try {
    const stdout = await shortRun(binary, ['--version'], { timeoutMs: VERSION_MS, env: {} })
    const version = stdout.trim().split(/\s+/)[2]
    if (version === undefined) throw new Error(`no version in "${stdout.trim().slice(0, 200)}"`)
    return version
  } catch (error) {
    throw unavailable(`its version cannot be asked: ${error instanceof Error ? error.message : String(error)}`, binary)
  }
}

async function start(options: Options, connect: CriConnector): Promise<RehearsalDaemon> {
  options.signal?.throwIfAborted()
  const socket = join(options.scratch.folder, 'c.sock')
  const running = launch(options, socket)
  const deadline = performance.now() + options.timeoutMs
  let cri: CriClient | undefined
  try {
    while (performance.now() < deadline) {
      options.signal?.throwIfAborted()
      const exit = await Promise.race([running.exit, sleep(POLL_MS)])
      if (exit !== undefined) return { started: false, reason: reasonOf(exit, running, options.binary) }
      if (!existsSync(socket)) continue
      cri ??= connect(socket)
      if (await answers(cri, deadline, options.signal)) {
        const client = cri
        cri = undefined
        return { started: true, cri: client, stop: () => stop(running, client) }
      }
    }
    throw unavailable(`it did not answer within ${options.timeoutMs} ms: ${lastWords(running)}`, options.binary)
  } catch (error) {
    await stop(running, cri)
    if (error instanceof AgentError && error.code === 'CRI_NOT_LOADED') {
      return { started: false, reason: refusalOf(running.output()) ?? error.message }
    }
    throw error
  }
}

/** Throws where containerd says that it runs without CRI: that never changes by waiting. */
async function answers(cri: CriClient, deadline: number, signal: AbortSignal | undefined): Promise<boolean> {
  const timeoutMs = Math.max(1, Math.ceil(deadline - performance.now()))
  try {
    await cri.version({ timeoutMs, signal })
    return true
  } catch (error) {
    if (error instanceof AgentError && error.code === 'CRI_UNREACHABLE') return false
    throw error
  }
}

function launch({ binary, scratch, environment }: Options, socket: string): Running {
  const { folder } = scratch
  const flags = [
    '-c',
    join(folder, 'config.toml'),
    '--root',
    join(folder, 'root'),
    '--state',
    join(folder, 'state'),
    '--address',
    socket,
  ]
  const [command, ...args] = [...dropPrivileges(binary), binary, ...flags]
  const child = spawn(command ?? binary, args, {
    cwd: folder,
    // A group of its own: Ctrl-C at the agent's terminal is for the agent, and the end takes helpers of containerd
    // along.
    detached: true,
    env: { GOMEMLIMIT: GO_MEMORY_LIMIT, ...environment, HOME: folder, TMPDIR: folder },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let output = ''
  let stopped: string | undefined
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    output = `${output}${text}`.slice(-MAX_OUTPUT)
  })
  const memory = setInterval(() => {
    if (residentBytes(child.pid) <= MAX_RESIDENT_BYTES) return
    stopped = `it needed more than ${MAX_RESIDENT_BYTES / 1024 / 1024} MiB of memory`
    kill(child)
  }, MEMORY_CHECK_MS)
  const { promise: exit, resolve } = Promise.withResolvers<Exit>()
  // 'close' comes after 'exit', when the last words have been read: never where the copy has left somebody behind who
  // holds its stderr.
  child.once('exit', (code, signal) => {
    const ended = () => resolve({ code, signal })
    const late = setTimeout(ended, LAST_WORDS_MS)
    child.once('close', ended).once('close', () => clearTimeout(late))
  })
  child.once('error', (error) => resolve({ code: null, signal: null, error }))
  exit.finally(() => {
    clearInterval(memory)
    child.stderr?.destroy()
  })
  return { child, exit, output: () => output, stopped: () => stopped }
}

/**
 * Loading the configuration needs no right at all (measured on 1.6, 1.7 and 2.1), so none is given where that can be
 * arranged.
 * @throws AgentError REHEARSAL_UNAVAILABLE where there are rights and no setpriv: the copy reads a configuration of
 * others with them.
 */
function dropPrivileges(binary: string): readonly string[] {
  const setpriv = SETPRIV.find(isExecutable)
  if (setpriv === undefined) {
    if (BigInt(`0x${capabilities()}`) === 0n) return []
    throw unavailable(
      `${SETPRIV.join(' and ')} are missing (Debian: util-linux), and without it the copy would keep the agent's capabilities`,
      binary,
    )
  }
  const mayDrop = (BigInt(`0x${capabilities()}`) & (1n << CAP_SETPCAP)) !== 0n
  const drop = mayDrop ? ['--bounding-set', '-all', '--inh-caps', '-all'] : []
  return [setpriv, ...drop, '--no-new-privs', '--pdeathsig', 'KILL', '--']
}

const CAP_SETPCAP = 8n
const SETPRIV = ['/usr/bin/setpriv', '/bin/setpriv']

function capabilities(): string {
  return /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0'
}

function reasonOf(exit: Exit, running: Running, binary: string): string {
  const stopped = running.stopped()
  if (stopped !== undefined) throw unavailable(stopped, binary)
  if (exit.error !== undefined) throw unavailable(exit.error.message, binary)
  const output = running.output()
  if (exit.signal !== null) throw unavailable(`it was ended by ${exit.signal} (out of memory?)`, binary)
  const refusal = refusalOf(output)
  if (refusal === undefined || isOwnTrouble(output))
    throw unavailable(`exit ${exit.code}: ${lastWords(running)}`, binary)
  return refusal
}

/**
 * At once: nothing of the copy is worth a clean end, and the transaction waits for it, but not for a process that the
 * kernel itself cannot end while it waits for its disk.
 */
async function stop(running: Running, cri: CriClient | undefined): Promise<void> {
  cri?.close()
  if (running.child.exitCode === null && running.child.signalCode === null) kill(running.child)
  await Promise.race([running.exit, sleep(END_MS, undefined, { ref: false })])
}

/** To the whole group. A child that could not be started has no pid, one that has ended no group. */
function kill(child: ChildProcess): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    child.kill('SIGKILL')
  }
}

function residentBytes(pid: number | undefined): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1] ?? 0) * PAGE_BYTES
  } catch {
    return 0
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Not what it told of itself: 1.6 and 1.7 log the whole configuration, with the passwords in it, when CRI starts. */
function lastWords(running: Running): string {
  const lines = running.output().trim().split('\n')
  const worth = lines.filter((line) => !/\blevel=(?:info|debug)\b|Start cri plugin with config/.test(line))
  return worth.at(-1) || (lines.join('') === '' ? 'it printed nothing' : 'it reported no error')
}

function unavailable(why: string, binary: string): AgentError {
  return new AgentError('REHEARSAL_UNAVAILABLE', `cannot run a private copy of ${binary}: ${why}`, { binary })
}
