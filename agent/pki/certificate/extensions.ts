// The X.509 extensions that decide a verification, read the way Go's crypto/x509 reads them: what Go refuses to parse
// is refused here too, with the reason, because containerd then breaks off the handshake.

import { childrenOf, type DerElement, dottedOid, readElements, TAG } from '../encoding/der.ts'
import type { CertificateFields } from './fields.ts'
import { type NameConstraints, parseNameConstraints } from './name-constraints.ts'
import type { SubjectNames } from './names.ts'

export type Extensions = {
  /** Absent where the certificate has no basicConstraints. */
  readonly basicConstraints?: { readonly isCa: boolean; readonly maxPathLength?: number }
  /** Bit n of the extension is 1 << n; absent: no restriction. */
  readonly keyUsage?: number
  /** Dotted OIDs; empty: no restriction. */
  readonly extendedKeyUsage: readonly string[]
  /** Absent where the certificate has no subjectAltName. */
  readonly names?: SubjectNames
  readonly nameConstraints?: NameConstraints
  /** Hexadecimal; empty: none. */
  readonly subjectKeyId: string
  readonly authorityKeyId: string
  /** Where the certificate says that its issuer's certificate can be had: http addresses alone. */
  readonly issuerUrls: readonly string[]
  /** Dotted OIDs of critical extensions that Go does not know: it refuses the certificate for any use. */
  readonly unhandledCritical: readonly string[]
}

export const KEY_USAGE_CERT_SIGN = 1 << 5

export const OID = {
  subjectKeyId: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  authorityKeyId: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  authorityInfoAccess: '1.3.6.1.5.5.7.1.1',
  anyExtendedKeyUsage: '2.5.29.37.0',
  serverAuth: '1.3.6.1.5.5.7.3.1',
} as const

/**
 * Read or harmless to Go, besides those above: CRL points, policies and (since Go 1.24) the constraints on policies.
 */
const ALSO_HANDLED: ReadonlySet<string> = new Set(['2.5.29.31', '2.5.29.32', '2.5.29.33', '2.5.29.36', '2.5.29.54'])

const BOOLEAN = 0x01
const CONTEXT = 0x80
const EMPTY: Extensions = {
  extendedKeyUsage: [],
  subjectKeyId: '',
  authorityKeyId: '',
  issuerUrls: [],
  unhandledCritical: [],
}

export type ReadExtensions =
  | { readonly ok: true; readonly extensions: Extensions }
  | { readonly ok: false; readonly reason: string }

export function readExtensions({ extensions }: Pick<CertificateFields, 'extensions'>): ReadExtensions {
  let read: Extensions = EMPTY
  for (const element of extensions) {
    const one = split(element)
    if (one === undefined) return { ok: false, reason: 'one of its extensions is malformed' }
    const part = readOne(one)
    if (part === undefined) return { ok: false, reason: `its extension ${NAMES[one.oid] ?? one.oid} is malformed` }
    const isHandled = part.isUnhandled !== true && (NAMES[one.oid] !== undefined || ALSO_HANDLED.has(one.oid))
    const unhandledCritical =
      one.isCritical && !isHandled ? [...read.unhandledCritical, one.oid] : read.unhandledCritical
    read = { ...read, ...part.read, unhandledCritical }
  }
  return { ok: true, extensions: read }
}

type Extension = { readonly oid: string; readonly isCritical: boolean; readonly value: readonly DerElement[] }

function split(element: DerElement): Extension | undefined {
  const [oid, second, third, ...rest] = childrenOf(element, TAG.sequence) ?? []
  const hasFlag = second?.tag === BOOLEAN
  const value = hasFlag ? third : second
  if (oid?.tag !== TAG.oid || value?.tag !== TAG.octetString || rest.length > 0) return undefined
  const elements = readElements(value.content)
  if (elements === undefined) return undefined
  return { oid: dottedOid(oid.content), isCritical: hasFlag && second.content[0] === 0xff, value: elements }
}

/** `undefined`: malformed. `isUnhandled`: of a known kind, but nothing in it that Go understands. */
type Part = { readonly read: Partial<Extensions>; readonly isUnhandled?: boolean } | undefined

const NAMES: { readonly [oid: string]: string } = {
  [OID.subjectKeyId]: 'subjectKeyIdentifier',
  [OID.keyUsage]: 'keyUsage',
  [OID.subjectAltName]: 'subjectAltName',
  [OID.basicConstraints]: 'basicConstraints',
  [OID.nameConstraints]: 'nameConstraints',
  [OID.authorityKeyId]: 'authorityKeyIdentifier',
  [OID.extendedKeyUsage]: 'extendedKeyUsage',
  [OID.authorityInfoAccess]: 'authorityInfoAccess',
}

function readOne({ oid, value }: Extension): Part {
  const [first] = value
  switch (oid) {
    case OID.basicConstraints:
      return readBasicConstraints(first)
    case OID.keyUsage:
      return first?.tag === TAG.bitString ? { read: { keyUsage: usageBits(first.content) } } : undefined
    case OID.extendedKeyUsage:
      return readExtendedKeyUsage(first)
    case OID.subjectAltName:
      return readNames(first)
    case OID.nameConstraints:
      return readConstraints(first)
    case OID.subjectKeyId:
      return first?.tag === TAG.octetString ? { read: { subjectKeyId: first.content.toString('hex') } } : undefined
    case OID.authorityKeyId: {
      const keyId = childrenOf(first, TAG.sequence)?.find(({ tag }) => tag === CONTEXT)
      return { read: { authorityKeyId: keyId?.content.toString('hex') ?? '' } }
    }
    case OID.authorityInfoAccess:
      return { read: { issuerUrls: issuerUrls(first) } }
    default:
      return { read: {} }
  }
}

function readBasicConstraints(element: DerElement | undefined): Part {
  const children = childrenOf(element, TAG.sequence)
  if (children === undefined) return undefined
  const isCa = children[0]?.tag === BOOLEAN && children[0].content[0] === 0xff
  const length = children.find(({ tag }) => tag === TAG.integer)?.content
  if (length === undefined) return { read: { basicConstraints: { isCa } } }
  if (length.length === 0 || length.length > 4 || (length[0] ?? 0) >= 0x80) return undefined
  return { read: { basicConstraints: { isCa, maxPathLength: length.readUIntBE(0, length.length) } } }
}

/** The first byte tells the unused bits at the end; bit 0 is the highest of the second. */
function usageBits(content: Buffer): number {
  let bits = 0
  for (let bit = 0; bit < 9; bit += 1) {
    if (((content[1 + (bit >> 3)] ?? 0) & (0x80 >> (bit & 7))) !== 0) bits |= 1 << bit
  }
  return bits
}

function readExtendedKeyUsage(element: DerElement | undefined): Part {
  const oids = childrenOf(element, TAG.sequence)
  if (oids === undefined || oids.some(({ tag }) => tag !== TAG.oid)) return undefined
  return { read: { extendedKeyUsage: oids.map(({ content }) => dottedOid(content)) } }
}

function readNames(element: DerElement | undefined): Part {
  const children = childrenOf(element, TAG.sequence)
  if (children === undefined) return undefined
  const texts = (number: number) => children.filter(({ tag }) => tag === CONTEXT + number).map(({ content }) => content)
  const addresses = texts(7)
  if (addresses.some(({ length }) => length !== 4 && length !== 16)) return undefined
  const [emails, dns, uris] = [texts(1), texts(2), texts(6)]
  // These are IA5Strings: one byte above 127 and Go does not read the certificate.
  if ([...emails, ...dns, ...uris].some((bytes) => bytes.some((byte) => byte > 0x7f))) return undefined
  const text = (bytes: Buffer) => bytes.toString('latin1')
  const names = { dns: dns.map(text), addresses, emails: emails.map(text), uris: uris.map(text) }
  return { read: { names }, isUnhandled: emails.length + dns.length + uris.length + addresses.length === 0 }
}

function readConstraints(element: DerElement | undefined): Part {
  const parsed = element === undefined ? undefined : parseNameConstraints(element)
  return parsed && { read: { nameConstraints: parsed.constraints }, isUnhandled: parsed.hasUnknownKind }
}

const CA_ISSUERS = '1.3.6.1.5.5.7.48.2'
const MOST_URLS = 4

function issuerUrls(element: DerElement | undefined): readonly string[] {
  return (childrenOf(element, TAG.sequence) ?? [])
    .flatMap((description) => {
      const [method, location] = childrenOf(description, TAG.sequence) ?? []
      if (method === undefined || dottedOid(method.content) !== CA_ISSUERS || location?.tag !== CONTEXT + 6) return []
      const url = location.content.toString('latin1')
      return /^http:\/\/[\x21-\x7e]{1,500}$/i.test(url) ? [url] : []
    })
    .slice(0, MOST_URLS)
}
