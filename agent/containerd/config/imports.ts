// Which registry settings and which sandbox image containerd ends up with when its main file imports others.
// Before 2.1 an imported file that touches a plugin's table replaces that whole table, with exit code 0 and no log line;
// from 2.1 on the tables are merged key by key. https://github.com/containerd/containerd/issues/5837
// From 2.0 on the table of schema 2 is moved into those of schema 3: before 2.3 once, after all files are merged, where
// the last version line is older than 3; from 2.3 on in each file whose version is older than 4. A moved registry table
// replaces the one that stands there (plugins/cri/images/plugin.go, migrateConfig).
// Compared with `containerd config dump` of 1.6, 1.7, 2.1, 2.2, 2.3 and 2.4: test/reconcile/observe/imports.test.ts.
import { type Problem, problem } from '../../model/errors.ts'
import { stringAt, tableAt } from '../../text/toml.ts'
import { type ContainerdConfig, NO_REGISTRY_SETTINGS, type RegistrySettings } from './read.ts'
import { CONFIG_SCHEMAS, type ContainerdVersion, isAtLeast, type SchemaVersion } from './schema-version.ts'

export type EffectiveRegistry = RegistrySettings & {
  /** The file that decides `configPath`, or would: an edit anywhere else is without effect. */
  readonly decidedBy: string
}

export type EffectiveSandbox = {
  /** Undefined: no file sets it, and containerd has its default. */
  readonly image: string | undefined
  readonly decidedBy: string
}

export type Effective = { readonly registry: EffectiveRegistry; readonly sandbox: EffectiveSandbox }

export type MergeResult = ({ readonly ok: true } & Effective) | { readonly ok: false; readonly problem: Problem }

/** `isMerged`: the distribution merges the files itself before containerd reads them, as k0s does. */
export function effectiveRegistry(
  main: ContainerdConfig,
  imports: readonly ContainerdConfig[],
  version: ContainerdVersion,
  isMerged = false,
): MergeResult {
  const newer = imports.find((file) => (file.declaredVersion ?? 0) > main.effectiveVersion)
  if (newer) return { ok: false, problem: newerImport(main, newer) }
  return { ok: true, ...effective(main, imports, version, isMerged) }
}

/** 1.7 exits; 2.1 then takes the main file's tables for those of the newer schema and drops them; 2.3 exits. */
function newerImport(main: ContainerdConfig, file: ContainerdConfig): Problem {
  return problem(
    'CONTAINERD_CONFIG_UNSUPPORTED',
    `${file.path}: declares version ${file.declaredVersion}, but ${main.path}, which imports it, is version ${main.effectiveVersion}: containerd exits or drops the CRI settings of the main file`,
  )
}

type From<T> = T & { readonly from: string }

/** What one plugin's table says, and which file said it last; undefined: there is no such table, or key. */
type Table = {
  readonly owner: string | undefined
  readonly registry: RegistrySettings | undefined
  readonly configPath: From<{ readonly value: string }> | undefined
  readonly sandbox: From<{ readonly value: string }> | undefined
}

/** The CRI tables by the name that a file gives them: of version 2, or 1, and of version 3. */
type Tables = { readonly old: Table; readonly split: Table }

type Merge = (a: Table, b: Table) => Table

function effective(
  main: ContainerdConfig,
  imports: readonly ContainerdConfig[],
  version: ContainerdVersion,
  isMerged: boolean,
): Effective {
  const files = [main, ...imports]
  const merge: Merge = isMerged || isAtLeast(version, 2, 1) ? mergeKeys : lastTableWins
  const movesEach = isAtLeast(version, 2, 3)
  const last = files.findLast(({ declaredVersion = 0 }) => declaredVersion > 0)?.declaredVersion ?? 1
  const isOld = version.major < 2
  const tables = files
    .map((file) => {
      const each = tablesOf(file, isOld ? [last === 1 ? 1 : 2] : renamed(file))
      return movesEach && (file.declaredVersion ?? 0) < 4 ? moved(each) : each
    })
    .reduce((sum, each) => ({ old: merge(sum.old, each.old), split: merge(sum.split, each.split) }))
  const { old, split } = !movesEach && lastOfNewerNames(files) < 3 ? moved(tables) : tables
  const table = isOld ? old : split
  const otherwise = merge === lastTableWins ? (table.owner ?? main.path) : main.path
  return {
    registry: {
      ...(table.registry ?? NO_REGISTRY_SETTINGS),
      configPath: table.configPath?.value,
      decidedBy: table.configPath?.from ?? otherwise,
    },
    sandbox: { image: table.sandbox?.value, decidedBy: table.sandbox?.from ?? otherwise },
  }
}

/** A file that was renamed counts as version 3, which moves nothing. */
function lastOfNewerNames(files: readonly ContainerdConfig[]): number {
  return files.findLast(({ declaredVersion = 0 }) => declaredVersion > 1)?.declaredVersion ?? 3
}

/** From 2.0 on a file without a version, or of version 1, gets the names of version 2 first. */
function renamed({ declaredVersion = 0 }: ContainerdConfig): readonly (1 | 2)[] {
  return declaredVersion < 2 ? [1, 2] : [2]
}

function tablesOf(file: ContainerdConfig, names: readonly (1 | 2)[]): Tables {
  const old = names.map((schema) => tableOf(file, schema)).reduce(mergeKeys)
  return { old, split: tableOf(file, 3) }
}

function tableOf({ parsed, path, registries }: ContainerdConfig, schema: SchemaVersion): Table {
  const { criTables, registry, sandboxImage } = CONFIG_SCHEMAS[schema]
  const [table = []] = criTables
  const settings = tableAt(parsed, registry) === undefined ? undefined : registries[schema]
  const valued = (value: string | undefined) => (value === undefined ? undefined : { value, from: path })
  return {
    owner: tableAt(parsed, table) === undefined ? undefined : path,
    registry: settings,
    configPath: valued(settings?.configPath),
    sandbox: valued(stringAt(parsed, sandboxImage)),
  }
}

/** Whole keys: a registry table without config_path takes the place of one that has it. */
function moved({ old, split }: Tables): Tables {
  if (old.owner === undefined) return { old, split }
  const isReplaced = old.registry !== undefined
  return {
    old,
    split: {
      owner: old.owner,
      registry: old.registry ?? split.registry,
      configPath: isReplaced ? old.configPath : split.configPath,
      sandbox: old.sandbox ?? split.sandbox,
    },
  }
}

function lastTableWins(a: Table, b: Table): Table {
  return b.owner === undefined ? a : b
}

/** A key that is there counts over the one before, also with nothing in it. */
function mergeKeys(a: Table, b: Table): Table {
  return {
    owner: b.owner ?? a.owner,
    registry: mergeSettings(a.registry, b.registry),
    configPath: b.configPath ?? a.configPath,
    sandbox: b.sandbox ?? a.sandbox,
  }
}

function mergeSettings(a: RegistrySettings | undefined, b: RegistrySettings | undefined): RegistrySettings | undefined {
  if (a === undefined || b === undefined) return b ?? a
  const union = (x: readonly string[], y: readonly string[]) => [...new Set([...x, ...y])]
  return {
    configPath: b.configPath ?? a.configPath,
    mirrors: union(a.mirrors, b.mirrors),
    configsTls: union(a.configsTls, b.configsTls),
    configsAuth: union(a.configsAuth, b.configsAuth),
    auths: union(a.auths, b.auths),
  }
}
