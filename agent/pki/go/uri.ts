// The host of a URI as Go's net/url takes it out, as far as a certificate can hold one: ASCII. Only what decides
// whether Go reads the certificate is told: whether the URI parses, and its host.
import { isIPv4, isIPv6 } from 'node:net'
import type { GoVersion } from './refusal.ts'

/** `undefined`: Go does not parse the URI. `''`: it has no host. */
export function uriHost(text: string, go: GoVersion): string | undefined {
  const [whole = '', ...fragment] = text.split('#')
  if (hasControls(whole) || !areEscapes(fragment.join('#'))) return undefined
  if (whole === '*') return ''
  if (whole.startsWith(':')) return undefined
  const [, scheme = '', afterScheme = ''] = /^(?:([A-Za-z][A-Za-z0-9+.-]*):)?(.*)$/s.exec(whole) ?? []
  const rest = afterScheme.split('?', 1)[0] ?? ''
  if (!rest.startsWith('/')) {
    if (scheme !== '') return ''
    return rest.split('/', 1)[0]?.includes(':') || !areEscapes(rest) ? undefined : ''
  }
  if (!rest.startsWith('//') || (scheme === '' && rest.startsWith('///'))) return areEscapes(rest) ? '' : undefined
  const [authority = ''] = rest.slice(2).split('/', 1)
  if (!areEscapes(rest.slice(2 + authority.length))) return undefined
  return hostOfAuthority(authority, scheme.toLowerCase(), go)
}

const USER_INFO = /^(?:%[0-9A-Fa-f]{2}|[A-Za-z0-9\-._:~!$&'()*+,;=@])*$/

function hostOfAuthority(authority: string, scheme: string, go: GoVersion): string | undefined {
  const at = authority.lastIndexOf('@')
  if (at >= 0 && !USER_INFO.test(authority.slice(0, at))) return undefined
  const host = authority.slice(at + 1)
  const bracket = go === '1.27' ? host.lastIndexOf('[') : host.indexOf('[')
  if (bracket === 0) return hostInBrackets(host, go)
  if (bracket > 0 && go === '1.27') return undefined
  const isStrict = go === '1.27' && ['http', 'https'].includes(scheme)
  const colon = isStrict ? host.indexOf(':') : host.lastIndexOf(':')
  if (colon >= 0 && !isPort(host.slice(colon))) return undefined
  return unescapeHost(host)
}

function hostInBrackets(host: string, go: GoVersion): string | undefined {
  const end = host.lastIndexOf(']')
  if (end < 0 || !isPort(host.slice(end + 1))) return undefined
  const inside = host.slice(1, end)
  const zoneAt = inside.indexOf('%25')
  const address = unescapeHost(zoneAt < 0 ? inside : inside.slice(0, zoneAt))
  const zone = zoneAt < 0 ? '' : unescapeZone(inside.slice(zoneAt))
  if (address === undefined || zone === undefined) return undefined
  if (go === '1.27' && !isIpLiteral(address + zone)) return undefined
  return `[${address}${zone}]${host.slice(end + 1)}`
}

/** Go asks since 1.26 that brackets hold an IPv6 address, with a zone or without. */
function isIpLiteral(text: string): boolean {
  const [address = '', zone] = text.split(/%(.*)/s)
  return !isIPv4(address) && isIPv6(address) && zone !== ''
}

function hasControls(text: string): boolean {
  return [...text].some((character) => character < ' ' || character === '\x7f')
}

function isPort(text: string): boolean {
  return text === '' || /^:[0-9]*$/.test(text)
}

function areEscapes(text: string): boolean {
  return !/%(?![0-9A-Fa-f]{2})/.test(text)
}

const HOST = /^(?:%25|%[89A-Fa-f][0-9A-Fa-f]|[A-Za-z0-9!$&'()*+,;=:[\]<>"\-._~])*$/
const ZONE = /^(?:%[0-9A-Fa-f]{2}|[A-Za-z0-9!$&'()*+,;=:[\]<>"\-._~])*$/

function unescapeHost(text: string): string | undefined {
  return HOST.test(text) ? unescaped(text) : undefined
}

function unescapeZone(text: string): string | undefined {
  const isSound = ZONE.test(text) && [...text.matchAll(/%(..)/g)].every(([, hex = '']) => isZoneEscape(hex))
  return isSound ? unescaped(text) : undefined
}

/** In a zone an escape may stand for what a host may hold as it is, for a percent sign and for a space. */
function isZoneEscape(hex: string): boolean {
  return hex === '25' || hex === '20' || HOST.test(String.fromCharCode(Number.parseInt(hex, 16)))
}

function unescaped(text: string): string {
  return text.replace(/%(..)/g, (_whole, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}
