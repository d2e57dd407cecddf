// systemd over D-Bus (port Systemd). The rules: the D-Bus library is loaded when the first call is made and each call
// has its own short connection, so that a node where nothing is ever restarted pays nothing; a call to systemd
// succeeding says nothing about the unit: the result of the job does.
// This room: restarting containerd: over D-Bus, or through the restarter.
// Begin here; then restarter-client.ts, the same port from inside a Pod.
// May touch: systemd's units of containerd, and no other.
import { existsSync } from 'node:fs'
import type { MessageBus } from 'dbus-native'
import { AgentError } from '../../model/errors.ts'
import type { CallOptions, JobOutcome, Systemd, UnitFacts } from '../../model/ports.ts'
import { relevantEnvironment } from '../processes/environment.ts'
import { expandCommand } from './command-line.ts'

const SYSTEMD = 'org.freedesktop.systemd1'
const MANAGER = {
  destination: SYSTEMD,
  path: '/org/freedesktop/systemd1',
  interface: 'org.freedesktop.systemd1.Manager',
}
const JOB_REMOVED = `type='signal',sender='${SYSTEMD}',interface='${MANAGER.interface}',member='JobRemoved'`
const QUESTION_MS = 5000

type Properties = { readonly [name: string]: unknown }

export function systemd({ busSocket }: { readonly busSocket: string }): Systemd {
  return {
    async isAvailable() {
      if (!existsSync(busSocket)) return false
      try {
        return await withBus(busSocket, {}, async (bus) => {
          return typeof (await ofManager(bus, 'Version')) === 'string'
        })
      } catch {
        // No bus, no systemd behind it, or not permitted: all the same to the caller.
        return false
      }
    },
    unit: (name) => withBus(busSocket, {}, (bus) => unitFacts(bus, name)),
    restart: (name, options) => withBus(busSocket, options, (bus) => restart(bus, name, options)),
    resetFailed: (name) =>
      withBus(busSocket, {}, async (bus) => {
        await manager(bus, 'ResetFailedUnit', 's', [name])
      }),
  }
}

/** LoadUnit, not GetUnit: a stopped unit may not be in systemd's memory. A name without a file loads as `not-found`. */
async function unitFacts(bus: MessageBus, name: string): Promise<UnitFacts | undefined> {
  const path = await manager(bus, 'LoadUnit', 's', [name]).catch((error: unknown) => {
    if (dbusName(error) === `${SYSTEMD}.NoSuchUnit`) return undefined
    throw error
  })
  if (typeof path !== 'string') return undefined
  const unit = await allProperties(bus, path, `${SYSTEMD}.Unit`)
  if (text(unit['LoadState']) === 'not-found') return undefined
  const service = name.endsWith('.service') ? await allProperties(bus, path, `${SYSTEMD}.Service`) : {}
  const finished = await ofManager(bus, 'FinishTimestampMonotonic').catch(() => undefined)
  return {
    name,
    loadState: text(unit['LoadState']),
    activeState: text(unit['ActiveState']),
    subState: text(unit['SubState']),
    mainPid: Number(service['MainPID'] ?? 0),
    killMode: text(service['KillMode']),
    execStart: expandCommand(commandOf(service['ExecStart']), {
      entries: texts(service['Environment']),
      hasFiles: Array.isArray(service['EnvironmentFiles']) && service['EnvironmentFiles'].length > 0,
    }),
    environment: relevantEnvironment(texts(service['Environment'])),
    restarts: Number(service['NRestarts'] ?? 0),
    result: text(service['Result']),
    ...startOf(service['ExecMainStartTimestamp']),
    ...changeOf(unit['StateChangeTimestamp']),
    ...executionOf(service['ExecMainStartTimestampMonotonic']),
    ...forkOf(service),
    ...bootOf(finished),
    hasJob: Array.isArray(unit['Job']) && Number(unit['Job'][0] ?? 0) > 0,
    exitStatus: Number(service['ExecMainStatus'] ?? 0),
    ...limitOf(service['TimeoutStartUSec']),
    ...obstaclesOf(unit),
  }
}

/** Source: systemd.unit(5). */
function obstaclesOf(unit: Properties): { readonly obstacles?: readonly string[] } {
  const refused = ['RefuseManualStart', 'RefuseManualStop'].filter((name) => unit[name] === true)
  const actions = ['FailureAction', 'SuccessAction'].filter((name) => !['', 'none'].includes(text(unit[name])))
  const obstacles = [...refused.map((name) => `${name}=yes`), ...actions.map((name) => `${name}=${text(unit[name])}`)]
  return obstacles.length === 0 ? {} : { obstacles }
}

function executionOf(value: unknown): { readonly executedAt?: number } {
  const microseconds = Number(value ?? 0)
  return microseconds > 0 ? { executedAt: microseconds / 1000 } : {}
}

/** Of a command systemd tells when it was started: a(sasbttttuii), org.freedesktop.systemd1(5). */
function forkOf({ Type: type, ExecStart: commands }: Properties): { readonly forkedAt?: number } {
  if (type !== 'forking' || !Array.isArray(commands)) return {}
  const first: unknown = commands[0]
  const microseconds = Array.isArray(first) ? Number(first[4] ?? 0) : 0
  return microseconds > 0 ? { forkedAt: microseconds / 1000 } : {}
}

/** 0 until the jobs of the boot are done. */
function bootOf(value: unknown): { readonly bootedAt?: number } {
  const microseconds = Number(value ?? 0)
  return microseconds > 0 ? { bootedAt: microseconds / 1000 } : {}
}

/** systemd writes infinity as the largest 64-bit number. */
function limitOf(value: unknown): { readonly startLimitMs?: number } {
  const microseconds = Number(value ?? 0)
  return microseconds > 0 && microseconds < 2 ** 63 ? { startLimitMs: microseconds / 1000 } : {}
}

/** systemd tells microseconds since the epoch, 0 for never. */
function startOf(value: unknown): { readonly startedAt?: number } {
  const microseconds = Number(value ?? 0)
  return microseconds > 0 ? { startedAt: Math.floor(microseconds / 1000) } : {}
}

function changeOf(value: unknown): { readonly changedAt?: number } {
  const { startedAt: changedAt } = startOf(value)
  return changedAt === undefined ? {} : { changedAt }
}

/**
 * The signal may come before the reply that names the job, so every JobRemoved since the subscription is remembered.
 */
async function restart(bus: MessageBus, name: string, { timeoutMs }: CallOptions): Promise<JobOutcome> {
  const started = performance.now()
  const results = new Map<string, string>()
  let arrived = () => {}
  bus.connection.on('message', (message) => {
    if (message.interface !== MANAGER.interface || message.member !== 'JobRemoved') return
    const [, job, , result] = message.body ?? []
    results.set(text(job), text(result))
    arrived()
  })
  await bus.addMatch(JOB_REMOVED)
  await manager(bus, 'Subscribe', '', [])
  const job = text(await manager(bus, 'RestartUnit', 'ss', [name, 'replace']))
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const failed = (why: string) => reject(new AgentError('RESTART_FAILED', why, { unit: name }))
  const late = () => failed(`systemd did not finish restarting ${name} within ${timeoutMs} ms`)
  const timer = setTimeout(late, Math.max(0, started + timeoutMs - performance.now()))
  bus.connection.once('close', () => failed(`the D-Bus connection ended while systemd restarted ${name}`))
  arrived = () => {
    const found = results.get(job)
    if (found !== undefined) resolve(found)
  }
  arrived()
  try {
    return { result: await promise, durationMs: Math.round(performance.now() - started) }
  } finally {
    clearTimeout(timer)
  }
}

async function withBus<T>(
  socket: string,
  options: Partial<CallOptions>,
  work: (bus: MessageBus) => Promise<T>,
): Promise<T> {
  options.signal?.throwIfAborted()
  const { createClient } = await import('./dbus-library.ts')
  const timeout = Math.min(QUESTION_MS, options.timeoutMs ?? QUESTION_MS)
  // `direct`: the library's own Hello throws out of a timer when a bus accepts and never answers, which would end the
  // process.
  const bus = createClient({ socket, timeout, authMethods: ['EXTERNAL'], direct: true })
  let failure: unknown
  const failed = new Promise<never>((_, reject) => {
    // Without a listener a refused connection would end the process.
    bus.connection.on('error', (error: unknown) => {
      failure = error
      reject(error)
    })
  })
  const { signal } = options
  // From here on, not only once systemd has named the job: a listener that is added after the signal is never called.
  const aborted = Promise.withResolvers<never>()
  const abort = () => aborted.reject(signal?.reason)
  signal?.addEventListener('abort', abort, { once: true })
  if (signal?.aborted === true) abort()
  try {
    const greeted = Promise.resolve(bus.invokeDbus({ member: 'Hello' }))
    return await Promise.race([greeted.then(() => work(bus)), failed, aborted.promise])
  } catch (error) {
    options.signal?.throwIfAborted()
    throw busFailure(socket, failure ?? error)
  } finally {
    failed.catch(() => undefined)
    signal?.removeEventListener('abort', abort)
    // Nothing is left to be sent, and waiting for the other side to hang up would keep a stuck bus's socket open.
    bus.connection.stream.destroy()
  }
}

function manager(bus: MessageBus, member: string, signature: string, body: readonly unknown[]): Promise<unknown> {
  return ask(bus, MANAGER.path, MANAGER.interface, member, signature, body)
}

function ofManager(bus: MessageBus, property: string): Promise<unknown> {
  return ask(bus, MANAGER.path, 'org.freedesktop.DBus.Properties', 'Get', 'ss', [MANAGER.interface, property])
}

async function ask(
  bus: MessageBus,
  path: string,
  iface: string,
  member: string,
  signature: string,
  body: readonly unknown[],
): Promise<unknown> {
  const message = { destination: SYSTEMD, path, interface: iface, member }
  return bus.invoke(signature === '' ? message : { ...message, signature, body: [...body] })
}

async function allProperties(bus: MessageBus, path: string, iface: string): Promise<Properties> {
  const all = await ask(bus, path, 'org.freedesktop.DBus.Properties', 'GetAll', 's', [iface])
  return typeof all === 'object' && all !== null ? { ...all } : {}
}

function busFailure(socket: string, thrown: unknown): unknown {
  if (thrown instanceof AgentError || !(thrown instanceof Error)) return thrown
  const name = dbusName(thrown)
  const message =
    name === '' ? `no D-Bus at ${socket}: ${thrown.message}` : `systemd refused: ${thrown.message} (${name})`
  return new AgentError('RESTART_UNAVAILABLE', message, { socket }, { cause: thrown })
}

function dbusName(error: unknown): string {
  return error instanceof Error && 'dbusName' in error ? text(error.dbusName) : ''
}

/** ExecStart is a list of (path, argv, …) per command; a service that is not oneshot has one. */
function commandOf(value: unknown): readonly string[] {
  const first: unknown = Array.isArray(value) ? value[0] : undefined
  return Array.isArray(first) ? texts(first[1]) : []
}

function texts(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : []
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
