// The CRI client (port CriClient): gRPC over containerd's unix socket. The rules: every call has a deadline; a call
// either answers or throws an AgentError that names the socket and the reason; after a restart of the daemon the next
// call connects again.
// This room: containerd's CRI socket: the port CriClient and its wire format.
// Begin here; then messages.ts (what is asked and answered).
// May touch: the socket that it is given, with a deadline on each call.
import { existsSync } from 'node:fs'
import { AgentError, type ErrorCode } from '../../model/errors.ts'
import type { CallOptions, ContainerInfo, CriClient, RegistryCredentials } from '../../model/ports.ts'
import { redactKnown } from '../../model/secret.ts'
import { criService } from './codec.ts'
import { CONTENT_PACKAGE, RUNTIME_PACKAGE } from './messages.ts'
import { parseArchitecture, parseContainerPid, parseStatus, type StatusReply } from './status.ts'
import { RpcError, unaryCalls } from './unary-calls.ts'

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

/** CRI ignores it, containerd's own services require it. */
const METADATA = { 'containerd-namespace': CONTENT_NAMESPACE }

const METHODS = {
  ...criService(`${RUNTIME_PACKAGE}.RuntimeService`),
  ...criService(`${RUNTIME_PACKAGE}.ImageService`),
  ...criService(`${CONTENT_PACKAGE}.Content`),
}

export function connectCri(socket: string): CriClient {
  if (Buffer.byteLength(socket) > MAX_SOCKET_PATH) {
    const message = `${socket} is not a socket path: it is longer than ${MAX_SOCKET_PATH} bytes`
    throw new AgentError('CRI_UNREACHABLE', message, { socket })
  }
  const calls = unaryCalls(socket, METADATA)
  const call = async <Reply>(name: string, request: object, options: CallOptions): Promise<Reply> => {
    const method = METHODS[name]
    if (method === undefined) throw new Error(`the CRI method ${name} is not described`)
    const reply = await calls.call(method.path, method.requestSerialize(request), options)
    try {
      // The descriptor of the method decides the form of the reply, which types cannot express.
      return method.responseDeserialize(reply) as Reply
    } catch (error) {
      throw error instanceof RangeError ? new RpcError('INTERNAL', `${name}: ${error.message}`) : error
    }
  }
  const ask = <Reply>(name: string, request: object, options: CallOptions): Promise<Reply> =>
    call<Reply>(name, request, options).catch((error: unknown) => {
      options.signal?.throwIfAborted()
      throw callFailure(socket, name, error)
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
        if (!(error instanceof RpcError)) throw error
        const text = redactKnown(error.details, secretsOf(login))
        return { ok: false, status: isStarting(error) ? 'UNAVAILABLE' : error.status, text }
      }
    },
    async imageDigests(options) {
      const { images } = await ask<{ images: readonly Image[] }>('ListImages', {}, options)
      return images.flatMap((image) => image.repoDigests)
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
    close: () => calls.close(),
  }
}

/**
 * What the CRI plugin answers between the moment its socket is there and the end of its own start; seen on 1.6 under
 * load.
 */
const STARTING = 'server is not initialized yet'

function isStarting({ details }: RpcError): boolean {
  return details.includes(STARTING)
}

/**
 * UNIMPLEMENTED is never transient: containerd serves all of CRI or nothing of it (measured by polling every
 * millisecond).
 */
function callFailure(socket: string, name: string, error: unknown): unknown {
  if (!(error instanceof RpcError)) return error
  const { status, details } = error
  const fail = (code: ErrorCode, message: string) =>
    new AgentError(code, message, { socket, call: name, status }, { cause: error })
  switch (status) {
    case 'UNIMPLEMENTED':
      return fail('CRI_NOT_LOADED', `containerd at ${socket} runs without its CRI plugin: ${details}`)
    case 'UNAVAILABLE':
      return fail('CRI_UNREACHABLE', `no containerd at ${socket}: ${unavailableReason(socket, details)}`)
    case 'DEADLINE_EXCEEDED':
      return fail('CRI_UNREACHABLE', `containerd at ${socket} does not answer ${name} in time`)
    default:
      if (isStarting(error)) return fail('CRI_UNREACHABLE', `containerd at ${socket} is still starting`)
      return fail('CRI_CALL_FAILED', `${name} at ${socket} failed: ${status}: ${details}`)
  }
}

function unavailableReason(socket: string, details: string): string {
  if (!existsSync(socket)) return 'the socket does not exist'
  if (details.includes('ECONNREFUSED')) return 'nothing listens on the socket (ECONNREFUSED)'
  if (details.includes('EACCES')) return 'permission denied (EACCES)'
  return details
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
