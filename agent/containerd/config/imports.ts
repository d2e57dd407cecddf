// Which registry settings containerd ends up with when its main file imports others. Until 2.1 an imported file that
// touches a plugin's table replaces that whole table, with exit code 0 and no log line; from 2.1 on the tables are
// merged key by key. https://github.com/containerd/containerd/issues/5837 ; measured on 1.6, 1.7 and 2.1.
import { type Problem, problem } from '../../model/errors.ts'
import { tableAt } from '../../text/toml.ts'
import { type ContainerdConfig, NO_REGISTRY_SETTINGS, type RegistrySettings } from './read.ts'
import { CONFIG_SCHEMAS, type ContainerdVersion, isAtLeast, type SchemaVersion, schemasRead } from './schema-version.ts'

export type EffectiveRegistry = RegistrySettings & {
  /** The file that decides `configPath`, or would: an edit anywhere else is without effect. */
  readonly decidedBy: string
}

export type MergeResult =
  | { readonly ok: true; readonly registry: EffectiveRegistry }
  | { readonly ok: false; readonly problem: Problem }

/** `isMerged`: the distribution merges the files itself before containerd reads them, as k0s does. */
export function effectiveRegistry(
  main: ContainerdConfig,
  imports: readonly ContainerdConfig[],
  version: ContainerdVersion,
  isMerged = false,
): MergeResult {
  const newer = imports.find((file) => (file.declaredVersion ?? 0) > main.effectiveVersion)
  if (newer) return { ok: false, problem: newerImport(main, newer) }
  return {
    ok: true,
    registry: isMerged || isAtLeast(version, 2, 1) ? mergeKeys(main, imports) : lastTableWins(main, imports, version),
  }
}

/** 1.7 exits; 2.1 then takes the main file's tables for those of the newer schema and drops them; 2.3 exits. */
function newerImport(main: ContainerdConfig, file: ContainerdConfig): Problem {
  return problem(
    'CONTAINERD_CONFIG_UNSUPPORTED',
    `${file.path}: declares version ${file.declaredVersion}, but ${main.path}, which imports it, is version ${main.effectiveVersion}: containerd exits or drops the CRI settings of the main file`,
  )
}

function lastTableWins(
  main: ContainerdConfig,
  imports: readonly ContainerdConfig[],
  version: ContainerdVersion,
): EffectiveRegistry {
  const ownerOf = (schema: SchemaVersion) => imports.findLast((file) => touches(file, schema)) ?? main
  const layers = schemasRead(main.effectiveVersion, version).map((schema) => {
    const owner = ownerOf(schema)
    return { path: owner.path, settings: owner.registries[schema] }
  })
  const [first] = layers
  return withDecider(layers, first?.path ?? main.path)
}

function touches(file: ContainerdConfig, schema: SchemaVersion): boolean {
  const [table = []] = CONFIG_SCHEMAS[schema].criTables
  return tableAt(file.parsed, table) !== undefined
}

/**
 * Keys of schema 3 count in every file; keys of schema 2 only where the file, by its own line or the main file's, is
 * version 2.
 */
function mergeKeys(main: ContainerdConfig, imports: readonly ContainerdConfig[]): EffectiveRegistry {
  const layers = [main, ...imports].flatMap((file) => {
    const version = file.declaredVersion ?? main.effectiveVersion
    const layer = (schema: SchemaVersion) => ({ path: file.path, settings: file.registries[schema] })
    return version === 2 ? [layer(2), layer(3)] : [layer(3)]
  })
  return withDecider(layers, main.path)
}

type Layer = { readonly path: string; readonly settings: RegistrySettings }

function withDecider(layers: readonly Layer[], otherwise: string): EffectiveRegistry {
  const merged = layers.reduce((sum, { settings }) => mergeSettings(sum, settings), NO_REGISTRY_SETTINGS)
  const decider = layers.findLast(({ settings }) => (settings.configPath ?? '') !== '')
  return { ...merged, decidedBy: decider?.path ?? otherwise }
}

/** An empty value never overrides a set one (mergo's rule). */
function mergeSettings(a: RegistrySettings, b: RegistrySettings): RegistrySettings {
  const union = (x: readonly string[], y: readonly string[]) => [...new Set([...x, ...y])]
  return {
    configPath: b.configPath || a.configPath,
    mirrors: union(a.mirrors, b.mirrors),
    configsTls: union(a.configsTls, b.configsTls),
    configsAuth: union(a.configsAuth, b.configsAuth),
    auths: union(a.auths, b.auths),
  }
}
