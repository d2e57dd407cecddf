// The registries.yaml of k3s and RKE2 as input: what trust.yaml would say for it. Each key is used, or refused by its
// name and place, because a part of it would be worse than nothing. Pure. Source: k3s pkg/agent/containerd/config.go
// (getHostConfigs, normalizeEndpointAddress) and rancher/wharfie pkg/registries/types.go.
import { parseUrl } from '../../containerd/hosts/endpoint.ts'
import { escapePointer, parseYaml } from '../../text/yaml-tree.ts'
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

/**
 * Undefined: another YAML file, or one that is not YAML. Logins in it are the node's business and not read.
 * `isNamed`: the file is called registries.yaml, which is enough for one with keys that k3s does not know.
 */
export function readK3sRegistries(text: string, isNamed = false): ForeignFile | undefined {
  const { tree, position, problems } = parseYaml(text)
  if (tree === undefined || !isTable(tree.value)) return undefined
  const keys = Object.keys(tree.value)
  const isTheirs = (key: string) => key === 'mirrors' || key === 'configs'
  if (!keys.some(isTheirs) || !(isNamed || keys.every((key) => isTheirs(key) || key === 'auths'))) return undefined
  const at = (pointer: Pointer): Origin => {
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
  readonly #reading: ForeignReading
  readonly #registries: DeclaredRegistry[] = []

  constructor(value: Table, at: (pointer: Pointer) => Origin) {
    this.#value = value
    this.#configs = tableAt(value, 'configs')
    this.#mirrors = tableAt(value, 'mirrors')
    this.#reading = new ForeignReading(this.#configs, at)
  }

  read(): ForeignFile {
    for (const { pointer, text } of shapeProblems(this.#value, 'k3s')) this.#reading.refuse(pointer, text)
    for (const host of Object.keys(this.#configs)) this.#addHost(host, ['configs', host])
    for (const host of Object.keys(this.#mirrors))
      if (!Object.hasOwn(this.#configs, host)) this.#addHost(host, ['mirrors', host])
    return this.#reading.file(this.#registries)
  }

  #addHost(host: string, pointer: Pointer): void {
    const wrong = host === '*' && pointer[0] === 'mirrors' ? undefined : checkRegistryHost(host)
    if (wrong !== undefined) {
      this.#reading.refuse(pointer, wrong.text)
      return
    }
    const at = `/registries/${this.#registries.length}`
    this.#reading.comesFrom(at, pointer)
    const { isOwnLast, ...asked } = this.#asked(host, at)
    // k3s takes the `configs` of the very name, and those of the address where it is an endpoint.
    const configured = Object.hasOwn(this.#configs, host) && !isOwnLast ? host : this.#configuredAs(host)
    this.#registries.push({ host, ...this.#reading.tls(configured, at), ...asked })
  }

  /** docker.io is asked at registry-1.docker.io, whose `configs` come first (configForHost). */
  #configuredAs(host: string): string {
    const asked = host === 'docker.io' ? DOCKER_HUB : host
    return Object.hasOwn(this.#configs, asked) ? asked : host
  }

  /** The endpoints in their order; the host itself comes last without being named. */
  #asked(host: string, at: string): { readonly isOwnLast: boolean; readonly [key: string]: unknown } {
    const settings = tableAt(this.#mirrors, host)
    const prefix = prefixOf(settings['rewrite'])
    const pointerOfRewrite = ['mirrors', host, 'rewrite']
    if (prefix === undefined) {
      const text = 'has no counterpart: containerd can put a path before all names, no more'
      if (!this.#reading.isRefused(subjectOf(pointerOfRewrite))) this.#reading.refuse(pointerOfRewrite, text)
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
      if ('reason' in found) this.#reading.refuse(pointer, found.reason)
      // k3s skips what it has seen; containerd asks an address with a slash at its end alike.
      if ('reason' in found || seen.has(found.url.replace(/\/+$/, ''))) continue
      seen.add(found.url.replace(/\/+$/, ''))
      const isOwn = index === endpoints.length - 1 && host !== '*' && found.url === `https://${askedAt(host)}`
      isOwnLast = isOwn
      if (isOwn && prefix === '') continue
      this.#reading.comesFrom(`${at}/mirrors/${mirrors.length}`, pointer)
      mirrors.push(this.#mirror(found, prefix))
    }
    const isRewritten = isOwnLast && prefix !== ''
    return { isOwnLast, ...(mirrors.length > 0 && { mirrors }), ...(isRewritten && { fallback: false }) }
  }

  #mirror({ url, path, registry }: Endpoint, prefix: string): object {
    const configured = this.#configuredAs(registry)
    this.#reading.refuseTlsOfMirror(configured)
    const anchors = this.#reading.anchorsOf(configured)
    const full = prefix === '' ? url : `${url.replace(/\/+$/, '')}${path === '' ? '/v2' : ''}/${prefix}`
    return { url: full, anchors, ...((path !== '' || prefix !== '') && { overridePath: true }) }
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
