// What a run waits for at this moment, by name. A call that does not come back, of a disk or a mount that hangs, leaves
// no other trace: the loop lives, and nothing is logged.
import type { Clock } from '../model/ports.ts'
import type { RunPorts } from '../model/run-ports.ts'

/** Younger ones come and go. */
const LEAST_MS = 5_000
const MOST_TOLD = 5
const MOST_CHARACTERS = 200

type Wait = { readonly what: string; readonly since: number }

export class Waits {
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #underWay = new Set<Wait>()

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock
  }

  async during<T>(what: string, work: Promise<T>): Promise<T> {
    const wait = { what, since: this.#clock.monotonic() }
    this.#underWay.add(wait)
    try {
      return await work
    } finally {
      this.#underWay.delete(wait)
    }
  }

  /** Oldest first: `store.save for 31 s`. */
  longest(): readonly string[] {
    const now = this.#clock.monotonic()
    return [...this.#underWay]
      .filter(({ since }) => now - since >= LEAST_MS)
      .slice(0, MOST_TOLD)
      .map(({ what, since }) => `${what} for ${Math.round((now - since) / 1000)} s`)
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

/** `files.put /etc/hosts`: with what it is about, where that is said first. */
function named<T extends object>(what: string, port: T, waits: Waits): T {
  const entries = Object.entries(port).map(([key, value]): [string, unknown] => {
    const name = `${what}.${key}`
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return [key, named(name, value, waits)]
    if (typeof value !== 'function') return [key, value]
    const call = (...args: readonly unknown[]): unknown => {
      const result: unknown = Reflect.apply(value, port, args)
      const [first] = args
      const told = typeof first === 'string' ? `${name} ${first}` : name
      return result instanceof Promise ? waits.during(told.slice(0, MOST_CHARACTERS), result) : result
    }
    return [key, call]
  })
  return Object.fromEntries(entries) as T
}
