// Asks the fleet component for its report through the API server's proxy of Services: whoever may read that Service
// from outside needs no port and no address of the cluster.
import { request as httpRequest } from 'node:http'
import { request as httpsRequest, type RequestOptions } from 'node:https'
import { KubeConfig } from '@kubernetes/client-node'
import { AgentError } from '../model/errors.ts'
import { credentialsFrom } from './kubernetes-api.ts'

/** The Service of daemonset/fleet, by the name of its port. */
const SERVICE = 'registry-trust-fleet:http'
const TIMEOUT_MS = 15_000
/** Pods and Events of large clusters have more; these tell enough. */
const MOST_OBJECTS = 500
/** 1,000 nodes at some 400 bytes each, many times over. */
const MAX_BYTES = 16 * 1024 * 1024

export type FleetReader = {
  /**
   * The JSON answer of `GET /fleet` with this query.
   * Throws AgentError CLUSTER_UNREACHABLE, CLUSTER_FORBIDDEN or CLUSTER_FAILED.
   */
  read(query: { readonly offset: number; readonly limit: number }, signal: AbortSignal): Promise<unknown>
  /**
   * Objects of the same namespace by their path below the server: `api`, `pods` reads /api/v1/namespaces/NAME/pods.
   * Throws as `read` does.
   */
  list(api: string, resource: string, signal: AbortSignal): Promise<unknown>
}

/** @param kubeconfig a file; absent: as kubectl finds it ($KUBECONFIG, ~/.kube/config), else the Pod's account */
export function fleetReader(kubeconfig: string | undefined, namespace: string): FleetReader {
  const config = kubeconfig === undefined ? kubectlCredentials() : credentialsFrom(kubeconfig)
  const { server } = config.getCurrentCluster() ?? {}
  if (server === undefined)
    throw new AgentError('CLUSTER_UNREACHABLE', 'the kubeconfig has no current context with a cluster')
  const folder = `namespaces/${encodeURIComponent(namespace)}`
  const urlOf = (path: string) => new URL(path, server.endsWith('/') ? server : `${server}/`)
  return {
    async list(api, resource, signal) {
      const url = urlOf(`${api}/${folder}/${resource}`)
      url.search = `limit=${MOST_OBJECTS}`
      const { status, text } = await get(config, url, signal)
      const what = `${resource} of namespace ${namespace}`
      if (status === 401 || status === 403)
        throw new AgentError(
          'CLUSTER_FORBIDDEN',
          `the API server answered ${status}: this account may not list ${what}`,
        )
      if (status !== 200) throw new AgentError('CLUSTER_FAILED', `${what}: the API server answered ${status}`)
      try {
        return JSON.parse(text)
      } catch {
        throw new AgentError('CLUSTER_FAILED', `${what}: the API server does not answer with JSON`)
      }
    },
    async read({ offset, limit }, signal) {
      const url = urlOf(`api/v1/${folder}/services/${SERVICE}/proxy/fleet`)
      url.search = `offset=${offset}&limit=${limit}`
      const { status, text } = await get(config, url, signal)
      if (status !== 200) throw refusal(status, text, namespace)
      try {
        return JSON.parse(text)
      } catch {
        throw new AgentError('CLUSTER_FAILED', `Service ${namespace}/registry-trust-fleet does not answer with JSON`)
      }
    },
  }
}

/** As kubectl finds it. Throws AgentError CLUSTER_UNREACHABLE. */
function kubectlCredentials(): KubeConfig {
  const config = new KubeConfig()
  try {
    config.loadFromDefault()
  } catch (error) {
    // The parser's own words could repeat a line of the file.
    const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : ''
    throw new AgentError('CLUSTER_UNREACHABLE', `neither $KUBECONFIG nor ~/.kube/config can be read${code}`)
  }
  return config
}

async function get(config: KubeConfig, url: URL, signal: AbortSignal): Promise<{ status: number; text: string }> {
  const options = { method: 'GET', headers: { accept: 'application/json' } }
  // `kubectl proxy` speaks plain HTTP on the loopback address; no credentials are sent that way.
  const isPlain = url.protocol === 'http:'
  if (!isPlain) await withCredentials(config, options)
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>()
  const ending = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)])
  const request = isPlain ? httpRequest : httpsRequest
  const sent = request(url, { ...options, signal: ending }, (response) => {
    const chunks: Buffer[] = []
    let length = 0
    response.on('data', (chunk: Buffer) => {
      length += chunk.length
      if (length > MAX_BYTES) sent.destroy(new Error(`the answer is longer than ${MAX_BYTES} bytes`))
      else chunks.push(chunk)
    })
    response.on('error', reject)
    response.on('end', () =>
      resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }),
    )
  })
  sent.on('error', reject)
  sent.end()
  try {
    return await promise
  } catch (thrown) {
    signal.throwIfAborted()
    const isLate = thrown instanceof Error && thrown.name === 'TimeoutError'
    const why = isLate ? `no answer within ${TIMEOUT_MS / 1000} s` : (thrown as Error).message
    throw new AgentError('CLUSTER_UNREACHABLE', `the API server ${url.origin} does not answer: ${why}`)
  }
}

/** A program that the kubeconfig names may be run for them. */
async function withCredentials(config: KubeConfig, options: RequestOptions): Promise<void> {
  try {
    await config.applyToHTTPSOptions(options)
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message.slice(0, 300) : 'unknown'
    throw new AgentError('CLUSTER_UNREACHABLE', `the kubeconfig's credentials cannot be used: ${reason}`)
  }
}

function refusal(status: number, text: string, namespace: string): AgentError {
  const service = `Service ${namespace}/registry-trust-fleet`
  const said = `the API server answered ${status}`
  if (status === 401 || status === 403)
    return new AgentError(
      'CLUSTER_FORBIDDEN',
      `${service}: ${said}: this account needs the verb get on services/proxy "${SERVICE}" in namespace ${namespace}`,
    )
  if (status === 404)
    return new AgentError('CLUSTER_FAILED', `${service}: ${said}: the fleet component is not installed there`)
  if (status === 503)
    return new AgentError('CLUSTER_FAILED', `${service}: ${said}: no Pod of the fleet component is ready`)
  return new AgentError('CLUSTER_FAILED', `${service}: ${said}: ${text.replace(/\s+/g, ' ').slice(0, 200)}`)
}
