// The restarter sidecar: the only container that sees D-Bus. The rules: five verbs, no other; only units that run a containerd, by a fixed
// table or the `restart.unit` of its own copy of the configuration; its own limit of restarts.
// This room: the two small helpers of a Pod: cri-proxy and restarter, each with one privilege and nothing else.
// Begin here; then cri-proxy.ts, the other one.
// May touch: the CRI socket (cri-proxy), systemd over D-Bus (restarter).
import { createServer, type Socket } from 'node:net'
import { LAYOUTS, layoutsOfSocket } from '../containerd/layouts.ts'
import { AgentError, asAgentError } from '../model/errors.ts'
import type { UnitFacts } from '../model/ports.ts'
import { MAX_LINE_BYTES, type RestarterReply, type RestarterRequest } from '../model/restarter-protocol.ts'
import { readLines, writeLine } from '../node/systemd/line-socket.ts'
import { type Hold, hold, type SwitchPorts } from './dead-mans-switch.ts'
import type { Declared } from './declared.ts'
import { RateLimit } from './rate-limit.ts'
import { listen, listenPrivately } from './unix-socket.ts'

const HOUR_MS = 3_600_000
const DEFAULT_MAX_PER_HOUR = 3
const LONGEST_RESTART_MS = 60_000
/** The agent has two at most, and a person's command one more; what comes beyond is closed by the kernel's side of accept. */
const MOST_CONNECTIONS = 32

export type RestarterOptions = {
  /** Where the agent connects. */
  readonly socket: string
  /** The socket of this node's containerd, where it is told: it narrows the units down. */
  readonly containerdAddress?: string | undefined
  readonly declared: Declared
  readonly ports: SwitchPorts
  readonly holdMs?: number
}

export type Restarter = {
  /** Takes no new connection, and ends when nothing is held any more. */
  close(): Promise<void>
}

export async function startRestarter(options: RestarterOptions): Promise<Restarter> {
  const { socket, ports } = options
  const sessions = new Sessions(options)
  const server = createServer((connection) => sessions.serve(connection))
  server.maxConnections = MOST_CONNECTIONS
  await listenPrivately(socket, () => listen(server, socket))
  ports.log.info('restarter-listening', { socket })
  return {
    async close() {
      server.close()
      await sessions.end()
    },
  }
}

class Sessions {
  readonly #options: RestarterOptions
  readonly #rate = new RateLimit({ most: 0, perMs: HOUR_MS })
  readonly #connections = new Set<Socket>()
  #held: Hold | undefined

  constructor(options: RestarterOptions) {
    this.#options = options
  }

  /** Requests of one connection are answered in order, the next one is read when the last answer is sent. */
  serve(connection: Socket): void {
    this.#connections.add(connection)
    let mine: Hold | undefined
    const onLine = async (line: string) => {
      const reply = await this.#answer(line, mine, (held) => {
        mine = held
      })
      // Gone while it was answered: a hold taken now would be nobody's.
      if (connection.destroyed) mine?.abandon()
      else await writeLine(connection, reply)
    }
    readLines(connection, { onLine, maxBytes: MAX_LINE_BYTES })
    connection.once('close', () => {
      this.#connections.delete(connection)
      mine?.abandon()
    })
  }

  async end(): Promise<void> {
    await this.#held?.over
    for (const connection of this.#connections) connection.destroy()
  }

  async #answer(line: string, mine: Hold | undefined, keep: (held: Hold) => void): Promise<RestarterReply> {
    try {
      const request = parseRequest(line)
      if (request.verb === 'hold') {
        keep(await this.#hold())
        return { ok: true }
      }
      if (request.verb === 'commit') {
        if (mine === undefined) throw new AgentError('REQUEST_INVALID', 'commit: nothing is held on this connection')
        mine.commit()
        return { ok: true }
      }
      return await this.#do(request)
    } catch (thrown) {
      const { code, message } = asAgentError(thrown)
      return { ok: false, code, message }
    }
  }

  async #do(request: Exclude<RestarterRequest, { verb: 'hold' | 'commit' }>): Promise<RestarterReply> {
    const { systemd, log } = this.#options.ports
    if (request.verb === 'facts' && request.unit === undefined)
      return { ok: true, available: await systemd.isAvailable() }
    const unit = await this.#permitted(request.unit ?? '')
    switch (request.verb) {
      case 'facts':
        return { ok: true, unit: (await systemd.unit(unit)) ?? null }
      case 'reset-failed':
        await systemd.resetFailed(unit)
        return { ok: true }
      case 'restart': {
        await this.#withinLimits()
        const timeoutMs = Math.min(LONGEST_RESTART_MS, Math.max(1, request.timeoutMs))
        await systemd.resetFailed(unit)
        const job = await systemd.restart(unit, { timeoutMs })
        log.info('restarted', { unit, result: job.result, durationMs: job.durationMs })
        return { ok: true, job }
      }
      default:
        throw request satisfies never
    }
  }

  async #hold(): Promise<Hold> {
    if (this.#held !== undefined) throw new AgentError('LOCKED', 'the configuration is held already')
    const unit = await this.#runningUnit()
    if (this.#held !== undefined) throw new AgentError('LOCKED', 'the configuration is held already')
    const held = await hold(unit, this.#options.ports, this.#options.holdMs)
    this.#held = held
    held.over.finally(() => {
      this.#held = undefined
    })
    return held
  }

  /** Each restart that is due may need a second one to take it back; a person may ask for one beyond the budget. */
  async #withinLimits(): Promise<void> {
    const { restart } = await this.#options.declared.current()
    if (restart?.strategy === 'never') throw new AgentError('RESTART_REFUSED', 'restart.strategy is never')
    const most = 2 * (restart?.maxPerHour ?? DEFAULT_MAX_PER_HOUR) + 2
    if (!this.#rate.take(most))
      throw new AgentError(
        'RESTART_REFUSED',
        `containerd was restarted ${most} times within the last hour by this restarter`,
      )
  }

  async #permitted(unit: string): Promise<string> {
    const units = await this.#units()
    if (!units.includes(unit))
      throw new AgentError('RESTART_REFUSED', `${JSON.stringify(unit.slice(0, 100))} is none of ${units.join(', ')}`)
    return unit
  }

  async #units(): Promise<readonly string[]> {
    const { restart } = await this.#options.declared.current()
    if (restart !== undefined && restart.unit !== 'auto') return [restart.unit]
    const { containerdAddress } = this.#options
    const layouts = containerdAddress === undefined ? LAYOUTS : layoutsOfSocket(containerdAddress)
    return (layouts.length > 0 ? layouts : LAYOUTS).flatMap(({ units }) => units)
  }

  async #runningUnit(): Promise<UnitFacts> {
    const units = await this.#units()
    const found = await Promise.all(units.map((unit) => this.#options.ports.systemd.unit(unit)))
    const loaded = found.filter((unit) => unit !== undefined).filter(({ loadState }) => loadState === 'loaded')
    const unit =
      loaded.find(({ mainPid }) => mainPid > 0) ?? loaded.find(({ activeState }) => activeState !== 'inactive')
    if (unit === undefined) throw new AgentError('RESTART_UNAVAILABLE', `none of ${units.join(', ')} runs on this node`)
    return unit
  }
}

export function parseRequest(line: string): RestarterRequest {
  const { verb, unit, timeoutMs } = jsonObject(line)
  if (verb === 'hold' || verb === 'commit') return { verb }
  if (verb === 'facts' && unit === undefined) return { verb }
  if (typeof unit !== 'string') throw unknownRequest(verb)
  if (verb === 'facts' || verb === 'reset-failed') return { verb, unit }
  if (verb === 'restart' && typeof timeoutMs === 'number') return { verb, unit, timeoutMs }
  throw unknownRequest(verb)
}

function unknownRequest(verb: unknown): AgentError {
  const named = typeof verb === 'string' ? verb.slice(0, 40) : typeof verb
  return new AgentError(
    'REQUEST_INVALID',
    `the restarter knows facts, reset-failed, restart, hold and commit, not ${JSON.stringify(named)}`,
  )
}

function jsonObject(line: string): { readonly [key: string]: unknown } {
  try {
    const value: unknown = JSON.parse(line)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
  } catch {
    // The same answer as for another kind of JSON.
  }
  throw new AgentError('REQUEST_INVALID', 'the restarter reads one JSON object in a line')
}
