// registries[].addresses: what the hosts file of the node should say about a registry's name, and about no other. Every
// program of the node resolves by it, so a mistake must not redirect other names. Pure.
import { BlockList, isIP, isIPv4 } from 'node:net'
import type { Policy } from '../../model/desired-state.ts'
import { canonicalAddress } from '../../text/hosts-file.ts'
import type { DeclaredRegistry } from '../reading/declared.ts'
import { hostName } from '../reading/registry-host.ts'
import { placeText, type Report } from '../reading/report.ts'
import { isForbidden } from './forbidden-hosts.ts'

/** No server answers there: unspecified, link-local (needs a zone), multicast, broadcast (RFC 6890). */
const NO_SERVER = new BlockList()
NO_SERVER.addSubnet('0.0.0.0', 8, 'ipv4')
NO_SERVER.addSubnet('169.254.0.0', 16, 'ipv4')
NO_SERVER.addSubnet('224.0.0.0', 3, 'ipv4')
NO_SERVER.addAddress('::', 'ipv6')
NO_SERVER.addSubnet('fe80::', 10, 'ipv6')
NO_SERVER.addSubnet('ff00::', 8, 'ipv6')

/** Names that every node has for itself (RFC 6761, 6.3). */
const OWN_NAME = /(?:^|\.)localhost(?:\.localdomain)?$|^ip6-(?:localhost|loopback)$/

export function checkAddresses(
  { entry, file, pointer }: DeclaredRegistry,
  policy: Pick<Policy, 'forbidAnchorsFor'>,
  report: Report,
): void {
  const { addresses, host } = entry
  if (addresses === undefined) return
  const at = `${pointer}/addresses`
  const whole = wrongHost(host)
  if (whole !== undefined) report.add('CONFIG_INVALID', file.place(at, 'key'), file.subject(at), whole)
  else if (isForbidden(host, policy)) {
    const text = `is not allowed for ${host}: policy.forbidAnchorsFor lists it`
    report.add('ANCHOR_FORBIDDEN', file.place(at, 'key'), file.subject(at), text)
  }
  const seen = new Map<string, number>()
  addresses.forEach((address, index) => {
    const canonical = canonicalAddress(address) ?? address
    const earlier = seen.get(canonical)
    const wrong =
      wrongAddress(address) ?? (earlier === undefined ? undefined : `is the address of addresses[${earlier}]`)
    seen.set(canonical, earlier ?? index)
    const where = `${at}/${index}`
    if (wrong !== undefined) report.add('CONFIG_INVALID', file.place(where, 'value'), file.subject(where), wrong)
  })
}

function wrongHost(host: string): string | undefined {
  if (host === '*') return 'does not apply to host "*", which names no registry'
  const name = hostName(host)
  if (isIP(name) !== 0 || name.startsWith('[')) return `does not apply to ${host}, which is an address itself`
  if (name === 'docker.io')
    return 'has no effect for docker.io: containerd asks registry-1.docker.io; declare a mirror instead'
  if (OWN_NAME.test(name.toLowerCase())) return `does not apply to ${name}, a name that every node has for itself`
  return undefined
}

/** Reads on after the key path. */
function wrongAddress(text: string): string | undefined {
  const found = `found ${JSON.stringify(text.slice(0, 80))}`
  if (isIP(text) === 0) return `must be an IPv4 or IPv6 address without a port, brackets or a prefix length, ${found}`
  if (text.includes('%'))
    return `must be an address without a zone: a link-local address counts on one link alone, ${found}`
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(canonicalAddress(text) ?? '')
  if (mapped !== null) return `must be written as an IPv4 address: ${mappedIPv4(mapped)}, ${found}`
  if (NO_SERVER.check(text, isIPv4(text) ? 'ipv4' : 'ipv6'))
    return `must be the address of one server: this one is unspecified, link-local, multicast or reserved, ${found}`
  return undefined
}

function mappedIPv4([, high = '0', low = '0']: readonly string[]): string {
  const [one, two] = [Number.parseInt(high, 16), Number.parseInt(low, 16)]
  return [one >> 8, one & 255, two >> 8, two & 255].join('.')
}

/** The hosts file knows no ports: registries of one name have the same addresses, or one of them alone says them. */
export function checkSameAddresses(registries: readonly DeclaredRegistry[], report: Report): void {
  const first = new Map<string, DeclaredRegistry>()
  for (const registry of registries) {
    const { entry, file, pointer } = registry
    if (entry.addresses === undefined) continue
    const name = hostName(entry.host).toLowerCase()
    const earlier = first.get(name)
    first.set(name, earlier ?? registry)
    if (earlier === undefined || addressesOf(earlier) === addressesOf(registry)) continue
    const at = `${pointer}/addresses`
    const other = placeText(earlier.file.place(`${earlier.pointer}/addresses`, 'key'))
    const text = `contradicts ${other}: ${name} has other addresses there, and the hosts file has no ports`
    report.add('CONFIG_CONFLICT', file.place(at, 'key'), file.subject(at), text)
  }
}

function addressesOf({ entry }: DeclaredRegistry): string {
  return (entry.addresses ?? [])
    .map((one) => canonicalAddress(one) ?? one)
    .toSorted()
    .join(' ')
}
