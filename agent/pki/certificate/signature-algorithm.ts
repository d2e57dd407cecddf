// The signature algorithms of certificates as Go knows them: good, known but insecure (refused since Go 1.18), or
// unknown to it.
import { childrenOf, type DerElement, dottedOid, TAG } from '../encoding/der.ts'

export type SignatureAlgorithm = {
  /** As Go writes it, e.g. `SHA256-RSA`; the dotted OID of one that Go does not know. */
  readonly name: string
  readonly strength: 'good' | 'insecure' | 'unknown'
}

const KNOWN: { readonly [oid: string]: readonly [string, SignatureAlgorithm['strength']] } = {
  '1.2.840.113549.1.1.4': ['MD5-RSA', 'insecure'],
  '1.2.840.113549.1.1.5': ['SHA1-RSA', 'insecure'],
  '1.3.14.3.2.29': ['SHA1-RSA', 'insecure'],
  '1.2.840.113549.1.1.11': ['SHA256-RSA', 'good'],
  '1.2.840.113549.1.1.12': ['SHA384-RSA', 'good'],
  '1.2.840.113549.1.1.13': ['SHA512-RSA', 'good'],
  '1.2.840.10040.4.3': ['DSA-SHA1', 'insecure'],
  '1.2.840.10045.4.1': ['ECDSA-SHA1', 'insecure'],
  '1.2.840.10045.4.3.2': ['ECDSA-SHA256', 'good'],
  '1.2.840.10045.4.3.3': ['ECDSA-SHA384', 'good'],
  '1.2.840.10045.4.3.4': ['ECDSA-SHA512', 'good'],
  '1.3.101.112': ['Ed25519', 'good'],
}

const PSS = '1.2.840.113549.1.1.10'

/** Go accepts RSA-PSS only where hash, mask and salt belong together (crypto/x509 getSignatureAlgorithmFromAI). */
const PSS_PARAMETERS: { readonly [hash: string]: { readonly name: string; readonly saltBytes: number } } = {
  '2.16.840.1.101.3.4.2.1': { name: 'SHA256-RSAPSS', saltBytes: 32 },
  '2.16.840.1.101.3.4.2.2': { name: 'SHA384-RSAPSS', saltBytes: 48 },
  '2.16.840.1.101.3.4.2.3': { name: 'SHA512-RSAPSS', saltBytes: 64 },
}

export function readSignatureAlgorithm(identifier: DerElement): SignatureAlgorithm {
  const [oid, parameters] = childrenOf(identifier, TAG.sequence) ?? []
  if (oid?.tag !== TAG.oid) return { name: 'an unreadable algorithm', strength: 'unknown' }
  const dotted = dottedOid(oid.content)
  if (dotted === PSS) return readPss(parameters)
  const [name, strength] = KNOWN[dotted] ?? [dotted, 'unknown']
  return { name, strength }
}

function readPss(parameters: DerElement | undefined): SignatureAlgorithm {
  const unknown = { name: 'RSA-PSS with unusual parameters', strength: 'unknown' } as const
  const fields = new Map((childrenOf(parameters, TAG.sequence) ?? []).map(({ tag, content }) => [tag, content]))
  const hash = oidIn(fields.get(0xa0))
  const known = hash === undefined ? undefined : PSS_PARAMETERS[hash]
  const salt = fields.get(0xa2)
  if (known === undefined || salt === undefined || salt[0] !== TAG.integer) return unknown
  return salt.length === 3 && salt[2] === known.saltBytes ? { name: known.name, strength: 'good' } : unknown
}

/** The algorithm inside `[0] EXPLICIT AlgorithmIdentifier`. */
function oidIn(content: Buffer | undefined): string | undefined {
  if (content === undefined || content[0] !== TAG.sequence || content[2] !== TAG.oid) return undefined
  return dottedOid(content.subarray(4, 4 + (content[3] ?? 0)))
}
