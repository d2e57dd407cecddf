// The HTTP server of the agent: health, metrics, status, page and a few commands behind a bearer token.
// It only shows what it is handed: every answer has a schema, so nothing leaves that was not declared.
// This room: the HTTP server of the agent: health, status, metrics, the few requests that change something, and the
// page.
// Begin here; then openapi.ts (the contract), client.ts (the other side), page/.
// May touch: nothing of the node; it calls back into the daemon.
import { createHash } from 'node:crypto'
import type { Server as TlsServer } from 'node:tls'
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify'
import { AgentError } from '../model/errors.ts'
import type { Log } from '../model/ports.ts'
import {
  type NodeStatus,
  PROBLEM_SCHEMA,
  REGISTRY_SCHEMA,
  type RegistryStatus,
  STATUS_SCHEMA,
} from '../model/status.ts'
import { type NodeSummary, SUMMARY_SCHEMA } from '../model/summary.ts'
import { nearest } from '../text/did-you-mean.ts'
import { type Address, parseAddress } from './address.ts'
import { ANSWERS_BY_SCHEMA, answerBySchema } from './answer-by-schema.ts'
import { authorize } from './authorization.ts'
import { keepCertificate, type ReadPair } from './certificate.ts'
import { limitConnections } from './connections.ts'
import { errorAnswer } from './error-answer.ts'
import { bothHealthy, type Health, renderHealth } from './health.ts'
import { type LogLevelRequest, parseLogLevelRequest } from './log-level-request.ts'
import { ACCEPTED_SCHEMA, LOG_LEVEL_SCHEMA, openApiDocument } from './openapi.ts'
import { pageContentSecurityPolicy, pageParts } from './page/page.ts'
import { SharedAnswer } from './shared-answer.ts'
import { joinInSlices } from './slices.ts'

/** What a command is told; it returns as soon as the work is queued. */
export type CommandRequest = { readonly force: boolean }

export type ServerOptions = {
  readonly status: () => NodeStatus
  readonly summary: () => Promise<NodeSummary>
  readonly metrics: { readonly contentType: string; text(): Promise<string> }
  readonly readiness: () => Health
  readonly liveness: () => Health
  readonly onReconcile: (request: CommandRequest) => void | Promise<void>
  readonly onProve: (request: CommandRequest) => void | Promise<void>
  /** Returns when the level falls back, in milliseconds since the epoch. */
  readonly onLogLevel: (request: LogLevelRequest) => number
  /** Read anew for each command, so that a rotated token counts at once. Absent or empty: no commands. */
  readonly token?: () => Promise<string | undefined>
  /** HTTPS with this pair; absent: plain HTTP. */
  readonly certificate?: ReadPair
  /** Health alone: `/livez`, `/readyz` and `/healthz`. */
  readonly isHealthOnly?: boolean
  readonly log: Log
  /** How long `close` waits for requests under way. */
  readonly closeTimeoutMs?: number
}

export type HttpServer = {
  /**
   * `host:port`, `:port` (every address, IPv6 where there is one) or `[::]:port`. Throws AgentError LISTEN_FAILED or
   * USAGE.
   */
  listen(address: string): Promise<Address>
  /** Stops accepting, lets requests under way finish, ends what is left after 5 s. */
  close(): Promise<void>
  /** Answers a request without a socket, for tests. */
  readonly inject: FastifyInstance['inject']
  /** `METHOD /path` of every route. */
  readonly routes: readonly string[]
}

const CLOSE_TIMEOUT_MS = 5000
/** No request needs a body. */
const BODY_LIMIT_BYTES = 1024
/** Slow connections must not cost the node its memory. */
const REQUEST_TIMEOUT_MS = 10_000
/** A host name has at most 253 characters; percent encoding can triple them. */
const MAX_PARAMETER_LENGTH = 800

const API_CSP = "default-src 'none'; frame-ancestors 'none'"

export function createServer(options: ServerOptions): HttpServer {
  const app = createApp(options)
  const routes: string[] = []
  app.addHook('onRoute', ({ method, url }) => {
    for (const name of [method].flat()) if (name !== 'HEAD') routes.push(`${name} ${url}`)
  })
  addHealth(app, options)
  if (options.isHealthOnly !== true) {
    const answers = sharedAnswers(options)
    addMetrics(app, answers, options)
    addStatus(app, answers)
    addCommands(app, answers, options)
  }
  app.setNotFoundHandler((request) => {
    throw unknownRoute(request, routes)
  })
  const { certificate, log } = options
  let kept: { close(): void } | undefined
  return {
    async listen(address) {
      if (certificate !== undefined)
        kept = await keepCertificate(app.server as unknown as TlsServer, certificate, { log })
      return listen(app, address)
    },
    async close() {
      kept?.close()
      await close(app, options.closeTimeoutMs ?? CLOSE_TIMEOUT_MS)
    },
    inject: app.inject.bind(app),
    routes,
  }
}

function createApp({ log, certificate }: ServerOptions): FastifyInstance {
  const fail = (error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply =>
    sendError(log, error, request, reply)
  const app = fastify({
    // The pair comes before the first connection.
    ...(certificate === undefined ? {} : { https: { minVersion: 'TLSv1.2' as const } }),
    logger: false,
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: REQUEST_TIMEOUT_MS,
    routerOptions: { maxParamLength: MAX_PARAMETER_LENGTH },
    schemaController: ANSWERS_BY_SCHEMA,
    frameworkErrors: (error, request, reply) => {
      fail(error, request, reply)
    },
  })
  limitConnections(app.server)
  app.setErrorHandler(fail)
  app.removeAllContentTypeParsers()
  // Whatever a client sends along is read up to the limit and dropped: `curl -d ''` must not fail for its content type.
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, _body, done) => done(null, undefined))
  app.addHook('onRequest', async (_request, reply) => {
    reply.headers({
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'cross-origin-resource-policy': 'same-origin',
      'content-security-policy': API_CSP,
      'cache-control': 'no-store',
    })
  })
  app.addHook('onResponse', async (request, reply) => {
    // The path alone: a query may hold what someone mistook for a password field.
    log.debug('http-request', {
      method: request.method,
      path: pathOf(request),
      status: reply.statusCode,
      durationMs: reply.elapsedTime,
    })
  })
  return app
}

function addHealth(app: FastifyInstance, { liveness, readiness }: ServerOptions): void {
  const checks = {
    livez: liveness,
    readyz: readiness,
    healthz: () => bothHealthy(liveness(), readiness()),
  }
  for (const [name, check] of Object.entries(checks)) {
    app.get(`/${name}`, async (request, reply) => {
      const { status, body } = renderHealth(name, check(), hasFlag(request, 'verbose'))
      return reply.code(status).type('text/plain; charset=utf-8').send(body)
    })
  }
}

type Answers = ReturnType<typeof sharedAnswers>

/** What grows with the number of registries and anchors. */
function sharedAnswers({ status, summary, metrics }: ServerOptions) {
  const now = new SharedAnswer(status)
  const page = (refreshes: boolean) =>
    new SharedAnswer(async () => await joinInSlices(pageParts(await now.get(), { refreshes })))
  return {
    status: now,
    statusText: new SharedAnswer(async () => await joinInSlices(statusParts(await now.get()))),
    summary: new SharedAnswer(async () => {
      const answer = await summary()
      return { answer, tag: summaryTag(answer) }
    }),
    metrics: new SharedAnswer(async () => Buffer.from(await metrics.text())),
    page: page(true),
    stillPage: page(false),
  }
}

function addMetrics(app: FastifyInstance, answers: Answers, { metrics }: ServerOptions): void {
  app.get('/metrics', async (_request, reply) => reply.type(metrics.contentType).send(await answers.metrics.get()))
}

function addStatus(app: FastifyInstance, answers: Answers): void {
  const errors = { '4xx': PROBLEM_SCHEMA, '5xx': PROBLEM_SCHEMA }
  app.get('/status', { schema: { response: { 200: STATUS_SCHEMA, ...errors } } }, async (_request, reply) => {
    const now = await answers.status.get()
    if (now.registries.length < MANY) return now
    return reply.type('application/json; charset=utf-8').send(await answers.statusText.get())
  })
  app.get('/status/summary', { schema: { response: { 200: SUMMARY_SCHEMA, ...errors } } }, async (request, reply) => {
    const { answer, tag } = await answers.summary.get()
    reply.header('etag', tag)
    if (request.headers['if-none-match'] === tag) return reply.code(304).send()
    return answer
  })
  app.get<{ Params: { host: string } }>(
    '/status/registries/:host',
    { schema: { response: { 200: REGISTRY_SCHEMA, ...errors } } },
    async (request) => findRegistry(await answers.status.get(), request.params.host),
  )
  app.get('/openapi.json', async (_request, reply) =>
    reply.type('application/json').send(openApiDocument((await answers.status.get()).version)),
  )
  const policy = pageContentSecurityPolicy()
  app.get<{ Querystring: { readonly refresh?: unknown } }>('/', async (request, reply) =>
    reply
      .header('content-security-policy', policy)
      .type('text/html; charset=utf-8')
      .send(await (request.query.refresh === 'off' ? answers.stillPage : answers.page).get()),
  )
}

/** Up to here the whole status is written at once. */
const MANY = 50

/** What the schema would make of the whole, registry by registry. */
function* statusParts(now: NodeStatus): Generator<string> {
  const mark = '"registries":[]'
  const whole = answerBySchema({ ...now, registries: [] }, STATUS_SCHEMA)
  const at = whole.indexOf(mark) + mark.length - 1
  yield whole.slice(0, at)
  for (const [index, registry] of now.registries.entries())
    yield `${index === 0 ? '' : ','}${answerBySchema(registry, REGISTRY_SCHEMA)}`
  yield whole.slice(at)
}

function addCommands(
  app: FastifyInstance,
  answers: Answers,
  { onReconcile, onProve, onLogLevel, token, log }: ServerOptions,
): void {
  // Before the body is read, so that a client without the token cannot send one.
  const onRequest = async (request: FastifyRequest) => authorize(request.headers.authorization, await token?.())
  const errors = { '4xx': PROBLEM_SCHEMA, '5xx': PROBLEM_SCHEMA }
  for (const [path, run] of Object.entries({ '/reconcile': onReconcile, '/prove': onProve })) {
    app.post(path, {
      schema: { response: { 202: ACCEPTED_SCHEMA, ...errors } },
      onRequest,
      handler: async (request, reply) => {
        const force = hasFlag(request, 'force')
        log.info('command-accepted', { path, force, from: request.ip })
        await run({ force })
        // The next answers show what came of the command.
        for (const answer of Object.values(answers)) answer.forget()
        return reply.code(202).send({ accepted: true, force })
      },
    })
  }
  app.post<{ Querystring: { readonly [name: string]: unknown } }>('/loglevel', {
    schema: { response: { 200: LOG_LEVEL_SCHEMA, ...errors } },
    onRequest,
    handler: async (request) => {
      const wanted = parseLogLevelRequest(request.query)
      log.info('command-accepted', { path: '/loglevel', level: wanted.level, from: request.ip })
      return { level: wanted.level, until: new Date(onLogLevel(wanted)).toISOString() }
    },
  })
}

/** The uptime alone is no news. */
function summaryTag({ uptimeSeconds: _, ...rest }: NodeSummary): string {
  return `"${createHash('sha256').update(JSON.stringify(rest)).digest('base64url').slice(0, 22)}"`
}

/** `?verbose` and `?verbose=true` are set, `?verbose=false` is not. */
function hasFlag(request: FastifyRequest, name: string): boolean {
  const value = (request.query as { readonly [name: string]: unknown })[name]
  return value !== undefined && value !== 'false' && value !== '0'
}

const MAX_LISTED = 20

function findRegistry(status: NodeStatus, host: string): RegistryStatus {
  const wanted = host.toLowerCase()
  const found = status.registries.find((registry) => registry.host === wanted)
  if (found !== undefined) return found
  const declared = status.registries.map((registry) => registry.host)
  const meant = nearest(wanted, declared)
  const hint = meant === undefined ? '' : `; did you mean "${meant}"?`
  const more = declared.length > MAX_LISTED ? ` and ${declared.length - MAX_LISTED} more` : ''
  const list = declared.length === 0 ? 'none' : `${declared.slice(0, MAX_LISTED).join(', ')}${more}`
  throw new AgentError('NOT_FOUND', `registry "${host}" is not declared on this node${hint} (declared: ${list})`)
}

function unknownRoute(request: FastifyRequest, routes: readonly string[]): AgentError {
  const path = pathOf(request)
  const allowed = routes.map(splitRoute).filter(({ url }) => matches(url, path))
  if (allowed.length > 0) {
    const methods = allowed.flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
    return new AgentError(
      'METHOD_NOT_ALLOWED',
      `${request.method} is not possible on ${path}: use ${methods.join(' or ')}`,
      { allow: methods },
    )
  }
  const urls = [...new Set(routes.map((route) => splitRoute(route).url))]
  const meant = nearest(path, urls)
  const hint = meant === undefined ? '' : `; did you mean ${meant}?`
  return new AgentError('NOT_FOUND', `there is nothing at ${path}${hint} (the paths are: ${urls.join(', ')})`)
}

function splitRoute(route: string): { readonly method: string; readonly url: string } {
  const [method = '', url = ''] = route.split(' ')
  return { method, url }
}

function matches(url: string, path: string): boolean {
  return url === path || (url.includes('/:') && path.startsWith(url.slice(0, url.indexOf('/:') + 1)))
}

function pathOf(request: FastifyRequest): string {
  return request.url.split('?', 1)[0]?.slice(0, 300) ?? ''
}

function sendError(log: Log, error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const { status, body } = errorAnswer(error)
  if (status === 401) reply.header('www-authenticate', 'Bearer realm="registry-trust"')
  if (status === 401 || status === 403)
    log.warn('command-denied', { path: pathOf(request), code: body.code, from: request.ip })
  if (status >= 500) log.error('http-request-failed', { path: pathOf(request), error })
  if (error instanceof AgentError && Array.isArray(error.detail['allow']))
    reply.header('allow', error.detail['allow'].join(', '))
  return reply.code(status).type('application/json; charset=utf-8').send(body)
}

async function listen(app: FastifyInstance, address: string): Promise<Address> {
  const { host, port } = parseAddress(address)
  try {
    // With an empty host Node itself takes "::" for both families and falls back to 0.0.0.0 where the kernel has no
    // IPv6.
    await app.listen({ host, port })
  } catch (thrown) {
    const { code } = thrown as { readonly code?: unknown }
    const why = LISTEN_FAILURES[String(code)] ?? (thrown instanceof Error ? thrown.message : String(thrown))
    throw new AgentError('LISTEN_FAILED', `cannot listen on ${address}: ${why}`, { address }, { cause: thrown })
  }
  const bound = app.server.address()
  return bound === null || typeof bound === 'string' ? { host, port } : { host: bound.address, port: bound.port }
}

const LISTEN_FAILURES: { readonly [code: string]: string } = {
  EADDRINUSE: 'another process listens there',
  EACCES: 'not permitted (ports below 1024 need a capability)',
  EADDRNOTAVAIL: 'this machine does not have the address',
  ENOTFOUND: 'the host name does not resolve',
  EAFNOSUPPORT: 'the kernel does not have this address family',
}

async function close(app: FastifyInstance, timeoutMs: number): Promise<void> {
  const deadline = setTimeout(() => app.server.closeAllConnections(), timeoutMs)
  try {
    await app.close()
  } finally {
    clearTimeout(deadline)
  }
}
