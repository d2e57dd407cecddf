// The HTTP server of the fleet component: GET /fleet, the page, metrics and health. It only reads, and every answer has
// a schema.
// This room: what the fleet component tells: GET /fleet, its page and its metrics.
// Begin here; then report.ts (the answer), page.ts and metrics.ts (the same for people and for Prometheus).
// May touch: nothing; the server listens, and calls back into the component.
import { type FastifyInstance, fastify } from 'fastify'
import { type Address, parseAddress } from '../../http/address.ts'
import { ANSWERS_BY_SCHEMA } from '../../http/answer-by-schema.ts'
import { errorAnswer } from '../../http/error-answer.ts'
import { type Health, renderHealth } from '../../http/health.ts'
import { AgentError } from '../../model/errors.ts'
import type { Log } from '../../model/ports.ts'
import { PROBLEM_SCHEMA } from '../../model/status.ts'
import { FLEET_STATES, type FleetState } from '../state/verdict.ts'
import { fleetOpenApi } from './openapi.ts'
import { fleetPagePolicy, renderFleetPage } from './page.ts'
import { DEFAULT_PAGE, FLEET_SCHEMA, type FleetQuery, type FleetReport, LARGEST_PAGE } from './report.ts'

export type FleetServerOptions = {
  readonly version: string
  readonly report: (query: FleetQuery) => FleetReport
  readonly metrics: { readonly contentType: string; text(): Promise<string> }
  readonly readiness: () => Health
  readonly liveness: () => Health
  readonly log: Log
}

export type FleetServer = {
  listen(address: string): Promise<Address>
  close(): Promise<void>
  readonly inject: FastifyInstance['inject']
}

const LIMITS = { bodyLimit: 1024, requestTimeout: 10_000, connectionTimeout: 10_000 }
const MAX_CONNECTIONS = 256

export function createFleetServer(options: FleetServerOptions): FleetServer {
  const { version, report, metrics, readiness, liveness, log } = options
  const app = fastify({ logger: false, schemaController: ANSWERS_BY_SCHEMA, ...LIMITS })
  app.server.maxConnections = MAX_CONNECTIONS
  app.setErrorHandler((error, request, reply) => {
    const { status, body } = errorAnswer(error)
    if (status >= 500) log.error('http-request-failed', { path: request.url.split('?', 1)[0], error })
    return reply.code(status).type('application/json; charset=utf-8').send(body)
  })
  app.setNotFoundHandler(() => {
    throw new AgentError(
      'NOT_FOUND',
      'there is nothing at this path (the paths are: /, /fleet, /metrics, /livez, /readyz, /openapi.json)',
    )
  })
  app.addHook('onRequest', async (_request, reply) => {
    reply.headers({
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      'cache-control': 'no-store',
    })
  })
  for (const [name, check] of Object.entries({ livez: liveness, readyz: readiness }))
    app.get(`/${name}`, async (request, reply) => {
      const { status, body } = renderHealth(name, check(), request.url.includes('verbose'))
      return reply.code(status).type('text/plain; charset=utf-8').send(body)
    })
  app.get('/metrics', async (_request, reply) => reply.type(metrics.contentType).send(await metrics.text()))
  const response = { 200: FLEET_SCHEMA, '4xx': PROBLEM_SCHEMA, '5xx': PROBLEM_SCHEMA }
  app.get('/fleet', { schema: { response } }, async (request) => report(readQuery(request.query)))
  app.get('/openapi.json', async (_request, reply) => reply.type('application/json').send(fleetOpenApi(version)))
  const policy = fleetPagePolicy()
  app.get('/', async (_request, reply) =>
    reply
      .header('content-security-policy', policy)
      .type('text/html; charset=utf-8')
      .send(renderFleetPage(report({ offset: 0, limit: DEFAULT_PAGE }), version)),
  )
  return {
    inject: app.inject.bind(app),
    close: () => app.close(),
    async listen(address) {
      const { host, port } = parseAddress(address)
      try {
        await app.listen({ host, port })
      } catch (thrown) {
        const why = thrown instanceof Error ? thrown.message : String(thrown)
        throw new AgentError('LISTEN_FAILED', `cannot listen on ${address}: ${why}`, { address }, { cause: thrown })
      }
      const bound = app.server.address()
      return bound === null || typeof bound === 'string' ? { host, port } : { host: bound.address, port: bound.port }
    },
  }
}

function readQuery(value: unknown): FleetQuery {
  const query = value as { readonly [name: string]: unknown }
  const text = (name: string) => {
    const found = query[name]
    if (found !== undefined && typeof found !== 'string') throw usage(`${name} may be given once`)
    return found === '' ? undefined : found
  }
  const number = (name: string, preset: number, most: number) => {
    const found = text(name) ?? String(preset)
    if (!/^\d{1,7}$/.test(found) || Number(found) > most) throw usage(`${name} must be a number from 0 to ${most}`)
    return Number(found)
  }
  const [state, registry, version] = [text('state'), text('registry'), text('version')]
  if (state !== undefined && !isState(state)) throw usage(`state must be one of ${FLEET_STATES.join(', ')}`)
  return {
    ...(state !== undefined && { state }),
    ...(registry !== undefined && { registry }),
    ...(version !== undefined && { version }),
    offset: number('offset', 0, 1_000_000),
    limit: number('limit', DEFAULT_PAGE, LARGEST_PAGE),
  }
}

function isState(text: string): text is FleetState {
  return FLEET_STATES.some((state) => state === text)
}

function usage(message: string): AgentError {
  return new AgentError('REQUEST_INVALID', message)
}
