// Whether a certificate is valid for a host, by Go's rules (crypto/x509 VerifyHostname): names and addresses of
// subjectAltName alone, one wildcard as the whole first label. The common name is never looked at, save to say that it
// is not.
import { addressBytes, addressText, shortest } from './addresses.ts'
import type { SubjectNames } from './names.ts'

export type NamedCertificate = { readonly names?: SubjectNames; readonly commonName: string }

export type HostMismatch =
  /** The host stands in the common name, and there is no subjectAltName at all. */
  | { readonly kind: 'common-name-only' }
  | { readonly kind: 'no-addresses' }
  | { readonly kind: 'no-names' }
  | { readonly kind: 'other-names'; readonly names: readonly string[] }

/** `host` without a port; IPv6 with or without brackets. `undefined`: the certificate is valid for it. */
export function hostMismatch(certificate: NamedCertificate, host: string): HostMismatch | undefined {
  const address = addressBytes(host)
  const { dns = [], addresses = [] } = certificate.names ?? {}
  if (
    address !== undefined
      ? addresses.some((one) => shortest(one).equals(address))
      : dns.some((name) => covers(name, host))
  ) {
    return undefined
  }
  if (certificate.names === undefined && matches(certificate.commonName, host)) return { kind: 'common-name-only' }
  const names = address === undefined ? dns : addresses.map(addressText)
  if (names.length > 0) return { kind: 'other-names', names }
  return { kind: address === undefined ? 'no-names' : 'no-addresses' }
}

function covers(pattern: string, host: string): boolean {
  if (isHostName(host, false) && isHostName(pattern, true)) return matches(pattern, host)
  return host !== '' && host !== '.' && pattern.toLowerCase() === host.toLowerCase()
}

function matches(pattern: string, host: string): boolean {
  const wanted = pattern.toLowerCase().split('.')
  const given = host.toLowerCase().replace(/\.$/, '').split('.')
  if (pattern === '' || given.join('.') === '' || wanted.length !== given.length) return false
  return wanted.every((label, index) => (index === 0 && label === '*') || label === given[index])
}

/** Underscores are not valid in host names, but common; Go lets them pass. */
function isHostName(name: string, isPattern: boolean): boolean {
  const bare = isPattern ? name : name.replace(/\.$/, '')
  if (bare === '' || bare === '*') return false
  return bare.split('.').every((label, index) => {
    return (isPattern && index === 0 && label === '*') || /^[A-Za-z0-9_][A-Za-z0-9_-]*$/.test(label)
  })
}
