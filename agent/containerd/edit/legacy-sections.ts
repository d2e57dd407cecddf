// registry.mirrors and registry.configs of config.toml as containerd's CRI plugin reads them: which hosts a pull of a
// reference asks, in which order, and with which TLS settings. Sources: pkg/cri/server/image_pull.go (1.x) and
// internal/cri/server/images/image_pull.go (2.x), `registryEndpoints` and `registryHosts`. Credentials are never read
// into these values.
import { posix } from 'node:path'
import { AgentError } from '../../model/errors.ts'
import { isTable, renderKey, type TomlTable, tableAt } from '../../text/toml.ts'
import type { ContainerdConfig } from '../config/read.ts'
import { CONFIG_SCHEMAS, type ContainerdVersion, type KeyPath, schemasRead } from '../config/schema-version.ts'
import { defaultEndpoint, type Endpoint, isReferenceHost, parseMirrorEndpoint } from '../hosts/endpoint.ts'

export type LegacyTls = {
  readonly caFile: string | undefined
  readonly client: readonly [certFile: string, keyFile: string] | undefined
  /** One of the two client files is named without the other: containerd 1.x fails every pull from this host. */
  readonly hasHalfClient: boolean
  readonly skipVerify: boolean
}

export type LegacyRegistry = {
  /** By reference host or `*`. */
  readonly mirrors: ReadonlyMap<string, readonly Endpoint[]>
  /** By endpoint host; empty from 2.0 on, which ignores them. */
  readonly tls: ReadonlyMap<string, LegacyTls>
  /** Tables that were read and must go when config_path is set. */
  readonly tables: readonly KeyPath[]
  /** What containerd ignores, with the reason, for people. */
  readonly unused: readonly string[]
}

type Collected = {
  readonly mirrors: Map<string, readonly Endpoint[]>
  readonly tls: Map<string, LegacyTls>
  readonly tables: KeyPath[]
  readonly unused: string[]
}

/** Throws AgentError LEGACY_REGISTRY_CONFIG for what containerd could not use either. */
export function readLegacyRegistry(config: ContainerdConfig, version: ContainerdVersion): LegacyRegistry {
  const found: Collected = { mirrors: new Map(), tls: new Map(), tables: [], unused: [] }
  for (const schema of schemasRead(config.effectiveVersion, version)) {
    const path = CONFIG_SCHEMAS[schema].registry
    const registry = tableAt(config.parsed, path) ?? {}
    readMirrors(tableAt(registry, ['mirrors']) ?? {}, [...path, 'mirrors'], config.path, found)
    readConfigs(tableAt(registry, ['configs']) ?? {}, [...path, 'configs'], config.path, version, found)
  }
  return found
}

function readMirrors(mirrors: TomlTable, path: KeyPath, file: string, found: Collected): void {
  for (const [host, mirror] of Object.entries(mirrors)) {
    const name = nameOf('mirrors', host)
    if (!isTable(mirror)) throw unusable(file, name, 'is not a table')
    found.tables.push([...path, host])
    const { endpoint = [], ...others } = mirror
    for (const key of Object.keys(others)) found.unused.push(`${name}.${renderKey(key)} is not a setting of containerd`)
    if (!Array.isArray(endpoint)) throw unusable(file, name, 'has an endpoint that is not a list')
    const endpoints = endpoint.map((item, index) => {
      const parsed = typeof item === 'string' ? parseMirrorEndpoint(item) : undefined
      if (parsed === undefined)
        throw unusable(file, name, `has an endpoint (number ${index + 1}) that is not an address`)
      return parsed
    })
    if (found.mirrors.has(host)) throw unusable(file, name, 'appears twice, under the plugin ids of two versions')
    if (host === '*' || isReferenceHost(host)) found.mirrors.set(host, endpoints)
    else found.unused.push(`${name} is not the name of a registry host`)
  }
}

function readConfigs(
  configs: TomlTable,
  path: KeyPath,
  file: string,
  version: ContainerdVersion,
  found: Collected,
): void {
  for (const [host, config] of Object.entries(configs)) {
    const tls = isTable(config) ? config['tls'] : undefined
    if (tls === undefined) continue
    const name = `${nameOf('configs', host)}.tls`
    if (!isTable(tls)) throw unusable(file, name, 'is not a table')
    if (version.major >= 2) {
      found.unused.push(`${name} is not read by containerd 2 and stays where it is`)
      continue
    }
    found.tables.push([...path, host, 'tls'])
    if (isReferenceHost(host)) found.tls.set(host, readTls(tls, file, name))
    else found.unused.push(`${name} is not under the name of a registry host`)
  }
}

function readTls(tls: TomlTable, file: string, name: string): LegacyTls {
  const text = (key: string): string => {
    const item = tls[key] ?? ''
    if (typeof item !== 'string') throw unusable(file, `${name}.${key}`, 'is not a string')
    return item
  }
  const skipVerify = tls['insecure_skip_verify'] ?? false
  if (typeof skipVerify !== 'boolean') throw unusable(file, `${name}.insecure_skip_verify`, 'is not true or false')
  const [caFile, cert, key] = [text('ca_file'), text('cert_file'), text('key_file')]
  return {
    // systemd starts containerd in `/`.
    caFile: caFile === '' ? undefined : posix.resolve('/', caFile),
    client: cert !== '' && key !== '' ? [posix.resolve('/', cert), posix.resolve('/', key)] : undefined,
    hasHalfClient: (cert === '') !== (key === ''),
    skipVerify,
  }
}

function nameOf(section: string, host: string): string {
  return `registry.${section}.${renderKey(host)}`
}

function unusable(file: string, name: string, why: string): AgentError {
  return new AgentError(
    'LEGACY_REGISTRY_CONFIG',
    `${file}: ${name} ${why}, so it is not known what containerd does with it`,
  )
}

/**
 * What a pull from `host` asks, in order: its mirrors, or those of `*`, then the host itself unless it is one of them.
 */
export function endpointsOf(host: string, { mirrors }: LegacyRegistry): readonly Endpoint[] {
  const endpoints = mirrors.get(host) ?? mirrors.get('*') ?? []
  if (endpoints.some((endpoint) => endpoint.host === host)) return endpoints
  return [...endpoints, defaultEndpoint(host)]
}

/**
 * Hosts that need a folder of their own: all that are named, and those whose own TLS settings `_default` could not
 * express.
 */
export function foldersNeeded({ mirrors, tls }: LegacyRegistry): readonly string[] {
  const own = [...tls.keys()].flatMap((host) =>
    host === defaultEndpoint('docker.io').host ? ['docker.io', host] : [host],
  )
  return [...new Set([...[...mirrors.keys()].filter((host) => host !== '*'), ...own])]
}
