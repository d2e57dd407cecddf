// Runs a Pod template on a fixture node as a kubelet would: volumes laid out on the node, init containers, sidecars and containers in order,
// through the CRI of the node's own containerd, with the same security context. One thing differs: the Pod is on the node's network, as the
// fixture has no CNI.
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { CONTAINERD_SOCKET, type FixtureNode } from '../node/fixture-node.ts'
import { type Container, isSidecar, type PodSpec, type SecurityContext, type Volume } from './objects.ts'

/** And Secrets: the kubelet lays out both alike. */
export type ConfigMaps = { readonly [name: string]: { readonly [key: string]: string } }

export type PodOptions = {
  readonly configMaps: ConfigMaps
  readonly nodeName?: string
  /** Whether this runtime can make a read-only mount read-only all the way down, as the kubelet asks it. */
  readonly recursiveReadOnly?: boolean
}

/** As the kubelet asks for it unless `procMount` says otherwise. */
const MASKED = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
]
const READ_ONLY = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']
const NAMESPACES = { network: 'NODE', pid: 'CONTAINER', ipc: 'POD' }
const WAIT_MS = 60_000

let pods = 0

export class CriPod {
  readonly #node: FixtureNode
  readonly #spec: PodSpec
  readonly #options: PodOptions
  readonly #folder: string
  readonly #sandbox: object
  readonly #sandboxId: string
  readonly #running = new Map<string, RunningContainer>()
  #attempts = 0

  private constructor(
    node: FixtureNode,
    spec: PodSpec,
    options: PodOptions,
    folder: string,
    sandbox: object,
    id: string,
  ) {
    this.#node = node
    this.#spec = spec
    this.#options = options
    this.#folder = folder
    this.#sandbox = sandbox
    this.#sandboxId = id
  }

  /** The sandbox and its volumes, nothing started. */
  static async create(node: FixtureNode, spec: PodSpec, options: PodOptions): Promise<CriPod> {
    pods += 1
    const uid = `pod-${pods}`
    const folder = `/var/lib/kubelet/pods/${uid}`
    for (const volume of spec.volumes ?? []) await makeVolume(node, volume, folder, options.configMaps)
    const user = spec.securityContext?.runAsUser
    const sandbox = {
      metadata: { name: 'registry-trust', uid, namespace: 'registry-trust', attempt: 0 },
      log_directory: `${folder}/logs`,
      linux: {
        security_context: {
          namespace_options: NAMESPACES,
          seccomp: { profile_type: 'RuntimeDefault' },
          ...(user === undefined ? {} : { run_as_user: { value: user } }),
        },
      },
    }
    await node.run(['mkdir', '-p', `${folder}/logs`])
    const { pod_sandbox_id: id } = await cri<{ pod_sandbox_id: string }>(node, 'RunPodSandbox', { config: sandbox })
    return new CriPod(node, spec, options, folder, sandbox, id)
  }

  /** Creates it and starts everything in order; an init container that fails is an error. */
  static async run(node: FixtureNode, spec: PodSpec, options: PodOptions): Promise<CriPod> {
    const pod = await CriPod.create(node, spec, options)
    for (const container of spec.initContainers ?? []) {
      const started = await pod.start(container)
      if (isSidecar(container)) continue
      const code = await started.ended()
      if (code !== 0) throw new Error(`init container ${container.name}: exit code ${code}\n${await started.log()}`)
    }
    for (const container of spec.containers) await pod.start(container)
    return pod
  }

  container(name: string): RunningContainer {
    const found = this.#running.get(name)
    if (found === undefined) throw new Error(`no container ${name} was started`)
    return found
  }

  async start(container: Container): Promise<RunningContainer> {
    this.#attempts += 1
    const log = `${container.name}-${this.#attempts}.log`
    const config = {
      metadata: { name: container.name, attempt: this.#attempts },
      image: { image: container.image },
      command: container.command ?? [],
      args: container.args ?? [],
      envs: (container.env ?? []).map(({ name, value, valueFrom }) => ({
        key: name,
        value: valueFrom?.fieldRef === undefined ? (value ?? '') : this.#field(valueFrom.fieldRef.fieldPath),
      })),
      mounts: (container.volumeMounts ?? []).map(({ name, mountPath, readOnly = false, recursiveReadOnly }) => ({
        container_path: mountPath,
        host_path: hostPathOf(this.#volume(name), this.#folder),
        readonly: readOnly,
        recursive_read_only: recursiveReadOnly === 'IfPossible' && this.#options.recursiveReadOnly === true,
      })),
      log_path: log,
      linux: {
        resources: { cpu_shares: 2, memory_limit_in_bytes: bytesOf(container.resources?.limits?.memory) },
        security_context: securityOf({ ...this.#spec.securityContext, ...container.securityContext }),
      },
    }
    const request = { pod_sandbox_id: this.#sandboxId, config, sandbox_config: this.#sandbox }
    const { container_id: id } = await cri<{ container_id: string }>(this.#node, 'CreateContainer', request)
    await cri(this.#node, 'StartContainer', { container_id: id })
    const running = new RunningContainer(this.#node, id, `${this.#folder}/logs/${log}`)
    this.#running.set(container.name, running)
    return running
  }

  /** A change of a ConfigMap as the kubelet makes it: a new folder, and one rename. */
  async updateConfigMap(volume: string, files: { readonly [key: string]: string }): Promise<void> {
    await writeConfigMap(this.#node, `${this.#folder}/volumes/${volume}`, files)
  }

  async remove(): Promise<void> {
    for (const { id } of this.#running.values())
      await cri(this.#node, 'StopContainer', { container_id: id, timeout: 5 })
    await cri(this.#node, 'StopPodSandbox', { pod_sandbox_id: this.#sandboxId })
    await cri(this.#node, 'RemovePodSandbox', { pod_sandbox_id: this.#sandboxId })
  }

  #field(path: string): string {
    if (path === 'spec.nodeName') return this.#options.nodeName ?? this.#node.name
    throw new Error(`the downward API field ${path} is not translated`)
  }

  #volume(name: string): Volume {
    const found = this.#spec.volumes?.find((volume) => volume.name === name)
    if (found === undefined) throw new Error(`no volume ${name}`)
    return found
  }
}

export type ContainerState = { readonly state: string; readonly started_at: string; readonly exit_code: number }

export class RunningContainer {
  readonly id: string
  readonly #node: FixtureNode
  readonly #log: string

  constructor(node: FixtureNode, id: string, log: string) {
    this.#node = node
    this.id = id
    this.#log = log
  }

  async status(): Promise<ContainerState> {
    return (await cri<{ status: ContainerState }>(this.#node, 'ContainerStatus', { container_id: this.id })).status
  }

  /** As the node sees it. */
  async pid(): Promise<number> {
    const request = { container_id: this.id, verbose: true }
    const { info } = await cri<{ info: { info?: string } }>(this.#node, 'ContainerStatus', request)
    return (JSON.parse(info.info ?? '{}') as { pid: number }).pid
  }

  /** Waits for its end; answers the exit code. */
  async ended(timeoutMs = WAIT_MS): Promise<number> {
    const deadline = Date.now() + timeoutMs
    for (;;) {
      // A restart of containerd may be what it is doing.
      const status = await this.status().catch(() => undefined)
      if (status?.state === 'CONTAINER_EXITED') return status.exit_code
      if (Date.now() > deadline) throw new Error(`it still runs after ${timeoutMs} ms\n${await this.log()}`)
      await sleep(30)
    }
  }

  /** What it wrote to `stream`, without the marks of the CRI log format. */
  async output(stream: 'stdout' | 'stderr'): Promise<string> {
    const lines = (await this.#node.readFile(this.#log)).split('\n')
    return lines.flatMap((line) => new RegExp(`^\\S+ ${stream} F (.*)$`).exec(line)?.[1] ?? []).join('\n')
  }

  async log(): Promise<string> {
    return await this.#node.readFile(this.#log).catch(() => '')
  }

  /** Runs JavaScript in it, as somebody who has taken it over would: same user, same rights, same mounts. */
  async script(text: string): Promise<string> {
    type Answer = { readonly stdout: Buffer; readonly stderr: Buffer; readonly exit_code: number }
    const cmd = ['/usr/bin/node', '--input-type=module', '-e', text]
    const answer = await cri<Answer>(this.#node, 'ExecSync', { container_id: this.id, cmd, timeout: 20 })
    if (answer.exit_code !== 0) throw new Error(`exit code ${answer.exit_code}: ${answer.stderr}`)
    return answer.stdout.toString('utf8').trim()
  }

  async kill(): Promise<void> {
    await this.#node.run(['kill', '-KILL', String(await this.pid())])
  }

  async stop(graceSeconds = 30): Promise<void> {
    await cri(
      this.#node,
      'StopContainer',
      { container_id: this.id, timeout: graceSeconds },
      graceSeconds * 1000 + 10_000,
    )
  }
}

function securityOf(context: SecurityContext): object {
  return {
    privileged: context.privileged ?? false,
    namespace_options: NAMESPACES,
    readonly_rootfs: context.readOnlyRootFilesystem ?? false,
    no_new_privs: context.allowPrivilegeEscalation === false,
    masked_paths: MASKED,
    readonly_paths: READ_ONLY,
    capabilities: {
      add_capabilities: context.capabilities?.add ?? [],
      drop_capabilities: context.capabilities?.drop ?? [],
    },
    seccomp: { profile_type: context.seccompProfile?.type ?? 'Unconfined' },
    ...(context.runAsUser === undefined ? {} : { run_as_user: { value: context.runAsUser } }),
    ...(context.runAsGroup === undefined ? {} : { run_as_group: { value: context.runAsGroup } }),
  }
}

function hostPathOf(volume: Volume, folder: string): string {
  return volume.hostPath?.path ?? `${folder}/volumes/${volume.name}`
}

async function makeVolume(node: FixtureNode, volume: Volume, folder: string, maps: ConfigMaps): Promise<void> {
  const path = hostPathOf(volume, folder)
  if (volume.hostPath !== undefined) {
    if (volume.hostPath.type === 'DirectoryOrCreate') await node.run(['mkdir', '-p', path])
    if (volume.hostPath.type === 'Directory') await node.run(['test', '-d', path])
    return
  }
  await node.run(['mkdir', '-p', path])
  if (volume.emptyDir !== undefined) {
    const size = volume.emptyDir.sizeLimit === undefined ? '' : `,size=${bytesOf(volume.emptyDir.sizeLimit)}`
    if (volume.emptyDir.medium === 'Memory')
      await node.run(['mount', '-t', 'tmpfs', '-o', `mode=777${size}`, 'tmpfs', path])
    else await node.run(['chmod', '777', path])
    return
  }
  await writeConfigMap(node, path, filesOf(volume, maps))
}

function filesOf(volume: Volume, maps: ConfigMaps): { readonly [key: string]: string } {
  const sources =
    volume.projected?.sources ?? (volume.configMap === undefined ? undefined : [{ configMap: volume.configMap }])
  if (sources === undefined) throw new Error(`volume ${volume.name} is of a kind that is not translated`)
  const each = sources
    .map((source) => source.configMap ?? ('secret' in source ? source.secret : undefined))
    .map((reference) => {
      const files = reference === undefined ? undefined : maps[reference.name]
      if (files === undefined && reference?.optional !== true) throw new Error(`there is no ${reference?.name}`)
      return files ?? {}
    })
  return Object.assign({}, ...each) as { readonly [key: string]: string }
}

/** The kubelet's AtomicWriter. */
export async function writeConfigMap(
  node: FixtureNode,
  path: string,
  files: { readonly [key: string]: string },
): Promise<void> {
  const version = `..${process.hrtime.bigint()}`
  await node.run(['mkdir', '-p', `${path}/${version}`])
  for (const [name, content] of Object.entries(files)) await node.writeFile(`${path}/${version}/${name}`, content)
  await node.run(['ln', '-sfn', version, `${path}/..data_tmp`])
  await node.run(['mv', '-T', `${path}/..data_tmp`, `${path}/..data`])
  for (const name of Object.keys(files)) await node.run(['ln', '-sfn', `..data/${name}`, `${path}/${name}`])
}

const UNITS: { readonly [suffix: string]: number } = { Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30 }

export function bytesOf(quantity: string | undefined): number {
  if (quantity === undefined) return 0
  const [, number = '', suffix = ''] = /^(\d+)([KMG]i)?$/.exec(quantity) ?? []
  const bytes = Number(number) * (suffix === '' ? 1 : (UNITS[suffix] ?? Number.NaN))
  if (number === '' || Number.isNaN(bytes)) throw new Error(`${quantity} is no quantity that is translated`)
  return bytes
}

type Method = (
  request: object,
  options: { deadline: number },
  done: (error: grpc.ServiceError | null, answer: unknown) => void,
) => void

const definition = loadSync(join(import.meta.dirname, 'cri-pod.proto'), {
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
})

async function cri<Answer>(node: FixtureNode, method: string, request: object, timeoutMs = 30_000): Promise<Answer> {
  const root = grpc.loadPackageDefinition(definition) as unknown as {
    runtime: { v1: { RuntimeService: grpc.ServiceClientConstructor } }
  }
  const client = new root.runtime.v1.RuntimeService(
    `unix:${node.path(CONTAINERD_SOCKET)}`,
    grpc.credentials.createInsecure(),
    {
      'grpc.default_authority': 'localhost',
      'grpc.use_local_subchannel_pool': 1,
    },
  )
  const bound = (client as unknown as { readonly [method: string]: Method | undefined })[method]
  if (bound === undefined) throw new Error(`cri-pod.proto has no method ${method}`)
  try {
    return await new Promise((resolve, reject) => {
      bound.call(client, request, { deadline: Date.now() + timeoutMs }, (error, answer) => {
        if (error === null) resolve(answer as Answer)
        else reject(new Error(`CRI ${method}: ${error.message}`))
      })
    })
  } finally {
    client.close()
  }
}
