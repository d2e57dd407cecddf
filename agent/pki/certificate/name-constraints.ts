// Name constraints of a CA: which names it may certify. Matching follows Go's crypto/x509 (verify.go,
// checkNameConstraints), which is what containerd runs; the odd corners (a leading dot, an empty constraint) are Go's
// too.

import { childrenOf, type DerElement, TAG } from '../encoding/der.ts'
import { addressText } from './addresses.ts'
import type { SubjectNames } from './names.ts'

export type AddressRange = { readonly address: Buffer; readonly mask: Buffer }

export type Subtrees = {
  readonly dns: readonly string[]
  readonly addresses: readonly AddressRange[]
  readonly emails: readonly string[]
  readonly uris: readonly string[]
}

export type NameConstraints = { readonly permitted: Subtrees; readonly excluded: Subtrees }

export type ParsedConstraints = {
  readonly constraints: NameConstraints
  /** Directory names and the like, which Go does not apply: a critical extension with one is refused. */
  readonly hasUnknownKind: boolean
}

const PERMITTED = 0xa0
const EXCLUDED = 0xa1

/** `undefined`: malformed. */
export function parseNameConstraints(element: DerElement): ParsedConstraints | undefined {
  const children = childrenOf(element, TAG.sequence)
  if (children === undefined || children.length === 0) return undefined
  const permitted = parseSubtrees(children.find(({ tag }) => tag === PERMITTED))
  const excluded = parseSubtrees(children.find(({ tag }) => tag === EXCLUDED))
  if (permitted === undefined || excluded === undefined) return undefined
  return {
    constraints: { permitted: permitted.subtrees, excluded: excluded.subtrees },
    hasUnknownKind: permitted.hasUnknownKind || excluded.hasUnknownKind,
  }
}

type ParsedSubtrees = { readonly subtrees: Subtrees; readonly hasUnknownKind: boolean }

function parseSubtrees(element: DerElement | undefined): ParsedSubtrees | undefined {
  const subtrees = {
    dns: [] as string[],
    addresses: [] as AddressRange[],
    emails: [] as string[],
    uris: [] as string[],
  }
  if (element === undefined) return { subtrees, hasUnknownKind: false }
  let hasUnknownKind = false
  for (const subtree of childrenOf(element, element.tag) ?? []) {
    const [base] = childrenOf(subtree, TAG.sequence) ?? []
    if (base === undefined) return undefined
    const text = base.content.toString('latin1')
    if (base.tag === 0x81) subtrees.emails.push(text)
    else if (base.tag === 0x82) subtrees.dns.push(text)
    else if (base.tag === 0x86) subtrees.uris.push(text)
    else if (base.tag === 0x87) {
      const range = addressRange(base.content)
      if (range === undefined) return undefined
      subtrees.addresses.push(range)
    } else hasUnknownKind = true
  }
  return { subtrees, hasUnknownKind }
}

function addressRange(content: Buffer): AddressRange | undefined {
  if (content.length !== 8 && content.length !== 32) return undefined
  const half = content.length / 2
  const mask = content.subarray(half)
  const bits = [...mask].map((byte) => byte.toString(2).padStart(8, '0')).join('')
  return /^1*0*$/.test(bits) ? { address: content.subarray(0, half), mask } : undefined
}

/** Why the constraints forbid these names, in Go's words; `undefined`: they are allowed. */
export function constraintViolation(names: SubjectNames, { permitted, excluded }: NameConstraints): string | undefined {
  const check = (
    kind: string,
    name: string,
    isIn: (subtrees: Subtrees) => boolean,
    count: (of: Subtrees) => number,
  ) => {
    if (isIn(excluded)) return `${kind} "${name}" is excluded`
    if (count(permitted) > 0 && !isIn(permitted)) return `${kind} "${name}" is not permitted by any constraint`
    return undefined
  }
  const violations = [
    ...names.emails.map((name) =>
      check(
        'email address',
        name,
        (of) => of.emails.some((one) => matchesEmail(name, one)),
        (of) => of.emails.length,
      ),
    ),
    ...names.dns.map((name) =>
      check(
        'DNS name',
        name,
        (of) => of.dns.some((one) => matchesDomain(name, one)),
        (of) => of.dns.length,
      ),
    ),
    ...names.uris.map((name) =>
      check(
        'URI',
        name,
        (of) => of.uris.some((one) => matchesDomain(hostOf(name), one)),
        (of) => of.uris.length,
      ),
    ),
    ...names.addresses.map((address) => {
      const isIn = (of: Subtrees) => of.addresses.some((one) => matchesRange(address, one))
      return check('IP address', addressText(address), isIn, (of) => of.addresses.length)
    }),
  ]
  return violations.find((violation) => violation !== undefined)
}

function matchesDomain(domain: string, constraint: string): boolean {
  if (constraint === '') return true
  const isOnlyBelow = constraint.startsWith('.')
  const wanted = labels(isOnlyBelow ? constraint.slice(1) : constraint)
  const given = labels(domain)
  if (given.length < wanted.length || (isOnlyBelow && given.length === wanted.length)) return false
  return wanted.every((label, index) => label === given[index])
}

/** From the top: `a.example.net` is net, example, a. */
function labels(domain: string): readonly string[] {
  return domain.toLowerCase().split('.').reverse()
}

function matchesEmail(address: string, constraint: string): boolean {
  if (constraint.includes('@')) return address.toLowerCase() === constraint.toLowerCase()
  return matchesDomain(address.slice(address.lastIndexOf('@') + 1), constraint)
}

function hostOf(uri: string): string {
  return URL.parse(uri)?.hostname ?? ''
}

function matchesRange(address: Buffer, range: AddressRange): boolean {
  if (address.length !== range.address.length) return false
  return address.every((byte, index) => {
    const mask = range.mask[index] ?? 0
    return (byte & mask) === ((range.address[index] ?? 0) & mask)
  })
}
