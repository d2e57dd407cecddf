// The CRI client (port CriClient): gRPC over containerd's unix socket. The rules: every call has a deadline; a call
// either answers or throws an AgentError that names the socket and the reason; after a restart of the daemon the next
// call connects again.
// This room: containerd's CRI socket: the port CriClient and its wire format.
// Begin here; then messages.ts (what is asked and answered).
// May touch: the socket that it is given, with a deadline on each call.
import { existsSync } from 'node:fs'
import { Client, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js'
import { AgentError, type ErrorCode } from '../../model/errors.ts'
import type { CallOptions, ContainerInfo, CriClient, RegistryCredentials } from '../../model/ports.ts'
import { redactKnown } from '../../model/secret.ts'
import { type CriMethod, criService } from './codec.ts'
import { CONTENT_PACKAGE, RUNTIME_PACKAGE } from './messages.ts'
import { parseArchitecture, parseContainerPid, parseStatus, type StatusReply } from './status.ts'

const CHANNEL_OPTIONS = {
  // containerd answers nothing useful when the authority is a percent-encoded socket path.
  'grpc.default_authority': 'localhost',
  // A restart of the daemon takes a fifth of a second, and to try a unix socket costs next to nothing: the default of a
  // second and more would look like an outage.
  'grpc.initial_reconnect_backoff_ms': 10,
  'grpc.max_reconnect_backoff_ms': 20,
  // Otherwise a closed client's connection lives on in a pool of the whole process.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.max_receive_message_length': 16 * 1024 * 1024,
}

/** A unix socket path that is longer does not fit into sockaddr_un. */
const MAX_SOCKET_PATH = 107

const STATE_PREFIX = 'CONTAINER_'
/** containerd's own services keep apart who asks; CRI's images and downloads are here. */
const CONTENT_NAMESPACE = 'k8s.io'

type Container = { readonly id: string; readonly state: string; readonly createdAt: string }
type ContainerStatus = { readonly id: string; readonly state: string; readonly startedAt: string }
type Download = { readonly startedAt: Instant | null; readonly updatedAt: Instant | null }
type Instant = { readonly seconds: string; readonly nanos: number }
type Image = { readonly repoDigests: readonly string[] }

type Methods = { readonly [name: string]: CriMethod }

export function connectCri(socket: string): CriClient {
  if (Buffer.byteLength(socket) > MAX_SOCKET_PATH) {
    const message = `${socket} is not a socket path: it is longer than ${MAX_SOCKET_PATH} bytes`
    throw new AgentError('CRI_UNREACHABLE', message, { socket })
  }
  const methods = criMethods()
  const client = new Client(`unix:${socket}`, credentials.createInsecure(), CHANNEL_OPTIONS)
  const call = <Reply>(name: string, request: object, options: CallOptions): Promise<Reply> =>
    unary<Reply>(client, method(methods, name), request, options)
  const ask = <Reply>(name: string, request: object, options: CallOptions): Promise<Reply> =>
    call<Reply>(name, request, options).catch((error: unknown) => {
      options.signal?.throwIfAborted()
      throw isServiceError(error) ? callFailure(socket, name, error) : error
    })
  const containersIn = async (state: string, options: CallOptions): Promise<readonly ContainerInfo[]> => {
    const filter = { state: { state: `${STATE_PREFIX}${state}` } }
    const { containers } = await ask<{ containers: readonly Container[] }>('ListContainers', { filter }, options)
    return containers.map((one) => ({ id: one.id, state: stateName(one.state), createdAt: timestamp(one.createdAt) }))
  }

  return {
    async version(options) {
      const reply = await ask<{ runtimeName: string; runtimeVersion: string }>('Version', {}, options)
      return { runtimeName: reply.runtimeName, runtimeVersion: reply.runtimeVersion }
    },
    async status(options) {
      return parseStatus(await ask<StatusReply>('Status', { verbose: true }, options))
    },
    async pullImage(reference, options, login) {
      try {
        const reply = await call<{ imageRef: string }>('PullImage', pullRequest(reference, login), options)
        return { ok: true, imageRef: reply.imageRef }
      } catch (error) {
        options.signal?.throwIfAborted()
        if (!isServiceError(error)) throw error
        const code = isStarting(error) ? status.UNAVAILABLE : error.code
        return { ok: false, status: status[code], text: redactKnown(error.details, secretsOf(login)) }
      }
    },
    async digestsFrom(host, options) {
      const { images } = await ask<{ images: readonly Image[] }>('ListImages', {}, options)
      return images.flatMap((image) => image.repoDigests).filter((reference) => reference.startsWith(`${host}/`))
    },
    async imageExists(reference, options) {
      const { image } = await ask<{ image: Image | null }>('ImageStatus', { image: { image: reference } }, options)
      return image !== null
    },
    async imageArchitecture(reference, options) {
      const request = { image: { image: reference }, verbose: true }
      const { info } = await ask<{ info: { readonly [key: string]: string } }>('ImageStatus', request, options)
      return parseArchitecture(info)
    },
    runningContainers: (options) => containersIn('RUNNING', options),
    async containerStart(id, options) {
      const request = { containerId: id, verbose: true }
      type Reply = { status: ContainerStatus | null; info: { readonly [key: string]: string } }
      const { status: container, info } = await ask<Reply>('ContainerStatus', request, options)
      if (container === null)
        throw new AgentError('CRI_CALL_FAILED', `ContainerStatus of ${id} at ${socket}: no status`)
      const pid = parseContainerPid(info)
      const start = { id: container.id, state: stateName(container.state), startedAt: timestamp(container.startedAt) }
      return pid === undefined ? start : { ...start, pid }
    },
    async activity(options) {
      const [{ statuses }, created] = await Promise.all([
        ask<{ statuses: readonly Download[] }>('ListStatuses', {}, options),
        containersIn('CREATED', options),
      ])
      const downloads = statuses.map(({ startedAt, updatedAt }) => ({
        startedAt: instant(startedAt),
        updatedAt: instant(updatedAt),
      }))
      return { downloads, created }
    },
    close: () => client.close(),
  }
}

function unary<Reply>(client: Client, definition: CriMethod, request: object, options: CallOptions): Promise<Reply> {
  const { signal, timeoutMs } = options
  signal?.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<Reply>()
  const { path, requestSerialize } = definition
  // The descriptor of the method decides the form of the reply, which types cannot express.
  const deserialize = (bytes: Buffer): Reply => definition.responseDeserialize(bytes) as Reply
  const call = client.makeUnaryRequest(
    path,
    requestSerialize,
    deserialize,
    request,
    callMetadata(),
    // A wall time, but the library waits by the difference alone, and takes it at once.
    { deadline: Date.now() + timeoutMs },
    (error, reply) => {
      signal?.removeEventListener('abort', cancel)
      if (error !== null) reject(error)
      else if (reply === undefined) reject(new AgentError('CRI_CALL_FAILED', `${path}: an empty reply`))
      else resolve(reply)
    },
  )
  const cancel = () => call.cancel()
  signal?.addEventListener('abort', cancel, { once: true })
  return promise
}

/** CRI ignores it, containerd's own services require it. */
function callMetadata(): Metadata {
  const metadata = new Metadata()
  metadata.set('containerd-namespace', CONTENT_NAMESPACE)
  return metadata
}

function criMethods(): Methods {
  return {
    ...criService(`${RUNTIME_PACKAGE}.RuntimeService`),
    ...criService(`${RUNTIME_PACKAGE}.ImageService`),
    ...criService(`${CONTENT_PACKAGE}.Content`),
  }
}

function method(methods: Methods, name: string): CriMethod {
  const definition = methods[name]
  if (definition === undefined) throw new Error(`the CRI method ${name} is not described`)
  return definition
}

/**
 * What the CRI plugin answers between the moment its socket is there and the end of its own start; seen on 1.6 under
 * load.
 */
const STARTING = 'server is not initialized yet'

function isStarting({ details }: ServiceError): boolean {
  return details.includes(STARTING)
}

/**
 * UNIMPLEMENTED is never transient: containerd serves all of CRI or nothing of it (measured by polling every
 * millisecond).
 */
function callFailure(socket: string, name: string, error: ServiceError): AgentError {
  const detail = { socket, call: name, status: status[error.code] }
  const fail = (code: ErrorCode, message: string) => new AgentError(code, message, detail, { cause: error })
  switch (error.code) {
    case status.UNIMPLEMENTED:
      return fail('CRI_NOT_LOADED', `containerd at ${socket} runs without its CRI plugin: ${error.details}`)
    case status.UNAVAILABLE:
      return fail('CRI_UNREACHABLE', `no containerd at ${socket}: ${unavailableReason(socket, error.details)}`)
    case status.DEADLINE_EXCEEDED:
      return fail('CRI_UNREACHABLE', `containerd at ${socket} does not answer ${name} in time`)
    default:
      if (isStarting(error)) return fail('CRI_UNREACHABLE', `containerd at ${socket} is still starting`)
      return fail('CRI_CALL_FAILED', `${name} at ${socket} failed: ${status[error.code]}: ${error.details}`)
  }
}

function unavailableReason(socket: string, details: string): string {
  if (!existsSync(socket)) return 'the socket does not exist'
  if (details.includes('ECONNREFUSED')) return 'nothing listens on the socket (ECONNREFUSED)'
  if (details.includes('EACCES')) return 'permission denied (EACCES)'
  return details
}

function isServiceError(error: unknown): error is ServiceError & { readonly metadata: Metadata } {
  return error instanceof Error && 'details' in error && 'code' in error && typeof error.code === 'number'
}

function pullRequest(image: string, login: RegistryCredentials | undefined): object {
  switch (login?.kind) {
    case undefined:
    // containerd has no use for a token that the registry itself takes.
    case 'registry-token':
      return { image: { image } }
    case 'password':
      return {
        image: { image },
        auth: { username: login.username, password: login.password.reveal(), ...serverOf(login) },
      }
    case 'identity-token':
      return { image: { image }, auth: { identityToken: login.token.reveal(), ...serverOf(login) } }
    default:
      return login satisfies never
  }
}

/** What a registry may repeat of a login: containerd hands its answer on. */
function secretsOf(login: RegistryCredentials | undefined): readonly string[] {
  if (login === undefined) return []
  if (login.kind !== 'password') return [login.token.reveal()]
  const password = login.password.reveal()
  return [`${login.username}:${password}`, password]
}

function serverOf({ server }: RegistryCredentials): { readonly serverAddress?: string } {
  return server === undefined ? {} : { serverAddress: server }
}

function stateName(state: string): string {
  return state.startsWith(STATE_PREFIX) ? state.slice(STATE_PREFIX.length) : state
}

/** Nanoseconds since the epoch as RFC 3339; all nine digits, because they identify the start of a container. */
function timestamp(nanoseconds: string): string {
  const value = BigInt(nanoseconds)
  const seconds = new Date(Number(value / 1_000_000_000n) * 1000).toISOString().slice(0, 19)
  return `${seconds}.${String(value % 1_000_000_000n).padStart(9, '0')}Z`
}

function instant(value: Instant | null): string {
  const { seconds, nanos } = value ?? { seconds: '0', nanos: 0 }
  return timestamp(String(BigInt(seconds) * 1_000_000_000n + BigInt(nanos)))
}
