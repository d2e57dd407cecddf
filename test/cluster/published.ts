// `registry-trust publish` as a user runs it against the documented API (test/cluster/api-server.ts), for tests of those who read what it
// writes: the ConfigMaps are what a kubelet would mount.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import { createAuthority, issueServer } from '../node/certificates.ts'
import { ApiServer } from './api-server.ts'

const MAIN = join(import.meta.dirname, '../../agent/main.ts')
const CONTROLLER = '/apis/apps/v1/namespaces/tekton-pipelines/deployments/tekton-pipelines-controller'

export class PublishingCluster {
  readonly server: ApiServer
  readonly #folder: string
  readonly #argv: readonly string[]

  private constructor(server: ApiServer, folder: string) {
    this.server = server
    this.#folder = folder
    const kubeconfig = ['--kubeconfig', join(folder, 'kubeconfig')]
    this.#argv = [MAIN, 'publish', '--config', join(folder, 'config'), ...kubeconfig]
  }

  /** With Tekton's controller and its ConfigMap as a release brings them: the latter has no key. */
  static async start(t: Test, folder: string): Promise<PublishingCluster> {
    mkdirSync(join(folder, 'config'), { recursive: true })
    const authority = await createAuthority(folder, 'Cluster')
    const { pem, keyFile } = await issueServer(authority, folder, ['127.0.0.1'])
    const server = new ApiServer({ cert: pem, key: readFileSync(keyFile, 'utf8') })
    const url = await server.listen()
    t.teardown(async () => await server.close())
    server.put(CONTROLLER, {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'tekton-pipelines-controller' },
      spec: { replicas: 1, template: { metadata: {} } },
    })
    server.put(configMapPath('tekton-pipelines/config-registry-cert'), {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'config-registry-cert' },
    })
    const cluster = { server: url, 'certificate-authority-data': Buffer.from(authority.pem).toString('base64') }
    const parts = {
      clusters: [{ name: 'c', cluster }],
      users: [{ name: 'u', user: { token: 'fixture' } }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    }
    writeFileSync(
      join(folder, 'kubeconfig'),
      JSON.stringify({ apiVersion: 'v1', kind: 'Config', 'current-context': 'x', ...parts }),
    )
    return new PublishingCluster(server, folder)
  }

  configure(trust: object, files: { readonly [name: string]: string }): void {
    for (const [name, content] of Object.entries(files)) writeFileSync(join(this.#folder, 'config', name), content)
    writeFileSync(join(this.#folder, 'config/trust.yaml'), JSON.stringify(trust))
  }

  /** One run; what it says where it does not end well. */
  async publish(): Promise<void> {
    const child = spawn(process.execPath, this.#argv, { stdio: ['ignore', 'pipe', 'pipe'] })
    let said = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += String(chunk)))
    const [code] = await once(child, 'close')
    if (code !== 0) throw new Error(`publish: exit code ${code}\n${said}`)
  }

  /** The daemon of daemonset/publish; it ends with the test. */
  watch(t: Test): void {
    const child = spawn(process.execPath, [...this.#argv, '--watch', '--node-name', 'one'], { stdio: 'ignore' })
    t.teardown(async () => {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    })
  }

  /** Keys and values of NAMESPACE/NAME. */
  dataOf(configMap: string): { readonly [key: string]: string } {
    const found = this.server.get(configMapPath(configMap)) as { data?: { [key: string]: string } } | undefined
    return found?.data ?? {}
  }
}

export function configMapPath(configMap: string): string {
  const [namespace = '', name = ''] = configMap.split('/')
  return `/api/v1/namespaces/${namespace}/configmaps/${name}`
}
