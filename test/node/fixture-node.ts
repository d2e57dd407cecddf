// What every fixture node can do, whatever starts containerd on it: run programs inside, reach files, look at containerd through CRI,
// run a container, and take addresses for the registries beside it. Pids are those that the node itself sees.
import { existsSync } from 'node:fs'
import { appendFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type ContainerFacts,
  type Credentials,
  CriProbe,
  type CriStatus,
  type CriVersion,
  type Pulled,
} from './cri-client.ts'
import { type Generation, tool } from './generations.ts'
import { buildImage, ociArchive } from './image.ts'
import type { ExecOptions, ExecResult, Namespaces, Service, StartOptions } from './namespaces.ts'

export const CONTAINERD_SOCKET = '/run/containerd/containerd.sock'
export const CONTAINERD_CONFIG = '/etc/containerd/config.toml'

/** Documentation addresses (RFC 5737): no loopback, for which containerd skips verification, and nobody's. */
const NETWORK = '192.0.2.'
const NAME_SERVER = `${NETWORK}1`
const NAMES_FILE = 'names'
const FIRST_HOST = 10
const READY_MS = 60_000
const POLL_MS = 20
const CONTAINER_IMAGE = 'fixture.invalid/busybox:1'

export type RunningContainer = { readonly id: string; facts(): Promise<ContainerFacts> }

export abstract class FixtureNode {
  readonly generation: Generation
  /** Folder of the machine where the node and its neighbours keep their files; it goes with the node. */
  readonly scratch: string
  readonly name: string
  /** Process 1 of the node, as this machine sees it. */
  readonly pid: number
  readonly #namespaces: Namespaces
  readonly #cri: CriProbe
  #nextHost = FIRST_HOST
  #containers = 0

  readonly #socket: string

  constructor(namespaces: Namespaces, generation: Generation, socket = CONTAINERD_SOCKET) {
    this.#namespaces = namespaces
    this.generation = generation
    this.scratch = namespaces.scratch
    this.name = namespaces.name
    this.pid = namespaces.pid
    this.#socket = socket
    this.#cri = new CriProbe(namespaces.path(socket))
  }

  /** containerd's pid as the node sees it, or undefined while it does not run. */
  abstract containerdPid(): Promise<number | undefined>
  /** What containerd has logged so far. */
  abstract log(): Promise<string>
  /** Stops containerd and keeps it stopped. */
  abstract stopContainerd(): Promise<void>
  /** Starts containerd and waits until CRI answers or containerd is seen to fail. */
  abstract startContainerd(): Promise<void>

  /** Runs a program as on the node; it is killed when it takes longer than `timeoutMs` (30 s). */
  async exec(argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    return await this.#namespaces.exec(argv, options)
  }

  /** Like exec, but a code other than 0 throws with what the program said. */
  async run(argv: readonly string[], options: ExecOptions = {}): Promise<string> {
    const { code, stdout, stderr } = await this.exec(argv, options)
    if (code !== 0) throw new Error(`${argv.join(' ')}: exit code ${code}\n${stdout}${stderr}`)
    return stdout
  }

  /** A program that goes on running: on the node, or as its neighbour on the same network with the machine's own files. */
  async start(argv: readonly string[], options: StartOptions = {}): Promise<Service> {
    return await this.#namespaces.start(argv, options)
  }

  /** A file of the node as seen from outside; absolute links in the path lead to the machine's own files (see readFile). */
  path(path: string): string {
    return this.#namespaces.path(path)
  }

  async readFile(path: string): Promise<string> {
    return await this.run(['cat', '--', path])
  }

  /** Writes a file as a program on the node would, with its parent folders. */
  async writeFile(path: string, content: string | Buffer, mode = 0o644): Promise<void> {
    const write = 'mkdir -p -- "$(dirname -- "$1")" && cat >"$1" && chmod "$2" -- "$1"'
    await this.run(['sh', '-c', write, 'sh', path, mode.toString(8)], { input: content })
  }

  /** Makes the node's name server answer with this address from now on; undefined: no such name. */
  async setHost(name: string, address: string | undefined): Promise<void> {
    await appendFile(join(this.scratch, NAMES_FILE), `${name}${address === undefined ? '' : ` ${address}`}\n`)
  }

  /** Starts the node's name server; every node does so before anything looks up a name. */
  async startNameServer(): Promise<void> {
    const names = join(this.scratch, NAMES_FILE)
    await writeFile(names, '', { flag: 'a' })
    await this.#addAddress(NAME_SERVER)
    const argv = [process.execPath, join(import.meta.dirname, 'name-server.ts'), NAME_SERVER, names]
    const service = await this.start(argv, { place: 'neighbour' })
    await service.waitFor(/^listening$/m)
  }

  /** An address that nothing else on the node's network has; only the node and its neighbours can reach it. */
  async newAddress(): Promise<string> {
    const address = `${NETWORK}${this.#nextHost}`
    this.#nextHost += 1
    await this.#addAddress(address)
    return address
  }

  async #addAddress(address: string): Promise<void> {
    const service = await this.start(['ip', 'address', 'add', `${address}/32`, 'dev', 'lo'], { place: 'neighbour' })
    const code = await service.exited
    if (code !== 0) throw new Error(`ip address add ${address}: exit code ${code}: ${service.stderr}`)
  }

  async criVersion(): Promise<CriVersion> {
    return await this.#cri.version()
  }

  async criStatus(): Promise<CriStatus> {
    return await this.#cri.status()
  }

  async pull(
    reference: string,
    options: { readonly credentials?: Credentials; readonly timeoutMs?: number } = {},
  ): Promise<Pulled> {
    return await this.#cri.pull(reference, options)
  }

  async images(): ReturnType<CriProbe['images']> {
    return await this.#cri.images()
  }

  async removeImage(reference: string): Promise<void> {
    await this.#cri.removeImage(reference)
  }

  /** Waits until CRI answers. UNIMPLEMENTED never goes away by waiting: containerd runs without its CRI plugin. */
  async ready(timeoutMs = READY_MS): Promise<CriVersion> {
    const deadline = Date.now() + timeoutMs
    for (;;) {
      const version = existsSync(this.path(this.#socket)) ? await this.criVersion() : undefined
      if (version !== undefined && (version.ok || version.code === 'UNIMPLEMENTED')) return version
      if (Date.now() > deadline)
        throw new Error(`containerd does not answer on ${this.name}:\n${(await this.log()).slice(-2_000)}`)
      await sleep(POLL_MS)
    }
  }

  /** Waits until containerd runs under a pid other than `before` and CRI answers. */
  async restartedSince(before: number | undefined, timeoutMs = READY_MS): Promise<number> {
    const deadline = Date.now() + timeoutMs
    for (;;) {
      const pid = await this.containerdPid()
      if (pid !== undefined && pid !== before && (await this.criVersion()).ok) return pid
      if (Date.now() > deadline)
        throw new Error(`containerd did not come back on ${this.name}:\n${(await this.log()).slice(-2_000)}`)
      await sleep(POLL_MS)
    }
  }

  /** Sends a signal to the containerd that runs, waiting for one while it is started again; tells which pid it was. */
  async signalContainerd(signal: 'HUP' | 'KILL' | 'TERM', timeoutMs = READY_MS): Promise<number> {
    const deadline = Date.now() + timeoutMs
    for (;;) {
      const pid = await this.containerdPid()
      if (pid !== undefined && (await this.exec(['sh', '-c', `kill -s ${signal} ${pid}`])).code === 0) return pid
      if (Date.now() > deadline) throw new Error(`no containerd runs on ${this.name} to be sent ${signal}`)
      await sleep(POLL_MS)
    }
  }

  /** A pod with one sleeping container on the node's own network, made without any registry. Needs `runContainers`. */
  async runContainer(): Promise<RunningContainer> {
    const busybox = await readFile(tool('busybox-static', 'busybox'))
    const image = buildImage(
      [{ path: 'bin/busybox', bytes: busybox, mode: 0o755 }],
      ['/bin/busybox', 'sleep', '1000000'],
    )
    const archive = ociArchive(image, [await this.#sandboxImage(), CONTAINER_IMAGE])
    await this.run(['ctr', '--namespace', 'k8s.io', 'images', 'import', '-'], {
      input: archive,
      env: this.environment(),
    })
    this.#containers += 1
    const name = `container-${this.#containers}`
    await this.#imageKnown(CONTAINER_IMAGE)
    const id = await this.#cri.runContainer(name, CONTAINER_IMAGE, ['/bin/busybox', 'sleep', '1000000'])
    return { id, facts: async () => await this.#cri.container(id) }
  }

  /** Resolves when nothing of the node and its neighbours is left on this machine. */
  async dispose(): Promise<void> {
    await this.#namespaces.dispose()
  }

  /** Environment that finds this generation's programs first. */
  protected abstract environment(): { readonly [name: string]: string }

  /** The pause image as the configuration in force names it: no name of a registry stands in these files. */
  async #sandboxImage(): Promise<string> {
    const dump = await this.run(['containerd', 'config', 'dump'], { env: this.environment() })
    const name = /^\s*sandbox(?:_image)? = ["']([^"']+)["']/m.exec(dump)?.[1]
    if (name === undefined) throw new Error('containerd config dump names no sandbox image')
    return name
  }

  /** CRI learns of an imported image by an event, a moment later. */
  async #imageKnown(reference: string): Promise<void> {
    const deadline = Date.now() + READY_MS
    for (;;) {
      const images = await this.#cri.images()
      if (images.some((image) => image.tags.includes(reference))) return
      if (Date.now() > deadline) throw new Error(`CRI does not see the imported image ${reference}`)
      await sleep(POLL_MS)
    }
  }
}

/** The generation's own default configuration, with the one setting that containers need on a machine without CAP_SYS_RESOURCE. */
export function configForContainers(defaultConfig: string): string {
  const changed = defaultConfig.replace(/^(\s*restrict_oom_score_adj = )false$/m, '$1true')
  if (changed === defaultConfig) throw new Error('containerd config default has no restrict_oom_score_adj = false')
  return changed
}
