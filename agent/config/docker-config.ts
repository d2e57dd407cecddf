// A .dockerconfigjson (or the older .dockercfg): which entry serves a registry, chosen as the kubelet chooses it, and
// what it holds. Source: kubernetes pkg/credentialprovider (keyring.go, config.go). Pure; no value of the file ever
// stands in a message.
import type { RegistryCredentials } from '../model/ports.ts'
import { Secret } from '../model/secret.ts'

export type ReadCredentials =
  | { readonly ok: true; readonly credentials: RegistryCredentials }
  /** `expired`: the form is right, the time is not. */
  | { readonly ok: false; readonly reason: string; readonly expired?: boolean }

type Entry = { readonly [key: string]: unknown }

/** `image`: what is to be pulled, where it is known: an entry may be for one path of the registry only. */
export function credentialsFor(text: string, host: string, image?: string): ReadCredentials {
  const auths = readAuths(text)
  if (typeof auths === 'string') return { ok: false, reason: auths }
  // The kubelet tries the keys in descending order, so that a longer path comes before a shorter one.
  const keys = Object.keys(auths).toSorted((a, b) => (stripped(a) < stripped(b) ? 1 : -1))
  const key = keys.find((one) => matches(one, image ?? host)) ?? keys.find((one) => matches(withoutPath(one), host))
  if (key === undefined) return { ok: false, reason: `it has no entry for ${host}${hint(keys, host)}` }
  const entry = auths[key]
  return isTable(entry) ? readEntry(entry) : { ok: false, reason: 'the entry is not an object' }
}

function readAuths(text: string): Entry | string {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return 'it is not JSON'
  }
  if (!isTable(value)) return 'it is not a JSON object'
  const auths = value['auths'] ?? (looksLikeDockercfg(value) ? value : undefined)
  if (isTable(auths) && Object.keys(auths).length > 0) return auths
  if (value['credsStore'] !== undefined || value['credHelpers'] !== undefined)
    return 'it names a credential helper and holds no credentials: write them into "auths"'
  return isTable(auths) ? 'its "auths" is empty' : 'it has no "auths"'
}

function looksLikeDockercfg(value: Entry): boolean {
  return Object.values(value).some((entry) => isTable(entry) && ('auth' in entry || 'username' in entry))
}

function isTable(value: unknown): value is Entry {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function readEntry(entry: Entry): ReadCredentials {
  const at = (name: string) => {
    const value = entry[name]
    return typeof value === 'string' && value !== '' ? value : undefined
  }
  const decoded = decodeAuth(at('auth'))
  if (typeof decoded === 'string') return { ok: false, reason: decoded }
  const username = decoded?.username ?? at('username')
  const password = decoded?.password ?? at('password')
  const identity = at('identitytoken')
  if (identity !== undefined)
    return { ok: true, credentials: { kind: 'identity-token', username: username ?? '', token: new Secret(identity) } }
  const registry = at('registrytoken')
  if (registry !== undefined) return { ok: true, credentials: { kind: 'registry-token', token: new Secret(registry) } }
  if (username === undefined || password === undefined)
    return { ok: false, reason: 'the entry has neither "auth", nor "username" and "password", nor a token' }
  return { ok: true, credentials: { kind: 'password', username, password: new Secret(password) } }
}

function decodeAuth(auth: string | undefined): { username: string; password: string } | string | undefined {
  if (auth === undefined) return undefined
  const text = auth.replace(/\s+/g, '')
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return 'the "auth" of the entry is not base64'
  const decoded = Buffer.from(text, 'base64').toString('utf8')
  const colon = decoded.indexOf(':')
  if (colon < 1) {
    const twice = Buffer.from(decoded, 'base64').toString('utf8')
    return /^[\x20-\x7e]+:[\x20-\x7e]+$/.test(twice)
      ? 'the "auth" of the entry is base64 of base64: encode USER:PASSWORD once'
      : 'the "auth" of the entry is not base64 of USER:PASSWORD'
  }
  // Docker pads with zero bytes.
  return { username: decoded.slice(0, colon), password: decoded.slice(colon + 1).replace(/^\0+|\0+$/g, '') }
}

/** As credentialprovider writes the index: no scheme, and `/v1/`, `/v2/` mean the host. */
function stripped(key: string): string {
  const bare = key.replace(/^https?:\/\//, '')
  const slash = bare.indexOf('/')
  const [host, path] = slash < 0 ? [bare, ''] : [bare.slice(0, slash), bare.slice(slash)]
  const rest = /^\/v[12]\//.test(path) ? path.slice(3) : path
  return rest === '/' || /^\/v[12]$/.test(rest) ? host : host + rest
}

function withoutPath(key: string): string {
  return stripped(key).replace(/\/.*$/, '')
}

/** The port must be the same, the path a prefix, and each part of the name match its pattern. */
function matches(key: string, target: string): boolean {
  const [pattern, wanted] = [split(stripped(key)), split(target)]
  if (isDockerHub(pattern.name) && isDockerHub(wanted.name)) return true
  if (pattern.port !== wanted.port || !wanted.path.startsWith(pattern.path)) return false
  const [parts, names] = [pattern.name.split('.'), wanted.name.split('.')]
  return parts.length === names.length && parts.every((part, index) => matchesPart(part, names[index] ?? ''))
}

function isDockerHub(name: string): boolean {
  return name === 'docker.io' || name === 'index.docker.io' || name === 'registry-1.docker.io'
}

function split(text: string): { readonly name: string; readonly port: string; readonly path: string } {
  const slash = text.indexOf('/')
  const [host, path] = slash < 0 ? [text, ''] : [text.slice(0, slash), text.slice(slash)]
  const colon = host.lastIndexOf(':')
  return colon < 0 ? { name: host, port: '', path } : { name: host.slice(0, colon), port: host.slice(colon + 1), path }
}

/** Go's filepath.Match within one part of a host name; character classes do not occur in those. */
function matchesPart(pattern: string, name: string): boolean {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
  return new RegExp(`^${source}$`).test(name)
}

/** The usual slip: the same name with or without its port. */
function hint(keys: readonly string[], host: string): string {
  const name = split(host).name
  const near = keys.find((key) => split(withoutPath(key)).name === name)
  return near === undefined
    ? ''
    : `, only for ${withoutPath(near)}: the port must be the same as in the image reference`
}
