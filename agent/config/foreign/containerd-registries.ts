// containerd's registry tables as input, as blocks of their own or in the config.toml of another node: what trust.yaml
// would say for them. Each of their keys is used, or refused by its name and place; the rest of config.toml is the
// node's business and not read. Pure. Source: containerd 1.7 pkg/cri/server/image_pull.go (registryEndpoints,
// registryHosts, getTLSConfig) and pkg/cri/config/config.go (Registry).
import {
  CONFIG_SCHEMAS,
  isSchemaVersion,
  type KeyPath,
  type SchemaVersion,
} from '../../containerd/config/schema-version.ts'
import { defaultEndpoint, type Endpoint, parseMirrorEndpoint, renderEndpoint } from '../../containerd/hosts/endpoint.ts'
import { itemAt, renderKey } from '../../text/toml.ts'
import { allEntries, parseDocument, samePath, startsWith, type TomlDocument } from '../../text/toml-document.ts'
import { readTomlValues, type TomlTable } from '../../text/toml-values.ts'
import type { Origin } from '../reading/config-file.ts'
import { checkRegistryHost } from '../reading/registry-host.ts'
import {
  type DeclaredRegistry,
  type ForeignFile,
  ForeignReading,
  isTable,
  type Pointer,
  type Table,
  tableAt,
} from './foreign-reading.ts'
import { shapeProblems } from './foreign-shape.ts'

/** A header of a plugin's table, which no YAML file begins a line with. */
const PLUGIN_HEADER = /^[ \t]*\[[ \t]*["']?plugins["']?[ \t]*\./m

/**
 * Undefined: another file. `isNamed`: the file is called *.toml, which is enough for one that is broken or empty. Logins
 * in it (`auth`, `auths`) are the node's business and not read.
 */
export async function readContainerdRegistries(text: string, isNamed: boolean): Promise<ForeignFile | undefined> {
  if (!isNamed && !PLUGIN_HEADER.test(text)) return undefined
  const values = readTomlValues(text)
  if (!values.ok) {
    const { line, column, reason } = values.mistake
    return nothingOf([{ line, column, subject: '', text: `the TOML cannot be read: ${reason}` }])
  }
  const document = await parseDocument(text)
  const { schema, refused } = schemaOf(values.table, document)
  const path = CONFIG_SCHEMAS[schema].registry
  const registry = itemAt(values.table, path)
  const at = (pointer: Pointer): Origin => ({ ...placeOf(document, path, pointer), subject: subjectOf(pointer) })
  if (registry !== undefined && !isTable(registry)) return nothingOf([{ ...at([]), text: 'must be a table' }])
  const file = new ContainerdReader(registry ?? {}, schema, at).read()
  const all = [...refused, ...file.refused]
  if (all.length === 0 && file.document.registries.length === 0) {
    const place = placeOf(document, registry === undefined ? [] : path, [])
    return nothingOf([{ ...place, subject: '', text: NOTHING }])
  }
  return { ...file, refused: all.toSorted((one, other) => one.line - other.line || one.column - other.column) }
}

const NOTHING =
  'this config.toml declares no registry: neither registry.mirrors nor the tls of registry.configs says anything'

type Refused = ForeignFile['refused']

function nothingOf(refused: Refused): ForeignFile {
  return { document: { anchors: {}, registries: [] }, refused, origins: new Map() }
}

/** Whose names the file uses: those of its version, or, where blocks were copied without that line, the ones it has. */
function schemaOf(
  root: TomlTable,
  document: TomlDocument,
): { readonly schema: SchemaVersion; readonly refused: Refused } {
  const refused: (Origin & { readonly text: string })[] = []
  const refuse = (path: KeyPath, subject: string, text: string) =>
    refused.push({ ...placeOf(document, path, []), subject, text })
  const version = root['version']
  const isKnown = typeof version === 'number' && isSchemaVersion(version)
  if (version !== undefined && !isKnown) refuse(['version'], 'version', 'must be 1, 2, 3 or 4')
  const there = ([1, 2, 3] as const).filter((one) => hasContent(itemAt(root, CONFIG_SCHEMAS[one].registry)))
  const schema = isKnown ? version : (there[0] ?? 2)
  const own = CONFIG_SCHEMAS[schema].registry
  for (const one of there) {
    const path = CONFIG_SCHEMAS[one].registry
    if (samePath(path, own)) continue
    const why = isKnown ? `has version = ${version}` : 'has the registry tables of another version too'
    refuse(path, path.map(renderKey).join('.'), `is a table of version ${one}, but the file ${why}`)
  }
  if (Array.isArray(root['imports']) && root['imports'].length > 0)
    refuse(['imports'], 'imports', 'names other files, which are not read here: give each of them as --config, too')
  return { schema, refused }
}

/** What `containerd config default` writes says nothing. */
function hasContent(table: unknown): boolean {
  if (!isTable(table)) return table !== undefined
  return Object.values(table).some((value) => value !== '' && !(isTable(value) && Object.keys(value).length === 0))
}

/** `registry.mirrors."docker.io".endpoint[0]` */
function subjectOf(pointer: Pointer): string {
  return ['registry', ...pointer]
    .map((part, at) => (isIndex(pointer, at - 1) ? `[${part}]` : renderKey(part)))
    .join('.')
    .replaceAll('.[', '[')
}

function isIndex(pointer: Pointer, at: number): boolean {
  return pointer[0] === 'mirrors' && pointer[2] === 'endpoint' && at === 3
}

/** Of the key itself, else of the first thing below it, else of the file. */
function placeOf(
  document: TomlDocument,
  path: KeyPath,
  pointer: Pointer,
): { readonly line: number; readonly column: number } {
  const index = isIndex(pointer, 3) ? Number(pointer[3]) : undefined
  const full = [...path, ...(index === undefined ? pointer : pointer.slice(0, 3))]
  const entries = allEntries(document)
  const entry = entries.find((one) => samePath(one.path, full))
  const element = index === undefined ? undefined : entry?.elements?.[index]?.start
  const headers = document.sections.flatMap(({ header, path: of }) =>
    header && startsWith(of, full) ? [header.start] : [],
  )
  const below = entries.flatMap((one) => (startsWith(one.path, full) ? [one.range.start] : []))
  const offset = element ?? entry?.keyParts.at(-1)?.start ?? Math.min(...headers, ...below, document.text.length)
  const before = full.length === 0 ? '' : document.text.slice(0, offset)
  const lines = before.split('\n')
  return { line: lines.length, column: (lines.at(-1)?.length ?? 0) + 1 }
}

class ContainerdReader {
  readonly #value: Table
  readonly #configs: Table
  readonly #mirrors: Table
  readonly #schema: SchemaVersion
  readonly #reading: ForeignReading
  /** Hosts whose `tls` was looked at. */
  readonly #verified = new Set<string>()

  constructor(value: Table, schema: SchemaVersion, at: (pointer: Pointer) => Origin) {
    this.#value = value
    this.#configs = tableAt(value, 'configs')
    this.#mirrors = tableAt(value, 'mirrors')
    this.#schema = schema
    this.#reading = new ForeignReading(this.#configs, at)
  }

  read(): ForeignFile {
    for (const { pointer, text } of shapeProblems(this.#value, 'containerd')) this.#reading.refuse(pointer, text)
    this.#refuseWhatIsNoTrust()
    const hosts = new Map<string, Pointer>()
    for (const host of Object.keys(this.#mirrors)) hosts.set(host, ['mirrors', host])
    for (const [host, config] of Object.entries(this.#configs)) {
      if (!hasTls(config)) continue
      const pointer = ['configs', host, 'tls']
      // The name of the images that are pulled from there.
      for (const one of host === DOCKER_HUB ? ['docker.io', host] : [host]) if (!hosts.has(one)) hosts.set(one, pointer)
    }
    const sound = [...hosts].filter(([host, pointer]) => this.#isSound(host, pointer))
    const registries = sound.map(([host, pointer], index) => this.#registry(host, pointer, index))
    this.#refuseUnusedTls()
    return this.#reading.file(registries)
  }

  #refuseWhatIsNoTrust(): void {
    const folders = this.#value['config_path']
    if (typeof folders === 'string' && folders !== '')
      this.#reading.refuse(
        ['config_path'],
        'names folders with a hosts.toml for each host, which are not read here: declare these registries in trust.yaml',
      )
    if (hasContent(this.#value['headers']))
      this.#reading.refuse(['headers'], 'is for every registry, which has no counterpart: write headers of a registry')
    if (this.#schema < 3) return
    for (const [host, config] of Object.entries(this.#configs))
      if (hasTls(config))
        this.#reading.refuse(
          ['configs', host, 'tls'],
          'is not read by containerd 2, so nothing is taken from it: declare the registry in trust.yaml',
        )
  }

  /** What containerd would not use either. */
  #refuseUnusedTls(): void {
    for (const [host, config] of Object.entries(this.#configs))
      if (hasTls(config) && !this.#verified.has(host) && checkRegistryHost(host) === undefined)
        this.#reading.refuse(['configs', host, 'tls'], `has no use: ${host} is asked over plain HTTP alone`)
  }

  #isSound(host: string, pointer: Pointer): boolean {
    const wrong = host === '*' && pointer[0] === 'mirrors' ? undefined : checkRegistryHost(host)
    // A host without quotes is recognised by the key that was cut off.
    const isTold = this.#reading.isRefused(`${subjectOf(pointer)}.`)
    if (wrong !== undefined && !isTold) this.#reading.refuse(pointer, wrong.text)
    return wrong === undefined
  }

  #registry(host: string, pointer: Pointer, index: number): DeclaredRegistry {
    const at = `/registries/${index}`
    this.#reading.comesFrom(at, pointer)
    const all = this.#asked(host)
    const asked = host === '*' ? undefined : defaultEndpoint(host)
    const last = all.at(-1)
    // Asked last without being named, as trust.yaml does.
    const isOwnLast = last !== undefined && last.host === asked?.host && isPlain(last)
    const isHttp = isOwnLast && last.scheme === 'http'
    for (const { scheme, host: one } of all) if (scheme === 'https') this.#verified.add(one)
    const mirrors = (isOwnLast ? all.slice(0, -1) : all).map((endpoint, mirror) => {
      if (endpoint.pointer !== undefined) this.#reading.comesFrom(`${at}/mirrors/${mirror}`, endpoint.pointer)
      if (endpoint.scheme === 'https') this.#reading.refuseTlsOfMirror(endpoint.host)
      return this.#mirror(endpoint)
    })
    if (isHttp && last.pointer !== undefined) this.#reading.comesFrom(`${at}/plainHttp`, last.pointer)
    return {
      host,
      ...(isOwnLast && !isHttp && this.#reading.tls(last.host, at)),
      ...(isHttp && { plainHttp: true }),
      ...(mirrors.length > 0 && { mirrors }),
      ...(mirrors.length > 0 && !isOwnLast && host !== '*' && { fallback: false }),
    }
  }

  #mirror(endpoint: Asked): object {
    const anchors = endpoint.scheme === 'https' ? this.#reading.anchorsOf(endpoint.host) : []
    const path = isPlain(endpoint) ? '' : endpoint.path
    return { url: renderEndpoint({ ...endpoint, path }), anchors, ...(path !== '' && { overridePath: true }) }
  }

  /**
   * What a pull from `host` asks, in order: its mirrors, or those of `*`, then the host itself unless it is one of them
   * (registryEndpoints). An address is asked once: its second answer would be the first one again.
   */
  #asked(host: string): readonly Asked[] {
    const named = Object.hasOwn(this.#mirrors, host) ? host : '*'
    const list = tableAt(this.#mirrors, named)['endpoint']
    const found: Asked[] = []
    for (const [index, text] of (Array.isArray(list) ? list : []).entries()) {
      const pointer = ['mirrors', named, 'endpoint', `${index}`]
      const endpoint = typeof text === 'string' ? readEndpoint(text) : undefined
      if (endpoint !== undefined && 'reason' in endpoint) this.#reading.refuse(pointer, endpoint.reason)
      else if (endpoint !== undefined) found.push({ ...endpoint, pointer })
    }
    const isNamed = host === '*' || found.some((endpoint) => endpoint.host === host)
    const all = isNamed ? found : [...found, defaultEndpoint(host)]
    return all.filter((one, at) => all.findIndex((other) => isSame(one, other)) === at)
  }
}

function hasTls(config: unknown): boolean {
  return isTable(config) && hasContent(config['tls'])
}

const DOCKER_HUB = 'registry-1.docker.io'

type Asked = Endpoint & { readonly pointer?: Pointer }

function readEndpoint(text: string): Endpoint | { readonly reason: string } {
  if (text.includes('@')) return { reason: 'must not hold a user or a password' }
  if (/[?#]/.test(text)) return { reason: 'must not hold a query or a fragment' }
  return parseMirrorEndpoint(text) ?? { reason: 'is an address that cannot be used: write https://HOST[:PORT][/PATH]' }
}

/** Asked for below /v2; any other path stands in place of it. */
function isPlain({ path }: Endpoint): boolean {
  return path === '' || /^\/v2\/*$/.test(path)
}

function isSame(one: Endpoint, other: Endpoint): boolean {
  const pathOf = (endpoint: Endpoint) => (isPlain(endpoint) ? '' : endpoint.path)
  return one.scheme === other.scheme && one.host === other.host && pathOf(one) === pathOf(other)
}
