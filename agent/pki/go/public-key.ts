// The key of a certificate as Go reads it (crypto/x509 parsePublicKey): a key of a kind that Go knows must be well
// formed, one of another kind is left alone.
import { ECDH } from 'node:crypto'
import { DerReader, rightAligned } from './reader.ts'
import { type GoVersion, must } from './refusal.ts'

// Contents of OBJECT IDENTIFIERs in hex.
const RSA = '2a864886f70d010101'
const EC = '2a8648ce3d0201'
const ED25519 = '2b6570'
const DSA = '2a8648ce380401'
/** ML-DSA-44, -65 and -87 with the bytes of their keys (FIPS 204, table 2). */
const ML_DSA: ReadonlyMap<string, number> = new Map([
  ['608648016503040311', 1312],
  ['608648016503040312', 1952],
  ['608648016503040313', 2592],
])
const CURVES: ReadonlyMap<string, { readonly name: string; readonly bytes: number }> = new Map([
  ['2b81040021', { name: 'secp224r1', bytes: 28 }],
  ['2a8648ce3d030107', { name: 'prime256v1', bytes: 32 }],
  ['2b81040022', { name: 'secp384r1', bytes: 48 }],
  ['2b81040023', { name: 'secp521r1', bytes: 66 }],
])
const NULL = Buffer.from([5, 0])
const NONE = Buffer.alloc(0)

export type Algorithm = { readonly oid: string; readonly parameters: Buffer }

/** An AlgorithmIdentifier. @throws Refusal */
export function readAlgorithm(reader: DerReader, what: string): Algorithm {
  const reason = `${what} is malformed`
  const oid = reader.oid(reason)
  return { oid, parameters: reader.isEmpty ? NONE : reader.any(reason).raw }
}

/** @throws Refusal where Go does not read `info`, a whole SubjectPublicKeyInfo. */
export function checkPublicKey(info: Buffer, go: GoVersion): void {
  const reader = new DerReader(info, go).sequence('its key is malformed')
  const algorithm = readAlgorithm(reader.sequence('the algorithm of its key is malformed'), 'the algorithm of its key')
  const key = rightAligned(reader.bitString('its key is malformed'))
  if (algorithm.oid === RSA) checkRsa(algorithm, key, go)
  else if (algorithm.oid === EC) checkEc(algorithm, key, go)
  else if (algorithm.oid === ED25519) checkFixed(algorithm, key, 'Ed25519', 32)
  else if (algorithm.oid === DSA) checkDsa(algorithm, key, go)
  else if (go === '1.27') {
    const bytes = ML_DSA.get(algorithm.oid)
    if (bytes !== undefined) checkFixed(algorithm, key, 'ML-DSA', bytes)
  }
}

function checkRsa({ parameters }: Algorithm, key: Buffer, go: GoVersion): void {
  must(parameters.equals(NULL), 'its RSA key lacks the NULL parameters that RFC 3279 asks for')
  const reader = new DerReader(key, go).sequence('its RSA key is malformed')
  must(
    isPositive(reader.integer('the modulus of its RSA key is malformed')),
    'the modulus of its RSA key is not positive',
  )
  const exponent = reader.int64('the exponent of its RSA key is malformed')
  must(exponent > 0n, 'the exponent of its RSA key is not positive')
}

function checkEc({ parameters }: Algorithm, key: Buffer, go: GoVersion): void {
  const curve = CURVES.get(new DerReader(parameters, go).oid('the curve of its elliptic key is not named'))
  must(curve !== undefined, 'its key lies on an elliptic curve other than P-224, P-256, P-384 or P-521')
  const isUncompressed = key[0] === 4 && key.length === 1 + 2 * curve.bytes
  must(isUncompressed, 'its elliptic key is not written as an uncompressed point')
  must(isOnCurve(key, curve.name), 'its elliptic key is not a point on its curve')
}

function isOnCurve(point: Buffer, curve: string): boolean {
  try {
    ECDH.convertKey(point, curve)
    return true
  } catch {
    // OpenSSL's one reason here: the point is not on the curve.
    return false
  }
}

function checkFixed({ parameters }: Algorithm, key: Buffer, kind: string, bytes: number): void {
  must(parameters.length === 0, `its ${kind} key has parameters, which it may not have`)
  must(key.length === bytes, `its ${kind} key has ${key.length} bytes instead of ${bytes}`)
}

function checkDsa({ parameters }: Algorithm, key: Buffer, go: GoVersion): void {
  const y = new DerReader(key, go).integer('its DSA key is malformed')
  const reader = new DerReader(parameters, go).sequence('the parameters of its DSA key are malformed')
  const pqg = [1, 2, 3].map(() => reader.integer('the parameters of its DSA key are malformed'))
  must([y, ...pqg].every(isPositive), 'its DSA key has a number that is not positive')
}

function isPositive(integer: Buffer): boolean {
  return (integer[0] ?? 0) < 0x80 && integer.some((byte) => byte !== 0)
}

/** Whether the bytes of an INTEGER are those of a number below zero. */
export function isNegative(integer: Buffer): boolean {
  return (integer[0] ?? 0) >= 0x80
}
