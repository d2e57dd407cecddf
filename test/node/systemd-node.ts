// A node with a real systemd as process 1 and containerd as Debian's own unit, in namespaces of its own: what a restart over D-Bus,
// a start limit or a unit's KillMode do here is what they do on a real machine.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { CONTAINERD_CONFIG, FixtureNode } from './fixture-node.ts'
import { cacheFolder, type Generation } from './generations.ts'
import { Namespaces } from './namespaces.ts'
import { configText } from './sandbox-node.ts'

export type SystemdNodeOptions = {
  /** Its programs take the place of the tree's own. */
  readonly generation: Generation
  /** As for a sandbox node; `package`: the file that Debian's package brings. */
  readonly config?: string
  readonly runContainers?: boolean
  readonly hosts?: { readonly [name: string]: string }
  /** Files put into the node before it boots, e.g. unit drop-ins: path to content. */
  readonly files?: { readonly [path: string]: string }
  /** Folders of this machine that show at the same path inside, e.g. the repository. */
  readonly binds?: readonly string[]
}

export const DBUS_SOCKET = '/run/dbus/system_bus_socket'
const UNIT = 'containerd.service'
const BOOT_MS = 60_000

export class SystemdNode extends FixtureNode {
  async containerdPid(): Promise<number | undefined> {
    const pid = Number(await this.unitProperty('MainPID'))
    return pid > 0 ? pid : undefined
  }

  /** A property of the unit as systemd prints it, e.g. ActiveState, NRestarts, InvocationID. */
  async unitProperty(name: string, unit = UNIT): Promise<string> {
    return (await this.run(['systemctl', 'show', '--property', name, '--value', unit])).trim()
  }

  /** How often systemd itself has started containerd again; a restart by hand sets it to 0. */
  async restarts(): Promise<number> {
    return Number(await this.unitProperty('NRestarts'))
  }

  async log(): Promise<string> {
    return (await this.exec(['journalctl', '--no-pager', '--output', 'cat', '--unit', UNIT])).stdout
  }

  async stopContainerd(): Promise<void> {
    await this.run(['systemctl', 'stop', UNIT])
  }

  async startContainerd(): Promise<void> {
    await this.run(['systemctl', 'start', UNIT])
    await this.ready()
  }

  /** busctl with the arguments given; the answer as it prints it. */
  async busctl(...argv: readonly string[]): Promise<string> {
    return (await this.run(['busctl', ...argv])).trim()
  }

  /** A method of org.freedesktop.systemd1.Manager, e.g. manager('RestartUnit', 'ss', 'containerd.service', 'replace'). */
  async manager(method: string, ...argv: readonly string[]): Promise<string> {
    const address = ['org.freedesktop.systemd1', '/org/freedesktop/systemd1', 'org.freedesktop.systemd1.Manager']
    return await this.busctl('call', ...address, method, ...argv)
  }

  /** The system bus of the node, as a socket that this machine's programs can open. */
  dbusSocket(): string {
    return this.path(DBUS_SOCKET)
  }

  /** Waits until systemd has started everything; answers its state, "running" or "degraded". */
  async booted(): Promise<string> {
    const deadline = Date.now() + BOOT_MS
    for (;;) {
      if (existsSync(this.path(DBUS_SOCKET))) {
        const { stdout } = await this.exec(['systemctl', 'is-system-running', '--wait'], { timeoutMs: BOOT_MS })
        const state = stdout.trim()
        if (state === 'running' || state === 'degraded') return state
      }
      if (Date.now() > deadline) throw new Error(`${this.name} did not boot within ${BOOT_MS} ms`)
      await sleep(20)
    }
  }

  protected environment(): { readonly [name: string]: string } {
    return {}
  }
}

/** Why no systemd node can be started here, or undefined. */
export function systemdNodeUnavailable(): string | undefined {
  return existsSync(join(tree(), 'complete')) ? undefined : 'run scripts/install-fixtures --systemd-node first'
}

export async function startSystemdNode(options: SystemdNodeOptions): Promise<SystemdNode> {
  const { generation, config = 'default', binds = [] } = options
  const namespaces = await Namespaces.open({
    init: 'systemd-init.sh',
    argv: (name, scratch) => [scratch, name, tree(), generation.bin, ...binds],
    prepare: (scratch) => prepare(scratch, options, config),
  })
  const node = new SystemdNode(namespaces, generation)
  try {
    for (const [name, address] of Object.entries(options.hosts ?? {})) await node.setHost(name, address)
    await Promise.all([node.startNameServer(), node.booted()])
    await node.ready()
    return node
  } catch (error) {
    await node.dispose()
    throw error
  }
}

function tree(): string {
  return join(cacheFolder(), 'systemd-node')
}

function prepare(scratch: string, options: SystemdNodeOptions, config: string): void {
  const text = config === 'package' ? undefined : configText(options.generation, config, options.runContainers ?? false)
  const files = { ...options.files, ...(text !== undefined && { [CONTAINERD_CONFIG]: text }) }
  writeFileSync(join(scratch, 'absent'), config === 'none' ? `${CONTAINERD_CONFIG}\n` : '')
  for (const [path, content] of Object.entries(files)) {
    const file = join(scratch, 'extra', path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, content)
  }
}
