// Asks an agent over its Pod's address (port AgentClient). Every answer is bounded in time and size: a node may be
// compromised. Where the agents serve HTTPS, the certificate that all of them share is trusted, and no other.
import { X509Certificate } from 'node:crypto'
import { get as getPlain } from 'node:http'
import { get as getSecure, type RequestOptions } from 'node:https'
import type { AgentClient } from '../model/fleet-cluster.ts'

const TIMEOUT_MS = 5_000
const MAX_BYTES = 64 * 1024
/** A certificate that was renewed is read again after this. */
const CERTIFICATE_MS = 30_000

export type AgentClientOptions = {
  /** PEM of the certificate that agents serve with; undefined: there is none, and they serve HTTP. */
  readonly certificate?: () => Promise<string | undefined>
  readonly now?: () => number
}

export function agentClient(options: AgentClientOptions = {}): AgentClient {
  const trust = trustOf(options)
  return {
    async ask({ ip, port }, tag) {
      const secure = await trust()
      const headers = { accept: 'application/json', ...(tag === undefined ? {} : { 'if-none-match': tag }) }
      const where = { host: ip, port, path: '/status/summary', headers, agent: false as const }
      return await answerOf(where, secure)
    },
  }
}

type Where = Pick<RequestOptions, 'host' | 'port' | 'path' | 'headers' | 'agent'>
type Trust = {
  readonly ca: string
  readonly allowPartialTrustChain: true
  readonly checkServerIdentity: () => undefined
}

/** It is this very certificate, whatever names it is for: agents are asked by the address of their Pod. */
function trustOf({ certificate, now = () => performance.now() }: AgentClientOptions): () => Promise<Trust | undefined> {
  let known: Promise<Trust | undefined> = Promise.resolve(undefined)
  let readAtMs = Number.NEGATIVE_INFINITY
  const read = async (): Promise<Trust | undefined> => {
    const pem = await certificate?.()
    if (pem === undefined) return undefined
    const ca = new X509Certificate(pem).toString()
    return { ca, allowPartialTrustChain: true, checkServerIdentity: () => undefined }
  }
  return () => {
    if (certificate === undefined || now() - readAtMs < CERTIFICATE_MS) return known
    readAtMs = now()
    known = read()
    return known
  }
}

function answerOf(where: Where, secure: Trust | undefined): ReturnType<AgentClient['ask']> {
  const get = secure === undefined ? getPlain : getSecure
  return new Promise((resolve, reject) => {
    const options: RequestOptions = { ...where, ...secure, signal: AbortSignal.timeout(TIMEOUT_MS) }
    const request = get(options, (response) => {
      const chunks: Buffer[] = []
      let length = 0
      response.on('error', reject)
      response.on('data', (chunk: Buffer) => {
        length += chunk.length
        if (length > MAX_BYTES) request.destroy(new Error(`the answer is longer than ${MAX_BYTES} bytes`))
        else chunks.push(chunk)
      })
      response.on('end', () => {
        if (response.statusCode === 304) resolve({ kind: 'unchanged' })
        else if (response.statusCode === 200)
          resolve({ kind: 'summary', text: Buffer.concat(chunks).toString('utf8'), tag: response.headers.etag })
        else reject(new Error(`it answers with HTTP ${response.statusCode}`))
      })
    })
    request.on('error', (error) =>
      reject(error.name === 'TimeoutError' ? new Error(`no answer within ${TIMEOUT_MS / 1000} s`) : error),
    )
  })
}
