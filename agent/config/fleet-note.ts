// The annotation as text. Whoever writes it is outside, so every field is checked; a note that cannot be understood is
// no note.
import { createHash } from 'node:crypto'
import { type FleetNote, type Grant, MOST_PULLS_TOLD, type NodeLabels } from '../model/fleet.ts'
import { isFullReference } from '../model/image-reference.ts'

/** In the folder that --fleet names: the ConfigMap's keys beside it are names without a slash. */
export const NOTE_FILE = 'registry-trust.io/fleet'
/** A grant, three numbers, a digest and 16 labels of the longest kind are far below it. */
export const MAX_NOTE_BYTES = 16_384
const MAX_LABELS = 16
const MAX_TTL_SECONDS = 3600

/** Undefined: absent, empty or broken; the agent then does as if there were no fleet component. */
export function parseNote(text: string): FleetNote | undefined {
  if (text.length > MAX_NOTE_BYTES) return undefined
  const value = parsed(text)
  if (!isObject(value)) return undefined
  const { config, nodes } = value
  if (typeof config !== 'string' || !/^[0-9a-f]{64}$/.test(config)) return undefined
  if (typeof nodes !== 'number' || !Number.isSafeInteger(nodes) || nodes < 1) return undefined
  const grant = grantOf(value['grant'])
  const labels = labelsOf(value['labels'])
  const pull = pullOf(value['pull'])
  return { config, nodes, ...(grant && { grant }), ...(labels && { labels }), ...(pull && { pull }) }
}

/** The same note is always the same text, so that it can be compared. */
export function renderNote({ config, nodes, grant, labels, pull }: FleetNote): string {
  const sorted = Object.entries(labels ?? {}).toSorted(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify({
    config,
    nodes,
    ...(grant && { grant: { id: grant.id, generation: grant.generation, ttlSeconds: grant.ttlSeconds } }),
    ...(labels && { labels: Object.fromEntries(sorted) }),
    ...(pull && { pull }),
  })
}

/** Names an image in a summary, which has no room for references: 12 hexadecimal digits. */
export function pullId(image: string): string {
  return createHash('sha256').update(image).digest('hex').slice(0, 12)
}

/** Undefined: absent, empty, or not all of them are references with a host. */
function pullOf(value: unknown): readonly string[] | undefined {
  if (!Array.isArray(value) || value.length === 0 || value.length > MOST_PULLS_TOLD) return undefined
  return value.every((one): one is string => typeof one === 'string' && isFullReference(one)) ? value : undefined
}

/** As Kubernetes takes them: a name with an optional prefix, and a value of at most 63 characters. */
function labelsOf(value: unknown): NodeLabels | undefined {
  if (!isObject(value) || Array.isArray(value)) return undefined
  const pairs = Object.entries(value)
  const isLabel = ([name, one]: readonly [string, unknown]) =>
    /^[A-Za-z0-9._/-]{1,317}$/.test(name) &&
    (one === null || (typeof one === 'string' && /^[A-Za-z0-9._-]{0,63}$/.test(one)))
  if (pairs.length > MAX_LABELS || !pairs.every(isLabel)) return undefined
  return Object.fromEntries(pairs) as NodeLabels
}

function grantOf(value: unknown): Grant | undefined {
  if (!isObject(value)) return undefined
  const { id, generation, ttlSeconds } = value
  if (typeof id !== 'string' || !/^[0-9a-f]{8,64}$/.test(id)) return undefined
  if (typeof generation !== 'string' || !/^[0-9a-f]{12}$/.test(generation)) return undefined
  if (typeof ttlSeconds !== 'number' || !(ttlSeconds > 0 && ttlSeconds <= MAX_TTL_SECONDS)) return undefined
  return { id, generation, ttlSeconds }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function isObject(value: unknown): value is { readonly [name: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
