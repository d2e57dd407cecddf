// Writes docs/api.md from the OpenAPI document that the agent itself serves.
// usage: node scripts/api-reference.ts (a test says when it has to be run)
import { writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { openApiDocument } from '../agent/http/openapi.ts'
import type { JsonSchema } from '../agent/model/status.ts'

const FILE = new URL('../docs/api.md', import.meta.url)

const HEAD = `# HTTP interface

<!-- written by scripts/api-reference.ts from what /openapi.json serves -->

The agent answers on \`--listen\` (\`:9461\` in the Pods). Requests that only read need no login. A request that changes
something needs the bearer token; if no token is configured, the agent refuses all of these. \`/openapi.json\` describes
the whole interface for programs.

`

type Schema = {
  readonly type?: string | readonly string[]
  readonly description?: string
  readonly enum?: readonly unknown[]
  readonly $ref?: string
  readonly items?: JsonSchema
  readonly properties?: { readonly [name: string]: JsonSchema }
}

export function apiReference(): string {
  const { paths, components } = openApiDocument('')
  const routes = Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) =>
      routeText(method.toUpperCase(), path, operation as Operation),
    ),
  )
  const schemas = Object.entries(components.schemas).map(([name, schema]) => schemaText(name, schema as Schema))
  return `${HEAD}## Routes\n\n${routes.join('\n')}\n## Answers\n\n${schemas.join('\n')}`
}

type Operation = {
  readonly summary: string
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly description: string }[]
  readonly responses: { readonly [status: string]: { readonly description: string } }
}

function routeText(method: string, path: string, { summary, parameters = [], responses }: Operation): string {
  const lines = parameters.map(({ name, in: place, description }) => `- \`${name}\` (${place}): ${description}`)
  const answers = Object.entries(responses).map(([status, { description }]) => `| ${status} | ${cell(description)} |`)
  return [
    `### ${method} ${path}`,
    '',
    summary,
    '',
    ...(lines.length > 0 ? [...lines, ''] : []),
    '| answer | meaning |',
    '| --- | --- |',
    ...answers,
    '',
  ].join('\n')
}

function schemaText(name: string, { description = '', properties = {} }: Schema): string {
  const rows = Object.entries(properties).map(([key, value]) => {
    const schema = value as Schema
    return `| \`${key}\` | ${kindOf(schema)} | ${cell(schema.description ?? '')} |`
  })
  return [`### ${name}`, '', description, '', '| field | type | meaning |', '| --- | --- | --- |', ...rows, ''].join(
    '\n',
  )
}

function kindOf({ type, enum: values, $ref, items }: Schema): string {
  if (values !== undefined) return values.map((value) => `\`${String(value)}\``).join(', ')
  if ($ref !== undefined) return $ref.split('/').at(-1) ?? ''
  if (items !== undefined) return `list of ${kindOf(items as Schema)}`
  return (typeof type === 'string' ? [type] : (type ?? [])).join(' or ')
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ')
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href)
  writeFileSync(FILE, apiReference())
