// A node without an init system: containerd of a chosen generation in namespaces of its own, at its usual paths, under a tiny supervisor
// that starts it again whenever it ends. Comes up in well under a second; several run side by side.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CONTAINERD_CONFIG, CONTAINERD_SOCKET, configForContainers, FixtureNode } from './fixture-node.ts'
import { type Generation, nodePath } from './generations.ts'
import { Namespaces } from './namespaces.ts'

export type SandboxNodeOptions = {
  readonly generation: Generation
  /** `default`: the bytes of `containerd config default`. `none`: no file. Anything else: the text of config.toml. */
  readonly config?: string
  /** Makes `default` fit to run containers (see configForContainers); a text must bring that itself. */
  readonly runContainers?: boolean
  /** Names the node can look up, besides those of the registries started beside it. */
  readonly hosts?: { readonly [name: string]: string }
  /** false: the node comes up without containerd. */
  readonly startContainerd?: boolean
  /** Where containerd's files lie, as a distribution starts it; its usual places unless told. */
  readonly places?: ContainerdPlaces
}

export type ContainerdPlaces = {
  readonly config: string
  readonly socket: string
  readonly arguments: readonly string[]
}

export const CERTS_D = '/etc/containerd/certs.d'

const HOLD = '/run/fixture/hold'
const PID_FILE = '/run/fixture/containerd.pid'
const STOP_MS = 30_000

export class SandboxNode extends FixtureNode {
  async containerdPid(): Promise<number | undefined> {
    try {
      const pid = Number(readFileSync(this.path(PID_FILE), 'utf8'))
      return pid > 0 ? pid : undefined
    } catch {
      return undefined
    }
  }

  /** The exit code of each run of containerd that has ended. */
  exits(): readonly number[] {
    return readFileSync(this.path('/run/fixture/exits'), 'utf8').split('\n').filter(Boolean).map(Number)
  }

  /** How often the supervisor has started containerd again. */
  async restarts(): Promise<number> {
    return this.exits().length
  }

  async log(): Promise<string> {
    try {
      return readFileSync(join(this.scratch, 'containerd.log'), 'utf8')
    } catch {
      return ''
    }
  }

  async stopContainerd(): Promise<void> {
    await this.run(['touch', HOLD])
    const pid = await this.containerdPid()
    if (pid !== undefined) await this.exec(['sh', '-c', `kill -s TERM ${pid}`])
    const deadline = Date.now() + STOP_MS
    while ((await this.containerdPid()) !== undefined) {
      if (Date.now() > deadline) throw new Error(`containerd did not stop on ${this.name}`)
      await sleep(10)
    }
  }

  async startContainerd(): Promise<void> {
    const before = this.exits().length
    await this.run(['rm', '-f', HOLD])
    await Promise.race([this.ready(), this.#failed(before)])
  }

  protected environment(): { readonly [name: string]: string } {
    return { PATH: nodePath(this.generation) }
  }

  async #failed(before: number): Promise<void> {
    const deadline = Date.now() + STOP_MS
    while (this.exits().length === before && Date.now() < deadline) await sleep(20)
  }
}

export async function startSandboxNode(options: SandboxNodeOptions): Promise<SandboxNode> {
  const { generation, config = 'default', places } = options
  const namespaces = await Namespaces.open({
    init: 'sandbox-init.sh',
    argv: (name, scratch) => [scratch, name, nodePath(generation)],
  })
  const node = new SandboxNode(namespaces, generation, places?.socket ?? CONTAINERD_SOCKET)
  try {
    const text = configText(generation, config, options.runContainers ?? false)
    if (text !== undefined) await node.writeFile(places?.config ?? CONTAINERD_CONFIG, text)
    if (places !== undefined) await node.writeFile('/run/fixture/arguments', places.arguments.join('\n'))
    for (const [name, address] of Object.entries(options.hosts ?? {})) await node.setHost(name, address)
    await Promise.all([node.startNameServer(), options.startContainerd !== false && node.startContainerd()])
    return node
  } catch (error) {
    await node.dispose()
    throw error
  }
}

export function defaultConfig(generation: Generation): string {
  return execFileSync(join(generation.bin, 'containerd'), ['config', 'default'], { encoding: 'utf8' })
}

/** The configuration with the registry's config_path set, as an administrator would have done it by hand. */
export function withConfigPath(config: string, path = CERTS_D): string {
  const changed = config.replace(/(registry\]\n\s*config_path = )(?:""|'')/, `$1"${path}"`)
  if (changed === config) throw new Error('the configuration has no empty config_path in its registry table')
  return changed
}

export function configText(generation: Generation, config: string, runContainers: boolean): string | undefined {
  if (config === 'none') return undefined
  if (config !== 'default') return config
  const text = defaultConfig(generation)
  return runContainers ? configForContainers(text) : text
}
