// The annotation as text. Whoever writes it is outside, so every field is checked; a note that cannot be understood is
// no note.
import type { FleetNote, Grant } from '../model/fleet.ts'

/** A grant, three numbers and a digest are far below it. */
export const MAX_NOTE_BYTES = 4096
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
  return { config, nodes, ...(grant === undefined ? {} : { grant }) }
}

/** The same note is always the same text, so that it can be compared. */
export function renderNote({ config, nodes, grant }: FleetNote): string {
  if (grant === undefined) return JSON.stringify({ config, nodes })
  const { id, generation, ttlSeconds } = grant
  return JSON.stringify({ config, nodes, grant: { id, generation, ttlSeconds } })
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
