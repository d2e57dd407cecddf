// What an agent answers, checked: a compromised node must not be able to harm the component that reads it.
import { GRANT_PHASES, type GrantReport } from '../../model/fleet.ts'
import { NODE_STATES } from '../../model/status.ts'
import type { NodeSummary } from '../../model/summary.ts'

const MAX_LISTED = 1000

/** Undefined: it is not a summary of this node. */
export function readSummary(text: string, node: string): NodeSummary | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (!isObject(value) || value['node'] !== node) return undefined
  const { version, containerd, generation, config, state, registries, untrusted, untrustedMore, drift } = value
  const { problem, runtimeReady, restart, grant, pulls, uptimeSeconds } = value
  const isSound =
    isText(version) &&
    (containerd === null || isText(containerd)) &&
    isText(generation) &&
    isText(config) &&
    NODE_STATES.some((known) => known === state) &&
    [registries, untrustedMore, drift, uptimeSeconds].every(isCount) &&
    Array.isArray(untrusted) &&
    untrusted.length <= MAX_LISTED &&
    untrusted.every((one) => isObject(one) && isText(one['host']) && isText(one['code'])) &&
    (problem === null || isText(problem)) &&
    typeof runtimeReady === 'boolean' &&
    isRestart(restart) &&
    (grant === null || isGrant(grant)) &&
    (pulls === undefined || arePulls(pulls))
  return isSound ? (value as NodeSummary) : undefined
}

function isRestart(value: unknown): boolean {
  if (!isObject(value)) return false
  const { pending, awaitsGrant, reason, last } = value
  const isLast = last === null || (isObject(last) && isText(last['at']) && isText(last['result']))
  return (
    typeof pending === 'boolean' && typeof awaitsGrant === 'boolean' && (reason === null || isText(reason)) && isLast
  )
}

function isGrant(value: unknown): value is GrantReport {
  if (!isObject(value)) return false
  const { id, generation, phase, ok } = value
  return isText(id) && isText(generation) && GRANT_PHASES.some((known) => known === phase) && typeof ok === 'boolean'
}

function arePulls(value: unknown): boolean {
  const isPull = (one: unknown) => isObject(one) && isText(one['image']) && typeof one['ok'] === 'boolean'
  return Array.isArray(value) && value.length <= MAX_LISTED && value.every(isPull)
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= 500
}

function isCount(value: unknown): boolean {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function isObject(value: unknown): value is { readonly [name: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
