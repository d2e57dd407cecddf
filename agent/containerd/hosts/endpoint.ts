// Addresses of registries as containerd reads them in `endpoint` of config.toml and in hosts.toml: Go's url.Parse and
// its own rules for what has no scheme. JavaScript's URL is not used: it drops default ports, by which containerd tells
// hosts apart.

export type Endpoint = {
  readonly scheme: 'http' | 'https'
  /** `host` or `host:port`, exactly as written. */
  readonly host: string
  /** Empty, or from the first `/` on. */
  readonly path: string
}

const URL_FORM = /^(https?):\/\/(?:[^/?#]*@)?([^/?#@\s]+)([^?#\s]*)(?:[?#]\S*)?$/i

/**
 * Undefined for what containerd cannot ask. User names and passwords in an address are dropped: containerd never sends
 * them.
 */
export function parseUrl(text: string): Endpoint | undefined {
  const match = URL_FORM.exec(text)
  const [scheme, host] = [match?.[1]?.toLowerCase(), match?.[2]]
  if (host === undefined || (scheme !== 'http' && scheme !== 'https')) return undefined
  return { scheme, host, path: match?.[3] ?? '' }
}

/** As `endpoint` in registry.mirrors is read: without a scheme it is https, or http on the loopback. */
export function parseMirrorEndpoint(text: string): Endpoint | undefined {
  if (text.includes('://')) return parseUrl(text)
  const host = /^[^/]*/.exec(text)?.[0] ?? ''
  return parseUrl(`${isLoopback(host) ? 'http' : 'https'}://${text}`)
}

/** As `server` and `[host."…"]` in hosts.toml are read. */
export function parseHostsUrl(text: string): Endpoint | undefined {
  return parseUrl(text.startsWith('http') ? text : `https://${text}`)
}

/** Where containerd goes for a host that nothing else is said of. */
export function defaultEndpoint(host: string): Endpoint {
  const name = host === 'docker.io' ? 'registry-1.docker.io' : host
  return { scheme: isLoopback(name) ? 'http' : 'https', host: name, path: '' }
}

export function renderEndpoint({ scheme, host, path }: Endpoint): string {
  return `${scheme}://${host}${path}`
}

/**
 * Everything below the path is containerd's `/v2/…`; in hosts.toml any other path needs override_path to be taken as it
 * is.
 */
export function needsOverridePath({ path }: Endpoint): boolean {
  return path !== '' && !/\/v2\/*$/.test(path)
}

function isLoopback(host: string): boolean {
  const name = host.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1')
  return name === 'localhost' || name === '::1' || /^127(\.\d{1,3}){3}$/.test(name)
}

/** What can stand before the first `/` of an image reference, and so be the name of a host folder. */
export function isReferenceHost(text: string): boolean {
  return /^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?$/.test(text)
}
