// The restarter sidecar: the only container that sees D-Bus. The rules: three verbs, no other; only units that run a
// containerd, by a fixed table or the `restart.unit` of its own copy of the configuration; only restarts that are
// recorded, each once; its own limits, from what it remembers, from what is on disk and from what systemd tells.
// This room: the two small helpers of a Pod: cri-proxy and restarter, each with one privilege and nothing else.
// Begin here; then guardian.ts (a restart whose agent is gone); cri-proxy.ts, the other one, and pull-policy.ts.
// May touch: the CRI socket (cri-proxy), systemd over D-Bus (restarter).
import { createServer, type Socket } from 'node:net'
import { posix } from 'node:path'
import { LAYOUTS, layoutsOfSocket } from '../containerd/layouts.ts'
import { AgentError, asAgentError } from '../model/errors.ts'
import type { RestartRecord } from '../model/restart.ts'
import { MAX_LINE_BYTES, type RestarterReply, type RestarterRequest } from '../model/restarter-protocol.ts'
import { readLines, writeLine } from '../node/systemd/line-socket.ts'
import { ageOf, LEAST_PAUSE_MS, withLastStart } from '../restart/ledger.ts'
import { isOver, LONGEST_START_MS } from '../restart/machine.ts'
import type { MachinePorts } from '../restart/own-record.ts'
import type { Declared } from './declared.ts'
import { Guardian, type WatchRecords } from './guardian.ts'
import { RateLimit } from './rate-limit.ts'
import { listen, listenPrivately } from './unix-socket.ts'

const HOUR_MS = 3_600_000
const DEFAULT_MAX_PER_HOUR = 3
/** The agent has two at most, and a person's command one more; what comes beyond is closed at once. */
const MOST_CONNECTIONS = 32
const MOST_COMMANDS_REMEMBERED = 1_000

export type RestarterOptions = {
  /** Where the agent connects. */
  readonly socket: string
  /** The socket of this node's containerd, where it is given: it narrows the units down. */
  readonly containerdAddress?: string | undefined
  readonly declared: Declared
  readonly ports: MachinePorts
  readonly watchRecords?: WatchRecords | undefined
}

export type Restarter = {
  /** Takes no new connection, and ends when no restart is left half done. */
  close(): Promise<void>
}

export async function startRestarter(options: RestarterOptions): Promise<Restarter> {
  const { socket, ports, watchRecords } = options
  const sessions = new Sessions(options)
  const guardian = new Guardian(ports, (unit) => sessions.isPermitted(unit), watchRecords)
  // A client that asks may be about to restart containerd.
  const server = createServer((connection) => sessions.serve(connection, () => guardian.poke()))
  server.maxConnections = MOST_CONNECTIONS
  await listenPrivately(socket, () => listen(server, socket))
  ports.log.info('restarter-listening', { socket })
  return {
    async close() {
      server.close()
      await guardian.stop()
      sessions.end()
    },
  }
}

class Sessions {
  readonly #options: RestarterOptions
  readonly #rate = new RateLimit({ most: 0, perMs: HOUR_MS })
  readonly #connections = new Set<Socket>()
  /** Commands that were given: a recorded one is given once, however often it is asked for. */
  readonly #given = new Set<string>()

  constructor(options: RestarterOptions) {
    this.#options = options
  }

  /** Requests of one connection are answered in order, the next one is read when the last answer is sent. */
  serve(connection: Socket, onQuestion: () => void): void {
    this.#connections.add(connection)
    const onLine = async (line: string) => {
      onQuestion()
      await writeLine(connection, await this.#answer(line))
    }
    readLines(connection, { onLine, maxBytes: MAX_LINE_BYTES })
    connection.once('close', () => this.#connections.delete(connection))
  }

  end(): void {
    for (const connection of this.#connections) connection.destroy()
  }

  async isPermitted(unit: string): Promise<boolean> {
    return (await this.#units()).includes(unit)
  }

  async #answer(line: string): Promise<RestarterReply> {
    try {
      return await this.#do(parseRequest(line))
    } catch (thrown) {
      const { code, message } = asAgentError(thrown)
      return { ok: false, code, message }
    }
  }

  async #do(request: RestarterRequest): Promise<RestarterReply> {
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
        const record = await this.#recorded(request)
        await this.#withinLimits(record, unit)
        this.#remember(record)
        const timeoutMs = Math.min(LONGEST_START_MS, Math.max(1, request.timeoutMs))
        await systemd.resetFailed(unit)
        const job = await systemd.restart(unit, { timeoutMs })
        log.info('restarted', { unit, result: job.result, durationMs: job.durationMs })
        return { ok: true, job }
      }
      default:
        throw request satisfies never
    }
  }

  /** The restart that the agent has recorded and not been given yet. */
  async #recorded({ machine, unit }: Extract<RestarterRequest, { verb: 'restart' }>): Promise<RestartRecord> {
    const record = await this.#options.ports.restarts.read()
    const refuse = (why: string) => new AgentError('RESTART_REFUSED', `the restart ${machine.slice(0, 100)} ${why}`)
    if (record === undefined || record.id !== machine) throw refuse('is not the recorded one')
    if (isOver(record)) throw refuse(`is over: it is ${record.phase}`)
    if (record.driver !== 'agent') throw refuse('has been taken over by the restarter')
    if (record.unit !== unit) throw refuse(`is of ${record.unit ?? 'no unit'}`)
    // A command that was refused is not one of the way back, which no pause delays.
    const isCommanded = record.phase === 'reverting' ? record.starts.back > 0 : record.commandedAt !== undefined
    if (!isCommanded || this.#given.has(commandOf(record))) throw refuse('does not need a restart command now')
    await this.#requireWayBack(record)
    return record
  }

  /** Without the folder of config.toml this restarter could not finish what the agent may leave half done. */
  async #requireWayBack({ configFile, before, after, phase }: RestartRecord): Promise<void> {
    if (phase === 'reverting' || before === after) return
    const { files, restarts } = this.#options.ports
    const isThere = before === null || (await restarts.isKept(configFile))
    if (isThere && (await files.isWritable(posix.dirname(configFile)))) return
    const why = isThere ? 'its folder is read-only here' : 'the original is not beside it here: is its folder mounted?'
    throw new AgentError('RESTART_REFUSED', `the restarter cannot put ${configFile} back: ${why}`)
  }

  #remember(record: RestartRecord): void {
    if (this.#given.size >= MOST_COMMANDS_REMEMBERED) this.#given.clear()
    this.#given.add(commandOf(record))
  }

  /** Each restart that is due may need a second one to take it back; a person may ask for one beyond the budget. */
  async #withinLimits({ id, phase }: RestartRecord, unit: string): Promise<void> {
    const { declared, ports } = this.#options
    const { restart } = await declared.current()
    if (restart?.strategy === 'never') throw new AgentError('RESTART_REFUSED', 'restart.strategy is never')
    const { clock, restarts, systemd } = ports
    const now = { wall: clock.now(), uptimeMs: clock.monotonic(), bootId: restarts.bootId }
    const others = (await restarts.ledger.read()).filter((entry) => entry.id !== id)
    // Nothing is asked where the ledger tells, and what saves the node does not hang on an answer.
    const isSilent = phase !== 'reverting' && others.length === 0
    const known = isSilent ? withLastStart(others, await systemd.unit(unit), now) : others
    const ages = known.map((entry) => ageOf(entry, now))
    const most = 2 * (restart?.maxPerHour ?? DEFAULT_MAX_PER_HOUR) + 2
    const isTooMany = ages.filter((age) => age < HOUR_MS).length >= most
    // What saves the node is not held up by the pause.
    if (phase !== 'reverting' && Math.min(LEAST_PAUSE_MS, ...ages) < LEAST_PAUSE_MS)
      throw new AgentError('RESTART_REFUSED', 'containerd was restarted less than a minute ago')
    if (isTooMany || !this.#rate.take(most))
      throw new AgentError('RESTART_REFUSED', `containerd was restarted ${most} times within the last hour`)
  }

  async #permitted(unit: string): Promise<string> {
    const units = await this.#units()
    if (!units.includes(unit))
      throw new AgentError('RESTART_REFUSED', `${JSON.stringify(unit.slice(0, 100))} is not one of ${units.join(', ')}`)
    return unit
  }

  async #units(): Promise<readonly string[]> {
    const { restart } = await this.#options.declared.current()
    if (restart !== undefined && restart.unit !== 'auto') return [restart.unit]
    const { containerdAddress } = this.#options
    const layouts = containerdAddress === undefined ? LAYOUTS : layoutsOfSocket(containerdAddress)
    return (layouts.length > 0 ? layouts : LAYOUTS).flatMap(({ units }) => units)
  }
}

function commandOf({ id, starts }: RestartRecord): string {
  return `${id} ${starts.forward} ${starts.back}`
}

/** One line of the agent. Throws AgentError REQUEST_INVALID for anything but the three verbs with their values. */
export function parseRequest(line: string): RestarterRequest {
  const { verb, unit, timeoutMs, machine } = jsonObject(line)
  if (verb === 'facts' && unit === undefined) return { verb }
  if (typeof unit !== 'string') throw unknownRequest(verb)
  if (verb === 'facts' || verb === 'reset-failed') return { verb, unit }
  if (verb === 'restart' && typeof timeoutMs === 'number' && typeof machine === 'string')
    return { verb, unit, timeoutMs, machine }
  if (verb === 'restart')
    throw new AgentError('REQUEST_INVALID', 'restart needs a unit, timeoutMs and the recorded restart (machine)')
  throw unknownRequest(verb)
}

function unknownRequest(verb: unknown): AgentError {
  const named = typeof verb === 'string' ? verb.slice(0, 40) : typeof verb
  return new AgentError(
    'REQUEST_INVALID',
    `the restarter knows facts, reset-failed and restart, not ${JSON.stringify(named)}`,
  )
}

function jsonObject(line: string): { readonly [key: string]: unknown } {
  try {
    const value: unknown = JSON.parse(line)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
  } catch {
    // The same answer as for another kind of JSON.
  }
  throw new AgentError('REQUEST_INVALID', 'the restarter reads one JSON object per line')
}
