// A node with registries of two authorities beside it, to ask containerd itself what a configuration means.
import type { Test } from 'tap'
import { classifyPull } from '../../agent/containerd/pull-error.ts'
import { hostOf } from '../../agent/model/image-reference.ts'
import { type Authority, createAuthority, issueClient, issueServer } from '../node/certificates.ts'
import type { Generation } from '../node/generations.ts'
import { sandboxNode } from '../node/node-tests.ts'
import { startRegistry } from '../node/registry.ts'
import type { SandboxNode } from '../node/sandbox-node.ts'
import { startFaultServer } from '../node/tls-servers.ts'

export const CONFIG = '/etc/containerd/config.toml'
export const LOGIN = { username: 'robot', password: 'hunter2' }

export type Lab = {
  readonly node: SandboxNode
  /** The authority whose CA lies in /etc/pki/corp.pem, and among the system roots of containerd 2.x. */
  readonly corp: Authority
  /** First line of a config file, and the name of its registry table. */
  readonly head: string
  readonly registry: string
}

type Place = {
  readonly host: string
  readonly port?: number
  readonly signedBy?: 'corp' | 'other'
  readonly login?: true
}

/** By reference host; unless said otherwise on port 443, open to all, plain HTTP. */
const PLACES: { readonly [host: string]: Place } = {
  'harbor.test': { host: 'harbor.test', signedBy: 'corp', login: true },
  'mirror.test:5000': { host: 'mirror.test', port: 5000, signedBy: 'corp' },
  'port.test:8443': { host: 'port.test', port: 8443, signedBy: 'corp' },
  'plain.test:5001': { host: 'plain.test', port: 5001, login: true },
  'skip.test': { host: 'skip.test', signedBy: 'other' },
  'wrong.test': { host: 'wrong.test', signedBy: 'other' },
  'other.test': { host: 'other.test', signedBy: 'other' },
  'empty.test': { host: 'empty.test', signedBy: 'other' },
  'missing.test': { host: 'missing.test', signedBy: 'other' },
}

/** containerd is not started yet. */
export async function lab(t: Test, generation: Generation, hosts: readonly string[]): Promise<Lab> {
  const node = await sandboxNode(t, { generation, config: 'none', startContainerd: false })
  const corp = await createAuthority(node.scratch, 'corp')
  const other = await createAuthority(node.scratch, 'other')
  const start = async ({ host, port = 443, signedBy, login }: Place) => {
    const authority = signedBy === 'corp' ? corp : other
    const certificate = signedBy === undefined ? undefined : await issueServer(authority, node.scratch, [host])
    await startRegistry(node, { host, port, ...(certificate && { certificate }), ...(login && { credentials: LOGIN }) })
  }
  const places = hosts.map(async (host) => {
    const place = PLACES[host]
    if (place === undefined) throw new Error(`the lab has no registry ${host}`)
    await start(place)
  })
  await Promise.all(places)
  await node.writeFile('/etc/pki/corp.pem', corp.pem)
  await node.writeFile('/etc/pki/empty.pem', '')
  const { configVersion, registryPlugin } = generation.expected
  if (configVersion > 2) await node.writeFile('/etc/ssl/certs/corp.pem', corp.pem)
  return { node, corp, head: `version = ${configVersion}\n`, registry: `plugins.'${registryPlugin}'.registry` }
}

/** client.test, which wants a client certificate, and one that it accepts in /etc/pki. */
export async function serveClients({ node, corp }: Lab): Promise<void> {
  const certificate = await issueServer(corp, node.scratch, ['client.test'])
  const fault = { fault: 'client-certificate', clientAuthority: corp, answer: { status: 403 } } as const
  await startFaultServer(node, { host: 'client.test', certificate, ...fault })
  const client = await issueClient(corp, node.scratch, 'node')
  await node.writeFile('/etc/pki/client.pem', client.pem)
  await node.run(['cp', client.keyFile, '/etc/pki/client.key'])
}

/** An image that is there, and one that is not. */
export const image = (host: string) => [`${host}/library/hello:1`, `${host}/library/hello:no-such-tag`]

export async function outcomes(
  node: SandboxNode,
  references: readonly string[],
): Promise<{ readonly [reference: string]: string }> {
  const found = references.map(async (reference) => {
    const pulled = await node.pull(reference)
    if (pulled.ok) return [reference, 'pulled'] as const
    const host = hostOf(reference) ?? 'docker.io'
    const failure = { ok: false, status: pulled.code, text: pulled.message } as const
    return [reference, classifyPull(failure, { reference, host }).code] as const
  })
  return Object.fromEntries(await Promise.all(found))
}

export async function load(node: SandboxNode, config: string): Promise<void> {
  await node.writeFile(CONFIG, config)
  await node.startContainerd()
}
