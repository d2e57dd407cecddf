// What the tests ask containerd over its CRI socket, to judge a node without any code of the agent.
// Every call has a deadline and its own connection, so nothing remembers a daemon that was restarted in between.
import { join } from 'node:path'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

export type Failure = { readonly ok: false; readonly code: string; readonly message: string }
export type Pulled = { readonly ok: true; readonly imageRef: string } | Failure
export type CriVersion = { readonly ok: true; readonly name: string; readonly version: string } | Failure
export type Condition = {
  readonly type: string
  readonly status: boolean
  readonly reason: string
  readonly message: string
}
export type CriStatus = {
  readonly conditions: readonly Condition[]
  /** Verbose information, each value parsed as JSON where it is JSON. */
  readonly info: { readonly [key: string]: unknown }
}
export type Credentials = { readonly username: string; readonly password: string }
export type ContainerState = 'CONTAINER_CREATED' | 'CONTAINER_RUNNING' | 'CONTAINER_EXITED' | 'CONTAINER_UNKNOWN'
export type ContainerFacts = { readonly state: ContainerState; readonly startedAt: string; readonly pid: number }
export type ImageFacts = { readonly id: string; readonly tags: readonly string[]; readonly digests: readonly string[] }

type Method = (
  request: object,
  options: { readonly deadline: number },
  callback: (error: grpc.ServiceError | null, answer: unknown) => void,
) => void

const POD_NETWORK_OF_NODE = { namespace_options: { network: 'NODE', pid: 'CONTAINER', ipc: 'POD' } }

export class CriProbe {
  readonly #socket: string
  readonly #services: { readonly [service: string]: grpc.ServiceClientConstructor }

  constructor(socket: string) {
    this.#socket = socket
    const definition = loadSync(join(import.meta.dirname, 'cri.proto'), {
      keepCase: true,
      longs: String,
      enums: String,
      defaults: true,
    })
    const root = grpc.loadPackageDefinition(definition) as unknown as {
      runtime: { v1: { [service: string]: grpc.ServiceClientConstructor } }
    }
    this.#services = root.runtime.v1
  }

  async version(timeoutMs = 2_000): Promise<CriVersion> {
    type Answer = { readonly runtime_name: string; readonly runtime_version: string }
    const answer = await this.#try<Answer>('RuntimeService', 'Version', {}, timeoutMs)
    return 'ok' in answer ? answer : { ok: true, name: answer.runtime_name, version: answer.runtime_version }
  }

  async status(): Promise<CriStatus> {
    type Answer = {
      readonly status: { readonly conditions: readonly Condition[] }
      readonly info: { readonly [key: string]: string }
    }
    const answer = await this.#call<Answer>('RuntimeService', 'Status', { verbose: true })
    const info = Object.entries(answer.info).map(([key, value]) => [key, parsed(value)] as const)
    return { conditions: answer.status.conditions, info: Object.fromEntries(info) }
  }

  async pull(
    reference: string,
    options: { readonly credentials?: Credentials; readonly timeoutMs?: number } = {},
  ): Promise<Pulled> {
    const request = { image: { image: reference }, ...(options.credentials && { auth: options.credentials }) }
    const answer = await this.#try<{ readonly image_ref: string }>(
      'ImageService',
      'PullImage',
      request,
      options.timeoutMs ?? 20_000,
    )
    return 'ok' in answer ? answer : { ok: true, imageRef: answer.image_ref }
  }

  async images(): Promise<readonly ImageFacts[]> {
    type Answer = { readonly images: readonly { id: string; repo_tags: string[]; repo_digests: string[] }[] }
    const answer = await this.#call<Answer>('ImageService', 'ListImages', {})
    return answer.images.map((image) => ({ id: image.id, tags: image.repo_tags, digests: image.repo_digests }))
  }

  async removeImage(reference: string): Promise<void> {
    await this.#call('ImageService', 'RemoveImage', { image: { image: reference } })
  }

  /** Starts a container in a pod on the node's own network; both images must be on the node. */
  async runContainer(name: string, image: string, command: readonly string[]): Promise<string> {
    const sandbox = {
      metadata: { name, uid: name, namespace: 'fixtures', attempt: 0 },
      log_directory: `/run/fixture/logs-${name}`,
      linux: { security_context: POD_NETWORK_OF_NODE },
    }
    const pod = await this.#call<{ readonly pod_sandbox_id: string }>('RuntimeService', 'RunPodSandbox', {
      config: sandbox,
    })
    const container = await this.#call<{ readonly container_id: string }>('RuntimeService', 'CreateContainer', {
      pod_sandbox_id: pod.pod_sandbox_id,
      config: {
        metadata: { name, attempt: 0 },
        image: { image },
        command,
        log_path: 'log',
        linux: { security_context: POD_NETWORK_OF_NODE },
      },
      sandbox_config: sandbox,
    })
    await this.#call('RuntimeService', 'StartContainer', { container_id: container.container_id })
    return container.container_id
  }

  async container(id: string): Promise<ContainerFacts> {
    type Answer = {
      readonly status: { readonly state: ContainerState; readonly started_at: string }
      readonly info: { readonly info?: string }
    }
    const answer = await this.#call<Answer>('RuntimeService', 'ContainerStatus', { container_id: id, verbose: true })
    const info = parsed(answer.info.info ?? '{}')
    const pid = typeof info === 'object' && info !== null && 'pid' in info ? Number(info.pid) : Number.NaN
    return { state: answer.status.state, startedAt: answer.status.started_at, pid }
  }

  async #call<Answer>(service: string, method: string, request: object): Promise<Answer> {
    const answer = await this.#try<Answer & object>(service, method, request, 20_000)
    if (isFailure(answer)) throw new Error(`CRI ${method}: ${answer.code}: ${answer.message}`)
    return answer
  }

  async #try<Answer extends object>(
    service: string,
    method: string,
    request: object,
    timeoutMs: number,
  ): Promise<Answer | Failure> {
    const Client = this.#services[service]
    if (Client === undefined) throw new Error(`cri.proto has no service ${service}`)
    // containerd refuses the socket path that grpc-js would send as :authority
    const client = new Client(`unix:${this.#socket}`, grpc.credentials.createInsecure(), {
      'grpc.default_authority': 'localhost',
    })
    const bound = (client as unknown as { readonly [method: string]: Method | undefined })[method]
    if (bound === undefined) throw new Error(`cri.proto has no method ${method}`)
    try {
      return await new Promise((resolve) => {
        bound.call(client, request, { deadline: Date.now() + timeoutMs }, (error, answer) => {
          if (error === null) resolve(answer as Answer)
          else resolve({ ok: false, code: grpc.status[error.code] ?? String(error.code), message: error.details })
        })
      })
    } finally {
      client.close()
    }
  }
}

function isFailure(answer: object): answer is Failure {
  return 'ok' in answer && answer.ok === false
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
