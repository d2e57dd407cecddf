// Moves registry.mirrors and registry.configs.*.tls of config.toml to host folders that make containerd ask the same
// hosts in the same order with the same TLS settings, and sets config_path, all in one edit: mirrors beside config_path
// stop the CRI plugin from loading. Inline credentials (configs.*.auth, auths) may stay beside config_path and do. The
// last host that a pull asks becomes `server`, since hosts.toml always asks its server last.
import { asAgentError, type Problem, problem } from '../../model/errors.ts'
import { renderKey } from '../../text/toml.ts'
import { lineOf, parseDocument } from '../../text/toml-document.ts'
import { type Edit, editKeys } from '../../text/toml-edit.ts'
import { type ContainerdConfig, readContainerdConfig } from '../config/read.ts'
import {
  CONFIG_SCHEMAS,
  type ContainerdVersion,
  parseContainerdVersion,
  schemasRead,
} from '../config/schema-version.ts'
import { type Endpoint, needsOverridePath, renderEndpoint } from '../hosts/endpoint.ts'
import { type HostTable, hostDirectoryName, renderMovedHosts } from '../hosts/hosts-toml.ts'
import {
  endpointsOf,
  foldersNeeded,
  type LegacyRegistry,
  type LegacyTls,
  readLegacyRegistry,
} from './legacy-sections.ts'

/** What the pure plan cannot see for itself. */
export type MigrationFacts = {
  /** Names in the certs.d directory. */
  readonly existingFolders: readonly string[]
  /**
   * CA files that are there and hold no certificate: legacy settings ignore them, while hosts.toml fails every pull
   * because of them. A file that is missing fails every pull in both forms, and is not listed.
   */
  readonly uselessCaFiles?: readonly string[]
  /** True where anchors are declared for the host and verify what it serves: then it is not kept insecure. */
  isVerifiedByAnchors(host: string): boolean
}

export type MigrationRequest = MigrationFacts & {
  readonly config: ContainerdConfig
  readonly imports: readonly ContainerdConfig[]
  readonly version: ContainerdVersion
  /** Where the host folders go. */
  readonly certsDirectory: string
  /** config_path already leads there; it is not touched. */
  readonly isConfigPathSet: boolean
}

export type MovedFile = { readonly name: string; readonly bytes: Buffer; readonly mode: number }

/** A folder below certs.d, complete; there is none of that name yet. */
export type MovedFolder = { readonly name: string; readonly files: readonly MovedFile[] }

export type Migration =
  | { readonly kind: 'nothing' }
  | {
      readonly kind: 'migrate'
      /** config.toml as it becomes. */
      readonly config: Buffer
      readonly hostFolders: readonly MovedFolder[]
      /** What stays insecure, what changes, what cannot be said in hosts.toml. */
      readonly notes: readonly Problem[]
    }
  | { readonly kind: 'refused'; readonly problem: Problem }

/** Never throws for what is in the files. The caller has made sure that config_path can be set in this file. */
export async function planMigration(request: MigrationRequest): Promise<Migration> {
  const { config, imports, version } = request
  try {
    const elsewhere = await legacyImports(imports, version)
    if (elsewhere.length > 0)
      return refuse(
        `${elsewhere.join(', ')}: is in a file that ${config.path} imports; the agent moves only what ${config.path} itself says`,
      )
    const legacy = readLegacyRegistry(config, version)
    if (legacy.tables.length === 0) return { kind: 'nothing' }
    const folders = hostFolders(legacy, request)
    const clash = folders.filter(({ name }) => request.existingFolders.some((one) => isSameHost(one, name)))
    if (clash.length > 0)
      return refuse(
        `${clash.map(({ name }) => `${request.certsDirectory}/${name}`).join(', ')}: already exists, while ${config.path} says something else for the same host; remove one of the two`,
      )
    return {
      kind: 'migrate',
      config: Buffer.from(await editedConfig(request, legacy)),
      hostFolders: folders.map(({ name, text }) => ({
        name,
        files: [{ name: 'hosts.toml', bytes: Buffer.from(text), mode: 0o644 }],
      })),
      notes: [...folders.flatMap(({ notes }) => notes), ...generalNotes(request, legacy)],
    }
  } catch (thrown) {
    const { code, message } = asAgentError(thrown)
    return { kind: 'refused', problem: problem(code, message) }
  }
}

/** CA files that legacy settings name, so that the caller can look whether they hold a certificate. */
export function legacyCaFiles(
  bytes: Buffer,
  options: { readonly path: string; readonly containerdVersion: string },
): readonly string[] {
  const version = parseContainerdVersion(options.containerdVersion)
  if (version === undefined) return []
  try {
    const { tls } = readLegacyRegistry(readContainerdConfig(bytes, options), version)
    return [...new Set([...tls.values()].flatMap(({ caFile }) => caFile ?? []))]
  } catch {
    // What is wrong with the file is said by the plan for it.
    return []
  }
}

function refuse(message: string): Migration {
  return { kind: 'refused', problem: problem('LEGACY_REGISTRY_CONFIG', message) }
}

function note(message: string): Problem {
  return problem('MIGRATION_NOTE', message)
}

async function legacyImports(
  imports: readonly ContainerdConfig[],
  version: ContainerdVersion,
): Promise<readonly string[]> {
  const places: string[] = []
  for (const file of imports) {
    const document = await parseDocument(file.text)
    for (const schema of new Set([...schemasRead(file.effectiveVersion, version), ...schemasRead(2, version)])) {
      const settings = file.registries[schema]
      const sections = [
        ...(settings.mirrors.length > 0 ? ['mirrors'] : []),
        ...(version.major < 2 && settings.configsTls.length > 0 ? ['configs'] : []),
      ]
      for (const section of sections) {
        const line = lineOf(document, [...CONFIG_SCHEMAS[schema].registry, section])
        places.push(`registry.${section} (${file.path}${line === undefined ? '' : `:${line}`})`)
      }
    }
  }
  return [...new Set(places)]
}

async function editedConfig(request: MigrationRequest, legacy: LegacyRegistry): Promise<string> {
  const { config, version, certsDirectory, isConfigPathSet } = request
  const [schema = 2] = schemasRead(config.effectiveVersion, version)
  const edits: Edit[] = legacy.tables.map((key) => ({ kind: 'remove', key }))
  const key = [...CONFIG_SCHEMAS[schema].registry, 'config_path']
  if (!isConfigPathSet) edits.push({ kind: 'set', key, value: certsDirectory })
  return await editKeys(config.text, edits, { path: config.path })
}

/** The two spellings of a port: containerd looks for `host_port_` first. */
function isSameHost(existing: string, name: string): boolean {
  return existing === name || existing === hostDirectoryName(name, new Set([existing]))
}

type Folder = { readonly name: string; readonly text: string; readonly notes: readonly Problem[] }

function hostFolders(legacy: LegacyRegistry, request: MigrationRequest): readonly Folder[] {
  const named = foldersNeeded(legacy).map((host) => hostFolder(host, endpointsOf(host, legacy), legacy, request))
  const wildcard = legacy.mirrors.get('*') ?? []
  if (wildcard.length === 0) return named
  return [...named, hostFolder('_default', wildcard, legacy, request)]
}

function hostFolder(
  name: string,
  endpoints: readonly Endpoint[],
  legacy: LegacyRegistry,
  request: MigrationRequest,
): Folder {
  const notes: Problem[] = []
  const tables: HostTable[] = []
  for (const endpoint of endpoints) {
    const table = hostTable(name, endpoint, legacy.tls.get(endpoint.host), request, notes)
    // A host that is listed twice is asked once: the second answer would be the first one again.
    if (!tables.some(({ url }) => url === table.url)) tables.push(table)
  }
  // `_default` has no server of its own: it is the host of whatever reference is pulled.
  const server = name === '_default' ? undefined : tables.pop()
  return { name, text: renderMovedHosts({ from: request.config.path, hosts: tables, server }), notes }
}

function hostTable(
  folder: string,
  endpoint: Endpoint,
  tls: LegacyTls | undefined,
  request: MigrationRequest,
  notes: Problem[],
): HostTable {
  const url = renderEndpoint(endpoint)
  const where = `${request.certsDirectory}/${folder}/hosts.toml`
  const isOwn = endpoint.host === folder
  const isVerified = isOwn && endpoint.scheme === 'https' && request.isVerifiedByAnchors(folder)
  const skipVerify = tls?.skipVerify === true && !isVerified
  if (skipVerify)
    notes.push(
      problem(
        'MIGRATION_INSECURE_KEPT',
        `${where}: ${url} is asked without verification, as insecure_skip_verify already said`,
      ),
    )
  else if (tls?.skipVerify === true)
    notes.push(
      note(
        `${where}: ${url} is verified from now on: the declared anchors verify it, so insecure_skip_verify is not kept`,
      ),
    )
  const isUseless = tls?.caFile !== undefined && request.uselessCaFiles?.includes(tls.caFile) === true
  if (isUseless)
    notes.push(
      note(`${where}: ${tls.caFile} holds no certificate and is left out: it would fail every pull from ${url}`),
    )
  if (tls?.hasHalfClient === true)
    notes.push(
      note(
        `${where}: ${url} had only one of cert_file and key_file, which failed every pull; it is asked without a client certificate`,
      ),
    )
  return {
    url,
    ca: isUseless ? undefined : tls?.caFile,
    client: tls?.client,
    skipVerify,
    overridePath: needsOverridePath(endpoint),
  }
}

function generalNotes(request: MigrationRequest, legacy: LegacyRegistry): readonly Problem[] {
  const { config, certsDirectory, existingFolders, isConfigPathSet } = request
  const others = existingFolders.filter((name) => !name.startsWith('.'))
  return [
    ...legacy.unused.map((what) => note(`${config.path}: ${what}`)),
    ...(isConfigPathSet || others.length === 0
      ? []
      : [
          note(
            `${certsDirectory}: ${others.map(renderKey).join(', ')} was not read before and takes effect from now on`,
          ),
        ]),
  ]
}
