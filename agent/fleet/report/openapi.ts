// The OpenAPI 3.1 document of the fleet component, from the schema that GET /fleet itself answers with.
import { PROBLEM_SCHEMA } from '../../model/status.ts'
import { FLEET_STATES } from '../state/verdict.ts'
import { FLEET_SCHEMA } from './report.ts'

export function fleetOpenApi(version: string): object {
  const parameter = (name: string, description: string, schema: object) => ({
    ...{ name, in: 'query', required: false, description, schema },
  })
  const text = (summary: string, operationId: string, type: string, statuses: readonly string[] = ['200']) => ({
    get: {
      operationId,
      summary,
      responses: Object.fromEntries(
        statuses.map((status) => [
          status,
          { description: summary, content: { [type]: { schema: { type: 'string' } } } },
        ]),
      ),
    },
  })
  const json = (name: string) => ({ 'application/json': { schema: { $ref: `#/components/schemas/${name}` } } })
  return {
    openapi: '3.1.0',
    info: {
      title: 'registry-trust fleet',
      version,
      description: 'What the nodes of a cluster trust, proved: the state of every agent and of the roll-out.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths: {
      '/': text('The fleet as a page for people.', 'getPage', 'text/html'),
      '/livez': text('Fails only when a restart would help.', 'livez', 'text/plain', ['200', '503']),
      '/readyz': text('Succeeds while this component leads.', 'readyz', 'text/plain', ['200', '503']),
      '/metrics': text('Metrics in the Prometheus text format.', 'getMetrics', 'text/plain'),
      '/openapi.json': text('This document.', 'getOpenApi', 'application/json'),
      '/fleet': {
        get: {
          operationId: 'getFleet',
          summary: 'The fleet: totals, roll-out, registries that are not trusted, nodes worst first.',
          parameters: [
            parameter('state', 'only nodes in this state', { type: 'string', enum: FLEET_STATES }),
            parameter('registry', 'only nodes that do not trust this host', { type: 'string' }),
            parameter('version', 'only agents of this version', { type: 'string' }),
            parameter('offset', 'how many nodes to leave out', { type: 'integer', minimum: 0 }),
            parameter('limit', 'how many nodes to list', { type: 'integer', minimum: 0 }),
          ],
          responses: {
            200: { description: 'the fleet', content: json('Fleet') },
            400: { description: 'a parameter that cannot be understood', content: json('Problem') },
          },
        },
      },
    },
    components: { schemas: { Fleet: FLEET_SCHEMA, Problem: PROBLEM_SCHEMA } },
  }
}
