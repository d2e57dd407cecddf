// The cri-proxy sidecar: the only container that sees containerd's socket. The rule: an answer is built anew out of
// what the CriClient port tells, so nothing that is not named here (environment of containers, registry passwords,
// other registries' images) can get through, and a call that is not named here does not exist.
import { type AgentError, asAgentError } from '../model/errors.ts'
import { hostPart } from '../model/image-reference.ts'
import type { CallOptions, CriClient, Log, RegistryCredentials } from '../model/ports.ts'
import { Secret } from '../model/secret.ts'
import { criService } from '../node/cri/codec.ts'
import { type RpcStatus, STATUS } from '../node/cri/grpc-format.ts'
import { CONTENT_PACKAGE, RUNTIME_PACKAGE } from '../node/cri/messages.ts'
import { type Failure, type UnaryMethod, unaryServer } from '../node/cri/unary-server.ts'
import type { Declared } from './declared.ts'
import { isAwaited, mayPull } from './pull-policy.ts'
import { RateLimit } from './rate-limit.ts'
import { Turns } from './turns.ts'
import { listen, listenPrivately } from './unix-socket.ts'

/** A run of the agent asks each registry a few times, eight at once. */
const MOST_PULLS_AT_ONCE = 16
const MOST_PULLS_PER_MINUTE = 600
/** Of those that bring an image to the node. */
const MOST_AWAITED_PER_MINUTE = 10
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
  /** What the fleet component tells this node to pull, read from the Pod's own annotation; never told by the agent. */
  readonly awaited?: () => Promise<readonly string[]>
  readonly log: Log
}

export type CriProxy = { close(): Promise<void> }

type Message = { readonly [field: string]: unknown }
type Handler = (request: Message, options: CallOptions) => Promise<Message>

export async function startCriProxy(options: CriProxyOptions): Promise<CriProxy> {
  const { socket, log } = options
  const server = unaryServer({
    methods: methodsOf(services(options)),
    failureOf,
    mostRequestBytes: 64 * 1024,
    mostStreams: 2 * MOST_CALLS_WAITING,
    defaultTimeoutMs: DEFAULT_DEADLINE_MS,
    longestTimeoutMs: LONGEST_DEADLINE_MS,
  })
  server.listener.maxConnections = MOST_CONNECTIONS
  await listenPrivately(socket, () => listen(server.listener, socket))
  log.info('cri-proxy-listening', { socket })
  // A pull under way must not hold up the Pod: the agent, its only caller, ends before this container does.
  return { close: () => server.close() }
}

function methodsOf(handlers: { readonly [service: string]: Handlers }): ReadonlyMap<string, UnaryMethod> {
  const turns = new Turns({ atOnce: MOST_CALLS_AT_ONCE, mostWaiting: MOST_CALLS_WAITING })
  return new Map(
    Object.entries(handlers).flatMap(([service, methods]) => {
      const described = criService(service)
      return Object.entries(methods).map(([name, handler]): readonly [string, UnaryMethod] => {
        const method = described[name]
        if (method === undefined) throw new Error(`the CRI method ${name} is not described`)
        // Pulls take minutes and have a limit of their own.
        const bounded = name === 'PullImage' ? handler : inTurn(handler, turns)
        const { path, requestDeserialize, responseSerialize } = method
        return [
          path,
          async (bytes, options) => responseSerialize(await bounded({ ...requestDeserialize(bytes) }, options)),
        ]
      })
    }),
  )
}

function services(options: CriProxyOptions): { readonly [service: string]: Handlers } {
  const { cri } = options
  return {
    [`${RUNTIME_PACKAGE}.RuntimeService`]: runtimeService(cri),
    [`${RUNTIME_PACKAGE}.ImageService`]: imageService(options),
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

function imageService({ cri, declared, awaited, log }: CriProxyOptions): Handlers {
  const rate = new RateLimit({ most: MOST_PULLS_PER_MINUTE, perMs: 60_000 })
  const broughtRate = new RateLimit({ most: MOST_AWAITED_PER_MINUTE, perMs: 60_000 })
  let underway = 0
  const isBrought = async (reference: string, isPresent: () => Promise<boolean>) => {
    const { registries, wakePods } = await declared.current()
    if (awaited === undefined || wakePods !== true) return false
    return await isAwaited(reference, { registries, awaited: await awaited() }, isPresent)
  }
  return {
    ListImages: async (_, options) => {
      const { registries } = await declared.current()
      const hosts = new Set(registries.map(({ host }) => host))
      const digests = (await cri.imageDigests(options)).filter((reference) => hosts.has(hostPart(reference)))
      return { images: digests.map((digest) => ({ repoDigests: [digest] })) }
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
      const brings = denied !== undefined && (await isBrought(reference, isPresent))
      if (denied !== undefined && !brings) {
        log.warn('pull-denied', { reference: reference.slice(0, 300), reason: denied })
        throw new Denied('PERMISSION_DENIED', `cri-proxy: ${denied}`)
      }
      if (underway >= MOST_PULLS_AT_ONCE || !rate.take() || (brings && !broughtRate.take()))
        throw new Denied('RESOURCE_EXHAUSTED', 'cri-proxy: too many pulls')
      underway += 1
      try {
        const result = await cri.pullImage(reference, options, brings ? undefined : loginOf(request))
        if (!result.ok) throw new Denied(statusNamed(result.status), result.text)
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
    throw new Denied('RESOURCE_EXHAUSTED', 'cri-proxy: too many calls at once')
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

/** An answer that is an error, with the gRPC status that the caller should see. */
class Denied extends Error {
  readonly status: RpcStatus

  constructor(status: RpcStatus, message: string) {
    super(message)
    this.status = status
  }
}

function failureOf(thrown: unknown): Failure {
  if (thrown instanceof Denied) return { status: thrown.status, details: thrown.message }
  // Bytes that are not a message.
  if (thrown instanceof RangeError) return { status: 'INTERNAL', details: thrown.message }
  const error = asAgentError(thrown)
  return { status: statusOfError(error), details: error.message }
}

function statusOfError({ code, detail }: AgentError): RpcStatus {
  const told = detail['status']
  if (typeof told === 'string') return statusNamed(told)
  return code === 'CRI_UNREACHABLE' ? 'UNAVAILABLE' : 'INTERNAL'
}

function statusNamed(name: string): RpcStatus {
  return STATUS.find((status) => status === name) ?? 'UNKNOWN'
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
