// The agent as a user runs it, on a fixture node: the built bundle, a folder with trust.yaml, and the command line.
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Authority, createAuthority, issueServer } from '../node/certificates.ts'
import type { FixtureNode } from '../node/fixture-node.ts'
import { findGenerations, fixturesUnavailable, type Generation } from '../node/generations.ts'
import type { ExecResult, Service } from '../node/namespaces.ts'
import { type FixtureRegistry, startRegistry } from '../node/registry.ts'

/** What users run. */
export const BUNDLE = join(import.meta.dirname, '../../dist/registry-trust.cjs')
const LISTEN = '127.0.0.1:9461'

/** The generations to test on; a missing one ends the run where CI=true, and is told loudly elsewhere. */
export function generationsToTest(): readonly Generation[] {
  const reason = fixturesUnavailable()
  if (reason !== undefined) throw new Error(reason)
  const { found, missing } = findGenerations()
  if (missing.length > 0 && process.env['CI'] === 'true')
    throw new Error(`containerd could not be fetched from: ${missing.join(', ')}`)
  if (missing.length > 0) console.error(`NOT TESTED: containerd from ${missing.join(', ')} could not be fetched`)
  return found
}

export type ApplyReport = {
  readonly outcome: string
  readonly changes: readonly {
    readonly target: string
    readonly action: string
    readonly path: string
    readonly reason: string
  }[]
  readonly restarts: readonly { readonly result: string; readonly durationMs: number }[]
  readonly restartPending: string | null
  readonly rehearsal: { readonly verdict: string; readonly reason?: string } | null
  readonly findings: readonly {
    readonly host: string
    readonly finding: { readonly code: string; readonly message: string }
  }[]
  readonly problems: readonly { readonly code: string; readonly message: string; readonly remedy: string }[]
}

export class AgentOnNode {
  readonly node: FixtureNode
  readonly config: string
  readonly #command: readonly string[]

  private constructor(node: FixtureNode, config: string) {
    this.node = node
    this.config = config
    this.#command = [process.execPath, BUNDLE]
  }

  /** `config`: a folder that shows at the same path on the node; a sandbox node shows its scratch folder. */
  static async on(node: FixtureNode, config = join(node.scratch, 'agent-config')): Promise<AgentOnNode> {
    await mkdir(config, { recursive: true })
    return new AgentOnNode(node, config)
  }

  /** Writes trust.yaml (an object: JSON is YAML) and the files beside it; `undefined` removes one. */
  async configure(
    trust: object | string,
    files: { readonly [name: string]: string | Buffer | undefined } = {},
  ): Promise<void> {
    for (const [name, content] of Object.entries(files))
      if (content === undefined) await rm(join(this.config, name), { force: true })
      else await writeFile(join(this.config, name), content)
    await writeFile(join(this.config, 'trust.yaml'), typeof trust === 'string' ? trust : JSON.stringify(trust))
  }

  /** For tests that start the agent in their own way. */
  argv(name: string, ...flags: readonly string[]): readonly string[] {
    return [...this.#command, name, '--config', this.config, ...flags]
  }

  async command(name: string, ...flags: readonly string[]): Promise<ExecResult> {
    return this.node.exec(this.argv(name, ...flags), { timeoutMs: 90_000 })
  }

  async apply(
    ...flags: readonly string[]
  ): Promise<{ readonly code: number; readonly report: ApplyReport; readonly stderr: string }> {
    const { code, stdout, stderr } = await this.command('apply', '--json', ...flags)
    return { code, report: parse<ApplyReport>(stdout, stderr), stderr }
  }

  async plan(): Promise<{
    readonly code: number
    readonly plan: Omit<ApplyReport, 'outcome' | 'restarts'> & { restart: { required: boolean; reason: string } }
  }> {
    const { code, stdout, stderr } = await this.command('plan', '--json')
    return { code, plan: parse(stdout, stderr) }
  }

  async startDaemon(...flags: readonly string[]): Promise<Daemon> {
    const service = await this.node.start(this.argv('agent', '--listen', LISTEN, ...flags))
    await service.waitFor(/"msg":"listening"/)
    return new Daemon(this.node, service)
  }

  /** The daemon that this service is, or runs. */
  daemon(service: Service): Daemon {
    return new Daemon(this.node, service)
  }

  async status(...flags: readonly string[]): Promise<ExecResult> {
    return this.node.exec([...this.#command, 'status', '--listen', LISTEN, ...flags])
  }
}

export type StatusReport = {
  readonly state: string
  readonly generation: string
  readonly registries: readonly {
    readonly host: string
    readonly state: string
    readonly finding: { readonly code: string }
  }[]
  readonly problems: readonly { readonly code: string; readonly message: string }[]
  readonly drift: readonly {
    readonly target: string
    readonly path: string
    readonly kind: string
    readonly reason: string
  }[]
  readonly targets: readonly { readonly target: string; readonly inSync: boolean; readonly pending: number }[]
  readonly anchors: readonly { readonly name: string; readonly installed: readonly string[] }[]
  readonly restart: { readonly pending: boolean; readonly reason: string | null }
  readonly transactions: readonly { readonly result: string; readonly restarted: boolean }[]
}

export class Daemon {
  readonly service: Service
  readonly #node: FixtureNode

  constructor(node: FixtureNode, service: Service) {
    this.#node = node
    this.service = service
  }

  async get(path: string): Promise<{ readonly status: number; readonly body: string }> {
    const { stdout } = await this.#node.exec([
      'curl',
      '--silent',
      '--max-time',
      '10',
      '--write-out',
      '\n%{http_code}',
      `http://${LISTEN}${path}`,
    ])
    const at = stdout.lastIndexOf('\n')
    return { status: Number(stdout.slice(at + 1)), body: stdout.slice(0, at) }
  }

  async status(): Promise<StatusReport> {
    return JSON.parse((await this.get('/status')).body) as StatusReport
  }

  async until(isTrue: (status: StatusReport) => boolean, timeoutMs = 60_000): Promise<StatusReport> {
    const deadline = Date.now() + timeoutMs
    for (;;) {
      const status = await this.status().catch(() => undefined)
      if (status !== undefined && isTrue(status)) return status
      if (Date.now() > deadline)
        throw new Error(`not in ${timeoutMs} ms: ${JSON.stringify(status)}\n${this.service.stderr}`)
      await sleep(40)
    }
  }
}

function parse<T>(stdout: string, stderr: string): T {
  try {
    return JSON.parse(stdout) as T
  } catch {
    throw new Error(`no JSON on standard output:\n${stdout}\n${stderr}`)
  }
}

export type PrivateRegistry = { readonly registry: FixtureRegistry; readonly authority: Authority }

/** A registry with a certificate of a CA of its own. */
export async function startPrivateRegistry(
  node: FixtureNode,
  host: string,
  options: { readonly port?: number; readonly byAddress?: boolean } = {},
): Promise<PrivateRegistry> {
  const folder = join(node.scratch, `pki-${host}-${options.port ?? 443}`)
  await mkdir(folder, { recursive: true })
  const authority = await createAuthority(folder, `Root of ${host}`)
  const address = await node.newAddress()
  await node.setHost(host, address)
  const certificate = await issueServer(authority, folder, options.byAddress === true ? [host, address] : [host])
  const registry = await startRegistry(node, {
    host,
    address,
    certificate,
    ...(options.port === undefined ? {} : { port: options.port }),
  })
  return { registry, authority }
}

/** For nodes whose containerd has a supervisor instead of systemd. */
export const BY_SIGNAL = { restart: { strategy: 'signal' } } as const

/** Inode, mtime, mode and size of every path below the folders: equal means that nothing was written. */
export async function fingerprint(node: FixtureNode, ...folders: readonly string[]): Promise<string> {
  return node.run(['find', ...folders, '-printf', '%p %i %T@ %m %s %l\n'])
}

/** Content, kind, mode, owner and link target of every path below the folders: equal means that it is as it was. */
export async function contents(node: FixtureNode, ...folders: readonly string[]): Promise<string> {
  // What vanishes while it is listed is missing in the answer, which is what the caller wants to know.
  const list = await node.exec(['find', ...folders, '-printf', '%p %y %m %U:%G %l\n'])
  const sums = await node.exec(['find', ...folders, '-type', 'f', '-exec', 'sha256sum', '{}', '+'])
  const sorted = (text: string) => text.split('\n').sort().join('\n')
  return sorted(list.stdout) + sorted(sums.stdout)
}

/** Waits until the trust folders hold what `good` says; tells the last look where they do not get there. */
export async function contentsUntil(good: string, node: FixtureNode): Promise<string> {
  const deadline = Date.now() + 60_000
  for (;;) {
    const now = await contents(node, ...TRUST_FOLDERS)
    if (now === good || Date.now() > deadline) return now
    await sleep(20)
  }
}

export const TRUST_FOLDERS = ['/etc/containerd', '/etc/ssl/certs', '/usr/local/share/ca-certificates'] as const
