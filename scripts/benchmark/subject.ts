// The thing that is measured: the built bundle on a fixture node, started as scripts/registry-trust starts it, and the
// questions that the parts of the benchmark ask. What is polled is polled from outside, without starting a program for
// it.
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type PrivateRegistry, startPrivateRegistry } from '../../test/fixtures/e2e/agent-on-node.ts'
import type { Authority } from '../../test/fixtures/node/certificates.ts'
import { CriProbe } from '../../test/fixtures/node/cri-client.ts'
import { CONTAINERD_SOCKET, type FixtureNode } from '../../test/fixtures/node/fixture-node.ts'
import type { Generation } from '../../test/fixtures/node/generations.ts'
import { tinyImage } from '../../test/fixtures/node/image.ts'
import type { Service } from '../../test/fixtures/node/namespaces.ts'
import type { FixtureRegistry } from '../../test/fixtures/node/registry.ts'
import { defaultConfig, startSandboxNode, withConfigPath } from '../../test/fixtures/node/sandbox-node.ts'
import { startSystemdNode, systemdNodeUnavailable } from '../../test/fixtures/node/systemd-node.ts'

export const HOST = 'harbor.example.net'
export const HOST_FOLDER = `/etc/containerd/certs.d/${HOST}`
const CONFIG = '/etc/registry-trust'
const PORT = 9461
const PULL_POLL_MS = 10
const PATIENCE_MS = 60_000

/** `unset`: containerd's own default file. `set`: the same with config_path, as its documentation recommends. */
export type ConfigPath = 'unset' | 'set'

export type ApplyReport = {
  readonly outcome: string
  readonly restarts: readonly { readonly durationMs: number }[]
  readonly rehearsal: { readonly verdict: string; readonly durationMs?: number } | null
}

export class Subject {
  readonly node: FixtureNode
  readonly registry: FixtureRegistry
  readonly authority: Authority
  readonly #bundle: string
  /** systemd starts containerd; otherwise a supervisor of the sandbox does, a tenth of a second after it ended. */
  readonly hasSystemd: boolean
  readonly #cri: CriProbe
  readonly #bridge: string
  #published = 0

  private constructor(
    node: FixtureNode,
    hasSystemd: boolean,
    { registry, authority }: PrivateRegistry,
    bundle: string,
  ) {
    this.node = node
    this.hasSystemd = hasSystemd
    this.registry = registry
    this.authority = authority
    this.#bundle = bundle
    this.#bridge = join(node.scratch, 'http.sock')
    this.#cri = new CriProbe(node.path(CONTAINERD_SOCKET))
  }

  static async start(generation: Generation, configPath: ConfigPath, bundle: string): Promise<Subject> {
    const config = configPath === 'set' ? withConfigPath(defaultConfig(generation)) : 'default'
    const hasSystemd = configPath === 'unset' && systemdNodeUnavailable() === undefined
    const binds = [dirname(bundle), dirname(process.execPath), join(import.meta.dirname, '../..')]
    const node = await (hasSystemd
      ? startSystemdNode({ generation, config, binds: [...new Set(binds)] })
      : startSandboxNode({ generation, config }))
    try {
      const subject = new Subject(node, hasSystemd, await startPrivateRegistry(node, HOST), bundle)
      await mkdir(node.path(CONFIG), { recursive: true })
      const argv = [process.execPath, join(import.meta.dirname, 'http-bridge.ts'), subject.#bridge, String(PORT)]
      await (await node.start(argv, { place: 'neighbour' })).waitFor(/listening/)
      return subject
    } catch (error) {
      await node.dispose()
      throw error
    }
  }

  /**
   * What trust.yaml says, and the CA beside it, as the kubelet publishes a ConfigMap: one rename makes all of it
   * visible.
   */
  async publish(trust: object, ca: string): Promise<void> {
    this.#published += 1
    const at = (name: string) => this.node.path(`${CONFIG}/${name}`)
    const next = `..2026_11_21_${this.#published}`
    await mkdir(at(next))
    const supervised = this.hasSystemd ? {} : { restart: { strategy: 'signal' } }
    await writeFile(at(`${next}/trust.yaml`), JSON.stringify({ ...supervised, ...trust }))
    await writeFile(at(`${next}/ca.pem`), ca)
    await symlink(next, at('..data_tmp'))
    for (const name of ['trust.yaml', 'ca.pem']) await symlink(`..data/${name}`, at(name)).catch(() => undefined)
    await rename(at('..data_tmp'), at('..data'))
    await rm(at(`..2026_11_21_${this.#published - 1}`), { recursive: true, force: true })
  }

  async apply(): Promise<ApplyReport> {
    const service = await this.#start('apply', '--json')
    const code = await service.exited
    if (service.stdout === '') throw new Error(`apply: exit ${code}: ${service.stderr}`)
    return JSON.parse(service.stdout) as ApplyReport
  }

  async startDaemon(...flags: readonly string[]): Promise<Service> {
    return await this.#start('agent', '--listen', `127.0.0.1:${PORT}`, ...flags)
  }

  /** Agent and sidecar as profile full has them; both as their containers are started. */
  async startContainers(): Promise<{ readonly agent: Service; readonly sidecar: Service }> {
    const program = join(dirname(this.#bundle), 'registry-trust-sidecar.cjs')
    const sockets = ['--cri-proxy', '/run/rt-cri.sock', '--restarter-socket', '/run/rt-restarter.sock']
    const argv = [process.execPath, ...SIDECAR_FLAGS, program, 'sidecar', ...sockets]
    const sidecar = await this.node.start(argv, { env: IMAGE_ENV })
    await sidecar.waitFor(/restarter-listening/)
    return { sidecar, agent: await this.startDaemon(...sockets) }
  }

  /** In a memory cgroup (v1) of its own on the node, with the environment of the image. */
  async startDaemonWithin(limitMiB: number): Promise<Service> {
    const cgroup = '/sys/fs/cgroup/memory/agent'
    // Node.js sizes its heap by the limit that it finds when it starts.
    const enter = `mkdir ${cgroup} && echo ${limitMiB}M >${cgroup}/memory.limit_in_bytes && echo $$ >${cgroup}/cgroup.procs`
    const argv = [process.execPath, ...DAEMON_FLAGS, this.#bundle, 'agent', '--listen', `127.0.0.1:${PORT}`]
    const env = { NODE_COMPILE_CACHE: join(this.#bundle, '../compile-cache'), MALLOC_ARENA_MAX: '1' }
    return await this.node.start(['sh', '-c', `${enter} && exec "$@"`, 'sh', ...argv], { env })
  }

  async #start(command: string, ...flags: readonly string[]): Promise<Service> {
    const argv = [process.execPath, ...(command === 'agent' ? DAEMON_FLAGS : []), this.#bundle, command]
    return await this.node.start([...argv, ...flags], { env: IMAGE_ENV })
  }

  /** Milliseconds from `since` until a pull works. */
  async untilPullWorks(since: number): Promise<number> {
    for (;;) {
      const pulled = await this.#cri.pull(this.registry.reference(), { timeoutMs: 5_000 })
      if (pulled.ok) return performance.now() - since
      if (performance.now() - since > PATIENCE_MS) throw new Error(`the pull does not work: ${pulled.message}`)
      await sleep(PULL_POLL_MS)
    }
  }

  /** How long a pull takes that downloads and unpacks an image, on a node that trusts the registry. */
  async timeOfAnotherPull(): Promise<number> {
    await this.registry.store('library/another', '1', tinyImage('another'))
    const since = performance.now()
    const pulled = await this.#cri.pull(this.registry.reference('library/another:1'))
    if (!pulled.ok) throw new Error(`the other pull does not work: ${pulled.message}`)
    return performance.now() - since
  }

  /** The longest time between two answers of CRI until `done` resolves. */
  async longestGap(done: Promise<unknown>, pollMs: number): Promise<number> {
    let isDone = false
    const end = done.finally(() => {
      isDone = true
    })
    let lastOk = performance.now()
    let longest = 0
    while (!isDone) {
      if ((await this.#cri.version(2_000)).ok) {
        const now = performance.now()
        longest = Math.max(longest, now - lastOk)
        lastOk = now
      }
      await sleep(pollMs)
    }
    await end
    return longest
  }

  /** Milliseconds from `since` until `isTrue`; for cheap questions about files. */
  async until(isTrue: () => boolean | Promise<boolean>, since: number, pollMs: number): Promise<number> {
    while (!(await isTrue())) {
      if (performance.now() - since > PATIENCE_MS) throw new Error(`not within ${PATIENCE_MS} ms: ${isTrue}`)
      await sleep(pollMs)
    }
    return performance.now() - since
  }

  /** Answer of the daemon; undefined while it does not listen. */
  async get(path: string): Promise<{ readonly status: number; readonly body: string } | undefined> {
    return await new Promise((resolve) => {
      const asked = request({ socketPath: this.#bridge, path, agent: false, timeout: 5_000 }, (answer) => {
        let body = ''
        answer.setEncoding('utf8').on('data', (text: string) => {
          body += text
        })
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body }))
        answer.on('error', () => resolve(undefined))
      })
      asked.on('error', () => resolve(undefined))
      asked.end()
    })
  }

  async isReady(): Promise<boolean> {
    return (await this.get('/readyz'))?.status === 200
  }

  async state(): Promise<string> {
    const answer = await this.get('/status')
    return answer === undefined ? '' : (JSON.parse(answer.body) as { readonly state: string }).state
  }

  /** Sum of a counter over all its labels. */
  async counter(name: string): Promise<number> {
    const { body = '' } = (await this.get('/metrics')) ?? {}
    const samples = body.matchAll(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'gm'))
    return [...samples].reduce((sum, [, value]) => sum + Number(value), 0)
  }

  /** A file of a program's /proc folder, by its pid on the node. */
  async proc(pid: number, file: string): Promise<string> {
    return await readFile(this.node.path(`/proc/${pid}/${file}`), 'utf8')
  }

  async dispose(): Promise<void> {
    await this.node.dispose()
  }
}

/** Of the container `agent`, the last one of the DaemonSet, in MiB. */
export const MANIFEST_LIMIT_MIB = Number(
  /name: agent\n[\s\S]*limits: \{memory: (\d+)Mi\}/.exec(
    readFileSync(join(import.meta.dirname, '../../daemonset/base/daemonset.yaml'), 'utf8'),
  )?.[1],
)
export const HAS_MEMORY_CONTROLLER = existsSync('/sys/fs/cgroup/memory/memory.limit_in_bytes')

/** What scripts/registry-trust and the image give the daemon. */
const DAEMON_FLAGS: readonly string[] = ['--max-semi-space-size=1']
/** What daemonset/base gives the sidecar. */
const SIDECAR_FLAGS: readonly string[] = ['--max-old-space-size=32', '--max-semi-space-size=1']
/** Of the Dockerfile. */
const IMAGE_ENV = { MALLOC_ARENA_MAX: '1' }

/** Milliseconds of CPU, user and system, of all threads so far. */
export async function cpuMs(subject: Subject, pid: number): Promise<number> {
  const stat = await subject.proc(pid, 'stat')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

/**
 * The same to the microsecond, for a program that does next to nothing: `stat` counts hundredths of a second. Of the
 * threads that are alive.
 */
export async function idleCpuMs({ node }: Subject, pid: number): Promise<number> {
  const tasks = node.path(`/proc/${pid}/task`)
  const threads = await readdir(tasks)
  const spent = threads.map(async (thread) =>
    Number((await readFile(`${tasks}/${thread}/schedstat`, 'utf8')).split(' ')[0]),
  )
  return (await Promise.all(spent)).reduce((a, b) => a + b, 0) / 1e6
}

export type MemoryUse = { readonly rssMiB: number; readonly anonMiB: number; readonly peakRssMiB: number }

export async function memoryOf(subject: Subject, pid: number): Promise<MemoryUse> {
  const status = await subject.proc(pid, 'status')
  const mib = (name: string) => Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(status)?.[1]) / 1024
  return { rssMiB: mib('VmRSS'), anonMiB: mib('RssAnon'), peakRssMiB: mib('VmHWM') }
}
