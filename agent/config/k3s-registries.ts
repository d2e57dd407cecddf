// The registries.yaml of k3s and RKE2 as input: what trust.yaml would say for it. Each key is used, or refused by its
// name and place, because a part of it would be worse than nothing. Pure. Source: k3s pkg/agent/containerd/config.go
// (getHostConfigs, normalizeEndpointAddress) and rancher/wharfie pkg/registries/types.go.
import { parseUrl } from '../containerd/hosts/endpoint.ts'
import { escapePointer, parseYaml } from '../text/yaml-tree.ts'
import { freeName } from './foreign-inputs.ts'
import { shapeProblems } from './k3s-shape.ts'
import { checkRegistryHost } from './registry-host.ts'

type Registry = { readonly host: string; readonly [key: string]: unknown }

/** Where a key of the user's file stands, and how it is called there. */
export type K3sPlace = { readonly line: number; readonly column: number; readonly subject: string }

export type K3sResult = {
  readonly document: {
    readonly anchors: { readonly [name: string]: { readonly file: string } }
    readonly registries: readonly Registry[]
  }
  readonly refused: readonly (K3sPlace & { readonly text: string })[]
  /** Where a key of `document` (a JSON pointer) comes from; of what lies below it too. */
  readonly origins: ReadonlyMap<string, K3sPlace>
}

type Table = { readonly [key: string]: unknown }
type Pointer = readonly string[]

/**
 * Undefined: another YAML file, or one that is not YAML. Logins in it are the node's business and not read.
 * `isNamed`: the file is called registries.yaml, which is enough for one with keys that k3s does not know.
 */
export function readK3sRegistries(text: string, isNamed = false): K3sResult | undefined {
  const { tree, position, problems } = parseYaml(text)
  if (tree === undefined || !isTable(tree.value)) return undefined
  const keys = Object.keys(tree.value)
  const isTheirs = (key: string) => key === 'mirrors' || key === 'configs'
  if (!keys.some(isTheirs) || !(isNamed || keys.every((key) => isTheirs(key) || key === 'auths'))) return undefined
  const at = (pointer: Pointer): K3sPlace => {
    const node = tree.nodes.get(pointer.map((part) => `/${escapePointer(part)}`).join(''))
    return { ...position(node?.keyAt ?? 0), subject: subjectOf(pointer) }
  }
  const result = new K3sReader(tree.value, at).read()
  const wrong = problems.map((problem) => ({ ...position(problem.at), subject: '', text: problem.text }))
  return { ...result, refused: [...wrong, ...result.refused] }
}

/** `mirrors["docker.io"].endpoint[0]` */
function subjectOf([section = '', host, ...rest]: Pointer): string {
  const below = rest.map((part) => {
    if (/^\d+$/.test(part)) return `[${part}]`
    return /^\w+$/.test(part) ? `.${part}` : `[${JSON.stringify(part)}]`
  })
  return host === undefined ? section : `${section}[${JSON.stringify(host)}]${below.join('')}`
}

class K3sReader {
  readonly #value: Table
  readonly #configs: Table
  readonly #mirrors: Table
  readonly #at: (pointer: Pointer) => K3sPlace
  readonly #refused: (K3sPlace & { readonly text: string })[] = []
  readonly #anchors: { [name: string]: { file: string } } = {}
  readonly #origins = new Map<string, K3sPlace>()
  readonly #registries: Registry[] = []

  constructor(value: Table, at: (pointer: Pointer) => K3sPlace) {
    this.#value = value
    this.#configs = tableAt(value, 'configs')
    this.#mirrors = tableAt(value, 'mirrors')
    this.#at = at
  }

  read(): K3sResult {
    for (const { pointer, text } of shapeProblems(this.#value)) this.#refuse(pointer, text)
    for (const host of Object.keys(this.#configs)) this.#addHost(host, ['configs', host])
    for (const host of Object.keys(this.#mirrors))
      if (!Object.hasOwn(this.#configs, host)) this.#addHost(host, ['mirrors', host])
    const document = { anchors: this.#anchors, registries: this.#registries }
    return { document, refused: this.#refused, origins: this.#origins }
  }

  #refuse(pointer: Pointer, text: string): void {
    this.#refused.push({ ...this.#at(pointer), text })
  }

  #addHost(host: string, pointer: Pointer): void {
    const wrong = host === '*' && pointer[0] === 'mirrors' ? undefined : checkRegistryHost(host)
    if (wrong !== undefined) {
      this.#refuse(pointer, wrong.text)
      return
    }
    const at = `/registries/${this.#registries.length}`
    this.#origins.set(at, this.#at(pointer))
    const { isOwnLast, ...asked } = this.#asked(host, at)
    // k3s takes the `configs` of the very name, and those of the address where it is an endpoint.
    const configured = Object.hasOwn(this.#configs, host) && !isOwnLast ? host : this.#configuredAs(host)
    this.#registries.push({ host, ...this.#tls(configured, at), ...asked })
  }

  /** What `tls` of a host says for the host itself. */
  #tls(configured: string, at: string): object {
    const tls = this.#tlsOf(configured)
    const from = (key: string, name: string) => {
      if (tls[name] !== undefined) this.#origins.set(`${at}/${key}`, this.#at(['configs', configured, 'tls', name]))
    }
    const [certFile, keyFile] = [textAt(tls, 'cert_file'), textAt(tls, 'key_file')]
    if ((certFile === undefined) !== (keyFile === undefined)) {
      const [given, missing] = certFile === undefined ? ['key_file', 'cert_file'] : ['cert_file', 'key_file']
      this.#refuse(['configs', configured, 'tls', given], `needs ${missing} beside it`)
    }
    const anchors = this.#anchorsOf(configured)
    from('anchors', 'ca_file')
    from('skipVerify', 'insecure_skip_verify')
    from('clientCertificate', 'cert_file')
    return {
      ...(anchors.length > 0 && { anchors }),
      ...(tls['insecure_skip_verify'] === true && { skipVerify: true }),
      ...(certFile !== undefined && keyFile !== undefined && { clientCertificate: { certFile, keyFile } }),
    }
  }

  #tlsOf(host: string): Table {
    return tableAt(tableAt(this.#configs, host), 'tls')
  }

  /** docker.io is asked at registry-1.docker.io, whose `configs` come first (configForHost). */
  #configuredAs(host: string): string {
    const asked = host === 'docker.io' ? DOCKER_HUB : host
    return Object.hasOwn(this.#configs, asked) ? asked : host
  }

  #anchorsOf(host: string): readonly string[] {
    const file = textAt(this.#tlsOf(host), 'ca_file')
    if (file === undefined) return []
    const name = freeName(host, (taken) => (this.#anchors[taken]?.file ?? file) !== file)
    this.#anchors[name] = { file }
    this.#origins.set(`/anchors/${name}`, this.#at(['configs', host, 'tls', 'ca_file']))
    return [name]
  }

  /** The endpoints in their order; the host itself comes last without being named. */
  #asked(host: string, at: string): { readonly isOwnLast: boolean; readonly [key: string]: unknown } {
    const settings = tableAt(this.#mirrors, host)
    const prefix = prefixOf(settings['rewrite'])
    const pointerOfRewrite = ['mirrors', host, 'rewrite']
    if (prefix === undefined) {
      const text = 'has no counterpart: containerd can put a path before all names, no more'
      const isTold = this.#refused.some(({ subject }) => subject.startsWith(subjectOf(pointerOfRewrite)))
      if (!isTold) this.#refuse(pointerOfRewrite, text)
      return { isOwnLast: false }
    }
    const endpoints: readonly unknown[] = Array.isArray(settings['endpoint']) ? settings['endpoint'] : []
    const seen = new Set<string>()
    const mirrors: object[] = []
    let isOwnLast = false
    for (const [index, endpoint] of endpoints.entries()) {
      if (typeof endpoint !== 'string') continue
      const pointer = ['mirrors', host, 'endpoint', `${index}`]
      const found = normalizeEndpoint(endpoint)
      if ('reason' in found) this.#refuse(pointer, found.reason)
      if ('reason' in found || seen.has(found.url)) continue
      seen.add(found.url)
      const isOwn = index === endpoints.length - 1 && host !== '*' && found.url === `https://${askedAt(host)}`
      isOwnLast = isOwn
      if (isOwn && prefix === '') continue
      this.#origins.set(`${at}/mirrors/${mirrors.length}`, this.#at(pointer))
      mirrors.push(this.#mirror(found, prefix))
    }
    const isRewritten = isOwnLast && prefix !== ''
    return { isOwnLast, ...(mirrors.length > 0 && { mirrors }), ...(isRewritten && { fallback: false }) }
  }

  #mirror({ url, path, registry }: Endpoint, prefix: string): object {
    const configured = this.#configuredAs(registry)
    this.#refuseTlsOfMirror(configured)
    const anchors = this.#anchorsOf(configured)
    const full = prefix === '' ? url : `${url.replace(/\/+$/, '')}${path === '' ? '/v2' : ''}/${prefix}`
    return { url: full, anchors, ...((path !== '' || prefix !== '') && { overridePath: true }) }
  }

  /** What k3s does for the host of an endpoint, and a mirror here cannot have. */
  #refuseTlsOfMirror(host: string): void {
    const tls = this.#tlsOf(host)
    for (const key of ['insecure_skip_verify', 'cert_file', 'key_file']) {
      if (tls[key] === undefined || tls[key] === null || tls[key] === false || tls[key] === '') continue
      const text = `is for ${host} as a mirror, which has no counterpart: a mirror has anchors and headers alone`
      const place = this.#at(['configs', host, 'tls', key])
      const isTold = this.#refused.some((one) => one.subject === place.subject && one.text === text)
      if (!isTold) this.#refused.push({ ...place, text })
    }
  }
}

const DOCKER_HUB = 'registry-1.docker.io'

/** Where containerd asks for a host (docker.DefaultHost). */
function askedAt(host: string): string {
  return host === 'docker.io' ? DOCKER_HUB : host
}

/** `url` is without a path where `/v2` is asked for, and `path` is empty then. */
type Endpoint = { readonly url: string; readonly path: string; readonly registry: string }

function normalizeEndpoint(text: string): Endpoint | { readonly reason: string } {
  if (text.includes('@')) return { reason: 'must not hold a user or a password' }
  if (/[?#]/.test(text)) return { reason: 'must not hold a query or a fragment' }
  const parsed = parseUrl(text.includes('://') ? text : `${defaultScheme(text)}://${text}`)
  if (parsed === undefined) return { reason: 'is an address that cannot be used: write https://HOST[:PORT][/PATH]' }
  const registry = parsed.host === DOCKER_HUB ? 'docker.io' : parsed.host
  // Any other path stands in place of /v2.
  const path = ['', '/', '/v2'].includes(parsed.path) ? '' : parsed.path
  return { url: `${parsed.scheme}://${askedAt(registry)}${path}`, path, registry }
}

/** A loopback address with a port of its own is asked over plain HTTP. */
function defaultScheme(text: string): 'http' | 'https' {
  const [, host = '', port] = /^(\[[^\]/]*\]|[^:/]*)(?::(\d+))?/.exec(text) ?? []
  const isLoopback = host === 'localhost' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host)
  return isLoopback && port !== undefined && port !== '443' ? 'http' : 'https'
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

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function tableAt(table: Table, key: string): Table {
  const value = Object.hasOwn(table, key) ? table[key] : undefined
  return isTable(value) ? value : {}
}

function textAt(table: Table, key: string): string | undefined {
  const value = table[key]
  return typeof value === 'string' && value !== '' ? value : undefined
}
