// What one containerd configuration file says, as far as registries and a restart depend on it.
// Facts only, no judgement; values of credentials are never read into them.
// This room: what config.toml means to containerd, and the copy of it for a rehearsal; edits are next door, in edit/.
// Begin here; then schema-version.ts (names by version), imports.ts (what the imported files make of it).
// May touch: nothing; a new containerd generation is a row of schema-version.ts.
import { posix } from 'node:path'
import type { ContainerdFacts } from '../../model/observed-state.ts'
import {
  decodeText,
  isTable,
  itemAt,
  parseToml,
  stringAt,
  stringsAt,
  type TomlTable,
  tableAt,
} from '../../text/toml.ts'
import { type LineEnding, lineEndingOf } from '../../text/toml-document.ts'
import {
  CONFIG_SCHEMAS,
  isSchemaVersion,
  type KeyPath,
  parseContainerdVersion,
  type SchemaVersion,
  schemaForNewFile,
  USE_LOCAL_IMAGE_PULL,
} from './schema-version.ts'

/** One registry table. Lists hold registry hosts; an empty table counts for nothing, as in containerd. */
export type RegistrySettings = {
  readonly configPath: string | undefined
  readonly mirrors: readonly string[]
  readonly configsTls: readonly string[]
  readonly configsAuth: readonly string[]
  readonly auths: readonly string[]
}

export const NO_REGISTRY_SETTINGS: RegistrySettings = {
  configPath: undefined,
  mirrors: [],
  configsTls: [],
  configsAuth: [],
  auths: [],
}

export type ContainerdConfig = {
  readonly path: string
  readonly text: string
  readonly parsed: TomlTable
  readonly lineEnding: LineEnding
  /** Nothing but comments and white space. */
  readonly isEmpty: boolean
  /** The `version` line; undefined where there is none. */
  readonly declaredVersion: number | undefined
  /** What containerd takes it for when this is the main file: no line means 1. */
  readonly effectiveVersion: number
  /** The registry settings of this file by the schema whose plugin id they stand under. */
  readonly registries: { readonly [version in SchemaVersion]: RegistrySettings }
  readonly hasRegistryTable: boolean
  /** Of the table that the effective version makes containerd read. */
  readonly configPath: string | undefined
  readonly configPathDirectories: readonly string[]
  readonly hasMirrors: boolean
  readonly hasConfigsTls: boolean
  readonly hasConfigsAuth: boolean
  readonly hasAuths: boolean
  readonly usesLocalImagePull: boolean
  /** Absolute paths or patterns, in the order written. */
  readonly imports: readonly string[]
  /** The same as written. */
  readonly importNames: readonly string[]
  readonly sandboxImage: string | undefined
  readonly debugAddress: string | undefined
  readonly metricsAddress: string | undefined
  readonly grpcAddress: string | undefined
  readonly root: string | undefined
  readonly state: string | undefined
  readonly disabledPlugins: readonly string[]
  readonly disablesCri: boolean
  /** Hosts that lack quotes, of which containerd makes something else. */
  readonly unquoted: readonly { readonly table: string; readonly reason: string }[]
}

/** Half a dozen places ask what one file says in each look, and the bytes of a file that was read never change. */
const readAlready = new WeakMap<Buffer, ContainerdConfig>()

/**
 * The same bytes object is parsed once.
 * @throws AgentError CONTAINERD_CONFIG_UNREADABLE with path:line:column.
 */
export function readContainerdConfig(bytes: Buffer, { path }: { readonly path: string }): ContainerdConfig {
  const known = readAlready.get(bytes)
  if (known?.path === path) return known
  const config = parseConfig(bytes, path)
  readAlready.set(bytes, config)
  return config
}

function parseConfig(bytes: Buffer, path: string): ContainerdConfig {
  const source = { path, code: 'CONTAINERD_CONFIG_UNREADABLE' } as const
  const text = decodeText(bytes, source)
  const parsed = parseToml(text, source)
  const declared = itemAt(parsed, ['version'])
  const declaredVersion = typeof declared === 'number' ? declared : undefined
  const effectiveVersion = declaredVersion === undefined || declaredVersion === 0 ? 1 : declaredVersion
  const schema = CONFIG_SCHEMAS[isSchemaVersion(effectiveVersion) ? effectiveVersion : 3]
  const registry = readRegistry(parsed, schema.registry)
  const importNames = stringsAt(parsed, ['imports'])
  const disabledPlugins = stringsAt(parsed, ['disabled_plugins'])
  return {
    path,
    text,
    parsed,
    lineEnding: lineEndingOf(text),
    isEmpty: Object.keys(parsed).length === 0,
    declaredVersion,
    effectiveVersion,
    registries: {
      1: readRegistry(parsed, CONFIG_SCHEMAS[1].registry),
      2: readRegistry(parsed, CONFIG_SCHEMAS[2].registry),
      3: readRegistry(parsed, CONFIG_SCHEMAS[3].registry),
      4: readRegistry(parsed, CONFIG_SCHEMAS[4].registry),
    },
    hasRegistryTable: tableAt(parsed, schema.registry) !== undefined,
    configPath: registry.configPath,
    configPathDirectories: directoriesOf(registry.configPath),
    hasMirrors: registry.mirrors.length > 0,
    hasConfigsTls: registry.configsTls.length > 0,
    hasConfigsAuth: registry.configsAuth.length > 0,
    hasAuths: registry.auths.length > 0,
    usesLocalImagePull: itemAt(parsed, USE_LOCAL_IMAGE_PULL) === true,
    imports: importNames.map((name) => posix.resolve(posix.dirname(path), name)),
    importNames,
    sandboxImage: stringAt(parsed, schema.sandboxImage),
    debugAddress: stringAt(parsed, schema.debugAddress),
    metricsAddress: stringAt(parsed, schema.metricsAddress),
    grpcAddress: stringAt(parsed, schema.grpcAddress),
    root: stringAt(parsed, ['root']),
    state: stringAt(parsed, ['state']),
    disabledPlugins,
    disablesCri: disabledPlugins.some(isCriPlugin),
    unquoted: unquotedHosts(parsed, schema.registry),
  }
}

/** The schema version of config.toml as containerd takes it; null when the file cannot be read. */
export function configVersionOf({ config, configFile, version }: ContainerdFacts): number | null {
  if (config.kind === 'file') {
    try {
      return readContainerdConfig(config.bytes, { path: configFile }).effectiveVersion
    } catch {
      // The plan reports the file with its position; here it is only unknown.
      return null
    }
  }
  const parsed = parseContainerdVersion(version)
  return parsed === undefined ? null : schemaForNewFile(parsed)
}

function readRegistry(parsed: TomlTable, path: KeyPath): RegistrySettings {
  const table = tableAt(parsed, path)
  if (table === undefined) return NO_REGISTRY_SETTINGS
  const configs = Object.entries(tableAt(table, ['configs']) ?? {})
  const configured = (name: string) => configs.filter(([, config]) => isTable(config) && isTable(config[name]))
  return {
    configPath: stringAt(table, ['config_path']),
    mirrors: Object.keys(tableAt(table, ['mirrors']) ?? {}),
    configsTls: configured('tls').map(([host]) => host),
    configsAuth: configured('auth').map(([host]) => host),
    auths: Object.keys(tableAt(table, ['auths']) ?? {}),
  }
}

/** By the name of version 1, or by one of the ids since; the CRI service needs all of these plugins. */
export function isCriPlugin(id: string): boolean {
  return id === 'cri' || id === CONFIG_SCHEMAS[2].criPluginId || /^io\.containerd\.cri\.v1\.(images|runtime)$/.test(id)
}

/** `config_path` may be a list: containerd splits it at `:`. */
export function directoriesOf(configPath: string | undefined): readonly string[] {
  return (configPath ?? '').split(':').filter((directory) => directory !== '')
}

const KEYS_OF_MIRROR = new Set(['endpoint', 'rewrite'])
const KEYS_OF_CONFIG = new Set(['tls', 'auth'])

/** `mirrors.docker.io` without quotes is the key `io` of a host called docker, which containerd ignores. */
function unquotedHosts(parsed: TomlTable, path: KeyPath): readonly { table: string; reason: string }[] {
  const find = (kind: 'mirrors' | 'configs', known: ReadonlySet<string>) =>
    Object.entries(tableAt(parsed, [...path, kind]) ?? {}).flatMap(([host, entry]) => {
      if (!isTable(entry)) return []
      return Object.keys(entry).flatMap((key) => {
        if (known.has(key) || !isTable(entry[key])) return []
        const reason = `a host with dots needs quotes, as in registry.${kind}."${host}.${key}"`
        return [{ table: `registry.${kind}.${host}.${key}`, reason }]
      })
    })
  return [...find('mirrors', KEYS_OF_MIRROR), ...find('configs', KEYS_OF_CONFIG)]
}
