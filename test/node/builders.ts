// The real programs that build, copy and push images on a node, as Debian ships them, each told where to keep its things. None of them
// gets a flag about certificates: they trust what the node trusts.
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FixtureNode } from './fixture-node.ts'
import { cacheFolder, tool } from './generations.ts'
import type { ExecResult, Service } from './namespaces.ts'

const HOME = '/run/builders'
const DOCKER_SOCKET = '/run/docker.sock'
const DOCKER_READY_MS = 60_000
const STORAGE = ['--root', `${HOME}/store`, '--runroot', `${HOME}/run`, '--storage-driver', 'vfs'] as const

export class Builders {
  readonly #node: FixtureNode

  private constructor(node: FixtureNode) {
    this.#node = node
  }

  /** The folders and files that the packages would have brought; no registry is configured in them. */
  static async on(node: FixtureNode): Promise<Builders> {
    await node.run(['mkdir', '-p', HOME, '/etc/docker', '/etc/containers'])
    await node.writeFile('/etc/containers/policy.json', '{"default":[{"type":"insecureAcceptAnything"}]}')
    await node.writeFile('/etc/containers/registries.conf', 'unqualified-search-registries = []\n')
    const storage = `[storage]\ndriver = "vfs"\ngraphroot = "${HOME}/storage"\nrunroot = "${HOME}/storage-run"\n`
    await node.writeFile('/etc/containers/storage.conf', storage)
    const runtime = `[engine]\nconmon_path = ["${tool('conmon', 'conmon')}"]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n`
    await node.writeFile('/etc/containers/containers.conf', runtime)
    return new Builders(node)
  }

  async skopeo(...argv: readonly string[]): Promise<ExecResult> {
    return this.#run([tool('skopeo', 'skopeo'), ...argv])
  }

  async buildah(...argv: readonly string[]): Promise<ExecResult> {
    return this.#run([tool('buildah', 'buildah'), ...STORAGE, ...argv])
  }

  async podman(...argv: readonly string[]): Promise<ExecResult> {
    return this.#run([tool('podman', 'podman'), ...STORAGE, ...argv])
  }

  async docker(...argv: readonly string[]): Promise<ExecResult> {
    return this.#run([tool('docker.io', 'docker'), '--host', `unix://${DOCKER_SOCKET}`, ...argv])
  }

  /** A shell script as a Task's step runs it, with these programs on its PATH. */
  async script(text: string, env: { readonly [name: string]: string }, cwd: string): Promise<ExecResult> {
    const base = environment()
    const folders = ['buildah', 'skopeo', 'podman'].map((name) => dirname(tool(name, name)))
    const path = `${folders.join(':')}:${base['PATH'] ?? ''}`
    return this.#node.exec(['sh', '-c', text], { env: { ...base, ...env, PATH: path }, cwd, timeoutMs: 60_000 })
  }

  /** A daemon without networks of its own, which beside images it needs none. */
  async startDockerd(): Promise<Service> {
    const places = [
      '--data-root',
      `${HOME}/docker`,
      '--exec-root',
      `${HOME}/docker-run`,
      '--pidfile',
      `${HOME}/docker.pid`,
    ]
    const plain = ['--bridge', 'none', '--iptables=false', '--ip6tables=false', '--storage-driver', 'vfs']
    const argv = [tool('docker.io', 'dockerd'), '--host', `unix://${DOCKER_SOCKET}`, ...places, ...plain]
    const service = await this.#node.start([...argv, '--containerd', '/run/containerd/containerd.sock'], {
      env: environment(),
    })
    const deadline = Date.now() + DOCKER_READY_MS
    while ((await this.docker('version')).code !== 0) {
      if (Date.now() > deadline) throw new Error(`dockerd does not answer:\n${service.stderr.slice(-3_000)}`)
      await sleep(50)
    }
    return service
  }

  async #run(argv: readonly string[]): Promise<ExecResult> {
    return this.#node.exec(argv, { env: environment(), timeoutMs: 60_000 })
  }
}

function environment(): { readonly [name: string]: string } {
  const machine = `${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`
  return {
    HOME,
    XDG_RUNTIME_DIR: HOME,
    TMPDIR: HOME,
    LD_LIBRARY_PATH: join(cacheFolder(), 'tools/libsubid4/usr/lib', machine),
    PATH: `${join(cacheFolder(), 'tools/runc/usr/sbin')}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
  }
}
