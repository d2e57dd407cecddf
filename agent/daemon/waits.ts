// What a run waits for at this moment, by name. A call that does not come back, of a disk or a mount that hangs, leaves
// no other trace: the loop lives, and nothing is logged.
import type { Clock } from '../model/ports.ts'
import type { RunPorts } from '../model/run-ports.ts'
import { redactUserInfo } from '../model/secret.ts'

/** Younger ones come and go. */
const LEAST_MS = 5_000
const LEAST_SPENT_MS = 1_000
const MOST_TOLD = 5
const MOST_CHARACTERS = 200

type Wait = { readonly what: string; readonly since: number }

export class Waits {
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #underWay = new Set<Wait>()
  /** Milliseconds, by the name of the call. */
  #spent = new Map<string, { readonly ms: number; readonly calls: number }>()

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock
  }

  /** Another run: what earlier ones waited for is over. */
  begin(): void {
    this.#spent = new Map()
  }

  /** `name` of the call, `about` what: a path. */
  async during<T>(name: string, about: string, work: Promise<T>): Promise<T> {
    const wait = { what: about === '' ? name : `${name} ${about}`, since: this.#clock.monotonic() }
    this.#underWay.add(wait)
    try {
      return await work
    } finally {
      this.#underWay.delete(wait)
      const { ms, calls } = this.#spent.get(name) ?? { ms: 0, calls: 0 }
      this.#spent.set(name, { ms: ms + this.#clock.monotonic() - wait.since, calls: calls + 1 })
    }
  }

  /** By all calls that have ended, longest first: `store.save 12 s in 3 calls`. A slow disk hangs in no single one. */
  spent(): readonly string[] {
    return [...this.#spent]
      .filter(([, { ms }]) => ms >= LEAST_SPENT_MS)
      .sort(([, one], [, other]) => other.ms - one.ms)
      .slice(0, MOST_TOLD)
      .map(
        ([name, { ms, calls }]) => `${name} ${Math.round(ms / 1000)} s in ${calls} ${calls === 1 ? 'call' : 'calls'}`,
      )
  }

  /** Oldest first: `store.save for 31 s`. */
  longest(): readonly string[] {
    const now = this.#clock.monotonic()
    return [...this.#underWay]
      .filter(({ since }) => now - since >= LEAST_MS)
      .slice(0, MOST_TOLD)
      .map(({ what, since }) => `${redactUserInfo(what)} for ${Math.round((now - since) / 1000)} s`)
  }
}

/**
 * The same ports, whose calls are known to `waits` while they are under way. Reads of files are not: a look has
 * thousands.
 */
export function namedPorts(ports: RunPorts, waits: Waits): RunPorts {
  const { files, runner, lock, connectCri } = ports
  const { put, putFolder, removeFolder, rename, sweep, freeBytes, within } = files
  const changing = { put, putFolder, removeFolder, rename, sweep, freeBytes, within }
  const name = <T extends object>(what: string, port: T): T => named(what, port, waits)
  const [running, locking] = [name('runner', runner), name('lock', lock)]
  return {
    ...ports,
    files: { ...files, ...name('files', changing) },
    store: name('store', ports.store),
    restarts: name('restarts', ports.restarts),
    systemd: name('systemd', ports.systemd),
    processes: name('processes', ports.processes),
    tls: name('tls', ports.tls),
    permit: name('permit', ports.permit),
    ...(ports.fleet !== undefined && { fleet: name('fleet', ports.fleet) }),
    connectCri: (socket) => name('cri', connectCri(socket)),
    lock: { acquire: async () => name('lock', await locking.acquire()) },
    runner: {
      ...running,
      scratch: async () => name('scratch', await running.scratch()),
      async start(options) {
        const copy = await running.start(options)
        return copy.started ? name('copy', copy) : copy
      },
    },
  }
}

/** `files.put /etc/hosts`: with what it is about, where that is the first argument. */
function named<T extends object>(what: string, port: T, waits: Waits): T {
  // The methods of an instance are not its own properties: better without names than without methods.
  if (Object.getPrototypeOf(port) !== Object.prototype) return port
  const entries = Object.entries(port).map(([key, value]): [string, unknown] => {
    const name = `${what}.${key}`
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return [key, named(name, value, waits)]
    if (typeof value !== 'function') return [key, value]
    const call = (...args: readonly unknown[]): unknown => {
      const result: unknown = Reflect.apply(value, port, args)
      const [first] = args
      const about = typeof first === 'string' ? first.slice(0, MOST_CHARACTERS) : ''
      return result instanceof Promise ? waits.during(name, about, result) : result
    }
    return [key, call]
  })
  return Object.fromEntries(entries) as T
}
