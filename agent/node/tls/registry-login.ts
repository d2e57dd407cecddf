// Tries a login once (port RegistryLogin): Basic, or the token service that the registry names. The rules: a secret is
// sent only over a connection verified with exactly the roots given, only to the registry, or to a token service that
// is declared, and never a second time.
import { request as httpsRequest } from 'node:https'
import { rootCertificates } from 'node:tls'
import type { CallOptions, LoginAnswer, LoginRequest, RegistryCredentials, RegistryLogin } from '../../model/ports.ts'

const MOST_BODY_BYTES = 256 * 1024
const CLIENT_ID = 'registry-trust-agent'

type Reply = { readonly status: number; readonly challenge: string; readonly body: string }
type Call = {
  readonly method: 'GET' | 'POST'
  readonly authorization?: string
  readonly form?: string
}

export function registryLogin(): RegistryLogin {
  return { attempt }
}

async function attempt(request: LoginRequest, { timeoutMs, signal }: CallOptions): Promise<LoginAnswer> {
  const deadline = AbortSignal.timeout(timeoutMs)
  const until = signal === undefined ? deadline : AbortSignal.any([deadline, signal])
  const url = new URL('/v2/', request.server)
  let asked = url
  const call = (where: URL, how: Call) => {
    asked = where
    return send(where, how, request.roots, until)
  }
  try {
    const first = await call(url, { method: 'GET' })
    if (first.status !== 401) return first.status < 300 ? { outcome: 'not-asked' } : unclear(url, first)
    const { scheme, parameters } = parseChallenge(first.challenge)
    const { credentials } = request
    if (credentials.kind === 'registry-token')
      return judge(url, await call(url, { method: 'GET', authorization: `Bearer ${credentials.token.reveal()}` }))
    if (scheme === 'basic') {
      if (credentials.kind !== 'password')
        return { outcome: 'failed', reason: `${url.host} requires a user and a password, but a token is declared` }
      return judge(url, await call(url, { method: 'GET', authorization: basic(credentials) }))
    }
    if (scheme !== 'bearer') return { outcome: 'failed', reason: `${url.host} asks for a login of an unknown kind` }
    return await askForToken(parameters, request, call)
  } catch (error) {
    if (signal?.aborted === true) throw signal.reason
    const reason = deadline.aborted ? `${asked.host} did not answer in time` : reasonOf(error, asked)
    return { outcome: 'failed', reason }
  }
}

async function askForToken(
  { realm, service }: { readonly [name: string]: string },
  { server, credentials, repository, tokenHosts }: LoginRequest,
  call: (where: URL, how: Call) => Promise<Reply>,
): Promise<LoginAnswer> {
  const url = realm === undefined ? null : URL.parse(realm)
  if (url === null) return { outcome: 'failed', reason: 'the registry names no token service' }
  if (url.protocol !== 'https:')
    return {
      outcome: 'failed',
      reason: `the token service ${url.host} is not reached by https: no credentials are sent there`,
    }
  // The server that answers for the registry names the service: it must not decide where the login goes.
  if (url.host !== new URL(server).host && !tokenHosts.includes(url.host))
    return {
      outcome: 'failed',
      reason: `the token service is ${url.host}: name it in credentials.hosts if it may get this login`,
    }
  const fields = {
    ...(service === undefined ? {} : { service }),
    scope: `repository:${repository}:pull`,
    client_id: CLIENT_ID,
  }
  if (credentials.kind === 'identity-token') {
    const form = new URLSearchParams({
      ...fields,
      grant_type: 'refresh_token',
      refresh_token: credentials.token.reveal(),
    }).toString()
    return judgeToken(url, await call(url, { method: 'POST', form }))
  }
  if (credentials.kind !== 'password') return { outcome: 'failed', reason: 'a registry token needs no token service' }
  for (const [name, value] of Object.entries(fields)) url.searchParams.set(name, value)
  url.searchParams.set('account', credentials.username)
  return judgeToken(url, await call(url, { method: 'GET', authorization: basic(credentials) }))
}

function judge(url: URL, reply: Reply): LoginAnswer {
  if (reply.status === 401 || reply.status === 403) return { outcome: 'refused', status: reply.status, by: url.host }
  return reply.status < 300 ? { outcome: 'accepted' } : unclear(url, reply)
}

/** OAuth2 says 400 where the refresh token is not valid (RFC 6749, 5.2). */
function judgeToken(url: URL, reply: Reply): LoginAnswer {
  if (reply.status === 400 && /invalid_grant|unauthorized/i.test(reply.body))
    return { outcome: 'refused', status: reply.status, by: url.host }
  const answer = judge(url, reply)
  if (answer.outcome !== 'accepted' || holdsToken(reply.body)) return answer
  return { outcome: 'failed', reason: `the token service ${url.host} answered without a token` }
}

function holdsToken(body: string): boolean {
  try {
    const value: unknown = JSON.parse(body)
    return typeof value === 'object' && value !== null && ('token' in value || 'access_token' in value)
  } catch {
    return false
  }
}

function unclear(url: URL, { status }: Reply): LoginAnswer {
  return { outcome: 'failed', reason: `${url.host} answered ${status} to ${url.pathname}` }
}

function basic({ username, password }: Extract<RegistryCredentials, { kind: 'password' }>): string {
  return `Basic ${Buffer.from(`${username}:${password.reveal()}`).toString('base64')}`
}

/** `Bearer realm="https://…",service="…"`; of several challenges the first that is known. */
export function parseChallenge(header: string): {
  readonly scheme: string
  readonly parameters: { readonly [name: string]: string }
} {
  const found = /\b(bearer|basic)\s+/i.exec(header)
  if (found === null) return { scheme: /\bbasic\b/i.test(header) ? 'basic' : '', parameters: {} }
  const parameters: { [name: string]: string } = {}
  for (const [, name = '', quoted, plain] of header
    .slice(found.index + found[0].length)
    .matchAll(/([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/g))
    parameters[name.toLowerCase()] ??= quoted?.replace(/\\(.)/g, '$1') ?? plain ?? ''
  return { scheme: (found[1] ?? '').toLowerCase(), parameters }
}

async function send(
  url: URL,
  { method, authorization, form }: Call,
  roots: readonly string[],
  signal: AbortSignal,
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      url,
      {
        method,
        // An empty list would mean "the user agent of Node.js".
        ca: roots.length === 0 ? [...rootCertificates] : [...roots],
        // As Go does: whatever is in the pool is trusted, an intermediate too.
        allowPartialTrustChain: true,
        agent: false,
        signal,
        headers: {
          'user-agent': CLIENT_ID,
          ...(authorization === undefined ? {} : { authorization }),
          ...(form === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
        },
      },
      (response) => {
        const chunks: Buffer[] = []
        let size = 0
        response.on('data', (chunk: Buffer) => {
          size += chunk.length
          if (size > MOST_BODY_BYTES) request.destroy(new Error('the answer is too long'))
          else chunks.push(chunk)
        })
        response.on('error', reject)
        response.on('end', () => {
          const challenge = response.headers['www-authenticate'] ?? ''
          resolve({ status: response.statusCode ?? 0, challenge, body: Buffer.concat(chunks).toString('utf8') })
        })
      },
    )
    request.on('error', reject)
    request.end(form)
  })
}

function reasonOf(error: unknown, url: URL): string {
  const { code, message } =
    error instanceof Error ? (error as NodeJS.ErrnoException) : { code: undefined, message: String(error) }
  return `${url.host}: ${code ?? ''} ${message.split('\n')[0] ?? ''}`.replace(/\s+/g, ' ').trim().slice(0, 300)
}
