// The cri-proxy sidecar: the only container that sees containerd's socket. The rule: an answer is built anew out of
// what the CriClient port tells, so nothing that is not named here (environment of containers, registry passwords,
// other registries' images) can get through, and a call that is not named here does not exist.
import { createServer } from 'node:net'
import {
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceDefinition,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js'
import { type AgentError, asAgentError } from '../model/errors.ts'
import type { CallOptions, CriClient, Log, RegistryCredentials } from '../model/ports.ts'
import { Secret } from '../model/secret.ts'
import { criService } from '../node/cri/codec.ts'
import { CONTENT_PACKAGE, RUNTIME_PACKAGE } from '../node/cri/messages.ts'
import { ignoreErrors } from '../node/systemd/line-socket.ts'
import type { Declared } from './declared.ts'
import { mayPull } from './pull-policy.ts'
import { RateLimit } from './rate-limit.ts'
import { Turns } from './turns.ts'
import { listen, listenPrivately } from './unix-socket.ts'

/** A run of the agent asks each registry a few times, eight at once. */
const MOST_PULLS_AT_ONCE = 16
const MOST_PULLS_PER_MINUTE = 600
/** Of all other calls; an answer of ListImages may have megabytes, and the heap has 32. */
const MOST_CALLS_AT_ONCE = 8
const MOST_CALLS_WAITING = 120
const MOST_CONNECTIONS = 16
/** For a caller that gives none: a call must end some day. */
const DEFAULT_DEADLINE_MS = 30_000
const LONGEST_DEADLINE_MS = 10 * 60_000

export type CriProxyOptions = {
  /** Where the agent connects. */
  readonly socket: string
  readonly cri: CriClient
  readonly declared: Declared
  readonly log: Log
}

export type CriProxy = { close(): Promise<void> }

type Message = { readonly [field: string]: unknown }
type Handler = (request: Message, options: CallOptions) => Promise<Message>

const OPTIONS = {
  'grpc.max_receive_message_length': 64 * 1024,
  // HTTP/2 itself makes a client wait with more; what one sends all the same is answered RESOURCE_EXHAUSTED.
  'grpc.max_concurrent_streams': 2 * MOST_CALLS_WAITING,
}

export async function startCriProxy({ socket, cri, declared, log }: CriProxyOptions): Promise<CriProxy> {
  const server = new Server(OPTIONS)
  const turns = new Turns({ atOnce: MOST_CALLS_AT_ONCE, mostWaiting: MOST_CALLS_WAITING })
  for (const [name, handlers] of Object.entries(services(cri, declared, log))) {
    const described = criService(name)
    const allowed = Object.fromEntries(Object.keys(handlers).map((method) => [method, methodOf(described, method)]))
    const unary = Object.entries(handlers).map(([method, handler]) => {
      // Pulls take minutes and have a limit of their own.
      const bounded = method === 'PullImage' ? handler : inTurn(handler, turns)
      return [method, serve(bounded)] as const
    })
    server.addService(allowed, Object.fromEntries(unary))
  }
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure())
  const listener = createServer((connection) => {
    ignoreErrors(connection)
    injector.injectConnection(connection)
  })
  listener.maxConnections = MOST_CONNECTIONS
  await listenPrivately(socket, () => listen(listener, socket))
  log.info('cri-proxy-listening', { socket })
  return {
    close: () =>
      new Promise((resolve) => {
        listener.close()
        injector.destroy()
        server.tryShutdown(() => resolve())
        // A pull under way must not hold up the Pod: the agent, its only caller, ends before this container does.
        setImmediate(() => server.forceShutdown())
      }),
  }
}

function services(cri: CriClient, declared: Declared, log: Log): { readonly [service: string]: Handlers } {
  return {
    [`${RUNTIME_PACKAGE}.RuntimeService`]: runtimeService(cri),
    [`${RUNTIME_PACKAGE}.ImageService`]: imageService(cri, declared, log),
    [`${CONTENT_PACKAGE}.Content`]: contentService(cri),
  }
}

type Handlers = { readonly [method: string]: Handler }

function runtimeService(cri: CriClient): Handlers {
  return {
    Version: async (_, options) => {
      const { runtimeName, runtimeVersion } = await cri.version(options)
      return { runtimeName, runtimeVersion }
    },
    Status: async (_, options) => statusMessage(await cri.status(options)),
    ListContainers: async (request, options) => {
      const containers = asksForCreated(request)
        ? (await cri.activity(options)).created
        : await cri.runningContainers(options)
      return {
        containers: containers.map(({ id, state, createdAt }) => ({
          id,
          state: `CONTAINER_${state}`,
          createdAt: nanoseconds(createdAt),
        })),
      }
    },
    ContainerStatus: async (request, options) => {
      const { id, state, startedAt } = await cri.containerStart(text(request['containerId']), options)
      return { status: { id, state: `CONTAINER_${state}`, startedAt: nanoseconds(startedAt) } }
    },
  }
}

/** How much is being downloaded, and since when; not what. */
function contentService(cri: CriClient): Handlers {
  return {
    ListStatuses: async (_, options) => {
      const { downloads } = await cri.activity(options)
      return {
        statuses: downloads.map(({ startedAt, updatedAt }) => ({
          startedAt: instant(startedAt),
          updatedAt: instant(updatedAt),
        })),
      }
    },
  }
}

function imageService(cri: CriClient, declared: Declared, log: Log): Handlers {
  const rate = new RateLimit({ most: MOST_PULLS_PER_MINUTE, perMs: 60_000 })
  let underway = 0
  return {
    ListImages: async (_, options) => {
      const { registries } = await declared.current()
      const perHost = await Promise.all(registries.map(({ host }) => cri.digestsFrom(host, options)))
      return { images: perHost.flat().map((digest) => ({ repoDigests: [digest] })) }
    },
    ImageStatus: async (request, options) => {
      const reference = referenceOf(request)
      if (!(await cri.imageExists(reference, options))) return {}
      const architecture = await cri.imageArchitecture(reference, options)
      const info = architecture === undefined ? {} : { info: JSON.stringify({ imageSpec: { architecture } }) }
      return { image: { id: reference }, info }
    },
    PullImage: async (request, options) => {
      const reference = referenceOf(request)
      const isPresent = () => cri.imageExists(reference, options)
      const denied = await mayPull(reference, await declared.current(), isPresent)
      if (denied !== undefined) {
        log.warn('pull-denied', { reference: reference.slice(0, 300), reason: denied })
        throw new Denied(status.PERMISSION_DENIED, `cri-proxy: ${denied}`)
      }
      if (underway >= MOST_PULLS_AT_ONCE || !rate.take())
        throw new Denied(status.RESOURCE_EXHAUSTED, 'cri-proxy: too many pulls')
      underway += 1
      try {
        const result = await cri.pullImage(reference, options, loginOf(request))
        if (!result.ok) throw new Denied(codeOf(result.status), result.text)
        return { imageRef: result.imageRef }
      } finally {
        underway -= 1
      }
    },
  }
}

function inTurn(handler: Handler, turns: Turns): Handler {
  return async (request, options) => {
    const done = await turns.run(() => {
      options.signal?.throwIfAborted()
      return handler(request, options)
    })
    if (done !== undefined) return done.result
    throw new Denied(status.RESOURCE_EXHAUSTED, 'cri-proxy: too many calls at once')
  }
}

/** In the form in which containerd itself tells it, so that the agent reads both alike. */
function statusMessage(now: Awaited<ReturnType<CriClient['status']>>): Message {
  const { runtimeReady, networkReady, deprecations, loadedConfigPath, loadedLegacy, loadedTlsFiles, sandboxImage } = now
  const warnings = Object.fromEntries((deprecations ?? []).map((id) => [id, '']))
  const deprecated = {
    type: 'ContainerdHasNoDeprecationWarnings',
    status: deprecations?.length === 0,
    message: JSON.stringify(warnings),
  }
  const tellsRegistry = loadedConfigPath !== undefined || (loadedLegacy !== undefined && deprecations === undefined)
  const configs = loadedTlsFiles?.map((caFile) => ({ tls: { caFile } }))
  const registry = {
    configPath: loadedConfigPath,
    mirrors: loadedLegacy === true ? { '*': {} } : {},
    ...(configs && { configs: { ...configs } }),
  }
  const config = { ...(tellsRegistry && { registry }), ...(sandboxImage !== undefined && { sandboxImage }) }
  return {
    status: {
      conditions: [
        { type: 'RuntimeReady', status: runtimeReady },
        { type: 'NetworkReady', status: networkReady },
        ...(deprecations === undefined ? [] : [deprecated]),
      ],
    },
    info: { config: JSON.stringify(config) },
  }
}

/** An answer that is an error, with the gRPC status that the caller shall see. */
class Denied extends Error {
  readonly code: status

  constructor(code: status, message: string) {
    super(message)
    this.code = code
  }
}

function serve(handler: Handler) {
  return (call: ServerUnaryCall<Message, Message>, answer: sendUnaryData<Message>): void => {
    const cancelled = new AbortController()
    call.on('cancelled', () => cancelled.abort())
    handler(call.request, { timeoutMs: remainingMs(call), signal: cancelled.signal }).then(
      (reply) => answer(null, reply),
      (thrown: unknown) => answer({ ...failureOf(thrown) }),
    )
  }
}

function failureOf(thrown: unknown): { readonly code: status; readonly details: string } {
  if (thrown instanceof Denied) return { code: thrown.code, details: thrown.message }
  const error = asAgentError(thrown)
  return { code: statusOfError(error), details: error.message }
}

function statusOfError({ code, detail }: AgentError): status {
  const told = detail['status']
  if (typeof told === 'string') return codeOf(told)
  return code === 'CRI_UNREACHABLE' ? status.UNAVAILABLE : status.INTERNAL
}

function codeOf(name: string): status {
  const found = Object.entries(status).find(([key]) => key === name)?.[1]
  return typeof found === 'number' ? found : status.UNKNOWN
}

function remainingMs(call: ServerUnaryCall<Message, Message>): number {
  const deadline = Number(call.getDeadline())
  if (!Number.isFinite(deadline)) return DEFAULT_DEADLINE_MS
  // The library made it of what the caller has left and of this very clock, a moment ago.
  return Math.min(LONGEST_DEADLINE_MS, Math.max(1, deadline - Date.now()))
}

function methodOf(service: ServiceDefinition, name: string) {
  const method = service[name]
  if (method === undefined) throw new Error(`the CRI method ${name} is not described`)
  return method
}

function referenceOf(request: Message): string {
  const image = request['image']
  return typeof image === 'object' && image !== null && 'image' in image ? text(image.image) : ''
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function asksForCreated(request: Message): boolean {
  const { filter } = request as { readonly filter?: { readonly state?: { readonly state?: string } } | null }
  return filter?.state?.state === 'CONTAINER_CREATED'
}

function instant(timestamp: string): Message {
  const value = BigInt(nanoseconds(timestamp))
  return { seconds: String(value / 1_000_000_000n), nanos: Number(value % 1_000_000_000n) }
}

/** The reverse of what the CRI client makes of a timestamp: RFC 3339 with nine digits. */
function nanoseconds(timestamp: string): string {
  const [seconds = '', fraction = ''] = timestamp.replace(/Z$/, '').split('.')
  return String(BigInt(Date.parse(`${seconds}Z`)) * 1_000_000n + BigInt(fraction.padEnd(9, '0')))
}

/** Handed through as it came: the agent has tried it before, and only declared registries get this far. */
function loginOf(request: Message): RegistryCredentials | undefined {
  const auth = (request['auth'] ?? {}) as Message
  const [username, password, token] = [text(auth['username']), text(auth['password']), text(auth['identityToken'])]
  const address = text(auth['serverAddress'])
  const server = address === '' ? {} : { server: address }
  if (username !== '') return { kind: 'password', username, password: new Secret(password), ...server }
  return token === '' ? undefined : { kind: 'identity-token', username, token: new Secret(token), ...server }
}
