// A token service as registries with bearer authentication use it (distribution's "token" specification), beside a node. Run by
// startTokenService; prints "listening" once it does, then one JSON line for each request. It holds no code of the agent.
// usage: token-server.ts PLAN (JSON, see TokenPlan)
import { createSign, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'

export type TokenPlan = {
  readonly address: string
  readonly port: number
  readonly certFile: string
  readonly keyFile: string
  /** Signs the tokens; the registry trusts it. */
  readonly signerCertFile: string
  readonly signerKeyFile: string
  readonly service: string
  readonly username: string
  readonly password: string
  readonly refreshToken: string
  /** Pull is granted for these alone. */
  readonly repositories: readonly string[]
}

const plan = JSON.parse(process.argv[2] ?? '') as TokenPlan
const signerKey = readFileSync(plan.signerKeyFile)
const signer = new X509Certificate(readFileSync(plan.signerCertFile)).raw.toString('base64')

function isKnown(authorization: string | undefined, form: URLSearchParams): boolean {
  if (form.get('grant_type') === 'refresh_token') return form.get('refresh_token') === plan.refreshToken
  const basic = Buffer.from(`${plan.username}:${plan.password}`).toString('base64')
  const isForm = form.get('username') === plan.username && form.get('password') === plan.password
  return authorization === `Basic ${basic}` || isForm
}

function isAnonymous(authorization: string | undefined, form: URLSearchParams): boolean {
  return authorization === undefined && form.get('grant_type') === null
}

function token(subject: string, scope: string, granted: boolean): string {
  const [type = '', name = ''] = scope.split(':')
  const actions = granted && plan.repositories.includes(name) ? ['pull'] : []
  const now = Math.floor(Date.now() / 1000)
  const claims = {
    iss: 'fixture',
    sub: subject,
    aud: plan.service,
    exp: now + 300,
    nbf: now - 10,
    iat: now,
    jti: `${now}`,
  }
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const body = `${encode({ typ: 'JWT', alg: 'ES256', x5c: [signer] })}.${encode({ ...claims, access: [{ type, name, actions }] })}`
  const signature = createSign('SHA256').update(body).sign({ key: signerKey, dsaEncoding: 'ieee-p1363' })
  return `${body}.${signature.toString('base64url')}`
}

createServer({ cert: readFileSync(plan.certFile), key: readFileSync(plan.keyFile) }, async (request, response) => {
  let body = ''
  for await (const chunk of request) body += String(chunk)
  const url = new URL(request.url ?? '/', 'https://token')
  const form = new URLSearchParams(body)
  const scope = form.get('scope') ?? url.searchParams.get('scope') ?? ''
  const { authorization } = request.headers
  const anonymous = isAnonymous(authorization, form)
  const known = isKnown(authorization, form)
  console.log(
    JSON.stringify({ method: request.method, scope, anonymous, known, agent: request.headers['user-agent'] ?? '' }),
  )
  // Also an anonymous client gets a token; it opens nothing.
  if (!known && !anonymous) {
    response.writeHead(401, { 'content-type': 'application/json' }).end('{"errors":[{"code":"UNAUTHORIZED"}]}')
    return
  }
  const issued = token(known ? plan.username : '', scope, known)
  response
    .writeHead(200, { 'content-type': 'application/json' })
    .end(JSON.stringify({ token: issued, access_token: issued }))
})
  .on('tlsClientError', () => undefined)
  .listen(plan.port, plan.address, () => console.log('listening'))
