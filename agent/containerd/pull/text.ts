// Reads containerd's pull errors as text: which host failed, and what may be shown of it.
// Redirect targets carry signed query strings and proxies carry passwords: neither leaves this file.

import { redactText } from '../../model/secret.ts'

export type RequestHost = {
  readonly host: string
  readonly isRegistry: boolean
  /** What containerd wanted there: the registry itself (or a mirror of it), a token, or data behind a redirect. */
  readonly role: 'registry' | 'token' | 'blob'
}

const REQUEST = /\b(Head|Get|Post|HEAD|GET|POST)(?: request to)? "?(https?):\/\/([^/"\s?]+)([^"\s]*)/
const TOKEN =
  /fetch (?:oauth|anonymous) token|failed to authorize|decoding bearer token|initializing source docker:\/\/\S+: (?:Post "https:|Get "https:[^"]*[?&](?:service|scope)=)/
/** containers/image names the host that it asks before it tells the request that failed: the registry or a mirror. */
const ASKED =
  /(?:pinging (?:container|docker) registry|reading manifest \S+ in) ([^\s/:]+(?::\d+)?|\[[^\]]+\](?::\d+)?)/

/** The host of the request that failed; the registry host where the text names none. */
export function requestHost(text: string, registry: string): RequestHost {
  const match = REQUEST.exec(text)
  const host = withoutDefaultPort(match?.[2] ?? 'https', match?.[3]?.replace(/^.*@/, '') ?? registry)
  const isRegistry = servesRegistry(host, registry)
  if (isRegistry) return { host: registry, isRegistry, role: 'registry' }
  if (TOKEN.test(text)) return { host, isRegistry, role: 'token' }
  // containerd asks mirrors, and only them, with `?ns=REGISTRY`.
  const isMirror = /^\/v2\/.*[?&]ns=/.test(match?.[4] ?? '') || ASKED.exec(text)?.[1] === match?.[3]
  return { host, isRegistry, role: isMirror ? 'registry' : 'blob' }
}

/**
 * What the last place that was asked answered. CRI-O tells the mirrors that failed before it, and then the same of its
 * second try, for an OCI artifact of that name.
 */
export function lastAttempt(text: string): string {
  const [image = text] = text.split('; artifact err: ')
  return image.replace(/\(Mirrors also failed: \[[\s\S]*\]\): /, '')
}

function servesRegistry(host: string, registry: string): boolean {
  const canonical = (name: string) => name.replace(/:443$/, '').toLowerCase()
  if (canonical(host) === canonical(registry)) return true
  return registry === 'docker.io' && host === 'registry-1.docker.io'
}

function withoutDefaultPort(scheme: string, host: string): string {
  return host.replace(scheme === 'http' ? /:80$/ : /:443$/, '')
}

/** Keeps scheme, host and path of every URL; drops user names, passwords and queries. */
function redactUrls(text: string): string {
  return text.replace(
    /(\b[a-z][a-z0-9+.-]*:\/\/)([^\s"'/?#@]*@)?([^\s"'?#]*)(\?[^\s"']*)?/gi,
    (_, scheme, __, rest, query) => {
      return `${scheme}${rest}${query === undefined ? '' : '?…'}`
    },
  )
}

/** What may be shown of an answer: a registry may repeat the headers that it was sent. */
export function withoutSecrets(text: string): string {
  return redactText(redactUrls(text))
}

/** Keeps the beginning, which names the image, and the end, which names the cause. */
export function shorten(text: string, most: number): string {
  if (text.length <= most) return text
  const half = Math.floor((most - 1) / 2)
  return `${text.slice(0, half)}…${text.slice(-half)}`
}
