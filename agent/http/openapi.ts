// The OpenAPI 3.1 document of the agent, built from the schemas that the routes themselves answer with.
import { LOG_LEVELS } from '../model/log-level.ts'
import { type JsonSchema, objectSchema, PROBLEM_SCHEMA, REGISTRY_SCHEMA, STATUS_SCHEMA } from '../model/status.ts'
import { SUMMARY_SCHEMA } from '../model/summary.ts'
import { DEFAULT_FOR } from './log-level-request.ts'

/** The answer to POST /reconcile and /prove. */
export const ACCEPTED_SCHEMA = objectSchema('The request was accepted; /status shows the outcome.', {
  accepted: { type: 'boolean' },
  force: { type: 'boolean' },
})

/** The answer to POST /loglevel. */
export const LOG_LEVEL_SCHEMA = objectSchema('The level of the log, and until when.', {
  level: { type: 'string', enum: [...LOG_LEVELS] },
  until: { type: 'string', description: 'RFC 3339, UTC.' },
})

type Response = {
  readonly description: string
  readonly content?: { readonly [type: string]: { readonly schema: JsonSchema } }
}

type Parameter = {
  readonly name: string
  readonly in: 'query' | 'path'
  readonly required: boolean
  readonly description: string
  readonly schema: JsonSchema
  readonly allowEmptyValue?: boolean
}

type Operation = {
  readonly operationId: string
  readonly summary: string
  readonly tags: readonly string[]
  readonly parameters?: readonly Parameter[]
  readonly security?: readonly { readonly [scheme: string]: readonly string[] }[]
  readonly responses: { readonly [status: string]: Response }
}

export type OpenApiDocument = {
  readonly openapi: '3.1.0'
  readonly info: {
    readonly title: string
    readonly version: string
    readonly description: string
    readonly license: object
  }
  readonly paths: { readonly [path: string]: { readonly get?: Operation; readonly post?: Operation } }
  readonly components: {
    readonly schemas: { readonly [name: string]: JsonSchema }
    readonly securitySchemes: object
  }
}

export function openApiDocument(version: string): OpenApiDocument {
  return {
    openapi: '3.1.0',
    info: {
      title: 'registry-trust agent',
      version,
      description: 'What one node trusts, proved: state, health and metrics of the registry-trust agent.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths: {
      '/': { get: pageOperation() },
      '/livez': { get: healthOperation('livez', 'Fails only when a restart of the agent would help.') },
      '/readyz': { get: healthOperation('readyz', 'Succeeds when the first reconciliation has ended.') },
      '/healthz': { get: healthOperation('healthz', 'The checks of livez and readyz together.') },
      '/metrics': { get: metricsOperation() },
      '/status': { get: statusOperation() },
      '/status/summary': { get: summaryOperation() },
      '/status/registries/{host}': { get: registryOperation() },
      '/openapi.json': { get: documentOperation() },
      '/reconcile': {
        post: commandOperation(
          'reconcile',
          'Reconcile now. With force: also a generation that was rolled back before.',
        ),
      },
      '/prove': {
        post: commandOperation(
          'prove',
          'Prove every declared registry now. With force: a login that was refused is sent once more, before its pause is over.',
        ),
      },
      '/loglevel': { post: logLevelOperation() },
    },
    components: {
      schemas: {
        NodeStatus: STATUS_SCHEMA,
        NodeSummary: SUMMARY_SCHEMA,
        RegistryStatus: REGISTRY_SCHEMA,
        Problem: PROBLEM_SCHEMA,
        Accepted: ACCEPTED_SCHEMA,
        LogLevel: LOG_LEVEL_SCHEMA,
      },
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
    },
  }
}

function pageOperation(): Operation {
  return {
    operationId: 'getPage',
    summary: 'The status as a page for people.',
    tags: ['status'],
    responses: { '200': { description: 'the page', content: { 'text/html': { schema: { type: 'string' } } } } },
  }
}

function healthOperation(name: string, summary: string): Operation {
  const content = { 'text/plain': { schema: { type: 'string' } } }
  return {
    operationId: name,
    summary,
    tags: ['health'],
    parameters: [flag('verbose', 'List every check.')],
    responses: {
      '200': { description: 'healthy', content },
      '503': { description: 'not healthy; the failing checks are listed', content },
    },
  }
}

function metricsOperation(): Operation {
  return {
    operationId: 'getMetrics',
    summary: 'Metrics in the Prometheus text format.',
    tags: ['metrics'],
    responses: { '200': { description: 'the metrics', content: { 'text/plain': { schema: { type: 'string' } } } } },
  }
}

function statusOperation(): Operation {
  return {
    operationId: 'getStatus',
    summary: 'The state of this node.',
    tags: ['status'],
    responses: { '200': json('the state', 'NodeStatus'), '500': json('a defect', 'Problem') },
  }
}

function summaryOperation(): Operation {
  return {
    operationId: 'getSummary',
    summary: 'The state of this node in short; with an ETag, so that a reader who knows it already gets 304.',
    tags: ['status'],
    responses: {
      '200': json('the state in short', 'NodeSummary'),
      '304': { description: 'as before (If-None-Match)' },
      '500': json('a defect', 'Problem'),
    },
  }
}

function registryOperation(): Operation {
  const host: Parameter = {
    name: 'host',
    in: 'path',
    required: true,
    description: 'host or host:port, as declared',
    schema: { type: 'string' },
  }
  return {
    operationId: 'getRegistry',
    summary: 'The state of one declared registry.',
    tags: ['status'],
    parameters: [host],
    responses: { '200': json('its state', 'RegistryStatus'), '404': json('not declared here', 'Problem') },
  }
}

function documentOperation(): Operation {
  return {
    operationId: 'getOpenApi',
    summary: 'This document.',
    tags: ['meta'],
    responses: {
      '200': { description: 'this document', content: { 'application/json': { schema: { type: 'object' } } } },
    },
  }
}

function commandOperation(name: string, summary: string): Operation {
  return {
    operationId: name,
    summary,
    tags: ['commands'],
    parameters: [flag('force', 'Do it even if the agent would otherwise wait.')],
    security: [{ token: [] }],
    responses: { '202': json('taken', 'Accepted'), ...COMMAND_ERRORS },
  }
}

const COMMAND_ERRORS = {
  '401': json('no bearer token, or the wrong one', 'Problem'),
  '403': json('the agent has no token configured', 'Problem'),
  '503': json('not possible now', 'Problem'),
}

function logLevelOperation(): Operation {
  const level: Parameter = {
    name: 'level',
    in: 'query',
    required: true,
    description: 'The level from now on.',
    schema: { type: 'string', enum: [...LOG_LEVELS] },
  }
  const time: Parameter = {
    name: 'for',
    in: 'query',
    required: false,
    description: `How long (1s to 24h); ${DEFAULT_FOR} by default. After it the configured level is back.`,
    schema: { type: 'string' },
  }
  return {
    operationId: 'loglevel',
    summary: 'Log more, or less, for a while.',
    tags: ['commands'],
    parameters: [level, time],
    security: [{ token: [] }],
    responses: {
      '200': json('the level, and until when', 'LogLevel'),
      '400': json('not a level, or not a duration', 'Problem'),
      ...COMMAND_ERRORS,
    },
  }
}

function flag(name: string, description: string): Parameter {
  return { name, in: 'query', required: false, description, schema: { type: 'string' }, allowEmptyValue: true }
}

function json(description: string, schema: string): Response {
  return { description, content: { 'application/json': { schema: { $ref: `#/components/schemas/${schema}` } } } }
}
