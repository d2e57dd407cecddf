// A .dockerconfigjson (or the older .dockercfg): which entry serves a registry, chosen as the kubelet chooses it, and
// what it holds. Source: kubernetes pkg/credentialprovider (keyring.go, config.go). Pure; no value of the file ever
// stands in a message.
import type { RegistryCredentials } from '../../model/ports.ts'
import { Secret } from '../../model/secret.ts'
import { misplaced, wrapping } from './docker-config-wrapped.ts'

export type ReadCredentials =
  | { readonly ok: true; readonly credentials: RegistryCredentials }
  /** `expired`: the form is right, the time is not. */
  | { readonly ok: false; readonly reason: string; readonly expired?: boolean }

type Entry = { readonly [key: string]: unknown }

/**
 * The login that the kubelet would try first for `image` (`HOST/PATH:TAG`), or for the host where no image is known.
 * Source: BasicDockerKeyring.Add and Lookup.
 */
export function credentialsFor(text: string, host: string, image?: string): ReadCredentials {
  const config = readAuths(text)
  if (typeof config === 'string') return { ok: false, reason: config }
  const { auths } = config
  const broken = Object.keys(auths).find((key) => typeof readFields(auths[key]) === 'string')
  const key = keyFor(Object.keys(auths), host, image)
  if (key === undefined) return { ok: false, reason: `it has no entry for ${image ?? host}${hint(config, host)}` }
  const read = readEntry(auths[key], config.helperOf(key))
  // The kubelet decodes the file as a whole: an entry that it cannot read costs all the others.
  if (!read.ok || broken === undefined) return read
  return { ok: false, reason: `the kubelet uses no entry of it, because the one for ${broken} cannot be read` }
}

function keyFor(keys: readonly string[], host: string, image: string | undefined): string | undefined {
  // The kubelet tries the keys in descending order, so that a longer path comes before a shorter one.
  const sorted = keys.toSorted((a, b) => (indexed(a) < indexed(b) ? 1 : -1))
  const target = image === undefined ? host : withoutTag(image)
  return (
    sorted.find((key) => matches(indexed(key), target)) ??
    (isDockerHub(split(target).name) ? sorted.find((key) => indexed(key) === DOCKER_HUB) : undefined) ??
    // It is not known what will be pulled, so a login for a part of the registry counts for the registry.
    (image === undefined ? sorted.find((key) => matches(withoutPath(key), host)) : undefined)
  )
}

type Config = {
  readonly auths: Entry
  /** The credential helper that holds the login of this key instead of the file. */
  readonly helperOf: (key: string) => string | undefined
}

function readAuths(text: string): Config | string {
  const value = parseJson(text)
  if (value === undefined) return `it is not JSON${misplaced(text)}`
  if (!isTable(value)) return `it is not a JSON object${misplaced(text)}`
  const wrapped = wrapping(value)
  if (wrapped !== undefined) return wrapped
  const auths = field(value, 'auths') ?? (looksLikeDockercfg(value) ? value : undefined)
  const [store, helpers] = [field(value, 'credsStore'), field(value, 'credHelpers')]
  const helperOf = (key: string) => {
    const own = isTable(helpers) ? helpers[key] : undefined
    return [own, store].find((name) => typeof name === 'string' && name !== '') as string | undefined
  }
  if (isTable(auths) && Object.keys(auths).length > 0) return { auths, helperOf }
  if (store !== undefined || helpers !== undefined) return `it names a credential helper and holds no login. ${HELPER}`
  return isTable(auths) ? 'its "auths" is empty' : 'it has no "auths"'
}

const HELPER =
  'The kubelet runs no helper of docker: make the file with `kubectl create secret docker-registry`, ' +
  'or write "auth" into the entry'

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** A field as Go's encoding/json finds it: the exact name, or the same letters in another case. */
function field(table: Entry, name: string): unknown {
  if (name in table) return table[name]
  const key = Object.keys(table).find((one) => one.toLowerCase() === name.toLowerCase())
  return key === undefined ? undefined : table[key]
}

function looksLikeDockercfg(value: Entry): boolean {
  return Object.values(value).some(
    (entry) => isTable(entry) && ['auth', 'username', 'password'].some((name) => field(entry, name) !== undefined),
  )
}

function isTable(value: unknown): value is Entry {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function readEntry(value: unknown, helper: string | undefined): ReadCredentials {
  const entry = readFields(value)
  if (typeof entry === 'string') return { ok: false, reason: entry }
  const { username, password, identity, registry } = entry
  if (identity !== '')
    return { ok: true, credentials: { kind: 'identity-token', username, token: new Secret(identity) } }
  if (registry !== '') return { ok: true, credentials: { kind: 'registry-token', token: new Secret(registry) } }
  if (username !== '' && password !== '')
    return { ok: true, credentials: { kind: 'password', username, password: new Secret(password) } }
  if (username === '' && password === '' && helper !== undefined)
    return { ok: false, reason: `the entry is empty, its login is with the credential helper "${helper}". ${HELPER}` }
  return { ok: false, reason: 'the entry has neither "auth", nor "username" and "password", nor a token' }
}

type Fields = {
  readonly username: string
  readonly password: string
  readonly identity: string
  readonly registry: string
}

/** Or why the kubelet cannot decode this entry. Its "auth" counts more than its "username" and "password". */
function readFields(entry: unknown): Fields | string {
  if (entry !== null && !isTable(entry)) return 'the entry is not an object'
  const at = (name: string) => (entry === null ? undefined : field(entry, name)) ?? ''
  const names = ['username', 'password', 'email', 'auth', 'identitytoken', 'registrytoken'] as const
  const wrong = names.find((name) => typeof at(name) !== 'string')
  if (wrong !== undefined) return `the "${wrong}" of the entry is not text`
  const [username, password, , auth, identity, registry] = names.map((name) => String(at(name)))
  const decoded = auth === '' ? { username, password } : decodeAuth(auth ?? '')
  if (typeof decoded === 'string') return decoded
  return {
    username: decoded.username ?? '',
    password: decoded.password ?? '',
    identity: identity ?? '',
    registry: registry ?? '',
  }
}

/** Line breaks count for nothing, padding may be left out, other white space and the letters of URLs are refused. */
function decodeAuth(auth: string): { username: string; password: string } | string {
  const text = auth.replace(/[\r\n]/g, '')
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text) || (text.endsWith('=') && text.length % 4 !== 0))
    return 'the "auth" of the entry is not base64'
  const decoded = Buffer.from(text, 'base64').toString('utf8')
  const colon = decoded.indexOf(':')
  if (colon >= 0) return { username: decoded.slice(0, colon), password: decoded.slice(colon + 1) }
  const twice = Buffer.from(decoded, 'base64').toString('utf8')
  return /^[\x20-\x7e]+:[\x20-\x7e]+$/.test(twice)
    ? 'the "auth" of the entry is base64 of base64: encode USER:PASSWORD once'
    : 'the "auth" of the entry is not base64 of USER:PASSWORD'
}

const DOCKER_HUB = 'index.docker.io'

/** As Add writes the index: no scheme, user or query; `/v1/` and `/v2/` mean the host, `/v1` does not. */
function indexed(key: string): string {
  const [, authority = '', path = ''] = /^(?:https?:\/\/)?([^/?#]*)([^?#]*)/.exec(key) ?? []
  const host = authority.replace(/^.*@/, '')
  const rest = /^\/v[12]\//.test(path) ? path.slice(3) : path
  return rest === '/' ? host : host + rest
}

function withoutPath(key: string): string {
  return indexed(key).replace(/\/.*$/, '')
}

/** The kubelet looks up the repository. */
function withoutTag(image: string): string {
  return image.replace(/@.*$/, '').replace(/:[^:/]*$/, (tag) => (image.includes('/') ? '' : tag))
}

/** URLsMatch: the port must be the same, the path a prefix, and each part of the name match its pattern. */
function matches(key: string, target: string): boolean {
  const [pattern, wanted] = [split(key), split(target)]
  if (pattern.port !== wanted.port || !wanted.path.startsWith(pattern.path)) return false
  const [parts, names] = [pattern.name.split('.'), wanted.name.split('.')]
  return parts.length === names.length && parts.every((part, index) => matchesPart(part, names[index] ?? ''))
}

function isDockerHub(name: string): boolean {
  return name === 'docker.io' || name === DOCKER_HUB
}

function split(text: string): { readonly name: string; readonly port: string; readonly path: string } {
  const slash = text.indexOf('/')
  const [host, path] = slash < 0 ? [text, ''] : [text.slice(0, slash), text.slice(slash)]
  const colon = host.lastIndexOf(':')
  return colon < 0 ? { name: host, port: '', path } : { name: host.slice(0, colon), port: host.slice(colon + 1), path }
}

/** Go's filepath.Match within one part of a host name: `?` begins a query, character classes do not occur. */
function matchesPart(pattern: string, name: string): boolean {
  const source = pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')
  return new RegExp(`^${source}$`).test(name)
}

/** The usual slips: another port or path, another way to write the host, a helper that would have the login. */
function hint(config: Config, host: string): string {
  const keys = Object.keys(config.auths)
  const helper = config.helperOf(host)
  if (helper !== undefined) return `; the credential helper "${helper}" may have one. ${HELPER}`
  const name = split(host).name
  const near = keys.find((key) => split(withoutPath(key)).name.toLowerCase() === name)
  if (near !== undefined && withoutPath(near) === host)
    return `, only for ${indexed(near)}: the kubelet compares the path too`
  if (near !== undefined && split(withoutPath(near)).name === name)
    return `, only for ${withoutPath(near)}: the port must be the same as in the image reference`
  if (near !== undefined) return `, only for ${withoutPath(near)}: the kubelet distinguishes upper and lower case`
  const hub = keys.find((key) => /(^|\.)docker\.io$/.test(withoutPath(key)))
  return isDockerHub(name) && hub !== undefined
    ? `, only for ${indexed(hub)}: the kubelet takes https://index.docker.io/v1/ and docker.io for Docker Hub`
    : ''
}
