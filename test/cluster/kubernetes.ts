// The API server that scripts/install-fixtures builds from Kubernetes' own server library (test/cluster/apiserver), with a real etcd, on a
// loopback port. What it lacks is what no library has: defaults and validation of single fields, controllers, kubelets.

import { execFile, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { accessSync, constants, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { request as httpsRequest } from 'node:https'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { type Authority, createAuthority, issueServer } from '../node/certificates.ts'
import { cacheFolder } from '../node/generations.ts'

/** Who calls: everything is allowed to the first, to the others what Roles allow. */
export const CALLERS = {
  admin: { user: 'admin', groups: 'system:masters' },
  /** As the token of the shipped ServiceAccount is understood. */
  publisher: {
    user: 'system:serviceaccount:registry-trust:registry-trust-publish',
    groups: 'system:serviceaccounts,system:serviceaccounts:registry-trust',
  },
} as const
export type Caller = keyof typeof CALLERS

export type Answer = { readonly status: number; readonly body: Tree }
export type Tree = { readonly [key: string]: unknown }
export type Finished = { readonly status: number; readonly stdout: string; readonly stderr: string }
export type AuditLine = {
  readonly verb: string
  readonly path: string
  readonly query: URLSearchParams
  readonly user: string
}

const PROGRAMS = ['apiserver', 'etcd', 'kubectl'] as const
const START_MS = 30_000

/** Why there is none on this machine, or undefined. */
export function kubernetesUnavailable(): string | undefined {
  try {
    for (const program of PROGRAMS) accessSync(programOf(program), constants.X_OK)
    const builtFrom = readFileSync(join(cacheFolder(), 'api-server/built-from'), 'utf8').trim()
    return builtFrom === keyOfSources()
      ? undefined
      : 'the API server is of other sources: run scripts/install-fixtures --full'
  } catch {
    return 'the API server was not built: run scripts/install-fixtures --full'
  }
}

/** As scripts/fixture-api-server.sh makes it. */
function keyOfSources(): string {
  const folder = join(import.meta.dirname, 'apiserver')
  const names = readdirSync(folder)
    .filter((name) => name.endsWith('.go'))
    .sort()
  const hash = createHash('sha256')
  for (const name of names) hash.update(readFileSync(join(folder, name)))
  return hash.digest('hex')
}

function programOf(name: (typeof PROGRAMS)[number]): string {
  return join(cacheFolder(), 'api-server/bin', name)
}

export class Kubernetes {
  readonly folder: string
  readonly url: string
  readonly #ca: string
  readonly #stop: () => Promise<void>

  constructor(folder: string, url: string, ca: string, stop: () => Promise<void>) {
    this.folder = folder
    this.url = url
    this.#ca = ca
    this.#stop = stop
  }

  async stop(): Promise<void> {
    await this.#stop()
  }

  kubeconfig(caller: Caller): string {
    const file = join(this.folder, `${caller}.kubeconfig`)
    writeFileSync(file, kubeconfigOf(this.url, this.#ca, tokenOf(caller)))
    return file
  }

  async request(method: string, path: string, body?: Tree, caller: Caller = 'admin'): Promise<Answer> {
    return await request(this.url, this.#ca, { method, path, caller }, body)
  }

  /** As documented commands are run: from the root of the repository, through a shell. */
  async sh(command: string, cwd: string, env: NodeJS.ProcessEnv = {}): Promise<Finished> {
    const PATH = [join(cacheFolder(), 'api-server/bin'), process.env['PATH']].join(delimiter)
    const home = join(this.folder, 'home')
    await mkdir(home, { recursive: true })
    const all = { ...process.env, PATH, HOME: home, KUBECONFIG: this.kubeconfig('admin'), ...env }
    return await finished('bash', ['-euo', 'pipefail', '-c', command], { cwd, env: all })
  }

  async kubectl(args: readonly string[], caller: Caller = 'admin'): Promise<Finished> {
    const env = { ...process.env, HOME: this.folder, KUBECONFIG: this.kubeconfig(caller) }
    return await finished(programOf('kubectl'), args, { cwd: this.folder, env })
  }

  /** Every request so far, in order, as the server's own audit has it. */
  audit(): readonly AuditLine[] {
    const lines = readFileSync(join(this.folder, 'audit.log'), 'utf8').split('\n').filter(Boolean)
    return lines.map((line) => {
      const { verb, requestURI, user } = JSON.parse(line) as {
        verb: string
        requestURI: string
        user: { username: string }
      }
      const url = new URL(requestURI, 'https://api')
      return { verb, path: url.pathname, query: url.searchParams, user: user.username }
    })
  }
}

/** It lives as long as its test. */
export async function startKubernetes(t: Test): Promise<Kubernetes> {
  const folder = scratchFolder(t)
  const authority = await createAuthority(folder, 'Cluster')
  const kubernetes = await start(folder, authority)
  t.teardown(() => kubernetes.stop())
  return kubernetes
}

/** Goes with the test, and leaves the test its own testdir. */
export function scratchFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'registry-trust-cluster-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

async function start(folder: string, authority: Authority): Promise<Kubernetes> {
  const { certFile, keyFile } = await issueServer(authority, folder, ['127.0.0.1'])
  writeFileSync(
    join(folder, 'tokens.csv'),
    Object.entries(CALLERS)
      .map(([caller, { user, groups }], index) => `${tokenOf(caller as Caller)},${user},${index},"${groups}"\n`)
      .join(''),
  )
  writeFileSync(
    join(folder, 'audit-policy.yaml'),
    JSON.stringify({
      apiVersion: 'audit.k8s.io/v1',
      kind: 'Policy',
      omitStages: ['ResponseStarted', 'ResponseComplete'],
      rules: [{ level: 'None', users: ['system:apiserver'] }, { level: 'Metadata' }],
    }),
  )
  // Sockets in this folder, so that no port is taken that another test might want; the other URLs are names only.
  const etcd = run(folder, programOf('etcd'), [
    '--data-dir=etcd-data',
    '--unsafe-no-fsync',
    '--log-level=error',
    '--listen-client-urls=unix://etcd:1',
    '--advertise-client-urls=http://localhost:1',
    '--listen-peer-urls=unix://peer:1',
    '--initial-advertise-peer-urls=http://localhost:2',
    '--initial-cluster=default=http://localhost:2',
  ])
  const api = run(folder, programOf('apiserver'), [
    '--etcd=unix://etcd:1',
    `--cert=${certFile}`,
    `--key=${keyFile}`,
    '--tokens=tokens.csv',
    '--audit-log=audit.log',
    '--audit-policy=audit-policy.yaml',
  ])
  const stop = async () => {
    await api.stop()
    await etcd.stop()
  }
  try {
    const url = await ready(authority.pem, api, etcd)
    return new Kubernetes(folder, url, authority.pem, stop)
  } catch (thrown) {
    await stop()
    throw thrown
  }
}

type Process = { stdout: string; stderr: string; readonly hasEnded: () => boolean; stop(): Promise<void> }

function run(cwd: string, program: string, args: readonly string[]): Process {
  // killed together with the test, however that ends
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', program, ...args], { cwd, stdio: 'pipe' })
  const hasEnded = () => child.exitCode !== null || child.signalCode !== null
  const ended = once(child, 'exit')
  const process: Process = {
    stdout: '',
    stderr: '',
    hasEnded,
    async stop() {
      if (hasEnded()) return
      // nothing of it is kept
      child.kill('SIGKILL')
      await ended
    },
  }
  child.stdout.on('data', (chunk: Buffer) => {
    process.stdout += chunk.toString()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    process.stderr += chunk.toString()
  })
  return process
}

async function ready(ca: string, api: Process, etcd: Process): Promise<string> {
  const deadline = Date.now() + START_MS
  for (;;) {
    const url = /^https:\S+$/m.exec(api.stdout)?.[0]
    const isReady =
      url !== undefined &&
      (await request(url, ca, { method: 'GET', path: '/readyz', caller: 'admin' }).then(
        ({ status }) => status === 200,
        () => false,
      ))
    if (isReady) return url
    if (api.hasEnded() || etcd.hasEnded() || Date.now() > deadline)
      throw new Error(`the API server did not start:\n${etcd.stderr.slice(-2000)}\n${api.stderr.slice(-4000)}`)
    await sleep(50)
  }
}

function request(
  url: string,
  ca: string,
  { method, path, caller }: { readonly method: string; readonly path: string; readonly caller: Caller },
  body?: Tree,
): Promise<Answer> {
  const headers = { authorization: `Bearer ${tokenOf(caller)}`, 'content-type': 'application/json' }
  return new Promise((resolve, reject) => {
    const sent = httpsRequest(new URL(path, url), { method, ca, headers, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
      })
      response.on('end', () => {
        const isJson = response.headers['content-type']?.startsWith('application/json') === true
        resolve({ status: response.statusCode ?? 0, body: isJson ? (JSON.parse(text) as Tree) : { text } })
      })
      response.on('error', reject)
    })
    sent.on('error', reject)
    sent.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

export function kubeconfigOf(url: string, ca: string, token: string): string {
  const cluster = { server: url, 'certificate-authority-data': Buffer.from(ca).toString('base64') }
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'x',
    clusters: [{ name: 'c', cluster }],
    users: [{ name: 'u', user: { token } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
  })
}

function tokenOf(caller: Caller): string {
  return `fixture-${caller}`
}

function finished(
  program: string,
  args: readonly string[],
  options: { readonly cwd: string; readonly env: NodeJS.ProcessEnv },
): Promise<Finished> {
  return new Promise((resolve) => {
    execFile(program, args, { ...options, maxBuffer: 16 * 1024 * 1024, timeout: 60_000 }, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : 1
      resolve({ status, stdout, stderr })
    })
  })
}
