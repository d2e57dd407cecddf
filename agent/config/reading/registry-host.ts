// What may stand before the first slash of an image reference (github.com/distribution/reference, `domain`), as
// containerd reads it. Stricter than the grammar where containerd would look elsewhere than the user thinks: one
// spelling per host, no loopback, no bare word. The host becomes a folder name under certs.d: nothing that passes here
// can leave that folder.
import { isIPv4, isIPv6 } from 'node:net'
import { domainToASCII } from 'node:url'
import type { ErrorCode } from '../../model/errors.ts'

export type HostProblem = { readonly code: ErrorCode; readonly text: string }

/** `undefined`: the host is fine. The text reads on after the key path: `must …`. */
export function checkRegistryHost(host: string): HostProblem | undefined {
  const text = notAlone(host) ?? notAddressable(host)
  if (text !== undefined) return { code: 'CONFIG_INVALID', text }
  if (host.startsWith('[')) {
    // containerd 1.6 cannot parse image references with IPv6 addresses at all.
    const reason = 'must be a name or an IPv4 address: image references with IPv6 addresses are not supported'
    return { code: 'CONFIG_NOT_SUPPORTED_YET', text: `${reason}, found ${quote(host)}` }
  }
  const { name, port } = splitPort(host)
  const found = wrongPort(port, host) ?? wrongName(name, host, port)
  return found === undefined ? undefined : { code: 'CONFIG_INVALID', text: found }
}

/**
 * Also that containerd looks for images of this host under this name: it takes the first name of Docker Hub for the
 * present one (distribution/reference, `legacyDefaultDomain`).
 */
export function checkDeclaredHost(host: string): HostProblem | undefined {
  if (host !== 'index.docker.io') return checkRegistryHost(host)
  const text = `must be docker.io: containerd reads ${host}/IMAGE as docker.io/IMAGE, found ${quote(host)}`
  return { code: 'CONFIG_INVALID', text }
}

/** The host without its port. */
export function hostName(host: string): string {
  return host.startsWith('[') ? host.slice(0, host.indexOf(']') + 1) : splitPort(host).name
}

/** More than a host stands there: scheme, path, user. Nothing that may hold a password is repeated. */
function notAlone(host: string): string | undefined {
  const alone = host.replace(/^[A-Za-z][A-Za-z0-9+.-]*:\/\//, '').replace(/[/?#].*$/s, '')
  if (host.includes('@')) {
    const rest = host
      .slice(host.lastIndexOf('@') + 1)
      .replace(/[/?#].*$/s, '')
      .toLowerCase()
    return `must not hold a user or a password${isSimple(rest) ? `: write the host alone: ${rest}` : ''}`
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly these are refused
  if (/[\s\u0000-\u001f\u007f]/.test(host)) return `must not hold spaces or control characters, found ${quote(host)}`
  if (alone === host) return undefined
  const advice = isSimple(alone.toLowerCase()) ? `write the host alone: ${alone.toLowerCase()}` : 'write the host alone'
  const what = host.includes('://') ? 'a scheme' : 'a path'
  return `must be a host without ${what}, found ${quote(host)}: ${advice}`
}

function isSimple(host: string): boolean {
  return /^[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?$/.test(host)
}

function notAddressable(host: string): string | undefined {
  if (host === '_default') {
    return 'must name one host: "_default" is containerd\'s folder for all other hosts, which this agent leaves alone'
  }
  if (host.includes('*')) return `must name one host: a wildcard cannot be part of a name, found ${quote(host)}`
  if (isLoopback(host)) {
    return `must not be a loopback address, found ${quote(host)}: containerd does not verify certificates there, so trust can be neither set nor proved`
  }
  const isIpv6 = host.startsWith('[') || isIPv6Address(host)
  if (isIpv6 && !/^\[[0-9A-Fa-f:.]+\](:[0-9]+)?$/.test(host)) {
    return `must be a host such as harbor.example.net or harbor.example.net:8443, found ${quote(host)}`
  }
  return undefined
}

/** As containerd decides it (docker.MatchLocalhost): there it speaks plain HTTP or skips verification. */
function isLoopback(host: string): boolean {
  const bare = isIPv6Address(host) ? host : hostName(host).replace(/^\[|\]$/g, '')
  if (bare.toLowerCase() === 'localhost' || (isIPv4(bare) && bare.startsWith('127.'))) return true
  if (!isIPv6Address(bare)) return false
  const compressed = new URL(`http://[${bare.replace(/%.*$/, '')}]/`).hostname
  return compressed === '[::1]' || /^\[::ffff:7f[0-9a-f]{2}:[0-9a-f]{1,4}\]$/.test(compressed)
}

/**
 * Node compiles a long expression at the first question, which takes milliseconds: most hosts need not be asked about.
 */
function isIPv6Address(text: string): boolean {
  return text.includes(':') && isIPv6(text)
}

function splitPort(host: string): { readonly name: string; readonly port: string | undefined } {
  const colon = host.indexOf(':')
  return colon === -1 ? { name: host, port: undefined } : { name: host.slice(0, colon), port: host.slice(colon + 1) }
}

function wrongPort(port: string | undefined, host: string): string | undefined {
  if (port === undefined) return undefined
  if (/^[1-9][0-9]{0,4}$/.test(port) && Number(port) <= 65535) return undefined
  return `must have a port from 1 to 65535 without leading zeros after the colon, found ${quote(host)}`
}

function wrongName(name: string, host: string, port: string | undefined): string | undefined {
  const found = `found ${quote(host)}`
  if (/[^\u0020-\u007e]/.test(name)) {
    const ascii = domainToASCII(name)
    return `must be written in ASCII, ${found}${ascii === '' ? '' : `; did you mean ${ascii}${port ? `:${port}` : ''}?`}`
  }
  if (name.includes('_')) {
    if (port === undefined && name.includes('.') && UNDERSCORED.test(name)) return undefined
    if (port !== undefined) return `cannot have a port beside "_", which image references do not allow, ${found}`
    return `must have "_" only between letters or digits, as image references allow it, ${found}`
  }
  if (name.endsWith('.') && isSimple(name.slice(0, -1).toLowerCase())) {
    return `must not end with a dot, ${found}; did you mean ${host.toLowerCase().replace(/\.+(?=:|$)/, '')}?`
  }
  const lower = name.toLowerCase()
  if (!/^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/.test(lower)) {
    return `must be a host such as harbor.example.net or harbor.example.net:8443, ${found}`
  }
  if (lower !== name) return `must be in lower case, ${found}; did you mean ${host.toLowerCase()}?`
  if (name.length > 253 || name.split('.').some((label) => label.length > 63)) {
    return `is too long: a host has at most 253 characters, each part between dots at most 63, ${found}`
  }
  if (/(^|\.)[0-9]+$/.test(name) && !isIPv4(name)) return `must be a name or a valid IPv4 address, ${found}`
  if (!name.includes('.') && port === undefined) {
    // The first part of a reference is a host only if it holds a dot or a colon (distribution/reference
    // splitDockerDomain).
    return `must hold a dot or a port: containerd reads ${name}/IMAGE as docker.io/${name}/IMAGE, ${found}`
  }
  return undefined
}

/**
 * A host without a port is read as the first part of a path, in which `_` may stand (distribution/reference,
 * path-component).
 */
const UNDERSCORED = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$/

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)
}
