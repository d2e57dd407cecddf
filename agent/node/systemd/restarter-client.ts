// The agent's side of the restarter sidecar: the Systemd port over its socket. The rule: each question has its own
// connection and its deadline.
import { existsSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { AgentError } from '../../model/errors.ts'
import type { JobOutcome, Systemd } from '../../model/ports.ts'
import { MAX_LINE_BYTES, type RestarterReply, type RestarterRequest } from '../../model/restarter-protocol.ts'
import { readLines } from './line-socket.ts'

const QUESTION_MS = 5_000
/** Beside the time that systemd may take for the job. */
const MARGIN_MS = 2_000

type Answer = Extract<RestarterReply, { ok: true }>

export function restarterClient({ socket }: { readonly socket: string }): Systemd {
  const ask = async (request: RestarterRequest, timeoutMs = QUESTION_MS, signal?: AbortSignal): Promise<Answer> => {
    const connection = await open(socket, timeoutMs)
    try {
      return await connection.ask(request, timeoutMs, signal)
    } finally {
      connection.close()
    }
  }
  return {
    restarter: socket,
    async isAvailable() {
      if (!existsSync(socket)) return false
      try {
        return (await ask({ verb: 'facts' })).available === true
      } catch {
        // As without a bus: nothing is known to start containerd again.
        return false
      }
    },
    unit: async (name) => (await ask({ verb: 'facts', unit: name })).unit ?? undefined,
    async restart(name, { timeoutMs, signal, machine = '' }): Promise<JobOutcome> {
      const request: RestarterRequest = { verb: 'restart', unit: name, timeoutMs, machine }
      const { job } = await ask(request, timeoutMs + MARGIN_MS, signal)
      if (job === undefined) throw new AgentError('RESTART_FAILED', `the restarter at ${socket} returned no result`)
      return job
    },
    async resetFailed(name) {
      await ask({ verb: 'reset-failed', unit: name })
    },
  }
}

type Connection = {
  ask(request: RestarterRequest, timeoutMs: number, signal?: AbortSignal): Promise<Answer>
  close(): void
}

async function open(path: string, timeoutMs: number): Promise<Connection> {
  const socket = await connected(path, timeoutMs)
  let answered = (_: string) => {}
  readLines(socket, { maxBytes: MAX_LINE_BYTES, onLine: async (line) => answered(line) })
  return {
    close: () => socket.destroy(),
    async ask(request, withinMs, signal) {
      signal?.throwIfAborted()
      const { promise, resolve, reject } = Promise.withResolvers<string>()
      const failed = (why: string) => reject(unavailable(path, why))
      const timer = setTimeout(() => failed(`no answer to ${request.verb} within ${withinMs} ms`), withinMs)
      const aborted = () => reject(signal?.reason)
      const ended = () => failed(`it closed the connection at ${request.verb}`)
      signal?.addEventListener('abort', aborted, { once: true })
      socket.once('close', ended)
      answered = resolve
      if (socket.destroyed) ended()
      else socket.write(`${JSON.stringify(request)}\n`)
      try {
        return readReply(await promise, path)
      } finally {
        clearTimeout(timer)
        signal?.removeEventListener('abort', aborted)
        socket.off('close', ended)
      }
    },
  }
}

function connected(path: string, timeoutMs: number): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>()
  const socket = connect(path)
  const timer = setTimeout(() => socket.destroy(new Error(`no connection within ${timeoutMs} ms`)), timeoutMs)
  socket.once('connect', () => resolve(socket))
  // Stays for the whole life of the connection: a reset must not end the process.
  socket.on('error', (error) => reject(unavailable(path, error.message)))
  return promise.finally(() => clearTimeout(timer))
}

function readReply(line: string, path: string): Answer {
  const reply = parseReply(line, path)
  if (reply.ok) return reply
  throw new AgentError(reply.code, `restarter: ${reply.message}`, { socket: path })
}

function parseReply(line: string, path: string): RestarterReply {
  try {
    return JSON.parse(line) as RestarterReply
  } catch {
    throw unavailable(path, `it answered ${JSON.stringify(line.slice(0, 80))}, which is not JSON`)
  }
}

function unavailable(path: string, why: string): AgentError {
  return new AgentError('RESTART_UNAVAILABLE', `no restarter at ${path}: ${why}`, { socket: path })
}
