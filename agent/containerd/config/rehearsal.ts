// The configuration of the private copy of containerd that rehearses a candidate: everything that decides whether the
// CRI plugin loads stays; everything that would reach the live daemon's sockets, state, storage or cgroup is taken out.
// A copy that kept [debug].address or NRI would unlink and re-bind the live daemon's sockets, which are dead when the
// copy ends.
import { posix } from 'node:path'
import { AgentError } from '../../model/errors.ts'
import { isTable, itemAt, stringAt, type TomlTable, type TomlValue, tableAt } from '../../text/toml.ts'
import { type Edit, editKeys } from '../../text/toml-edit.ts'
import { type ContainerdConfig, readContainerdConfig } from './read.ts'
import {
  CONFIG_SCHEMAS,
  type ConfigSchema,
  isSchemaVersion,
  type KeyPath,
  parseContainerdVersion,
  schemaForNewFile,
} from './schema-version.ts'

export type RehearsalFile = {
  /** Relative to the scratch folder; the first one is `config.toml`. */
  readonly relativePath: string
  readonly bytes: Buffer
}

export type RehearsalRequest = {
  readonly containerdVersion: string
  /** Where the candidate will lie on the node: relative imports are resolved against it. */
  readonly configFile: string
  /** The imported files; they are copied too, as they could bring back what the copy must not have. */
  readonly imports: readonly { readonly path: string; readonly bytes: Buffer }[]
  /** What is named there and cannot be loaded: the copy must fail on it as well. */
  readonly unloadable?: readonly string[] | undefined
  readonly scratch: string
  /** Host directories for the test pulls; undefined leaves config_path as the candidate has it. */
  readonly certsDirectory: string | undefined
  /** Where the copy finds a file that legacy registry sections name; absent: where they say. */
  legacyFile?(path: string): string
}

/**
 * `candidate` undefined: containerd runs with its defaults. The runner gives root, state and address on the command
 * line.
 */
export async function rehearsalConfig(
  candidate: Buffer | undefined,
  request: RehearsalRequest,
): Promise<readonly RehearsalFile[]> {
  const main = readContainerdConfig(candidate ?? defaults(request.containerdVersion), { path: request.configFile })
  const imports = request.imports.map(({ path, bytes }) => readContainerdConfig(bytes, { path }))
  const all = [main, ...imports]
  const copies = imports.map((file, index) => ({
    file,
    relativePath: `imports/${String(index).padStart(2, '0')}-${posix.basename(file.path)}`,
  }))
  const links = [
    ...all.flatMap((file) => file.imports.filter((path) => isMissingLiteral(path, all))),
    ...(request.unloadable ?? []),
    ...copies.map(({ relativePath }) => `${request.scratch}/${relativePath}`),
  ]
  const importEdits: readonly Edit[] =
    main.imports.length + links.length === 0 ? [] : [{ kind: 'set', key: ['imports'], value: links }]
  const schema = schemaOf(main, main.effectiveVersion)
  const files = [
    {
      relativePath: 'config.toml',
      bytes: await edit(main, [...ownPlaces(main, schema, request), ...isolation(main.parsed), ...importEdits]),
    },
  ]
  for (const { file, relativePath } of copies) {
    const own = schemaOf(file, file.declaredVersion ?? main.effectiveVersion)
    const edits = [...placesTouched(file, own, request), ...isolation(file.parsed), ...onlyInMain(file, own)]
    files.push({ relativePath, bytes: await edit(file, edits) })
  }
  return files
}

function defaults(containerdVersion: string): Buffer {
  const version = parseContainerdVersion(containerdVersion)
  if (version === undefined)
    throw new AgentError('REHEARSAL_UNAVAILABLE', `containerd calls its version "${containerdVersion}"`)
  return Buffer.from(`version = ${schemaForNewFile(version)}\n`)
}

function schemaOf(file: ContainerdConfig, version: number): ConfigSchema {
  if (isSchemaVersion(version)) return CONFIG_SCHEMAS[version]
  throw new AgentError('CONTAINERD_CONFIG_UNSUPPORTED', `${file.path}: declares version ${version}, which is not known`)
}

/** A file that is named but absent keeps containerd from starting: the copy must fail on it as well. */
function isMissingLiteral(path: string, imports: readonly ContainerdConfig[]): boolean {
  return !path.includes('*') && !imports.some((file) => file.path === path)
}

function set(key: KeyPath, value: TomlValue): Edit {
  return { kind: 'set', key, value }
}

function remove(...key: string[]): Edit {
  return { kind: 'remove', key }
}

async function edit(file: ContainerdConfig, edits: readonly Edit[]): Promise<Buffer> {
  return Buffer.from(await editKeys(file.text, edits, { path: file.path }))
}

/**
 * With the CRI plugin required, a copy in which it does not load exits with the reason instead of running on without
 * it.
 */
function ownPlaces(file: ContainerdConfig, schema: ConfigSchema, request: RehearsalRequest): readonly Edit[] {
  const disabled = [schema.nriPluginId, schema.optPluginId]
  const required = stringList(file.parsed, 'required_plugins').filter((id) => !disabled.includes(id))
  const registry = registryEdits(file, schema, request, true)
  return [
    set(['required_plugins'], union(required, [schema.criPluginId])),
    set(['disabled_plugins'], union(stringList(file.parsed, 'disabled_plugins'), disabled)),
    // Left unset, 2.3 does not derive the ttrpc socket from the address on the command line but takes the live daemon's
    // path.
    set(schema.grpcAddress, `${request.scratch}/c.sock`),
    set(schema.ttrpcAddress, `${request.scratch}/c.sock.ttrpc`),
    set(schema.cniConfDir, `${request.scratch}/cni`),
    set(schema.streamServerAddress, '127.0.0.1'),
    set(schema.streamServerPort, '0'),
    ...registry,
    ...placesTouched(file, schema, request),
  ]
}

/** What the copy's main file decides, and an import, merged later, would override. */
function onlyInMain(file: ContainerdConfig, schema: ConfigSchema): readonly Edit[] {
  const required = stringList(file.parsed, 'required_plugins')
  const kept = required.filter((id) => id !== schema.nriPluginId && id !== schema.optPluginId)
  return [
    remove('imports'),
    remove('grpc', 'address'),
    remove('ttrpc'),
    remove('plugins', 'io.containerd.server.v1.grpc'),
    remove('plugins', 'io.containerd.server.v1.ttrpc'),
    ...(kept.length < required.length ? [set(['required_plugins'], kept)] : []),
  ]
}

/** The same for tables that the file has under any schema's plugin ids: an import, or a file of mixed schemas. */
function placesTouched(file: ContainerdConfig, own: ConfigSchema, request: RehearsalRequest): readonly Edit[] {
  const { parsed } = file
  return [own, ...Object.values(CONFIG_SCHEMAS).filter((schema) => schema !== own)].flatMap(
    (schema): readonly Edit[] => {
      const [table = []] = schema.criTables
      // Before 2.1 an imported CRI table replaces the main file's, so it has to carry the copy's places itself.
      const replaces = schema === own && tableAt(parsed, table) !== undefined
      const when = (key: KeyPath, value: string) =>
        replaces || itemAt(parsed, key) !== undefined ? [set(key, value)] : []
      return [
        ...when(schema.cniConfDir, `${request.scratch}/cni`),
        ...when(schema.streamServerAddress, '127.0.0.1'),
        ...when(schema.streamServerPort, '0'),
        ...registryEdits(file, schema, request, replaces),
        ...snapshotterEdits(parsed, schema.snapshotter),
        ...runtimeEdits(parsed, schema, request),
      ]
    },
  )
}

function registryEdits(
  file: ContainerdConfig,
  schema: ConfigSchema,
  { certsDirectory, legacyFile }: RehearsalRequest,
  always: boolean,
): readonly Edit[] {
  const key = [...schema.registry, 'config_path']
  // A registry table of another schema can take the place of this one.
  const isThere = tableAt(file.parsed, schema.registry) !== undefined
  if (certsDirectory === undefined && legacyFile !== undefined) return legacyEdits(file.parsed, schema, legacyFile)
  if (certsDirectory === undefined || !(always || isThere)) return []
  return [set(key, certsDirectory)]
}

function legacyEdits(
  parsed: TomlTable,
  schema: ConfigSchema,
  legacyFile: NonNullable<RehearsalRequest['legacyFile']>,
): readonly Edit[] {
  const configs = [...schema.registry, 'configs']
  return Object.keys(tableAt(parsed, configs) ?? {}).flatMap((host) =>
    ['ca_file', 'cert_file', 'key_file'].flatMap((name) => {
      const key = [...configs, host, 'tls', name]
      const path = stringAt(parsed, key) ?? ''
      return path === '' ? [] : [set(key, legacyFile(posix.resolve('/', path)))]
    }),
  )
}

/** The others need devices, pools or sockets of the node. The snapshotter decides nothing about registries. */
const SNAPSHOTTERS: ReadonlySet<string> = new Set(['', 'overlayfs', 'native'])

function snapshotterEdits(parsed: TomlTable, key: KeyPath): readonly Edit[] {
  const name = stringAt(parsed, key)
  return name === undefined || SNAPSHOTTERS.has(name) ? [] : [set(key, 'overlayfs')]
}

function runtimeEdits(parsed: TomlTable, schema: ConfigSchema, { scratch }: RehearsalRequest): readonly Edit[] {
  return Object.keys(tableAt(parsed, schema.runtimes) ?? {}).flatMap((name) => {
    const runtime = [...schema.runtimes, name]
    const cni = [...runtime, 'cni_conf_dir']
    const ownCni = stringAt(parsed, cni) ? [set(cni, `${scratch}/cni`)] : []
    return [...ownCni, ...snapshotterEdits(parsed, [...runtime, 'snapshotter'])]
  })
}

/** Top-level keys that act on the node: sockets, cgroup, OOM score (needs a capability), storage, other daemons. */
const NODE_KEYS = ['root', 'state', 'temp', 'oom_score', 'cgroup', 'debug', 'metrics', 'proxy_plugins']
const GRPC_KEYS = ['tcp_address', 'tcp_tls_ca', 'tcp_tls_cert', 'tcp_tls_key', 'tcp_tls_common_name', 'uid', 'gid']
const NODE_PLUGINS = [
  'io.containerd.server.v1.debug',
  'io.containerd.server.v1.grpc-tcp',
  'io.containerd.server.v1.metrics',
  'io.containerd.internal.v1.tracing',
  'io.containerd.tracing.processor.v1.otlp',
]
const SNAPSHOTTER_PLUGIN =
  /^(?:io\.containerd\.snapshotter\.v1\.)?(aufs|blockfile|btrfs|devmapper|erofs|native|overlayfs|zfs)$/

function isolation(parsed: TomlTable): readonly Edit[] {
  const plugins = Object.entries(tableAt(parsed, ['plugins']) ?? {})
  return [
    ...NODE_KEYS.map((key) => remove(key)),
    ...GRPC_KEYS.map((key) => remove('grpc', key)),
    ...['uid', 'gid'].flatMap((key) => [
      remove('ttrpc', key),
      remove('plugins', 'io.containerd.server.v1.grpc', key),
      remove('plugins', 'io.containerd.server.v1.ttrpc', key),
    ]),
    ...NODE_PLUGINS.map((id) => remove('plugins', id)),
    remove('plugins', 'io.containerd.service.v1.tasks-service', 'rdt_config_file'),
    ...plugins.flatMap(([id, table]) => (isTable(table) ? storageEdits(id, table) : [])),
  ]
}

/** Snapshotters of the copy work below its own root or not at all. */
function storageEdits(id: string, table: TomlTable): readonly Edit[] {
  if (id === 'io.containerd.transfer.v1.local') return [remove('plugins', id, 'unpack_config')]
  const snapshotter = SNAPSHOTTER_PLUGIN.exec(id)?.[1]
  if (snapshotter === undefined) return []
  if (!SNAPSHOTTERS.has(snapshotter)) return [remove('plugins', id)]
  return table['root_path'] === undefined ? [] : [remove('plugins', id, 'root_path')]
}

function stringList(parsed: TomlTable, key: string): readonly string[] {
  const item = itemAt(parsed, [key])
  return Array.isArray(item) ? item.filter((entry) => typeof entry === 'string') : []
}

function union(a: readonly string[], b: readonly string[]): readonly string[] {
  return [...new Set([...a, ...b])]
}
