// What differs between containerd's configuration schemas (the `version` line, 1 to 4), as data: the only place that
// names plugin ids. Schema 2 and 3 as measured on 1.6, 1.7 and 2.1; schema 4 (containerd 2.3) from containerd's own
// documentation and defaults.

export type SchemaVersion = 1 | 2 | 3 | 4

export type KeyPath = readonly string[]

export type ConfigSchema = {
  /** The table that holds `config_path`, `mirrors`, `configs` and `auths`. */
  readonly registry: KeyPath
  /** Every table that belongs to the CRI plugins. */
  readonly criTables: readonly KeyPath[]
  /** How this schema names plugins in `required_plugins` and `disabled_plugins`. */
  readonly criPluginId: string
  readonly nriPluginId: string
  readonly optPluginId: string
  readonly sandboxImage: KeyPath
  readonly cniConfDir: KeyPath
  readonly streamServerAddress: KeyPath
  readonly streamServerPort: KeyPath
  readonly snapshotter: KeyPath
  /** The table of runtimes, by name. */
  readonly runtimes: KeyPath
  readonly debugAddress: KeyPath
  readonly metricsAddress: KeyPath
  readonly grpcAddress: KeyPath
  readonly ttrpcAddress: KeyPath
}

const CRI_1 = ['plugins', 'cri']
const CRI_2 = ['plugins', 'io.containerd.grpc.v1.cri']
const IMAGES = ['plugins', 'io.containerd.cri.v1.images']
const RUNTIME = ['plugins', 'io.containerd.cri.v1.runtime']

/** 2.1 and later pull through the transfer service unless this is true; where the key lives in every schema. */
export const USE_LOCAL_IMAGE_PULL: KeyPath = [...IMAGES, 'use_local_image_pull']

const TOP_LEVEL_ADDRESSES = {
  debugAddress: ['debug', 'address'],
  metricsAddress: ['metrics', 'address'],
  grpcAddress: ['grpc', 'address'],
  ttrpcAddress: ['ttrpc', 'address'],
}

const SCHEMA_3: ConfigSchema = {
  registry: [...IMAGES, 'registry'],
  criTables: [IMAGES, RUNTIME, CRI_2],
  criPluginId: 'io.containerd.grpc.v1.cri',
  nriPluginId: 'io.containerd.nri.v1.nri',
  optPluginId: 'io.containerd.internal.v1.opt',
  sandboxImage: [...IMAGES, 'pinned_images', 'sandbox'],
  cniConfDir: [...RUNTIME, 'cni', 'conf_dir'],
  streamServerAddress: [...CRI_2, 'stream_server_address'],
  streamServerPort: [...CRI_2, 'stream_server_port'],
  snapshotter: [...IMAGES, 'snapshotter'],
  runtimes: [...RUNTIME, 'containerd', 'runtimes'],
  ...TOP_LEVEL_ADDRESSES,
}

function beforeTheSplit(cri: KeyPath, pluginIds: Pick<ConfigSchema, 'criPluginId' | 'nriPluginId' | 'optPluginId'>) {
  return {
    ...pluginIds,
    registry: [...cri, 'registry'],
    criTables: [cri],
    sandboxImage: [...cri, 'sandbox_image'],
    cniConfDir: [...cri, 'cni', 'conf_dir'],
    streamServerAddress: [...cri, 'stream_server_address'],
    streamServerPort: [...cri, 'stream_server_port'],
    snapshotter: [...cri, 'containerd', 'snapshotter'],
    runtimes: [...cri, 'containerd', 'runtimes'],
    ...TOP_LEVEL_ADDRESSES,
  }
}

export const CONFIG_SCHEMAS: { readonly [version in SchemaVersion]: ConfigSchema } = {
  1: beforeTheSplit(CRI_1, { criPluginId: 'cri', nriPluginId: 'nri', optPluginId: 'opt' }),
  2: beforeTheSplit(CRI_2, SCHEMA_3),
  3: SCHEMA_3,
  4: {
    ...SCHEMA_3,
    debugAddress: ['plugins', 'io.containerd.server.v1.debug', 'address'],
    metricsAddress: ['plugins', 'io.containerd.server.v1.metrics', 'address'],
    grpcAddress: ['plugins', 'io.containerd.server.v1.grpc', 'address'],
    ttrpcAddress: ['plugins', 'io.containerd.server.v1.ttrpc', 'address'],
  },
}

export type ContainerdVersion = { readonly major: number; readonly minor: number; readonly patch: number }

/**
 * Reads what CRI `Version` says: `1.6.20~ds1`, `v2.1.9`, `v1.7.27-k3s1`. Undefined for a development build without a
 * number.
 */
export function parseContainerdVersion(text: string): ContainerdVersion | undefined {
  const match = /^v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,6}))?(?![\d.])/.exec(text.trim())
  if (match === null) return undefined
  return { major: Number(match[1]), minor: Number(match[2]), patch: Number(match[3] ?? 0) }
}

export function isAtLeast(version: ContainerdVersion, major: number, minor: number): boolean {
  return version.major > major || (version.major === major && version.minor >= minor)
}

/**
 * Schemas whose CRI settings this containerd really uses. 1.6 also starts with 3 and 4 and 2.x also starts with 1,
 * but then they silently ignore the CRI tables, which is worse than a refusal.
 */
export function acceptedSchemas(version: ContainerdVersion): readonly SchemaVersion[] {
  if (version.major < 2) return [1, 2]
  return isAtLeast(version, 2, 3) ? [2, 3, 4] : [2, 3]
}

/**
 * Of a file of this version. The first one is where an edit goes; 2.x reads tables of schema 3 in a version 2 file as
 * well.
 */
export function schemasRead(effectiveVersion: number, version: ContainerdVersion): readonly SchemaVersion[] {
  if (effectiveVersion === 1) return [1]
  if (version.major < 2) return [2]
  return effectiveVersion === 2 ? [2, 3] : [3]
}

export function schemaForNewFile(version: ContainerdVersion): 2 | 3 {
  return version.major < 2 ? 2 : 3
}

export function isSchemaVersion(version: number): version is SchemaVersion {
  return version === 1 || version === 2 || version === 3 || version === 4
}
