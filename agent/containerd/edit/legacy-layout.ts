// registry.configs."HOST".tls of config.toml, for `layout: legacy`: the keys that name the agent's own files, set and
// taken out again. A key is the agent's when it names a file below the agent's folder; what others say of a host stays
// and wins. Only containerd 1.x reads these sections, and only without config_path: beside it the CRI plugin does not
// load.
import { posix } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { asAgentError, type Problem, problem } from '../../model/errors.ts'
import { isTable, itemAt, renderKey, renderString, type TomlItem, type TomlTable, tableAt } from '../../text/toml.ts'
import { type Edit, editKeys } from '../../text/toml-edit.ts'
import { ignoredTables } from '../config/ignored.ts'
import { effectiveRegistry } from '../config/imports.ts'
import { type ContainerdConfig, readContainerdConfig } from '../config/read.ts'
import {
  acceptedSchemas,
  CONFIG_SCHEMAS,
  type ContainerdVersion,
  isSchemaVersion,
  type KeyPath,
  parseContainerdVersion,
} from '../config/schema-version.ts'
import { defaultEndpoint } from '../hosts/endpoint.ts'
import { schemaNotAccepted } from './config-path.ts'

/** What config.toml should say about one registry. */
export type LegacyWish = {
  /** As in an image reference. */
  readonly host: string
  /** Absolute paths of the agent's own files. */
  readonly ca: string | undefined
  readonly client: { readonly certificate: string; readonly key: string } | undefined
  /** Trusted now, and not by the declared anchors alone: verification that is off stays off. */
  readonly isUnverified: boolean
  /** The CA file of someone else holds every certificate that `ca` would. */
  holdsAll(caFile: string): boolean
}

/** config.toml as the agent first found it; `bytes` undefined: there was none. */
export type OriginalConfig = { readonly bytes: Buffer | undefined }

export type OwnLegacy = {
  readonly configFile: string
  readonly bytes: Buffer | undefined
  /** Where the agent's files lie. */
  readonly folder: string
  /** Undefined: not known. */
  readonly original: OriginalConfig | undefined
}

export type LegacyRequest = OwnLegacy & {
  readonly imports: readonly { readonly path: string; readonly bytes: Buffer }[]
  readonly containerdVersion: string
  readonly wishes: readonly LegacyWish[]
  /** Registry hosts of which everything stays as it is now. */
  readonly kept: readonly string[]
}

export type LegacyPlan =
  | { readonly kind: 'refused'; readonly problem: Problem }
  | {
      readonly kind: 'planned'
      /** config.toml as it becomes, the very same bytes where nothing changes; undefined: no file. */
      readonly bytes: Buffer | undefined
      /** By host; the others stay as they are, for the problems reported. */
      readonly accepted: ReadonlyMap<string, { readonly usesOwnCa: boolean }>
      readonly problems: readonly Problem[]
    }

/** Never throws for what is in the files. */
export async function planLegacy(request: LegacyRequest): Promise<LegacyPlan> {
  try {
    return await plan(request)
  } catch (thrown) {
    const { code, message } = asAgentError(thrown)
    return { kind: 'refused', problem: problem(code, message) }
  }
}

/**
 * config.toml without the agent's keys: the very bytes from before the agent where nobody else changed the file since,
 * else a surgical
 * edit that keeps what others did. Throws AgentError for a file that cannot be read or edited.
 */
export async function withoutOwnLegacy({
  configFile: path,
  bytes,
  folder,
  original,
}: OwnLegacy): Promise<Buffer | undefined> {
  if (bytes === undefined || !bytes.includes(`${folder}/`)) return bytes
  const config = readContainerdConfig(bytes, { path })
  const own = ownTables(config, folder)
  if (own.length === 0) return bytes
  const before = original?.bytes === undefined ? undefined : readContainerdConfig(original.bytes, { path }).parsed
  if (original !== undefined) {
    const edits = own.flatMap((table) => sets(table, ownValues(table, before, folder)))
    const again = await editKeys(startingText(original.bytes, path), edits, { path })
    if (Buffer.from(again).equals(bytes)) return original.bytes
  }
  const edits = own.flatMap((table) => takenBack(table, before, folder))
  return Buffer.from(await editKeys(config.text, edits, { path }))
}

type TlsTable = { readonly host: string; readonly key: KeyPath; readonly table: TomlTable }

const FILE_KEYS = ['ca_file', 'cert_file', 'key_file']
const SKIP = 'insecure_skip_verify'

/** Under every plugin id: containerd may have been upgraded since. */
function ownTables({ parsed }: ContainerdConfig, folder: string): readonly TlsTable[] {
  return ([1, 2, 3] as const).flatMap((schema) => {
    const configs = [...CONFIG_SCHEMAS[schema].registry, 'configs']
    return Object.entries(tableAt(parsed, configs) ?? {}).flatMap(([host, config]) => {
      const table = isTable(config) ? config['tls'] : undefined
      if (!isTable(table) || !FILE_KEYS.some((name) => isOwn(table[name], folder))) return []
      return [{ host, key: [...configs, host, 'tls'], table }]
    })
  })
}

function isOwn(item: TomlItem | undefined, folder: string): boolean {
  return typeof item === 'string' && posix.resolve('/', item).startsWith(`${folder}/`)
}

type Value = readonly [name: string, value: string | boolean]

/** What the agent set in the table, in the order in which it writes. */
function ownValues({ key, table }: TlsTable, before: TomlTable | undefined, folder: string): readonly Value[] {
  const files = FILE_KEYS.flatMap((name): readonly Value[] => {
    const value = table[name]
    return typeof value === 'string' && isOwn(value, folder) ? [[name, value]] : []
  })
  return turnedOn({ key, table }, before) ? [...files, [SKIP, false]] : files
}

/** Verification was off before the agent. */
function turnedOn({ key, table }: Pick<TlsTable, 'key' | 'table'>, before: TomlTable | undefined): boolean {
  return table[SKIP] === false && before !== undefined && itemAt(before, [...key, SKIP]) === true
}

function sets({ key }: Pick<TlsTable, 'key'>, values: readonly Value[]): readonly Edit[] {
  return values.map(([name, value]) => ({ kind: 'set', key: [...key, name], value }))
}

function takenBack(own: TlsTable, before: TomlTable | undefined, folder: string): readonly Edit[] {
  const { key, table } = own
  const ours = new Set(ownValues(own, before, folder).map(([name]) => name))
  const wasThere = before !== undefined && tableAt(before, key) !== undefined
  if (!wasThere && Object.keys(table).every((name) => ours.has(name))) return [{ kind: 'remove', key }]
  return [...ours].map((name): Edit => {
    const was = before === undefined ? undefined : itemAt(before, [...key, name])
    const item = [...key, name]
    return typeof was === 'string' || typeof was === 'boolean'
      ? { kind: 'set', key: item, value: was }
      : { kind: 'remove', key: item }
  })
}

/** A file without any key counts as no file: a version line changes the meaning of nothing. */
function startingText(bytes: Buffer | undefined, path: string): string {
  if (bytes === undefined)
    return '# Written by registry-trust-agent: there was no configuration file. Everything not set here has its default.\nversion = 2\n'
  const { text, isEmpty, lineEnding } = readContainerdConfig(bytes, { path })
  if (!isEmpty) return text
  return `${text}${text === '' || text.endsWith('\n') ? '' : lineEnding}version = 2${lineEnding}`
}

async function plan(request: LegacyRequest): Promise<LegacyPlan> {
  const { configFile: path, bytes, folder, wishes, kept } = request
  const base = await withoutOwnLegacy(request)
  const none: LegacyPlan = { kind: 'planned', bytes: base, accepted: new Map(), problems: [] }
  if (wishes.length + kept.length === 0) return none
  const config = readContainerdConfig(Buffer.from(startingText(base, path)), { path })
  const found = registryTable(config, request)
  if ('code' in found) return { kind: 'refused', problem: found }
  const now = bytes === undefined ? undefined : readContainerdConfig(bytes, { path })
  const own = now === undefined ? [] : ownTables(now, folder)
  const accepted = new Map<string, { readonly usesOwnCa: boolean }>()
  const problems: Problem[] = []
  const edits = new Map<string, readonly Edit[]>()
  for (const wish of wishes) {
    const key = [...found, 'configs', defaultEndpoint(wish.host).host, 'tls']
    const endpoint = key.at(-2) ?? ''
    const settled = edits.has(endpoint)
      ? refusal(wish.host, `${path}: another declared registry is asked at ${endpoint} as well`)
      : settle(wish, key, config, now)
    if ('code' in settled) {
      problems.push(settled)
      continue
    }
    accepted.set(wish.host, { usesOwnCa: settled.usesOwnCa })
    edits.set(endpoint, sets({ key }, settled.values))
  }
  const refused = wishes.filter(({ host }) => !accepted.has(host)).map(({ host }) => host)
  for (const host of [...kept, ...refused]) {
    const endpoint = defaultEndpoint(host).host
    const table = own.find((one) => one.host === endpoint)
    if (table === undefined || edits.has(endpoint)) continue
    edits.set(endpoint, sets(table, ownValues(table, config.parsed, folder)))
  }
  // In one order whatever is kept and whatever is wanted, so that the same sections are always the same bytes.
  const all = [...edits].toSorted(([one], [other]) => (one < other ? -1 : 1)).flatMap(([, some]) => some)
  if (all.length === 0) return { ...none, accepted, problems }
  const text = await editKeys(config.text, all, { path })
  const after = readContainerdConfig(Buffer.from(text), { path })
  // The order in which registries are declared is no reason to restart containerd.
  const isSame = now !== undefined && isDeepStrictEqual(after.parsed, now.parsed)
  return { kind: 'planned', bytes: isSame ? bytes : Buffer.from(text), accepted, problems }
}

/** The registry table that this containerd reads, or why nothing can be written into it. */
function registryTable(config: ContainerdConfig, request: LegacyRequest): KeyPath | Problem {
  const { path, effectiveVersion: schema } = config
  const version = parseContainerdVersion(request.containerdVersion)
  if (version === undefined || version.major >= 2)
    return unusable(`${path}: containerd ${request.containerdVersion} does not read registry.configs.*.tls`)
  if (!isSchemaVersion(schema) || !acceptedSchemas(version).includes(schema))
    return problem('CONTAINERD_CONFIG_UNSUPPORTED', schemaNotAccepted(config, version))
  const imports = request.imports.map((file) => readContainerdConfig(file.bytes, { path: file.path }))
  const merged = effectiveRegistry(config, imports, version)
  if (!merged.ok) return merged.problem
  const { configPath = '', decidedBy } = merged.registry
  if (configPath !== '')
    return unusable(
      `${decidedBy}: sets config_path to ${renderString(configPath)}, beside which registry.configs keeps the CRI plugin of containerd ${named(version)} from loading`,
    )
  if (decidedBy !== path)
    return unusable(
      `${decidedBy}: containerd ${named(version)} replaces the whole CRI section of ${path} by the one of this imported file, and the agent edits only ${path}`,
    )
  const [mixed] = ignoredTables(config, version)
  if (schema === 1 && mixed !== undefined)
    return problem('CONTAINERD_CONFIG_UNSUPPORTED', `${path}: containerd ignores [${mixed.table}]: ${mixed.reason}`)
  return CONFIG_SCHEMAS[schema].registry
}

function named({ major, minor }: ContainerdVersion): string {
  return `${major}.${minor}`
}

function unusable(message: string): Problem {
  return problem('LAYOUT_LEGACY_UNUSABLE', message)
}

function refusal(host: string, why: string, code: Problem['code'] = 'LAYOUT_LEGACY_UNUSABLE'): Problem {
  return problem(code, `${why}; the trust anchors of ${host} were not written`)
}

/** What is set for one registry beside what others say of it; `config` is the file without anything of the agent's. */
function settle(
  { host, ca, client, isUnverified, holdsAll }: LegacyWish,
  key: KeyPath,
  config: ContainerdConfig,
  now: ContainerdConfig | undefined,
): Problem | { readonly usesOwnCa: boolean; readonly values: readonly Value[] } {
  const name = `${config.path}: registry.configs.${renderKey(key.at(-2) ?? '')}.tls`
  const item = itemAt(config.parsed, key)
  if (item !== undefined && !isTable(item)) return refusal(host, `${name} is not a table`)
  const theirs = (file: string) => {
    const value = item?.[file] ?? ''
    return value === '' ? undefined : String(value)
  }
  const foreign = theirs('ca_file')
  const isHeldByTheirs = foreign !== undefined && ca !== undefined && holdsAll(posix.resolve('/', foreign))
  if (foreign !== undefined && ca !== undefined && !isHeldByTheirs)
    return refusal(host, `${name}.ca_file names ${foreign}, which is not the agent's`, 'LEGACY_CA_FOREIGN')
  if (client !== undefined && (theirs('cert_file') ?? theirs('key_file')) !== undefined)
    return refusal(host, `${name} names a client certificate that is not the agent's`, 'LEGACY_CA_FOREIGN')
  const usesOwnCa = ca !== undefined && !isHeldByTheirs
  // Off now and kept: the declared anchors do not verify what the registry serves.
  const staysOff = isUnverified && now !== undefined && itemAt(now.parsed, [...key, SKIP]) === true
  const values: Value[] = usesOwnCa ? [['ca_file', ca]] : []
  if (client !== undefined) values.push(['cert_file', client.certificate], ['key_file', client.key])
  if (item?.[SKIP] === true && ca !== undefined && !staysOff) values.push([SKIP, false])
  return { usesOwnCa, values }
}
