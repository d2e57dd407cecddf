// Configurations of other tools as input, recognised by content: OpenShift's additional CAs (a folder of HOST or
// HOST..PORT files), a docker-style tree (HOST[:PORT]/*.crt), and the registries.yaml of k3s and RKE2. Each becomes
// what trust.yaml would say; pure, save for reading.
import { posix } from 'node:path'
import { parseMirrorEndpoint } from '../containerd/hosts/endpoint.ts'
import type { InputFiles } from '../model/ports.ts'
import { parseYaml } from '../text/yaml-tree.ts'
import { listQuietly, readInput } from './input-lookup.ts'
import { checkRegistryHost } from './registry-host.ts'

const MOST_BYTES = 1024 * 1024
/** Names of files, not of hosts, though they hold a dot. */
const FILE_NAME = /\.(key|txt|md|ya?ml|json|toml)$/i
/** Files that a trust.yaml of another folder may name. */
const CERTIFICATE_NAME = /\.(pem|crt|cer|der|p12|pfx|p7b|p7c|b64)$/i
/** OpenShift's own, of the same ConfigMap: no registry. */
const OPENSHIFT_OWN: ReadonlySet<string> = new Set(['updateservice-registry'])

type Registry = { readonly host: string; readonly [key: string]: unknown }
type Document = {
  readonly anchors: { readonly [name: string]: { readonly file: string } }
  readonly registries: readonly Registry[]
}

export type ForeignFolder = {
  readonly document: Document
  /** Entries that are not used, each with the reason, which reads on after the path. */
  readonly refused: readonly { readonly path: string; readonly text: string }[]
}

/** A folder without trust.yaml that another tool's CAs lie in; undefined: a folder of files like any other. */
export async function readForeignFolder(folder: string, files: InputFiles): Promise<ForeignFolder | undefined> {
  const names = (await listQuietly(files, folder)).filter((name) => !name.startsWith('.') && !OPENSHIFT_OWN.has(name))
  const entries = await Promise.all(names.map((name) => readEntry(posix.join(folder, name), name, files)))
  const found = entries.flatMap(({ document }) => document ?? [])
  // Files alone: whoever names them says what they are for.
  if (found.length === 0) return undefined
  return { document: merge(found), refused: entries.flatMap(({ refused }) => refused) }
}

type Entry = { readonly document?: Document; readonly refused: ForeignFolder['refused'] }

async function readEntry(path: string, name: string, files: InputFiles): Promise<Entry> {
  if (CERTIFICATE_NAME.test(name)) return { refused: [] }
  const host = name.replace(/\.\.(\d+)$/, ':$1')
  const wrong = FILE_NAME.test(name) ? 'must be the name of a registry host' : checkRegistryHost(host)?.text
  if (wrong !== undefined) return { refused: [{ path, text: `is not used: it ${wrong}` }] }
  const input = await readInput(files, path, MOST_BYTES)
  if (input.kind === 'folder') return readHostFolder(path, host, files)
  if (input.kind === 'file' && input.bytes.includes('-----BEGIN CERTIFICATE')) {
    return { document: trusting(host, [path]), refused: [] }
  }
  return { refused: [{ path, text: 'is not used: it is neither a folder nor a PEM certificate' }] }
}

/**
 * As docker reads it: *.crt are CAs, NAME.cert and NAME.key a client certificate
 * (docs.docker.com/engine/security/certificates).
 */
async function readHostFolder(folder: string, host: string, files: InputFiles): Promise<Entry> {
  const names = (await listQuietly(files, folder)).filter((name) => !name.startsWith('.'))
  const refused: { path: string; text: string }[] = []
  const refuse = (name: string, text: string) => refused.push({ path: posix.join(folder, name), text })
  const pairs = names.filter((name) => name.endsWith('.cert') && names.includes(name.replace(/\.cert$/, '.key')))
  const [pair, ...morePairs] = pairs
  for (const name of names) {
    const other = /\.cert$/.test(name) ? name.replace(/cert$/, 'key') : name.replace(/key$/, 'cert')
    if (/\.(cert|key)$/.test(name) && !names.includes(other)) refuse(name, `is not used: ${other} is not beside it`)
    else if (!/\.(crt|cert|key)$/.test(name)) refuse(name, 'is not used: it is none of *.crt, *.cert and *.key')
  }
  for (const name of morePairs) refuse(name, `is not used: one client certificate is sent to a registry, ${pair}`)
  const cas = names.filter((name) => name.endsWith('.crt')).map((name) => posix.join(folder, name))
  if (cas.length === 0 && pair === undefined) {
    return { refused: [...refused, { path: folder, text: 'is not used: it holds no CA (*.crt)' }] }
  }
  const trusted = trusting(host, cas)
  if (pair === undefined) return { document: trusted, refused }
  const [certFile, keyFile] = [pair, pair.replace(/cert$/, 'key')].map((name) => posix.join(folder, name))
  const registries = trusted.registries.map((registry) => ({ ...registry, clientCertificate: { certFile, keyFile } }))
  return { document: { ...trusted, registries }, refused }
}

function trusting(host: string, paths: readonly string[]): Document {
  const names = paths.map((_, index) => anchorName(host, index))
  const anchors = Object.fromEntries(paths.map((file, index) => [names[index] ?? '', { file }]))
  return { anchors, registries: [{ host, anchors: names }] }
}

function anchorName(host: string, index: number): string {
  return `${host.replace(/[^A-Za-z0-9.-]/g, '_')}${index === 0 ? '' : `-${index + 1}`}`
}

function merge(documents: readonly Document[]): Document {
  return {
    anchors: Object.assign({}, ...documents.map(({ anchors }) => anchors)),
    registries: documents.flatMap(({ registries }) => registries),
  }
}

export type K3sPlace = { readonly line: number; readonly column: number }

export type K3sResult = {
  readonly document: Document
  /**
   * What has no counterpart here, at its place in the file: refused as a whole, because doing a part of it would be
   * worse.
   */
  readonly refused: readonly (K3sPlace & { readonly subject: string; readonly text: string })[]
  /** Where a key of `document` (a JSON pointer) comes from; of what lies below it too. */
  readonly origins: ReadonlyMap<string, K3sPlace>
}

/** Undefined: another YAML file. Logins in it are the node's business and not read. */
export function readK3sRegistries(text: string): K3sResult | undefined {
  const { tree, position } = parseYaml(text)
  if (!isTable(tree?.value)) return undefined
  const keys = Object.keys(tree.value)
  if (keys.length === 0 || !keys.every((key) => key === 'mirrors' || key === 'configs')) return undefined
  const at = (pointer: readonly string[]): K3sPlace => {
    const node = tree.nodes.get(pointer.map((part) => `/${part.replaceAll('~', '~0').replaceAll('/', '~1')}`).join(''))
    return position(node?.keyAt ?? 0)
  }
  return new K3sReader(tree.value, at).read()
}

const TLS_KEYS: ReadonlySet<string> = new Set(['ca_file', 'cert_file', 'key_file', 'insecure_skip_verify'])

/** One registries.yaml as k3s and RKE2 read it (k3s pkg/agent/containerd, getHostConfigs). */
class K3sReader {
  readonly #configs: Table
  readonly #mirrors: Table
  readonly #at: (pointer: readonly string[]) => K3sPlace
  readonly #refused: (K3sPlace & { readonly subject: string; readonly text: string })[] = []
  readonly #anchors: { [name: string]: { file: string } } = {}
  readonly #origins = new Map<string, K3sPlace>()

  constructor(value: Table, at: (pointer: readonly string[]) => K3sPlace) {
    this.#configs = tableAt(value, 'configs')
    this.#mirrors = tableAt(value, 'mirrors')
    this.#at = at
  }

  read(): K3sResult {
    const own = new Map<string, Registry>()
    const places = new Map<string, K3sPlace>()
    for (const host of Object.keys(this.#configs)) {
      if (!this.#isHost(host, 'configs')) continue
      own.set(host, this.#config(host))
      places.set(host, this.#at(['configs', host]))
    }
    for (const [host, settings] of Object.entries(this.#mirrors)) {
      if (!this.#isHost(host, 'mirrors')) continue
      const mirrors = this.#endpoints(host, isTable(settings) ? settings : {})
      own.set(host, { ...(own.get(host) ?? { host }), ...(mirrors.length > 0 && { mirrors }) })
      if (!places.has(host)) places.set(host, this.#at(['mirrors', host]))
    }
    const registries = [...own.values()]
    registries.forEach(({ host }, index) => {
      const place = places.get(host)
      if (place !== undefined) this.#origins.set(`/registries/${index}`, place)
    })
    return { document: { anchors: this.#anchors, registries }, refused: this.#refused, origins: this.#origins }
  }

  #refuse(pointer: readonly string[], text: string): void {
    const [first = '', host = '', ...rest] = pointer
    this.#refused.push({ ...this.#at(pointer), subject: [`${first}["${host}"]`, ...rest].join('.'), text })
  }

  #isHost(host: string, section: string): boolean {
    const wrong = host === '*' && section === 'mirrors' ? undefined : checkRegistryHost(host)
    if (wrong !== undefined) this.#refuse([section, host], wrong.text)
    return wrong === undefined
  }

  #config(host: string): Registry {
    const tls = tableAt(tableAt(this.#configs, host), 'tls')
    for (const key of Object.keys(tls)) {
      if (!TLS_KEYS.has(key)) this.#refuse(['configs', host, 'tls', key], 'is not a key that k3s reads')
    }
    const [certFile, keyFile] = [textAt(tls, 'cert_file'), textAt(tls, 'key_file')]
    if ((certFile === undefined) !== (keyFile === undefined)) {
      const [given, missing] = certFile === undefined ? ['key_file', 'cert_file'] : ['cert_file', 'key_file']
      this.#refuse(['configs', host, 'tls', given], `needs ${missing} beside it`)
    }
    const named = this.#anchorsOf(host)
    return {
      host,
      ...(named.length > 0 && { anchors: named }),
      ...(tls['insecure_skip_verify'] === true && { skipVerify: true }),
      ...(certFile !== undefined && keyFile !== undefined && { clientCertificate: { certFile, keyFile } }),
    }
  }

  #anchorsOf(host: string): readonly string[] {
    const file = textAt(tableAt(tableAt(this.#configs, host), 'tls'), 'ca_file')
    if (file === undefined) return []
    const name = anchorName(host, 0)
    this.#anchors[name] = { file }
    this.#origins.set(`/anchors/${name}`, this.#at(['configs', host, 'tls', 'ca_file']))
    return [name]
  }

  #endpoints(host: string, settings: Table): readonly object[] {
    for (const key of Object.keys(settings)) {
      if (key !== 'endpoint' && key !== 'rewrite') this.#refuse(['mirrors', host, key], 'is not a key that k3s reads')
    }
    const prefix = prefixOf(settings['rewrite'])
    if (prefix === undefined)
      this.#refuse(
        ['mirrors', host, 'rewrite'],
        'has no counterpart: containerd can put a path before all names, no more',
      )
    const endpoints = Array.isArray(settings['endpoint']) ? settings['endpoint'].map(String) : []
    return endpoints.flatMap((endpoint, index) => {
      const parsed = parseMirrorEndpoint(endpoint)
      if (parsed === undefined) {
        this.#refuse(['mirrors', host, 'endpoint', `${index}`], 'is an address that cannot be used')
        return []
      }
      // Any other path stands in place of /v2 (k3s normalizeEndpointAddress).
      const path = prefix ? `${parsed.path.replace(/\/+$/, '') || '/v2'}/${prefix}` : parsed.path
      const isDefaultPath = ['', '/', '/v2'].includes(path)
      if (parsed.host === host && isDefaultPath) return []
      this.#refuseTlsOfMirror(parsed.host)
      const url = `${parsed.scheme}://${parsed.host}${isDefaultPath ? '' : path}`
      return [{ url, anchors: this.#anchorsOf(parsed.host), ...(!isDefaultPath && { overridePath: true }) }]
    })
  }

  /** What k3s does for the host of an endpoint, and a mirror here cannot have. */
  #refuseTlsOfMirror(host: string): void {
    const tls = tableAt(tableAt(this.#configs, host), 'tls')
    for (const key of ['insecure_skip_verify', 'cert_file']) {
      if (tls[key] === undefined || tls[key] === false || tls[key] === '') continue
      const text = `is for ${host} as a mirror, which has no counterpart: a mirror has anchors and headers alone`
      this.#refuse(['configs', host, 'tls', key], text)
    }
  }
}

/** A pattern that is every name as a whole, as Go's regexp reads it. */
const EVERY_NAME = /^\^?\((?:\.\*|\.\+)\)\$?$/
/** `PREFIX/$1`; Go reads `$1` and `${1}` alike where no letter, digit or `_` follows. */
const BEFORE_THE_NAME = /^([a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)\/(?:\$1|\$\{1\})$/

/**
 * What a `rewrite` of k3s puts before every name of a repository: the one form that containerd can express, as the path
 * of the mirror. Empty: no rewrite; undefined: another form.
 */
function prefixOf(rewrite: unknown): string | undefined {
  if (rewrite === undefined || rewrite === null) return ''
  const rules = isTable(rewrite) ? Object.entries(rewrite) : undefined
  if (rules?.length === 0) return ''
  const [pattern, replacement] = (rules?.length === 1 ? rules[0] : undefined) ?? []
  if (pattern === undefined || typeof replacement !== 'string' || !EVERY_NAME.test(pattern)) return undefined
  return BEFORE_THE_NAME.exec(replacement)?.[1]
}

type Table = { readonly [key: string]: unknown }

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function tableAt(table: Table, key: string): Table {
  const value = table[key]
  return isTable(value) ? value : {}
}

function textAt(table: Table, key: string): string | undefined {
  const value = table[key]
  return typeof value === 'string' && value !== '' ? value : undefined
}
