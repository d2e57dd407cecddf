// Verifies a chain of certificates exactly as Go's crypto/x509 does (Certificate.Verify, as crypto/tls calls it),
// because containerd is the one that has to accept it. Pure: the served chain, the roots, the host and the time go in;
// a path or the reason comes out. The order of the checks is Go's too: it decides which of several faults is the one
// that people see.
// This room: whether a served chain verifies, as Go would say, and why not.
// Begin here; then explain.ts (the finding), explain-authority.ts (an authority that nobody knows).
// May touch: nothing.

import { type ChainCertificate, isSignedWith } from '../certificate/chain-certificate.ts'
import { KEY_USAGE_CERT_SIGN, OID } from '../certificate/extensions.ts'
import { type HostMismatch, hostMismatch } from '../certificate/host-name.ts'
import { constraintViolation } from '../certificate/name-constraints.ts'

export type Failure =
  | { readonly kind: 'unhandled-critical'; readonly certificate: ChainCertificate }
  | { readonly kind: 'expired' | 'not-yet-valid'; readonly certificate: ChainCertificate }
  | { readonly kind: 'host'; readonly certificate: ChainCertificate; readonly mismatch: HostMismatch }
  | { readonly kind: 'not-a-ca'; readonly certificate: ChainCertificate }
  | { readonly kind: 'path-too-long'; readonly certificate: ChainCertificate }
  | { readonly kind: 'name-constraint'; readonly certificate: ChainCertificate; readonly violation: string }
  | { readonly kind: 'key-usage'; readonly certificate: ChainCertificate }
  | { readonly kind: 'unknown-authority'; readonly certificate: ChainCertificate; readonly hint?: Hint }
  | { readonly kind: 'too-much-work'; readonly certificate: ChainCertificate }

/** A trusted or served certificate of the right name that nevertheless cannot have issued it. */
export type Hint = { readonly candidate: ChainCertificate; readonly reason: HintReason }

export type HintReason =
  | { readonly kind: 'insecure-algorithm' | 'unknown-algorithm'; readonly algorithm: string }
  | { readonly kind: 'may-not-sign' }
  | { readonly kind: 'other-key' }
  | Failure

export type Verdict =
  /** From the server's certificate to the trusted one; each way that leads there, never empty. */
  | { readonly ok: true; readonly paths: readonly (readonly ChainCertificate[])[] }
  | { readonly ok: false; readonly failure: Failure }

export type VerifyOptions = {
  readonly leaf: ChainCertificate
  /** Served besides the leaf, in any order. */
  readonly intermediates: readonly ChainCertificate[]
  readonly roots: readonly ChainCertificate[]
  /** Without a port. */
  readonly host: string
  /** Milliseconds since the epoch. */
  readonly now: number
  /** To find out what else is wrong; never for a verdict. */
  readonly ignore?: readonly ('validity' | 'host')[]
}

/** As in Go: a hostile chain must not cost more than this many signature checks. */
const MOST_SIGNATURE_CHECKS = 100

export function verifyChain(options: VerifyOptions): Verdict {
  const { leaf, host, ignore = [] } = options
  const invalid = whyInvalid(leaf, 'leaf', [], options)
  if (invalid !== undefined) return { ok: false, failure: invalid }
  const mismatch = ignore.includes('host') ? undefined : hostMismatch(leaf, host)
  if (mismatch !== undefined) return { ok: false, failure: { kind: 'host', certificate: leaf, mismatch } }
  const search: Search = {
    options,
    roots: bySubject(options.roots),
    intermediates: bySubject(options.intermediates),
    checks: 0,
  }
  const isRoot = options.roots.some(({ fingerprint }) => fingerprint === leaf.fingerprint)
  const built: Built = isRoot ? { paths: [[leaf]] } : buildPaths([leaf], search)
  if (built.paths.length === 0) {
    return { ok: false, failure: built.failure ?? { kind: 'unknown-authority', certificate: leaf } }
  }
  const usable = built.paths.filter(servesTls)
  if (usable.length === 0) return { ok: false, failure: { kind: 'key-usage', certificate: leaf } }
  return { ok: true, paths: usable }
}

type Pool = ReadonlyMap<string, readonly ChainCertificate[]>

type Search = {
  readonly options: VerifyOptions
  readonly roots: Pool
  readonly intermediates: Pool
  checks: number
}

type Built = { readonly paths: readonly (readonly ChainCertificate[])[]; readonly failure?: Failure | undefined }

function bySubject(certificates: readonly ChainCertificate[]): Pool {
  const pool = new Map<string, ChainCertificate[]>()
  const seen = new Set<string>()
  for (const certificate of certificates) {
    if (seen.has(certificate.fingerprint)) continue
    seen.add(certificate.fingerprint)
    const same = pool.get(certificate.rawSubject)
    if (same === undefined) pool.set(certificate.rawSubject, [certificate])
    else same.push(certificate)
  }
  return pool
}

/** The most plausible first: the one whose key id matches, those without one, the others. */
function parentsOf(child: ChainCertificate, pool: Pool): readonly ChainCertificate[] {
  const rank = ({ subjectKeyId }: ChainCertificate) => {
    if (subjectKeyId === child.authorityKeyId) return 0
    return subjectKeyId === '' || child.authorityKeyId === '' ? 1 : 2
  }
  return (pool.get(child.rawIssuer) ?? []).toSorted((left, right) => rank(left) - rank(right))
}

function buildPaths(path: readonly ChainCertificate[], search: Search): Built {
  const child = path.at(-1)
  if (child === undefined) return { paths: [] }
  const paths: (readonly ChainCertificate[])[] = []
  let hint: Hint | undefined
  let failure: Failure | undefined
  const consider = (kind: 'root' | 'intermediate', candidate: ChainCertificate) => {
    if (isInPath(candidate, path)) return
    search.checks += 1
    if (search.checks > MOST_SIGNATURE_CHECKS) {
      failure = { kind: 'too-much-work', certificate: child }
      return
    }
    const unsigned = whyNotSignedBy(child, candidate)
    if (unsigned !== undefined) {
      hint ??= { candidate, reason: unsigned }
      return
    }
    failure = whyInvalid(candidate, kind, path, search.options)
    if (failure !== undefined) {
      hint ??= { candidate, reason: failure }
      return
    }
    const longer = [...path, candidate]
    const above: Built = kind === 'root' ? { paths: [longer] } : buildPaths(longer, search)
    // As in Go, the last candidate's failure is the one that is reported.
    failure = above.failure
    paths.push(...above.paths)
  }
  for (const root of parentsOf(child, search.roots)) consider('root', root)
  for (const intermediate of parentsOf(child, search.intermediates)) consider('intermediate', intermediate)
  if (paths.length > 0) return { paths }
  const unknown: Failure = { kind: 'unknown-authority', certificate: child, ...(hint === undefined ? {} : { hint }) }
  return { paths, failure: failure ?? unknown }
}

/** The same name, key and subjectAltName: cross-signed twins would otherwise lead in circles. */
function isInPath(candidate: ChainCertificate, path: readonly ChainCertificate[]): boolean {
  return (
    candidate.publicKey === undefined ||
    path.some(
      (one) =>
        one.rawSubject === candidate.rawSubject &&
        one.publicKeyInfo === candidate.publicKeyInfo &&
        JSON.stringify(one.names) === JSON.stringify(candidate.names),
    )
  )
}

/** Why `parent` did not issue `child`; `undefined`: it did. Dates and constraints are not looked at. */
export function whyNotSignedBy(child: ChainCertificate, parent: ChainCertificate): HintReason | undefined {
  const { basicConstraints, keyUsage, version, publicKey } = parent
  const isNoCa = basicConstraints === undefined ? version === 3 : !basicConstraints.isCa
  const mayNotSign = keyUsage !== undefined && keyUsage !== 0 && (keyUsage & KEY_USAGE_CERT_SIGN) === 0
  if (isNoCa || mayNotSign) return { kind: 'may-not-sign' }
  const { name, strength } = child.signature
  if (strength !== 'good') return { kind: `${strength}-algorithm`, algorithm: name }
  return publicKey !== undefined && isSignedWith(child, publicKey) ? undefined : { kind: 'other-key' }
}

function whyInvalid(
  certificate: ChainCertificate,
  kind: 'leaf' | 'intermediate' | 'root',
  path: readonly ChainCertificate[],
  { now, ignore = [] }: VerifyOptions,
): Failure | undefined {
  if (certificate.unhandledCritical.length > 0) return { kind: 'unhandled-critical', certificate }
  if (!ignore.includes('validity')) {
    if (now < certificate.notBefore) return { kind: 'not-yet-valid', certificate }
    if (now > certificate.notAfter) return { kind: 'expired', certificate }
  }
  const { basicConstraints, nameConstraints } = certificate
  if (nameConstraints !== undefined && kind !== 'leaf') {
    for (const { names } of path) {
      const violation = names && constraintViolation(names, nameConstraints)
      if (violation !== undefined) return { kind: 'name-constraint', certificate, violation }
    }
  }
  if (kind === 'intermediate' && basicConstraints?.isCa !== true) return { kind: 'not-a-ca', certificate }
  const longest = basicConstraints?.maxPathLength
  if (longest !== undefined && path.length - 1 > longest) return { kind: 'path-too-long', certificate }
  return undefined
}

/** Every certificate of the path, the root included, must allow server authentication or name no purpose at all. */
function servesTls(path: readonly ChainCertificate[]): boolean {
  return path.every(({ extendedKeyUsage }) => {
    const isAny = extendedKeyUsage.length === 0 || extendedKeyUsage.includes(OID.anyExtendedKeyUsage)
    return isAny || extendedKeyUsage.includes(OID.serverAuth)
  })
}
