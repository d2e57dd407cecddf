// One certificate as a verifier sees it: everything that decides whether it may stand in a chain. Bytes that Go cannot
// parse give a reason.
import { createHash, type KeyObject, X509Certificate } from 'node:crypto'
import { childrenOf, type DerElement, TAG } from '../encoding/der.ts'
import { refusalText, whyGoRefuses } from '../go/certificate.ts'
import { oneLine } from './certificate.ts'
import { type Extensions, readExtensions } from './extensions.ts'
import { readCertificateFields } from './fields.ts'
import { readSignatureAlgorithm, type SignatureAlgorithm } from './signature-algorithm.ts'

export type ChainCertificate = Extensions & {
  readonly der: Buffer
  /** `sha256:` and the lower-case hex digest of the DER. */
  readonly fingerprint: string
  readonly subject: string
  readonly issuer: string
  readonly commonName: string
  /** The names byte for byte (hex): Go links certificates by these alone. */
  readonly rawSubject: string
  readonly rawIssuer: string
  readonly version: number
  /** Milliseconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
  readonly signature: SignatureAlgorithm
  /** SubjectPublicKeyInfo (hex). */
  readonly publicKeyInfo: string
  /** Of a kind that Go can verify with; `undefined`: another one. */
  readonly publicKey: KeyObject | undefined
  /** Claims itself as its issuer (same name, and its own key verifies it). */
  readonly isSelfSigned: boolean
}

export type ReadChainCertificate =
  | { readonly ok: true; readonly certificate: ChainCertificate }
  | { readonly ok: false; readonly reason: string }

export function readChainCertificate(der: Buffer): ReadChainCertificate {
  const fields = readCertificateFields(der)
  const x509 = fields === undefined ? undefined : open(der)
  if (fields === undefined || x509 === undefined) return { ok: false, reason: 'it is not an X.509 certificate' }
  const refusal = whyGoRefuses(der)
  if (refusal !== undefined) return { ok: false, reason: refusalText(refusal) }
  const extensions = readExtensions(fields)
  if (!extensions.ok) return extensions
  // A node has some 150 roots, and a question concerns two of them: what costs is worked out for those alone.
  const publicKey = once(() => usableKey(x509))
  const rawSubject = fields.subject.raw.toString('hex')
  const rawIssuer = fields.issuer.raw.toString('hex')
  const signature = readSignatureAlgorithm(fields.signatureAlgorithm)
  const isSelfSigned = once(() => {
    const key = rawSubject === rawIssuer ? publicKey() : undefined
    return key !== undefined && verifies(x509, key)
  })
  const certificate: ChainCertificate = {
    ...extensions.extensions,
    der,
    fingerprint: `sha256:${createHash('sha256').update(der).digest('hex')}`,
    subject: oneLine(x509.subject),
    issuer: oneLine(x509.issuer),
    commonName: commonNameOf(fields.subject),
    rawSubject,
    rawIssuer,
    version: fields.version,
    notBefore: x509.validFromDate.getTime(),
    notAfter: x509.validToDate.getTime(),
    signature,
    publicKeyInfo: fields.publicKeyInfo.raw.toString('hex'),
    get publicKey() {
      return publicKey()
    },
    get isSelfSigned() {
      return isSelfSigned()
    },
  }
  return { ok: true, certificate }
}

function once<T>(work: () => T): () => T {
  let done: { readonly value: T } | undefined
  return () => {
    done ??= { value: work() }
    return done.value
  }
}

/** Whether `key` made the signature of `certificate`; nothing else is looked at. */
export function isSignedWith({ der }: ChainCertificate, key: KeyObject): boolean {
  const x509 = open(der)
  return x509 !== undefined && verifies(x509, key)
}

/** `Corp Root` rather than `CN=Corp Root, O=Corp`: what people call it. */
export function shortName({ commonName, subject }: ChainCertificate): string {
  return commonName || subject || 'a certificate without a name'
}

function open(der: Buffer): X509Certificate | undefined {
  try {
    const x509 = new X509Certificate(der)
    // node:crypto tries PEM first: a block hidden inside the DER would be read in its place.
    return x509.raw.equals(der) ? x509 : undefined
  } catch {
    // OpenSSL's reason ("wrong tag") tells a person nothing beyond "not a certificate".
    return undefined
  }
}

function verifies(x509: X509Certificate, key: KeyObject): boolean {
  try {
    return x509.verify(key)
  } catch {
    return false
  }
}

const LEAST_RSA_BITS = 1024

/** Go knows RSA under its plain OID, the NIST curves and Ed25519; since 1.24 it refuses RSA below 1024 bits. */
function usableKey(x509: X509Certificate): KeyObject | undefined {
  try {
    const key = x509.publicKey
    switch (key.asymmetricKeyType) {
      case 'rsa':
        return (key.asymmetricKeyDetails?.modulusLength ?? 0) >= LEAST_RSA_BITS ? key : undefined
      case 'ec':
      case 'ed25519':
        return key
      default:
        return undefined
    }
  } catch {
    return undefined
  }
}

const COMMON_NAME = '550403'

/** The last one, as Go takes it. */
function commonNameOf(subject: DerElement): string {
  const attributes = (childrenOf(subject, TAG.sequence) ?? []).flatMap((set) => childrenOf(set, TAG.set) ?? [])
  const values = attributes.flatMap((attribute) => {
    const [type, value] = childrenOf(attribute, TAG.sequence) ?? []
    return type?.content.toString('hex') === COMMON_NAME && value !== undefined ? [value.content.toString('utf8')] : []
  })
  return values.at(-1) ?? ''
}
