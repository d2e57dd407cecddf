// What CRI Status tells about the loaded configuration, per containerd generation (measured on 1.6, 1.7 and 2.1). The
// rule: verbose Status of 1.6 and 1.7 holds registry passwords in plain text, so only the keys named here ever leave
// this file.
import type { RuntimeStatus } from '../../model/ports.ts'

export type StatusReply = {
  readonly status: { readonly conditions: readonly RuntimeCondition[] } | null
  readonly info: { readonly [key: string]: string }
}

type RuntimeCondition = { readonly type: string; readonly status: boolean; readonly message: string }

type JsonObject = { readonly [key: string]: unknown }

const LEGACY_DEPRECATIONS = [
  'io.containerd.deprecation/cri-registry-mirrors',
  'io.containerd.deprecation/cri-registry-configs',
]

export function parseStatus(reply: StatusReply): RuntimeStatus {
  const conditions = reply.status?.conditions ?? []
  const holds = (type: string) => conditions.some((condition) => condition.type === type && condition.status)
  const deprecations = deprecationsOf(conditions)
  const config = jsonObject(reply.info['config'])
  const registry = asObject(config['registry'])
  const loadedConfigPath = registry?.['configPath']
  const sandboxImage = config['sandboxImage']
  const loadedLegacy = registry === undefined ? legacyByDeprecation(deprecations) : legacyBySections(registry)
  return {
    runtimeReady: holds('RuntimeReady'),
    networkReady: holds('NetworkReady'),
    ...(deprecations === undefined ? {} : { deprecations }),
    ...(typeof loadedConfigPath === 'string' ? { loadedConfigPath } : {}),
    ...(loadedLegacy === undefined ? {} : { loadedLegacy }),
    ...(registry !== undefined && 'configs' in registry ? { loadedTlsFiles: tlsFiles(registry) } : {}),
    ...(typeof sandboxImage === 'string' && sandboxImage !== '' ? { sandboxImage } : {}),
  }
}

/** 1.6 has no such condition; later ones have it always, with a JSON map of id to text while it is false. */
function deprecationsOf(conditions: readonly RuntimeCondition[]): readonly string[] | undefined {
  const condition = conditions.find(({ type }) => type === 'ContainerdHasNoDeprecationWarnings')
  if (condition === undefined) return undefined
  return condition.status ? [] : Object.keys(jsonObject(condition.message)).sort()
}

/** 1.6 and 1.7 show the loaded sections; one that is missing is null, an empty one `{}`. */
function legacyBySections(registry: JsonObject): boolean {
  return ['mirrors', 'configs'].some((section) => Object.keys(asObject(registry[section]) ?? {}).length > 0)
}

/** Paths alone: beside them stand passwords. */
function tlsFiles(registry: JsonObject): readonly string[] {
  return Object.values(asObject(registry['configs']) ?? {}).flatMap((config) => {
    const tls = asObject(asObject(config)?.['tls'])
    return [tls?.['caFile'], tls?.['certFile']].filter((path) => typeof path === 'string' && path !== '') as string[]
  })
}

/** 2.x shows nothing of the registry sections but the warnings that they cause. */
function legacyByDeprecation(deprecations: readonly string[] | undefined): boolean | undefined {
  return deprecations?.some((id) => LEGACY_DEPRECATIONS.includes(id))
}

/** The process id of a container from verbose ContainerStatus; the rest of it (environment!) is dropped here. */
export function parseContainerPid(info: { readonly [key: string]: string }): number | undefined {
  const pid = jsonObject(info['info'])['pid']
  return typeof pid === 'number' && pid > 0 ? pid : undefined
}

/** Verbose ImageStatus of containerd holds the image's own configuration (OCI image-spec config.md). */
export function parseArchitecture(info: { readonly [key: string]: string }): string | undefined {
  const architecture = asObject(jsonObject(info['info'])['imageSpec'])?.['architecture']
  return typeof architecture === 'string' && architecture !== '' ? architecture : undefined
}

function jsonObject(text: string | undefined): JsonObject {
  if (text === undefined) return {}
  try {
    return asObject(JSON.parse(text)) ?? {}
  } catch {
    // An unknown form of a later version: treated as absent.
    return {}
  }
}

function asObject(value: unknown): JsonObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
}
