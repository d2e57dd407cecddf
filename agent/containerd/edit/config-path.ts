// Decides whether and how containerd's configuration is edited so that it reads host directories: one key, in place, no
// drop-in. Rule: never an edit that stops the CRI plugin from loading or that containerd would silently ignore; those
// are refused by name.
// This room: edits of config.toml in place; every byte that was not asked for stays.
// Begin here; then migrate-legacy.ts and legacy-layout.ts, which are the two other edits.
// May touch: nothing: a text goes in, a text or a refusal comes out.
import { posix } from 'node:path'
import { type AgentError, asAgentError, type Problem, problem } from '../../model/errors.ts'
import { itemAt, renderKey, renderString } from '../../text/toml.ts'
import { lineOf, parseDocument } from '../../text/toml-document.ts'
import { ignoredTables } from '../config/ignored.ts'
import { type EffectiveRegistry, effectiveRegistry } from '../config/imports.ts'
import { type ContainerdConfig, directoriesOf, readContainerdConfig } from '../config/read.ts'
import {
  acceptedSchemas,
  CONFIG_SCHEMAS,
  type ContainerdVersion,
  isSchemaVersion,
  parseContainerdVersion,
  schemaForNewFile,
} from '../config/schema-version.ts'
import { setInForce } from './in-force.ts'
import { type Migration, type MigrationFacts, planMigration } from './migrate-legacy.ts'

export type ConfigPathPlan =
  | { readonly kind: 'already-set'; readonly directory: string }
  | {
      readonly kind: 'edit'
      readonly directory: string
      readonly bytes: Buffer
      /** Present where legacy sections were moved: its folders belong in the same transaction. */
      readonly migration?: Moved
    }
  | { readonly kind: 'create'; readonly directory: string; readonly bytes: Buffer }
  | { readonly kind: 'refused'; readonly problem: Problem }

export type Moved = Pick<Extract<Migration, { kind: 'migrate' }>, 'hostFolders' | 'notes'>

export type ConfigPathRequest = {
  readonly configFile: string
  /** Undefined: there is no such file and containerd runs with its defaults. */
  readonly bytes: Buffer | undefined
  /** The imported files, in the order in which containerd merges them. */
  readonly imports: readonly { readonly path: string; readonly bytes: Buffer }[]
  /** As CRI `Version` tells it. */
  readonly containerdVersion: string
  /** What config_path is set to where it is not set yet. */
  readonly directory: string
  /** The distribution merges the imported files key by key, whatever this containerd does. */
  readonly areImportsMerged?: boolean
  /** Where given, legacy mirrors and configs are moved to host folders instead of being a refusal. */
  readonly migrate?: MigrationFacts
  /**
   * Folders, out of a config_path that is a list, that hold host folders. Where given, a list that 2.x cannot read is
   * cut down to the
   * only one of them; else it is a refusal.
   */
  readonly directoriesWithHosts?: readonly string[]
}

/** Never throws for what is in the files: bad input is a refusal. */
export async function planConfigPath(request: ConfigPathRequest): Promise<ConfigPathPlan> {
  const { configFile, directory } = request
  if (!posix.isAbsolute(directory) || directory.includes(':'))
    return refuse('CONTAINERD_CONFIG_UNSUPPORTED', `config_path must be one absolute folder, not ${directory}`)
  const version = parseContainerdVersion(request.containerdVersion)
  if (version === undefined)
    return refuse(
      'CONTAINERD_CONFIG_UNSUPPORTED',
      `${configFile}: containerd calls its version "${request.containerdVersion}", so it is not known how it reads its configuration`,
    )
  if (request.bytes === undefined) return { kind: 'create', directory, bytes: Buffer.from(newFile(version, directory)) }
  try {
    const config = readContainerdConfig(request.bytes, { path: configFile })
    const imports = request.imports.map(({ path, bytes }) => readContainerdConfig(bytes, { path }))
    return await planExisting(config, imports, version, request)
  } catch (thrown) {
    return refuseWith(asAgentError(thrown))
  }
}

function refuse(code: Problem['code'], message: string): Extract<ConfigPathPlan, { kind: 'refused' }> {
  return { kind: 'refused', problem: problem(code, message) }
}

function refuseWith(error: AgentError): ConfigPathPlan {
  return refuse(error.code, error.message)
}

function newFile(version: ContainerdVersion, directory: string): string {
  const why = 'there was no configuration file. Everything not set here has its default.'
  return fileWith(schemaForNewFile(version), directory, why)
}

/** The bytes of a drop-in that sets config_path and nothing else, in the schema of the file that it is merged into. */
export function dropInWith(schema: 2 | 3, directory: string): Buffer {
  return Buffer.from(fileWith(schema, directory, 'containerd reads host directories from here.'))
}

function fileWith(schema: 2 | 3, directory: string, why: string): string {
  const lines = [`# Written by registry-trust-agent: ${why}`, `version = ${schema}`, '']
  return [...lines, ...registryLines(schema, directory), ''].join('\n')
}

function registryLines(schema: 2 | 3, directory: string): readonly string[] {
  const table = CONFIG_SCHEMAS[schema].registry.map(renderKey).join('.')
  return [`[${table}]`, `  config_path = ${renderString(directory)}`]
}

async function planExisting(
  config: ContainerdConfig,
  imports: readonly ContainerdConfig[],
  version: ContainerdVersion,
  request: ConfigPathRequest,
): Promise<ConfigPathPlan> {
  if (config.isEmpty) return planCommentsOnly(config, version, request.directory)
  const { effectiveVersion: schema } = config
  if (!isSchemaVersion(schema) || !acceptedSchemas(version).includes(schema))
    return refuse('CONTAINERD_CONFIG_UNSUPPORTED', schemaNotAccepted(config, version))
  const odd = [config, ...imports].find(hasOddConfigPath)
  if (odd !== undefined)
    return refuse(
      'CONTAINERD_CONFIG_UNSUPPORTED',
      `${odd.path}: config_path is not a string, so the CRI plugin does not load: write one folder in quotes`,
    )
  const merged = effectiveRegistry(config, imports, version, request.areImportsMerged)
  if (!merged.ok) return { kind: 'refused', problem: merged.problem }
  const { registry } = merged
  const legacy = await legacySections(registry, [config, ...imports], version)
  if (legacy !== undefined && request.migrate === undefined) return refuse('LEGACY_REGISTRY_CONFIG', legacy)
  const found =
    (registry.configPath ?? '') === '' ? undefined : directoryInForce(registry, [config, ...imports], version, request)
  if (found?.kind === 'refused') return found
  if (found?.kind === 'already-set' && legacy === undefined) return { kind: 'already-set', directory: found.directory }
  const [mixed] = ignoredTables(config, version)
  if (schema === 1 && mixed !== undefined)
    return refuse(
      'CONTAINERD_CONFIG_UNSUPPORTED',
      `${config.path}: ${versionInWords(config)}, but has the table ${mixed.table} of another version, which containerd ignores: correct its version line`,
    )
  const directory = found?.directory ?? request.directory
  if (registry.decidedBy !== config.path)
    return refuse('CONTAINERD_CONFIG_UNSUPPORTED', decidedElsewhere(config, registry))
  if (legacy !== undefined && request.migrate !== undefined) {
    const migration = await planMigration({
      ...request.migrate,
      config,
      imports,
      version,
      certsDirectory: directory,
      isConfigPathSet: found?.kind === 'already-set',
    })
    if (migration.kind === 'refused') return migration
    if (migration.kind === 'nothing') return refuse('LEGACY_REGISTRY_CONFIG', legacy)
    const { config: bytes, hostFolders, notes } = migration
    const moved = effectiveRegistry(readContainerdConfig(bytes, { path: config.path }), imports, version)
    if (!moved.ok || directoriesOf(moved.registry.configPath)[0] !== directory || moved.registry.mirrors.length > 0)
      return refuse('LEGACY_REGISTRY_CONFIG', `${legacy}; ${twoTables(config)}`)
    return { kind: 'edit', directory, bytes, migration: { hostFolders, notes } }
  }
  const around = { imports, version, areImportsMerged: request.areImportsMerged }
  const text = await setInForce('configPath', directory, config, around)
  if (text === undefined) return refuse('CONTAINERD_CONFIG_UNSUPPORTED', twoTables(config))
  return { kind: 'edit', directory, bytes: Buffer.from(text) }
}

function hasOddConfigPath({ parsed }: ContainerdConfig): boolean {
  return Object.values(CONFIG_SCHEMAS)
    .map(({ registry }) => itemAt(parsed, [...registry, 'config_path']))
    .some((item) => item !== undefined && typeof item !== 'string')
}

export function twoTables({ path }: ContainerdConfig): string {
  return `${path}: it and its imports have CRI tables under the plugin ids of two versions, so that an edit takes no effect or changes more than its key: keep them under one`
}

function decidedElsewhere(config: ContainerdConfig, registry: EffectiveRegistry): string {
  const { decidedBy, configPath } = registry
  const { path } = config
  if (configPath === undefined)
    return `${decidedBy}: containerd before 2.1 replaces the whole CRI section of ${path} by the one of this imported file, so config_path must be set in this file`
  const what = configPath === '' ? 'sets config_path to nothing' : 'sets config_path'
  return `${decidedBy}: ${what} for ${path}, which imports it; the agent edits only ${path}`
}

/** No key at all is the same as no file, so a version line changes the meaning of nothing. */
function planCommentsOnly(config: ContainerdConfig, version: ContainerdVersion, directory: string): ConfigPathPlan {
  const { text, lineEnding } = config
  const schema = schemaForNewFile(version)
  const gap = text === '' ? [] : [text.endsWith('\n') ? '' : lineEnding]
  const lines = [...gap, `version = ${schema}`, '', ...registryLines(schema, directory), '']
  return { kind: 'edit', directory, bytes: Buffer.from(text + lines.join(lineEnding)) }
}

function versionInWords(config: ContainerdConfig): string {
  return config.declaredVersion === undefined
    ? 'has no version line and so counts as version 1'
    : `declares version ${config.declaredVersion}`
}

export function schemaNotAccepted(config: ContainerdConfig, version: ContainerdVersion): string {
  const accepted = acceptedSchemas(version).join(', ')
  const advice =
    config.effectiveVersion === 1
      ? 'rewrite it as version 2 (`containerd config migrate` helps) or set config_path by hand'
      : 'correct its version line'
  return `${config.path}: ${versionInWords(config)}, but containerd ${version.major}.${version.minor} uses the CRI settings of versions ${accepted} only: ${advice}`
}

/**
 * The sections that, next to config_path, keep the CRI plugin from loading: `mirrors` everywhere, `configs.*.tls`
 * before 2.0.
 */
async function legacySections(
  registry: EffectiveRegistry,
  files: readonly ContainerdConfig[],
  version: ContainerdVersion,
): Promise<string | undefined> {
  const tls = version.major < 2 ? registry.configsTls : []
  if (registry.mirrors.length === 0 && tls.length === 0) return undefined
  const wanted = [
    ...registry.mirrors.map((host) => ({ section: 'mirrors', host, tail: [] })),
    ...tls.map((host) => ({ section: 'configs', host, tail: ['tls'] })),
  ]
  const places: string[] = []
  for (const file of files) {
    const document = await parseDocument(file.text)
    for (const { section, host, tail } of wanted)
      for (const schema of [1, 2, 3] as const) {
        const line = lineOf(document, [...CONFIG_SCHEMAS[schema].registry, section, host, ...tail])
        const name = ['registry', section, host, ...tail].map(renderKey).join('.')
        if (line !== undefined) places.push(`${name} (${file.path}:${line})`)
      }
  }
  const outcome = registry.configPath
    ? 'config_path is set as well: the CRI plugin will not load at the next start'
    : 'config_path cannot be set beside it: the CRI plugin would not load'
  return `${[...new Set(places)].join(', ')}: ${outcome}`
}

function directoryInForce(
  registry: EffectiveRegistry,
  files: readonly ContainerdConfig[],
  version: ContainerdVersion,
  { directoriesWithHosts }: ConfigPathRequest,
):
  | { readonly kind: 'already-set' | 'cut-down'; readonly directory: string }
  | Extract<ConfigPathPlan, { kind: 'refused' }> {
  const directories = directoriesOf(registry.configPath)
  const [first] = directories
  const isList = (registry.configPath ?? '').includes(':')
  const where = `${registry.decidedBy}: config_path = ${renderString(registry.configPath ?? '')}`
  if (isList && !readsLists(registry, files, version)) {
    const why = `${where} is a list, of which containerd ${version.major}.${version.minor} reads nothing at all, not even the first folder`
    if (directoriesWithHosts === undefined || !directories.every((directory) => posix.isAbsolute(directory)))
      return refuse('CONTAINERD_CONFIG_UNSUPPORTED', `${why}: name only one folder`)
    const used = directories
      .map((directory) => posix.resolve(directory))
      .filter((one) => directoriesWithHosts.includes(one))
    if (new Set(used).size > 1)
      return refuse(
        'CONTAINERD_CONFIG_UNSUPPORTED',
        `${why}, and there are host folders in ${used.join(' and ')}: move them to one folder and name only that one`,
      )
    const [directory = first] = used
    if (directory !== undefined) return { kind: 'cut-down', directory: posix.resolve(directory) }
  }
  if (first === undefined || !posix.isAbsolute(first))
    return refuse('CONTAINERD_CONFIG_UNSUPPORTED', `${where} is not an absolute path: write the whole path from / on`)
  return { kind: 'already-set', directory: posix.resolve(first) }
}

/** From 2.0 on only local pulls split the list; inline configs and auths make containerd fall back to them. */
function readsLists(
  registry: EffectiveRegistry,
  files: readonly ContainerdConfig[],
  version: ContainerdVersion,
): boolean {
  if (version.major < 2) return true
  const fallsBack = registry.configsAuth.length + registry.auths.length > 0
  return fallsBack || files.some((file) => file.usesLocalImagePull)
}
