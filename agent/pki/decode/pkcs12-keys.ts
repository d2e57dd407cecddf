// Passwords to keys and plain text, for PKCS#12: PBES2 (RFC 8018) as OpenSSL 3 and Java write it, the older PKCS#12
// schemes with 3DES and RC2, and the checksums of both. Every iteration is paid from one account, because the file
// names their number.
import { createDecipheriv, createHash, hash as digestOf, pbkdf2Sync } from 'node:crypto'
import rc2 from 'node-forge/lib/rc2.js'
import forgeUtil from 'node-forge/lib/util.js'
import { type BerElement, berChildren } from '../encoding/ber.ts'
import { dottedOid, TAG } from '../encoding/der.ts'

/**
 * `terminated`: as text with its two zero bytes; `none`: no byte at all, which some programs write for "no password".
 */
export type Password = { readonly text: string; readonly form: 'terminated' | 'none' }

/** NSS, the most thorough program, takes 700 000 for one store; a second or two is the most that these cost. */
const MOST_ITERATIONS = 1_500_000

export class Workload {
  #left = MOST_ITERATIONS

  /** False: the account is empty, and nothing may be calculated. */
  pay(iterations: number): boolean {
    if (!(iterations >= 1) || iterations > this.#left) return false
    this.#left -= iterations
    return true
  }
}

export type Decrypted =
  | { readonly kind: 'clear'; readonly bytes: Buffer }
  | { readonly kind: 'unsupported'; readonly algorithm: string }
  | { readonly kind: 'too-much-work' | 'undecipherable' }

type Scheme = { readonly cipher: string; readonly keyBytes: number; readonly ivBytes: number }

/** 1.2.840.113549.1.12.1.N: SHA-1 and the key derivation of PKCS#12. */
const OLD_SCHEMES: { readonly [oid: string]: Scheme } = {
  '1.2.840.113549.1.12.1.3': { cipher: 'des-ede3-cbc', keyBytes: 24, ivBytes: 8 },
  '1.2.840.113549.1.12.1.4': { cipher: 'des-ede-cbc', keyBytes: 16, ivBytes: 8 },
  '1.2.840.113549.1.12.1.5': { cipher: 'rc2', keyBytes: 16, ivBytes: 8 },
  '1.2.840.113549.1.12.1.6': { cipher: 'rc2', keyBytes: 5, ivBytes: 8 },
}

const PBES2 = '1.2.840.113549.1.5.13'
const PBKDF2 = '1.2.840.113549.1.5.12'
const PBMAC1 = '1.2.840.113549.1.5.14'

const CIPHERS: { readonly [oid: string]: Scheme } = {
  '2.16.840.1.101.3.4.1.2': { cipher: 'aes-128-cbc', keyBytes: 16, ivBytes: 16 },
  '2.16.840.1.101.3.4.1.22': { cipher: 'aes-192-cbc', keyBytes: 24, ivBytes: 16 },
  '2.16.840.1.101.3.4.1.42': { cipher: 'aes-256-cbc', keyBytes: 32, ivBytes: 16 },
  '1.2.840.113549.3.7': { cipher: 'des-ede3-cbc', keyBytes: 24, ivBytes: 8 },
}

const HMACS: { readonly [oid: string]: string } = {
  '1.2.840.113549.2.7': 'sha1',
  '1.2.840.113549.2.8': 'sha224',
  '1.2.840.113549.2.9': 'sha256',
  '1.2.840.113549.2.10': 'sha384',
  '1.2.840.113549.2.11': 'sha512',
}

const DIGESTS: { readonly [oid: string]: string } = {
  '1.3.14.3.2.26': 'sha1',
  '2.16.840.1.101.3.4.2.4': 'sha224',
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
}

export function decryptPbe(algorithm: BerElement, sealed: Buffer, password: Password, work: Workload): Decrypted {
  const { oid, parameters } = algorithmOf(algorithm)
  const old = OLD_SCHEMES[oid]
  if (old !== undefined) return decryptOld(old, parameters, sealed, password, work)
  if (oid !== PBES2) return { kind: 'unsupported', algorithm: oid }
  const [kdf, cipher] = berChildren(parameters, TAG.sequence) ?? []
  const { oid: cipherOid, parameters: iv } = algorithmOf(cipher)
  const scheme = CIPHERS[cipherOid]
  const derivation = readPbkdf2(kdf)
  if (scheme === undefined || iv === undefined) return { kind: 'unsupported', algorithm: cipherOid }
  if (derivation === undefined) return { kind: 'unsupported', algorithm: algorithmOf(kdf).oid }
  const key = pbkdf2(derivation, scheme.keyBytes, password, work)
  return key === undefined ? { kind: 'too-much-work' } : decipher(scheme, key, iv.content, sealed)
}

function decryptOld(
  scheme: Scheme,
  parameters: BerElement | undefined,
  sealed: Buffer,
  password: Password,
  work: Workload,
): Decrypted {
  const [salt, count] = berChildren(parameters, TAG.sequence) ?? []
  const iterations = numberIn(count)
  if (salt === undefined || iterations === undefined) return { kind: 'unsupported', algorithm: 'unreadable parameters' }
  const derive = (purpose: number, bytes: number) =>
    deriveOld({ hash: 'sha1', salt: salt.content, iterations, purpose, bytes }, password, work)
  const key = derive(1, scheme.keyBytes)
  const iv = derive(2, scheme.ivBytes)
  return key === undefined || iv === undefined ? { kind: 'too-much-work' } : decipher(scheme, key, iv, sealed)
}

function decipher({ cipher }: Scheme, key: Buffer, iv: Buffer, sealed: Buffer): Decrypted {
  try {
    if (cipher === 'rc2') return decipherRc2(key, iv, sealed)
    const one = createDecipheriv(cipher, key, iv)
    return { kind: 'clear', bytes: Buffer.concat([one.update(sealed), one.final()]) }
  } catch {
    // The padding is wrong: so is the password.
    return { kind: 'undecipherable' }
  }
}

/** OpenSSL 3 has RC2 only in a module that Node does not load. */
function decipherRc2(key: Buffer, iv: Buffer, sealed: Buffer): Decrypted {
  const one = rc2.createDecryptionCipher(key.toString('latin1'), key.length * 8)
  one.start(iv.toString('latin1'))
  one.update(forgeUtil.createBuffer(sealed.toString('latin1')))
  return one.finish()
    ? { kind: 'clear', bytes: Buffer.from(one.output.getBytes(), 'latin1') }
    : { kind: 'undecipherable' }
}

type Pbkdf2 = { readonly salt: Buffer; readonly iterations: number; readonly hash: string }

function readPbkdf2(kdf: BerElement | undefined): Pbkdf2 | undefined {
  const { oid, parameters } = algorithmOf(kdf)
  const [salt, count, ...rest] = berChildren(parameters, TAG.sequence) ?? []
  const iterations = numberIn(count)
  if (oid !== PBKDF2 || salt?.tag !== TAG.octetString || iterations === undefined) return undefined
  const prf = rest.find(({ tag }) => tag === TAG.sequence)
  const hash = prf === undefined ? 'sha1' : HMACS[algorithmOf(prf).oid]
  return hash === undefined ? undefined : { salt: salt.content, iterations, hash }
}

function pbkdf2(
  { salt, iterations, hash }: Pbkdf2,
  bytes: number,
  { text }: Password,
  work: Workload,
): Buffer | undefined {
  const blocks = Math.ceil(bytes / createHash(hash).digest().length)
  return work.pay(iterations * blocks)
    ? pbkdf2Sync(Buffer.from(text, 'utf8'), salt, iterations, bytes, hash)
    : undefined
}

export type MacAlgorithm = { readonly hash: string } & (
  | { readonly kind: 'old'; readonly salt: Buffer; readonly iterations: number }
  | { readonly kind: 'pbmac1'; readonly derivation: Pbkdf2; readonly keyBytes: number }
)

/** `salt` and `iterations` stand beside it in the older form alone. */
export function readMacAlgorithm(
  element: BerElement,
  salt: Buffer | undefined,
  iterations: number,
): MacAlgorithm | undefined {
  const { oid, parameters } = algorithmOf(element)
  const digest = DIGESTS[oid]
  if (digest !== undefined) return salt === undefined ? undefined : { kind: 'old', hash: digest, salt, iterations }
  if (oid !== PBMAC1) return undefined
  const [kdf, scheme] = berChildren(parameters, TAG.sequence) ?? []
  const derivation = readPbkdf2(kdf)
  const hash = HMACS[algorithmOf(scheme).oid]
  const [, , keyLength] = berChildren(algorithmOf(kdf).parameters, TAG.sequence) ?? []
  const keyBytes = keyLength?.tag === TAG.integer ? numberIn(keyLength) : undefined
  if (derivation === undefined || hash === undefined || keyBytes === undefined || keyBytes > 1024) return undefined
  return { kind: 'pbmac1', hash, derivation, keyBytes }
}

/** `undefined`: too much work. */
export function deriveMacKey(mac: MacAlgorithm, password: Password, work: Workload): Buffer | undefined {
  if (mac.kind === 'pbmac1') return pbkdf2(mac.derivation, mac.keyBytes, password, work)
  const { hash, salt, iterations } = mac
  const bytes = createHash(hash).digest().length
  return deriveOld({ hash, salt, iterations, purpose: 3, bytes }, password, work)
}

type OldDerivation = {
  readonly hash: string
  readonly salt: Buffer
  readonly iterations: number
  /** 1: key, 2: initial vector, 3: checksum. */
  readonly purpose: number
  readonly bytes: number
}

/** RFC 7292, appendix B.2. */
function deriveOld(
  { hash, salt, iterations, purpose, bytes }: OldDerivation,
  password: Password,
  work: Workload,
): Buffer | undefined {
  const hashBytes = createHash(hash).digest().length
  const block = hashBytes > 32 ? 128 : 64
  const rounds = Math.ceil(bytes / hashBytes)
  if (salt.length > 4096 || !work.pay(iterations * rounds)) return undefined
  const diversifier = Buffer.alloc(block, purpose)
  const input = Buffer.concat([stretch(salt, block), stretch(passwordBytes(password), block)])
  const output: Buffer[] = []
  for (let round = 0; round < rounds; round += 1) {
    let digest = digestOf(hash, Buffer.concat([diversifier, input]), 'buffer')
    for (let count = 1; count < iterations; count += 1) digest = digestOf(hash, digest, 'buffer')
    output.push(digest)
    addToEach(input, stretch(digest, block).subarray(0, block))
  }
  return Buffer.concat(output).subarray(0, bytes)
}

/** Repeated until it fills whole blocks; nothing stays nothing. */
function stretch(bytes: Buffer, block: number): Buffer {
  if (bytes.length === 0) return bytes
  return Buffer.alloc(block * Math.ceil(bytes.length / block), bytes)
}

/** Each block of `input` becomes itself + `addend` + 1, as big-endian numbers. */
function addToEach(input: Buffer, addend: Buffer): void {
  for (let start = 0; start < input.length; start += addend.length) {
    let carry = 1
    for (let at = addend.length - 1; at >= 0; at -= 1) {
      const sum = (input[start + at] ?? 0) + (addend[at] ?? 0) + carry
      input[start + at] = sum & 0xff
      carry = sum >> 8
    }
  }
}

/** UTF-16 with the high byte first, and its two zero bytes at the end. */
function passwordBytes({ text, form }: Password): Buffer {
  return form === 'none' ? Buffer.alloc(0) : Buffer.from(`${text}\0`, 'utf16le').swap16()
}

function algorithmOf(element: BerElement | undefined): {
  readonly oid: string
  readonly parameters: BerElement | undefined
} {
  const [oid, parameters] = berChildren(element, TAG.sequence) ?? []
  return { oid: oid?.tag === TAG.oid ? dottedOid(oid.content) : 'an unreadable algorithm', parameters }
}

function numberIn(element: BerElement | undefined): number | undefined {
  if (element?.tag !== TAG.integer || element.content.length === 0 || element.content.length > 6) return undefined
  return element.content.readUIntBE(0, element.content.length)
}
