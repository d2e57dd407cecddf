// The extensions of a certificate as Go reads them (crypto/x509 processExtensions): one that Go knows must be well
// formed, whatever it says; one that it does not know is left alone.
import { isIP } from 'node:net'
import { TAG } from '../encoding/der.ts'
import { isAscii } from './distinguished-name.ts'
import { isDomain, isDomainConstraint, isMailbox } from './domains.ts'
import { BOOLEAN, constructedTag, contextTag, DerReader } from './reader.ts'
import { type GoVersion, must } from './refusal.ts'
import { uriHost } from './uri.ts'

type Extension = { readonly oid: string; readonly isCritical: boolean; readonly value: Buffer; readonly go: GoVersion }

/** @throws Refusal where Go does not read `extensions`, the content of `[3]`. */
export function checkExtensions(extensions: DerReader, go: GoVersion): void {
  const reader = extensions.sequence('its extensions are malformed')
  const seen = new Set<string>()
  const all: Extension[] = []
  while (!reader.isEmpty) {
    const extension = readExtension(reader.sequence('one of its extensions is malformed'), go)
    must(!seen.has(extension.oid), 'it carries the same extension twice')
    seen.add(extension.oid)
    all.push(extension)
  }
  for (const extension of all) CHECKS[extension.oid]?.(extension)
}

function readExtension(reader: DerReader, go: GoVersion): Extension {
  const reason = 'one of its extensions is malformed'
  const oid = reader.oid(reason)
  const isCritical = reader.peek(BOOLEAN) && reader.boolean('the critical flag of one of its extensions is malformed')
  return { oid, isCritical, value: reader.content(TAG.octetString, reason), go }
}

/** By the content of the OBJECT IDENTIFIER in hex. */
const CHECKS: { readonly [oid: string]: (extension: Extension) => void } = {
  '551d0e': checkSubjectKeyId,
  '551d0f': ({ value, go }) => new DerReader(value, go).bitString(malformed('keyUsage')),
  '551d11': checkAlternativeNames,
  '551d13': checkBasicConstraints,
  '551d1e': checkNameConstraints,
  '551d1f': checkCrlDistributionPoints,
  '551d20': checkPolicies,
  '551d21': since124(checkPolicyMappings),
  '551d23': checkAuthorityKeyId,
  '551d24': since124(checkPolicyConstraints),
  '551d25': checkExtendedKeyUsage,
  '551d36': since124(({ value, go }) => new DerReader(value, go).int64(malformed('inhibitAnyPolicy'))),
  '2b06010505070101': checkAuthorityInfoAccess,
}

function malformed(name: string): string {
  return `its extension ${name} is malformed`
}

function since124(check: (extension: Extension) => void): (extension: Extension) => void {
  return (extension) => {
    if (extension.go !== '1.19') check(extension)
  }
}

function mustNotBeCritical({ isCritical, go }: Extension, name: string): void {
  if (go !== '1.19') must(!isCritical, `its extension ${name} is marked critical, which RFC 5280 forbids`)
}

function checkSubjectKeyId(extension: Extension): void {
  mustNotBeCritical(extension, 'subjectKeyIdentifier')
  new DerReader(extension.value, extension.go).content(TAG.octetString, malformed('subjectKeyIdentifier'))
}

function checkAuthorityKeyId(extension: Extension): void {
  mustNotBeCritical(extension, 'authorityKeyIdentifier')
  const reason = malformed('authorityKeyIdentifier')
  new DerReader(extension.value, extension.go).sequence(reason).optional(contextTag(0), reason)
}

function checkBasicConstraints({ value, go }: Extension): void {
  const reason = malformed('basicConstraints')
  const reader = new DerReader(value, go).sequence(reason)
  if (reader.peek(BOOLEAN)) reader.boolean(reason)
  if (!reader.peek(TAG.integer)) return
  const length = reader.int64(reason)
  if (go === '1.27') must(length >= 0n, 'the path length of its basicConstraints is negative')
}

function checkExtendedKeyUsage({ value, go }: Extension): void {
  const reason = malformed('extendedKeyUsage')
  const reader = new DerReader(value, go).sequence(reason)
  while (!reader.isEmpty) reader.oid(reason)
}

function checkCrlDistributionPoints({ value, go }: Extension): void {
  const reason = malformed('cRLDistributionPoints')
  const points = new DerReader(value, go).sequence(reason)
  while (!points.isEmpty) {
    const name = points.sequence(reason).optional(constructedTag(0), reason)
    if (name === undefined) continue
    const full = name.inside(constructedTag(0), reason)
    while (full.peek(contextTag(6))) full.any(reason)
  }
}

function checkPolicies({ value, go }: Extension): void {
  const reason = malformed('certificatePolicies')
  const policies = new DerReader(value, go).sequence(reason)
  const seen = new Set<string>()
  while (!policies.isEmpty) {
    const policy = policies.sequence(reason)
    if (go === '1.19') {
      policy.oid(reason)
      continue
    }
    const oid = policy.content(TAG.oid, reason)
    must(isWholeOid(oid), reason)
    must(!seen.has(oid.toString('hex')), 'its extension certificatePolicies names a policy twice')
    seen.add(oid.toString('hex'))
  }
}

/** Arcs of any size, each in the shortest form (crypto/x509 newOIDFromDER). */
function isWholeOid(oid: Buffer): boolean {
  if (oid.length === 0 || (oid.at(-1) ?? 0) >= 0x80) return false
  return oid.every((byte, at) => byte !== 0x80 || (at > 0 && (oid[at - 1] ?? 0) >= 0x80))
}

function checkPolicyMappings({ value, go }: Extension): void {
  const reason = malformed('policyMappings')
  const mappings = new DerReader(value, go).sequence(reason)
  while (!mappings.isEmpty) {
    const mapping = mappings.sequence(reason)
    mapping.content(TAG.oid, reason)
    mapping.content(TAG.oid, reason)
  }
}

function checkPolicyConstraints({ value, go }: Extension): void {
  const reason = malformed('policyConstraints')
  const reader = new DerReader(value, go).sequence(reason)
  for (const tag of [contextTag(0), contextTag(1)]) if (reader.peek(tag)) reader.int64(reason, tag)
}

function checkAuthorityInfoAccess(extension: Extension): void {
  mustNotBeCritical(extension, 'authorityInfoAccess')
  const reason = malformed('authorityInfoAccess')
  const descriptions = new DerReader(extension.value, extension.go).sequence(reason)
  while (!descriptions.isEmpty) {
    const description = descriptions.sequence(reason)
    description.oid(reason)
    description.optional(contextTag(6), reason)
  }
}

function checkAlternativeNames({ value, go }: Extension): void {
  const names = new DerReader(value, go).sequence(malformed('subjectAltName'))
  while (!names.isEmpty) {
    const { tag, content } = names.any(malformed('subjectAltName'))
    if (tag === contextTag(1)) mustBeAscii(content, 'an e-mail address')
    else if (tag === contextTag(2)) mustBeAscii(content, 'a DNS name')
    else if (tag === contextTag(6)) checkUri(content, go)
    else if (tag === contextTag(7)) checkAddress(content, go)
  }
}

function mustBeAscii(content: Buffer, what: string): void {
  must(isAscii(content), `its extension subjectAltName holds ${what} with characters that are not ASCII`)
}

function checkUri(content: Buffer, go: GoVersion): void {
  mustBeAscii(content, 'a URI')
  const host = uriHost(content.toString('latin1'), go)
  must(host !== undefined && isDomain(host, go), 'its extension subjectAltName holds a URI that is not valid')
}

function checkAddress(content: Buffer, go: GoVersion): void {
  const isSound = content.length === 4 || content.length === 16
  must(isSound, `its extension subjectAltName holds an IP address of ${content.length} bytes`)
  if (go === '1.27') must(!isMapped(content), 'its extension subjectAltName holds an IPv4 address written as IPv6')
}

/** ::ffff:a.b.c.d */
function isMapped(address: Buffer): boolean {
  return address.length === 16 && address.subarray(0, 12).toString('hex') === '00000000000000000000ffff'
}

function checkNameConstraints({ value, go }: Extension): void {
  const reason = malformed('nameConstraints')
  const outer = new DerReader(value, go)
  const top = outer.sequence(reason)
  const trees = [constructedTag(0), constructedTag(1)].map((tag) => top.optional(tag, reason))
  must(outer.isEmpty && top.isEmpty, reason)
  must(
    trees.some((tree) => tree?.isEmpty === false),
    'its extension nameConstraints is empty',
  )
  for (const tree of trees) {
    while (tree?.isEmpty === false) checkConstraint(tree.sequence(reason).any(reason), go)
  }
}

function checkConstraint({ tag, content }: { readonly tag: number; readonly content: Buffer }, go: GoVersion): void {
  if (tag === contextTag(7)) checkRange(content, go)
  const kind = KINDS.get(tag)
  if (kind === undefined) return
  const text = content.toString('latin1')
  const isSound = isAscii(content) && kind.accepts(text, go)
  must(isSound, `its extension nameConstraints holds ${kind.name} that is not valid`)
}

type Kind = { readonly name: string; accepts(text: string, go: GoVersion): boolean }

const KINDS: ReadonlyMap<number, Kind> = new Map<number, Kind>([
  [contextTag(1), { name: 'an e-mail constraint', accepts: isMailConstraint }],
  [contextTag(2), { name: 'a DNS name', accepts: isDomainConstraint }],
  [contextTag(6), { name: 'a URI constraint', accepts: isUriConstraint }],
])

function isMailConstraint(text: string, go: GoVersion): boolean {
  return text.includes('@') ? isMailbox(text, go) : isDomainConstraint(text, go)
}

function isUriConstraint(text: string, go: GoVersion): boolean {
  const isAddress = !text.includes('%') && isIP(text) !== 0
  return !isAddress && isDomainConstraint(text, go)
}

function checkRange(content: Buffer, go: GoVersion): void {
  const size = content.length / 2
  must(size === 4 || size === 16, `its extension nameConstraints holds an address range of ${content.length} bytes`)
  const mask = [...content.subarray(size)].map((byte) => byte.toString(2).padStart(8, '0')).join('')
  must(!mask.includes('01'), 'its extension nameConstraints holds an address range whose mask is not valid')
  if (go === '1.27') {
    must(!isMapped(content.subarray(0, size)), 'its extension nameConstraints holds an IPv4 range written as IPv6')
  }
}
