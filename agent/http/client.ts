// Asks a running agent for its status. node:http instead of fetch: the command line must start quickly and stay small.
import { X509Certificate } from 'node:crypto'
import { get as getPlain } from 'node:http'
import { get as getSecure } from 'node:https'
import { AgentError } from '../model/errors.ts'
import type { NodeStatus } from '../model/status.ts'
import { addressToReach, formatAddress, parseAddress } from './address.ts'

export type StatusRequest = {
  /** As given to --listen: `host:port`, `:port`, `[::1]:port`. */
  readonly address: string
  readonly timeoutMs?: number
  /**
   * PEM of the certificate that the agent serves with: HTTPS, and no other one is trusted, nor the chain that follows
   * it.
   */
  readonly certificate?: string | undefined
  readonly signal?: AbortSignal | undefined
}

const TIMEOUT_MS = 5000
/** A thousand registries with evidence stay far below it. */
const MAX_BYTES = 16 * 1024 * 1024

/** Throws AgentError DAEMON_UNREACHABLE, or USAGE for an address that is none. */
export async function fetchStatus(request: StatusRequest): Promise<NodeStatus> {
  const { host, port } = addressToReach(parseAddress(request.address))
  const url = `${request.certificate === undefined ? 'http' : 'https'}://${formatAddress({ host, port })}/status`
  const deadline = AbortSignal.timeout(request.timeoutMs ?? TIMEOUT_MS)
  const signal = request.signal === undefined ? deadline : AbortSignal.any([deadline, request.signal])
  try {
    const { status, body } = await download(url, signal, request.certificate)
    return readStatus(status, body)
  } catch (thrown) {
    const why = deadline.aborted ? 'no answer in time' : explain(thrown)
    throw new AgentError('DAEMON_UNREACHABLE', `no status from the agent at ${url}: ${why}`, { url }, { cause: thrown })
  }
}

type Download = { readonly status: number; readonly body: string }

function download(url: string, signal: AbortSignal, certificate: string | undefined): Promise<Download> {
  const get = certificate === undefined ? getPlain : getSecure
  // It is this very certificate, whatever names it is for: the agent is asked by its address.
  const trust =
    certificate === undefined
      ? {}
      : {
          ca: new X509Certificate(certificate).toString(),
          allowPartialTrustChain: true,
          checkServerIdentity: () => undefined,
        }
  return new Promise((resolve, reject) => {
    // No pooled connection: it would keep a command alive that has its answer.
    const request = get(
      url,
      { ...trust, signal, agent: false, headers: { accept: 'application/json' } },
      (response) => {
        const chunks: Buffer[] = []
        let length = 0
        response.on('data', (chunk: Buffer) => {
          length += chunk.length
          if (length > MAX_BYTES) request.destroy(new Error(`the answer is longer than ${MAX_BYTES} bytes`))
          else chunks.push(chunk)
        })
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
        )
        response.on('error', reject)
      },
    )
    request.on('error', reject)
  })
}

function readStatus(status: number, body: string): NodeStatus {
  const answer = parseJson(body)
  if (status !== 200) {
    const message =
      isObject(answer) && typeof answer['message'] === 'string' ? `: ${answer['message'].slice(0, 500)}` : ''
    throw new Error(`it answers with HTTP ${status}${message}`)
  }
  if (!isStatus(answer)) throw new Error('what listens there is not a registry-trust agent')
  return answer
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

function isObject(value: unknown): value is { readonly [name: string]: unknown } {
  return typeof value === 'object' && value !== null
}

/** Enough to tell an agent from another server; the rest is the word of our own program. */
function isStatus(value: unknown): value is NodeStatus {
  return (
    isObject(value) &&
    typeof value['node'] === 'string' &&
    isObject(value['containerd']) &&
    Array.isArray(value['registries'])
  )
}

const EXPLANATIONS: { readonly [code: string]: string } = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'the host name does not resolve',
  EHOSTUNREACH: 'there is no route to this host',
  ENETUNREACH: 'there is no route to this network',
  ECONNRESET: 'the connection was cut',
}

function explain(thrown: unknown): string {
  const { code } = thrown as { readonly code?: unknown }
  return EXPLANATIONS[String(code)] ?? (thrown instanceof Error ? thrown.message : String(thrown))
}
